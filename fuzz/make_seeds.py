"""Writes the seeds of `regressions/`, packets by scapy: `/usr/bin/python3 fuzz/make_seeds.py`."""

import base64
import hmac
import ipaddress
import struct
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, PadN
from scapy.layers.l2 import ARP, GRE, Dot1Q, Ether
from scapy.packet import Raw

HERE = Path(__file__).resolve().parent / "regressions"
# As in dataplane/tests/support.
ENDPOINT, REMOTE, CLIENT, INSIDE = "203.0.113.1", "192.0.2.77", "8.8.8.8", "198.51.100.5"
CLIENT6, INSIDE6 = "2001:db8:9::9", "2001:db8:100::5"
SYN = TCP(sport=1, dport=80, flags="S", options=[("NOP", None), ("MSS", 1460), ("SAckOK", b"")])


def packets():
    """Names and IP packets."""
    yield "request", IP(src=CLIENT, dst=INSIDE) / UDP(dport=53) / Raw(bytes(64))
    yield "request6", IPv6(src=CLIENT6, dst=INSIDE6) / UDP(dport=53) / Raw(bytes(64))
    yield "syn", IP(src=CLIENT, dst=INSIDE) / SYN
    yield "syn6", IPv6(src=CLIENT6, dst=INSIDE6) / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / SYN
    yield "too-big", IP(src=CLIENT, dst=INSIDE, flags="DF") / UDP() / Raw(bytes(1472))
    yield "ttl-1", IP(src=CLIENT, dst=INSIDE, ttl=1) / UDP() / Raw(bytes(20))
    yield "options", IP(src=CLIENT, dst=INSIDE, options=b"\x07\x07\x04\0\0\0\0\0") / UDP()
    yield "fragment", IP(src=REMOTE, dst=ENDPOINT, proto=47, flags="MF", frag=0) / Raw(bytes(64))
    yield "fragment6", IPv6(src=CLIENT6, dst=INSIDE6) / IPv6ExtHdrFragment(nh=17, offset=2, m=1) / Raw(bytes(64))
    reply = IP(src=INSIDE, dst=CLIENT) / UDP() / Raw(bytes(32))
    yield "gre", IP(src=REMOTE, dst=ENDPOINT) / GRE() / reply
    yield "gre-options", IP(src=REMOTE, dst=ENDPOINT) / GRE(chksum_present=1, key_present=1, key=7, seqnum_present=1) / reply
    yield "gre-gre", IP(src=REMOTE, dst=ENDPOINT) / GRE() / IP(src=REMOTE, dst=ENDPOINT) / GRE() / reply
    yield "keepalive", IP(src=REMOTE, dst=ENDPOINT) / GRE() / IP(src=ENDPOINT, dst=REMOTE) / GRE(proto=0)
    ours = IP(src=ENDPOINT, dst=REMOTE, flags="DF") / GRE() / Raw(bytes(8))
    yield "icmp-too-big", IP(src="192.0.2.9", dst=ENDPOINT) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(bytes(ours))
    yield "icmp6-too-big", IPv6(src=CLIENT6, dst="2001:db8:ffff::1") / ICMPv6PacketTooBig(mtu=1400) / IPv6(
        src="2001:db8:ffff::1", dst=CLIENT6, nh=47) / GRE() / Raw(bytes(8))
    yield "ping", IP(src=CLIENT, dst=ENDPOINT) / ICMP() / Raw(b"abc")


def fleet_packets():
    """Names, flags of the target `pipeline` and IP packets: what belongs to the other node, and what it hands over."""
    other, mine = 5 << 22 | 0x1001, 0x1004
    to_me = IP(src="192.0.2.15", dst="192.0.2.10") / UDP(sport=50000, dport=4790)
    esp = IP(src=CLIENT, dst=ENDPOINT, proto=50)
    message = struct.pack("!QQ4BII", 1, other << 32, 46, 0x20, 37, 8, 1, 28)
    ike = IP(src=CLIENT, dst=ENDPOINT) / UDP(sport=500, dport=500) / Raw(message)
    yield "rescue-esp", 3, esp / Raw(struct.pack("!II", other, 1) + bytes(40))
    yield "rescue-esp6", 3, IPv6(src=CLIENT6, dst="2001:db8:ffff::1", nh=50) / Raw(struct.pack("!II", other, 1) + bytes(40))
    yield "rescue-ike", 3, ike
    yield "rescued-esp", 7, IP(src="192.0.2.80", dst=ENDPOINT, proto=50) / Raw(struct.pack("!II", mine, 1) + bytes(40))
    yield "rescued-ike", 7, ike
    yield "rescued-twice", 7, to_me / Raw(b"PSTK\x01\x01\0\0all nodes' token" + bytes(esp))
    yield "rescued-scan", 3, to_me / Raw(b"PSTK\x01\x01")


