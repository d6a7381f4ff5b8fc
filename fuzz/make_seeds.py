"""Writes the seeds of `regressions/`, made by scapy: `/usr/bin/python3 fuzz/make_seeds.py`."""

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


def main():
    """Writes one file for each packet and target."""
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
    (HERE / "pipeline" / "everything").write_bytes(every)
    (HERE / "headers" / "gre-alone").write_bytes(bytes(GRE(key_present=1, key=7) / Raw(bytes(8))))


if __name__ == "__main__":
    main()
