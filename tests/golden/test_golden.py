"""Replays the golden captures: what scapy says must come out, comes out, byte for byte, and nothing else."""

from pathlib import Path

import make
import pytest
import world
from lab.counters import account, drops
from lab.plan import ENDPOINT4, ENDPOINT6
from lab.wait import eventually
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP
from scapy.layers.l2 import Ether

HERE = Path(__file__).resolve().parent
CASES = {f"{section}-{case.name}": case for section in make.SECTIONS for case in make.read(HERE / f"{section}.pcapng")}


BY_SPI = {judge.sa.spi: judge for judge in world.TO_ROUTER.values()}


def canonical(frame):
    """The frame without what the gateway may choose: our outer IPv4 ID (RFC 6864), our outer flow label (RFC 6438).

    Of ESP the sequence number and the IV as well: opened, checked, and shown as what is inside.
    """
    packet = Ether(frame)
    assert_checksum(packet)
    if ESP in packet and packet.payload.src in (ENDPOINT4, ENDPOINT6):
        return canonical_esp(packet)
    if IP in packet and packet[IP].src == ENDPOINT4:
        packet[IP].id = 0
        del packet[IP].chksum
        return bytes(packet)[:34] + frame[34:]
    if IPv6 in packet and packet[IPv6].src == ENDPOINT6:
        packet[IPv6].fl = 0
        return bytes(packet)[:54] + frame[54:]
    return frame


def canonical_esp(packet):
    """Outer headers, SPI, and the inner packet in plain."""
    inside = BY_SPI[packet[ESP].spi].open(packet)
    if UDP in packet:
        claimed = packet[UDP].chksum
        del packet[UDP].chksum
        # RFC 3948 2.1; over IPv6 Linux takes no UDP packet without a checksum (RFC 8200 8.1).
        wanted = 0 if IP in packet else Ether(bytes(packet))[UDP].chksum
        assert claimed == wanted, f"UDP checksum {claimed:#x}, not {wanted:#x}"
        packet[UDP].chksum = 0
    length = len(bytes(packet)) - len(bytes(packet[ESP]))
    outside = canonical_outside(packet)[:length]
    return outside + packet[ESP].spi.to_bytes(4, "big") + bytes(inside)


def canonical_outside(packet):
    """The frame without IPv4 ID, IPv4 checksum and IPv6 flow label."""
    if packet.type == 0x0800:
        packet[IP].id = packet[IP].chksum = 0
    else:
        packet[IPv6].fl = 0
    return bytes(packet)


def assert_checksum(packet):
    """The outermost IPv4 header's."""
    if packet.type == 0x0800:
        fresh = packet[IP].copy()
        del fresh.chksum
        assert packet[IP].chksum == IP(bytes(fresh)).chksum


def explain(frames):
    """Frames in words, for a failure's message; of opened ESP only the headers make sense as words."""
    return [Ether(frame).summary() + " " + frame.hex() for frame in frames]


@pytest.mark.parametrize("name", CASES)
def test_case(lab, name):
    case = CASES[name]
    lab.collect(quiet_s=0)  # the case before has waited for quiet
    before = drops(lab.gateway)
    for side, frame in case.send:
        lab.send(side, [frame])
    seen = lab.collect(count=len(case.expect), limit_s=2)
    for side in ("west", "east"):
        wanted = [frame for where, frame in case.expect if where == side]
        assert explain(map(canonical, seen[side])) == explain(map(canonical, wanted)), f"{side} side"

    def new():
        return {reason: count - before.get(reason, 0) for reason, count in drops(lab.gateway).items()
                if count != before.get(reason, 0)}

    assert eventually(lambda: new() == case.drops, 2), new()


@pytest.mark.parametrize("section", make.SECTIONS)
def test_captures_are_what_scapy_builds(section):
    built = list(make.SECTIONS[section].cases())
    stored = make.read(HERE / f"{section}.pcapng")
    assert [case.name for case in built] == [case.name for case in stored], "run tests/golden/make.py"
    for new, old in zip(built, stored, strict=True):
        for step in ("send", "expect"):
            fresh = [(side, bytes(packet)) for side, packet in getattr(new, step)]
            assert fresh == getattr(old, step), f"{new.name}: run tests/golden/make.py"


def test_every_packet_is_accounted_for(lab):
    lab.collect()
    assert account(lab.gateway).unexplained == 0, account(lab.gateway)
