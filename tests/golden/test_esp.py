"""What of ESP is not one frame in, one frame out: tshark's opinion, numbers and IVs, a peer that moves, IKE."""

import socket
import subprocess
from itertools import pairwise

import pytest
import world
from lab.counters import account, drops
from lab.esp import NATT_PORT
from lab.plan import CORE_MAC
from lab.wait import eventually
from lab.wire import EAST_MAC
from scapy.layers.inet import IP, UDP
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap
from test_golden import BY_SPI

TSHARK_CRYPT = {"AES-GCM": "AES-GCM with 16 octet ICV [RFC4106]", "AES-CBC": "AES-CBC [RFC3602]", "NULL": "NULL"}
TSHARK_AUTH = {None: "NULL", "HMAC-SHA1-96": "HMAC-SHA-1-96 [RFC2404]", "SHA2-256-128": "HMAC-SHA-256-128 [RFC4868]",
               "SHA2-384-192": "HMAC-SHA-384-192 [RFC4868]", "SHA2-512-256": "HMAC-SHA-512-256 [RFC4868]"}
FIELDS = ("esp.spi", "esp.icv_good", "esp.pad_len", "esp.pad", "esp.protocol", "ip.len", "ip.dst", "udp.length")


def sealed_frames(lab, tunnel, sizes):
    """What the gateway makes of inner packets of these sizes."""
    lab.collect()
    lab.send("west", [world.from_west(world.inner(tunnel, 4, size=size))[1] for size in sizes])
    return [frame for frame in lab.collect(count=len(sizes), limit_s=2)["east"] if ESP in Ether(frame)]


def uat_line(judge):
    """An SA as tshark's preferences have it."""
    suite, sa = judge.suite, judge.sa
    words = ("IPv4" if judge.tunnel.outer == 4 else "IPv6", "*", "*", f"{sa.spi:#010x}", TSHARK_CRYPT[suite.scapy_crypt],
             "0x" + sa.key.hex() if sa.key else "", TSHARK_AUTH[suite.scapy_auth],
             "0x" + sa.auth_key.hex() if sa.auth_key else "")
    return "uat:esp_sa:" + ",".join(f'"{word}"' for word in words)


def tshark(file, judges):
    """The fields of each packet of a capture, decrypted; a list of dictionaries of lists."""
    command = ["tshark", "-r", file, "-T", "fields", "-E", "separator=;", "-o", "esp.enable_encryption_decode:TRUE",
               "-o", "esp.enable_authentication_check:TRUE", "-o", "ip.check_checksum:TRUE"]
    for judge in judges:
        command += ["-o", uat_line(judge)]
    for field in FIELDS:
        command += ["-e", field]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return [dict(zip(FIELDS, (value.split(",") for value in line.split(";")), strict=True)) for line in said]


# ChaCha20-Poly1305 tshark cannot decrypt; extended numbers with a separate ICV neither. scapy judges these.
@pytest.mark.parametrize("tunnel", [
    tunnel for tunnel in (*world.BY_SUITE.values(), world.GCM6, world.CBC6, world.UDP_GCM, world.UDP_GCM6, world.UDP_CBC)
    if tunnel.suite.scapy_crypt in TSHARK_CRYPT], ids=lambda tunnel: tunnel.name)
def test_tshark_decrypts_what_is_sealed(lab, tunnel, tmp_path):
    sizes = range(60, 60 + 20)
    frames = sealed_frames(lab, tunnel, sizes)
    assert len(frames) == len(sizes)
    file = tmp_path / "sealed.pcap"
    wrpcap(str(file), [Ether(frame) for frame in frames])
    judge = world.TO_ROUTER[tunnel]
    for size, row in zip(sizes, tshark(file, [judge]), strict=True):
        assert row["esp.spi"] == [f"{judge.sa.spi:#010x}"]
        assert row["esp.icv_good"] in (["1"], ["True"]), row
        assert row["esp.protocol"] in (["0x04"], ["4"]), row
        assert row["ip.len"][-1] == str(size), row
        assert row["ip.dst"][-1] == tunnel.server(4)
        padding = -(size + 2) % tunnel.suite.block
        assert row["esp.pad_len"] == [str(padding)], row
        assert row["esp.pad"][0].replace(":", "") == bytes(range(1, padding + 1)).hex(), row


@pytest.mark.parametrize("tunnel", world.ESP_TUNNELS[:9] + [world.WINDOW, world.WIDE, world.ESN],
                         ids=lambda tunnel: tunnel.name)