# As in fuzz/src/esp.rs.
TO_US, SEAL, AS_IT_IS, DAMAGE, CONTROL, TURN = 1, 2, 4, 8, 16, 32
TUNNELS = 15


def step(flags, data):
    """A step of the target `esp`."""
    return struct.pack("!BH", flags, len(data)) + bytes(data)


def sealed(tunnel, payload, sequence=1, tos=0, next_header=4, flags=0):
    """A payload that the target seals as that tunnel's customer."""
    return step(SEAL | flags, bytes([tunnel, sequence, tos, next_header]) + bytes(payload))


def esp_steps():
    """Names and inputs of the target `esp`; it has the keys, so they need none."""
    reply = IP(src=INSIDE, dst=CLIENT) / UDP(dport=53) / Raw(b"reply")
    reply6 = IPv6(src=INSIDE6, dst=CLIENT6) / UDP(dport=53) / Raw(b"reply")
    every = range(TUNNELS)
    yield "reply", b"".join(sealed(t, reply) for t in every)
    yield "reply6", b"".join(sealed(t, reply6, next_header=41) for t in every)
    yield "ecn", b"".join(sealed(t, reply, sequence=tos, tos=tos) for t in every for tos in range(4))
    yield "dummy", b"".join(sealed(t, b"", next_header=59) for t in every)
    yield "transport", b"".join(sealed(t, UDP() / b"x", next_header=17) for t in every)
    yield "tfc", b"".join(sealed(t, bytes(reply) + bytes(100)) for t in every)
    pad = bytes(range(1, 15))
    yield "padding", b"".join(sealed(t, bytes(reply)[:32] + pad + bytes([14, 4]), flags=AS_IT_IS) for t in every)
    yield "bad-padding", b"".join(sealed(t, bytes(46) + bytes([44, 4]), flags=AS_IT_IS) for t in every)
    yield "replay", b"".join(sealed(t, reply, sequence=s) for t in every for s in (70, 70, 5, 0))
    yield "flip", b"".join(step(SEAL | DAMAGE, bytes([14 + at, 0x55, t, 1, 0, 4]) + bytes(reply))
                           for t in every for at in (9, 19, 24, 28, 40, 60))
    yield "syn", b"".join(sealed(t, IP(src=INSIDE, dst=CLIENT) / SYN) for t in every)
    into = [Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / IP(src=CLIENT, dst=f"198.51.{101 + t}.5") / UDP()
            / Raw(bytes(64)) for t in every]
    yield "request", b"".join(step(TO_US, bytes(frame)) for frame in into)
    yield "through", b"".join(sealed(t, IP(src=INSIDE, dst=f"198.51.{101 + (t + 1) % TUNNELS}.5") / UDP()) for t in every)
    yield "nested", b"".join(sealed(t, IP(src=INSIDE, dst=ENDPOINT, proto=50) / Raw(bytes([0, 0, 16, 2] + [0] * 40)))
                             for t in every)
    yield "loop", b"".join(sealed(t, IP(src=INSIDE, dst=f"192.0.2.{78 + t}") / UDP()) for t in every)
    rekey = [bytes([2, 0]), bytes([0, 0]), bytes([4, 0]), bytes([3, 0]), bytes([1, 0]), bytes([0, 0])]
    yield "rekey", b"".join(step(CONTROL | TURN, change) + step(TO_US, bytes(into[0])) + sealed(0, reply, sequence=n)
                            for n, change in enumerate(rekey, 1))
    unsealed = Ether(dst="02:00:00:00:00:01") / IP(src="192.0.2.78", dst=ENDPOINT, proto=50) / Raw(bytes([0, 0, 16, 2] + [0] * 44))
    yield "unsealed", step(TO_US, bytes(unsealed))
    natt = Ether(dst="02:00:00:00:00:01") / IP(src="192.0.2.78", dst=ENDPOINT) / UDP(sport=4500, dport=4500)
    yield "natt", b"".join(step(TO_US, bytes(natt / Raw(body))) for body in (b"\xff", bytes(8), bytes([0, 0, 16, 2])))


def counted(data):
    """A string of the plugin's protocol."""
    return struct.pack("!H", len(data)) + data


def address(text, port=0):
    """An address of the plugin's protocol."""
    ip = ipaddress.ip_address(text)
    return struct.pack("!BH", ip.version, port) + ip.packed


