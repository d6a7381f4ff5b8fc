"""The judge of IVs finds what it is there for: captures made by scapy."""

import struct

import pytest
from lab.ivs import no_iv_twice
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import wrpcap

SPI = 0xC0FFEE01
LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def esp(sender, count, spi=SPI, sequence=1):
    """An ESP packet from its header on."""
    return ESP(spi=spi, seq=sequence, data=sender.to_bytes(3, "big") + count.to_bytes(5, "big") + bytes(32))


def plain(*words, **more):
    """The frame of one."""
    return LINK / IP(src="203.0.113.1", dst="198.18.0.70", proto=50) / esp(*words, **more)


@pytest.fixture
def judged(tmp_path):
    """Gives the report about frames, {node: [frame ...]}."""
    def judge(nodes, **options):
        for name, frames in nodes.items():
            wrpcap(str(tmp_path / name), [Ether(bytes(frame)) for frame in frames])
        return no_iv_twice({name: tmp_path / name for name in nodes}, **options)
    return judge


def test_good_traffic(judged):
    report = judged({"a": [plain(1, count) for count in range(50)], "b": [plain(2, count) for count in range(50)]})
    assert report.good and report.packets == 100 and report.by_source == {"a": 50, "b": 50}
    assert set(report.senders) == {(SPI, b"\0\0\1"), (SPI, b"\0\0\2")}


def test_nothing_seen_is_not_good(judged):
    assert not judged({"a": [LINK / IP() / UDP()]}).good


def test_the_same_iv_from_one_node(judged):
    report = judged({"a": [plain(1, 7), plain(1, 8), plain(1, 7, sequence=9)]})
    assert not report.good and report.repeated == [(SPI, bytes((0, 0, 1, 0, 0, 0, 0, 7)), "a", "a")]


def test_the_same_iv_from_two_nodes(judged):
    report = judged({"a": [plain(1, 7)], "b": [plain(1, 7)]})
    assert report.repeated and report.shared_senders == [(SPI, b"\0\0\1", "a", "b")]


def test_one_sender_on_two_nodes(judged):
    report = judged({"a": [plain(1, 7)], "b": [plain(1, 8), plain(1, 9)]})
    assert not report.good and not report.repeated and report.shared_senders == [(SPI, b"\0\0\1", "a", "b")]


def test_other_keys_may_have_the_same_iv(judged):
    other = LINK / IP(dst="198.18.0.71", proto=50) / esp(1, 7)
    assert judged({"a": [plain(1, 7), plain(1, 7, spi=SPI + 1), other]}).good


def test_only_these_targets(judged):
    frames = [plain(1, 7), LINK / IP(dst="203.0.113.1", proto=50) / esp(9, 9), LINK / IP(dst="203.0.113.1", proto=50) / esp(9, 9)]
    assert not judged({"a": frames}).good
    report = judged({"a": frames}, targets={bytes((198, 18, 0, 70))})
    assert report.good and report.packets == 1


@pytest.mark.parametrize("outer", [
    LINK / IP(dst="198.18.0.70") / UDP(sport=4500, dport=20001),
    LINK / Dot1Q(vlan=7) / IP(dst="198.18.0.70", proto=50),
    LINK / IP(dst="198.18.0.70", proto=50, options=b"\1\1\1\1"),
    LINK / IP(dst="198.18.0.70", proto=50, flags="MF"),
    LINK / IPv6(dst="2001:db8:2::70", nh=50),
    LINK / IPv6(dst="2001:db8:2::70") / UDP(sport=4500, dport=4500),
    LINK / IPv6(dst="2001:db8:2::70") / IPv6ExtHdrFragment(nh=50, m=1, id=5),
], ids=("udp", "vlan", "options", "first-piece", "v6", "v6-udp", "v6-first-piece"))
def test_outer_headers(judged, outer):
    assert not judged({"a": [outer / esp(1, 7), outer / esp(1, 7)]}).good
    assert judged({"a": [outer / esp(1, 7), outer / esp(1, 8)]}).packets == 2


@pytest.mark.parametrize("frame", [
    LINK / IP(dst="198.18.0.70") / UDP(sport=4500, dport=4500) / (bytes(4) + bytes(28)),
    LINK / IP(dst="198.18.0.70") / UDP(sport=4500, dport=4500) / b"\xff",
    LINK / IP(dst="198.18.0.70") / UDP(sport=53, dport=53) / bytes(64),
    LINK / IP(dst="198.18.0.70", proto=50, frag=100) / bytes(64),
    LINK / IPv6(dst="2001:db8:2::70") / IPv6ExtHdrFragment(nh=50, offset=100, id=5) / bytes(64),
    LINK / IP(dst="198.18.0.70", proto=50) / bytes(8),
    Ether(src=LINK.src, dst=LINK.dst, type=0x806) / bytes(28),
], ids=("ike", "keepalive", "dns", "later-piece", "v6-later-piece", "short", "arp"))
def test_what_is_no_esp(judged, frame):
    assert judged({"a": [frame, frame, plain(1, 1)]}).packets == 1


def test_a_file_that_is_cut_off_or_none(tmp_path):
    path = tmp_path / "capture"
    wrpcap(str(path), [plain(1, 1), plain(1, 2)])
    path.write_bytes(path.read_bytes()[:-5])
    assert no_iv_twice({"a": path}).packets == 1
    path.write_bytes(struct.pack("!I", 7) * 10)
    with pytest.raises(ValueError, match="not a pcap file"):
        no_iv_twice({"a": path})