def test_numbers_rise_and_no_iv_comes_twice(lab, tunnel):
    frames = sealed_frames(lab, tunnel, [100] * 200)
    assert len(frames) >= 190, "the port of a busy lab may miss some"
    sealed = [Ether(frame)[ESP] for frame in frames]
    assert all(earlier.seq < later.seq for earlier, later in pairwise(sealed))
    assert sealed[-1].seq - sealed[0].seq < 200 + 1024, "a counter that is shared may reserve ahead, no further"
    if tunnel.suite.iv:
        assert len({packet.data[:tunnel.suite.iv] for packet in sealed}) == len(sealed)
    for frame in frames:
        BY_SPI[tunnel_spi(tunnel)].open(Ether(frame))


def tunnel_spi(tunnel):
    """What the gateway puts on what it sends."""
    return world.TO_ROUTER[tunnel].sa.spi


def test_an_iv_of_cbc_cannot_be_foretold(lab):
    """RFC 3602 3: no counter, and not close to the one before."""
    ivs = [int.from_bytes(Ether(frame)[ESP].data[:16], "big") for frame in sealed_frames(lab, world.CBC, [100] * 50)]
    for earlier, later in pairwise(ivs):
        assert 30 < (earlier ^ later).bit_count() < 98


def outer_ends(lab):
    """Where the gateway sends packets of the roaming tunnel."""
    frames = sealed_frames(lab, world.ROAMING, [100])
    return [(packet.payload.dst, packet[UDP].dport) for packet in map(Ether, frames)]


def test_a_peer_that_moves_is_followed_when_its_packets_are_authentic(lab):
    tunnel, judge = world.ROAMING, world.TO_GATEWAY[world.ROAMING]
    packet = world.inner(tunnel, 4, toward="client")
    home = (tunnel.remote, NATT_PORT)
    assert outer_ends(lab) == [home]

    def comes_from(source, udp_port, damage=False):
        sealed = judge.seal(packet, source=source, udp_port=udp_port)
        if damage:
            sealed[ESP].data = sealed[ESP].data[:-1] + bytes([sealed[ESP].data[-1] ^ 1])
        lab.send("east", [world.from_east(sealed)[1]])
        lab.collect(count=0 if damage else 1)

    before = drops(lab.gateway).get("esp_auth", 0)
    comes_from(tunnel.remote, 40001, damage=True)
    comes_from(world.ROAMED, NATT_PORT, damage=True)
    assert eventually(lambda: drops(lab.gateway).get("esp_auth", 0) == before + 2)
    assert outer_ends(lab) == [home]
    for source, port in ((tunnel.remote, 40001), (world.ROAMED, 40001), (world.ROAMED, 61000), home):
        comes_from(source, port)
        assert eventually(lambda source=source, port=port: outer_ends(lab) == [(source, port)], 3)


def test_ike_in_udp_4500_and_500_goes_to_the_kernel(lab):
    """The non-ESP marker (RFC 3948 2.2): an IKE daemon in the twin's namespace gets it, and its answer leaves."""
    tunnel = world.UDP_GCM
    for port, message in ((NATT_PORT, bytes(4) + b"IKE in 4500"), (500, b"IKE in 500")):
        lab.twin.sh(f"ip address replace {tunnel.endpoint}/32 dev lo")
        with lab.twin.entered():
            daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with daemon:
            daemon.bind((tunnel.endpoint, port))
            daemon.settimeout(3)
            frame = Ether(src=EAST_MAC, dst=CORE_MAC) / IP(src=tunnel.remote, dst=tunnel.endpoint) / UDP(
                sport=port, dport=port) / Raw(message)
            lab.collect()
            lab.send("east", [frame])
            said, sender = daemon.recvfrom(2000)
            assert (said, sender) == (message, (tunnel.remote, port))
            daemon.sendto(b"\0\0\0\0answer", sender)
            answers = lab.collect(count=1)["east"]
        assert [bytes(Ether(each)[UDP].payload)[:10] for each in answers] == [b"\0\0\0\0answer"]
    assert account(lab.gateway).unexplained == 0


def test_manual_keys_are_warned_of_and_never_shown(lab):
    log = lab.gateway.log.read_text(errors="replace").lower()
    assert "static" in log and "warn" in log
    shown = lab.gateway.ask("show", "sas").stdout + lab.gateway.ask("show", "sas", "--json").stdout
    everything = (log + shown + lab.gateway.ask("show", "config").stdout).lower()
    for judge in (*world.TO_ROUTER.values(), *world.TO_GATEWAY.values()):
        assert f"{judge.sa.spi:x}" in shown.lower()
        for key in (judge.sa.key, judge.sa.auth_key):
            assert not key or key.hex()[:16] not in everything