def selector(network, protocol=0, first=0, last=65535):
    """A traffic selector of the plugin's protocol."""
    net = ipaddress.ip_network(network)
    return struct.pack("!BHHB", protocol, first, last, net.version) + net[0].packed + net[-1].packed


def sa_id(src, dst, spi=0xC0000001, protocol=50):
    """The name of an SA in the plugin's protocol."""
    return src + dst + struct.pack("!IB", spi, protocol)


ID = sa_id(address(REMOTE, 4500), address(ENDPOINT, 4500))
ID6 = sa_id(address(CLIENT6), address(INSIDE6))


def add_sa(name, flags, cipher, key, mac=(1024, b""), mode=2):
    """What ADD_SA has."""
    limits = struct.pack("!6Q", 3960, 3600, 0, 0, 1 << 40, 0)
    src = [selector("10.0.0.0/16")]
    dst = [selector("0.0.0.0/0"), selector("2001:db8::/64", 17, 53, 53), selector("10.0.0.0/8", 6, 65535, 0)]
    sides = b"".join(struct.pack("!H", len(side)) + b"".join(side) for side in (src, dst))
    return (name + struct.pack("!BIBH", flags, 7, mode, cipher) + counted(key) + struct.pack("!H", mac[0]) + counted(mac[1])
            + struct.pack("!I", 64) + limits + struct.pack("!IH", 0, 0) + sides)


GCM = add_sa(ID, 1 | 4 | 16, 20, bytes(range(20)))


def charon_messages():
    """Names and inputs of the target `charon_request`: type, status, payload."""
    policy = struct.pack("!BBBII", 2, 1, 2, 7, 0xC0000001) + address(ENDPOINT) + address(REMOTE) + selector("10.0.0.0/16") * 2
    for name, kind, payload in [
        ("hello", 1, counted(b"5.9.8") + counted(b"0.1")),
        ("sync", 2, struct.pack("!I", 2) + b"\1" + ID + b"\0" + ID6),
        ("get-spi", 3, address(REMOTE, 500) + address(ENDPOINT, 500) + b"\x32"),
        ("add-gcm", 4, GCM),
        ("add-cbc", 4, add_sa(ID6, 2 | 8, 12, bytes(32), (12, bytes(32)))),
        ("add-transport", 4, add_sa(ID, 1, 30, bytes(20), mode=1)),
        ("update", 5, ID + address(REMOTE, 1024) + address(ENDPOINT, 4500) + b"\1\1" + bytes(4)),
        ("del", 6, ID),
        ("query", 7, ID6),
        ("flush", 8, b""),
        ("add-policy", 9, policy),
        ("expire", 32, ID + b"\1"),
        ("mapping", 33, ID + address(REMOTE, 4501)),
        ("answer-spi", 3, struct.pack("!I", 0xC0000001)),
        ("answer-usage", 7, struct.pack("!QQQ", 100, 2, 2**64 - 1)),
        ("answer-unknown", 2, struct.pack("!I", 1) + ID),
    ]:
        yield name, bytes([kind, 0]) + payload
    yield "answer-refused", bytes([4, 4]) + counted(b"transport mode")


def sa_records():
    """Names and inputs of the target `sa_record`."""
    for name, state, sa in [("current", b"\1", GCM), ("retiring", b"\2" + struct.pack("!Q", 5 * 10**9), GCM),
                            ("pending", b"\0", add_sa(ID6, 0, 28, bytes(36)))]:
        progress = struct.pack("!3Q", 1 << 33, 1500, 1)
        yield name, (b"penSA\0\0\2" + progress + counted(b"62c7ae4f-5d1b-4d6a-a9c5-2f0a1b7c8d9e") + struct.pack("!QQ", 1, 10**9)
                     + state + struct.pack("!I", 0x12345678) + counted(b"acme") + counted(b"dc1") + sa)


def fleet_records():
    """Names and inputs of the target `fleet_record`."""
    for name, state, since, choice, sa in [("current", 1, 0, (0, 0), GCM), ("chosen", 1, 0, (3, 70), add_sa(ID6, 0, 28, bytes(36))),
                                           ("retiring", 2, 10**12, (0, 0), GCM), ("pending", 0, 0, (0, 0), add_sa(ID6, 0, 28, bytes(36)))]:
        yield name, (b"penSAfl\1" + struct.pack("!HQ", 3, 0xABCD) + counted(b"acme") + counted(b"dc1")
                     + struct.pack("!BQQQIQQ", state, since, *choice, 0x12345678, 10**12, 10**12 + 3_960_000) + sa)


def peer_datagrams():
    """Names and inputs of the target `peer`: without an HMAC, which it adds, and one whole."""
    def said(kind, name=b"fra1", revision=7):
        return b"PSTK" + struct.pack("!BBBBQ16sQ", 1, kind, len(name), 0, 0x0123456789ABCDEF, b"0123456789abcdef", revision) + name
    token = hmac.digest(b"\1" * 32, b"penstock fleet token\0control", "sha256")
    yield "applied", said(2)
    yield "ask", said(3, b"x" * 63, 2**64 - 1)
    yield "report", said(4, revision=0) + struct.pack("!IBQQIBQQ", 0x00C00101, 1, 2**63, 9, 0x00C00102, 2, 0, 2**32)
    yield "rescued", said(1)
    yield "signed", said(2) + hmac.digest(token, said(2), "sha256")


def sealed_records():
    """Names and inputs of the target `sealed_record`. The first is sealed, with another key than the target has."""
    yield "sealed", bytes.fromhex("5053460198de027419056822404142434445464748494a4b4c4d4e4f5051525354555657902c0191389f863e"
                                  "8a01736ef807721c9d59818305c6e5c8")
    yield "json", b'{"schema": 1}'


def fleet_key_files():
    """Names and inputs of the target `fleet_key_file`."""
    keys = [base64.b64encode(bytes(at ^ number for at in range(32))).decode() for number in range(1, 6)]
    yield "hand", f"keys: [{{key: {keys[0]}}}, {{key: {keys[1]}}}]".encode()
    yield "id", f'# The\nkeys:\n  - id: "0011223344556677"\n    key: "{keys[0]}"\n'.encode()
    yield "too-many", ("keys:\n" + "".join(f"- {{key: {key}}}\n" for key in keys)).encode()
    yield "anchor", f"keys:\n- &k {{key: {keys[0]}}}\n- *k\n".encode()
    yield "bomb", b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nkeys: [*c, *c]\n"
    yield "deep", b"keys: " + b"[" * 400
    yield "unknown", f"keys:\n- {{key: {keys[0]}, {keys[1]}: x}}\n".encode()


def fleet_key_names():
    """Names and inputs of the target `fleet_key_name`."""
    for name, text in [("sa", "sas/7/acme/dc1/i-0040abcd"), ("node", "nodes/edge-1"), ("number", "numbers/1023"),
                       ("mtu", "pmtu/acme/dc1"), ("tenant", "tenants/acme"), ("senders", "senders")]:
        yield name, text.encode()


def main():
    """Writes one file for each packet and target."""
    for target, seeds in (("esp", esp_steps()), ("charon_request", charon_messages()), ("sa_record", sa_records()),
                          ("fleet_record", fleet_records()), ("peer", peer_datagrams()),
                          ("sealed_record", sealed_records()), ("fleet_key_file", fleet_key_files()),
                          ("fleet_key_name", fleet_key_names())):
        (HERE / target).mkdir(parents=True, exist_ok=True)
        for name, seed in seeds:
            (HERE / target / name).write_bytes(seed)
    for target in ("pipeline", "headers", "rewrites"):
        (HERE / target).mkdir(parents=True, exist_ok=True)
    frames = [(name, Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / packet, packet)
              for name, packet in packets()]
    tagged = Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / Dot1Q(vlan=100) / frames[0][2]
    arp = Ether(src="02:00:00:00:00:09", dst="ff:ff:ff:ff:ff:ff") / ARP(psrc="192.0.2.9", pdst="192.0.2.1")
    every = b""
    for name, frame, packet in [*frames, ("vlan", tagged, None), ("arp", arp, None)]:
        data = bytes(frame)
        entry = struct.pack("!BH", 3, len(data)) + data
        every += entry
        (HERE / "pipeline" / name).write_bytes(entry)
        if packet is not None:
            (HERE / "headers" / name).write_bytes(bytes(packet))
            (HERE / "rewrites" / name).write_bytes(struct.pack("!H", 1400) + bytes(packet))
    for name, flags, packet in fleet_packets():
        data = bytes(Ether(src="02:00:00:00:00:09", dst="02:00:00:00:00:01") / packet)
        entry = struct.pack("!BH", flags, len(data)) + data
        every += entry
        (HERE / "pipeline" / name).write_bytes(entry)
    (HERE / "pipeline" / "everything").write_bytes(every)
    (HERE / "headers" / "rescue").write_bytes(b"PSTK\x01\x01\0\0all nodes' token")
    (HERE / "headers" / "gre-alone").write_bytes(bytes(GRE(key_present=1, key=7) / Raw(bytes(8))))


if __name__ == "__main__":
    main()
