"""The tables of docs/ipsec.md, row by row: sealed by scapy, opened by the gateway, and the other way round.

What the gateway seals has a sequence number and an IV of its own choice; the test opens it and compares what is
inside, and seals it again to compare the rest.
"""

import struct

from cases_mtu import pieces, segment, with_mss
from scapy.layers.inet import ICMP, UDP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.ipsec import ESP
from scapy.packet import Raw
from world import (BY_SUITE, CBC, CBC6, ENDING, ENDING_PACKETS, ESN, ESN_CBC, ESP_DF_CLEAR, ESP_NARROW,
                   ESP_TUNNELS, GCM, GCM6, NARROW_MTU, SELECT, SHARED, TO_GATEWAY, UDP_CBC, UDP_GCM, UDP_GCM6, WIDE,
                   WINDOW, Case, aged, fixed_bytes, from_east, from_west, inner, reply_icmp, sealed, to_east, to_west)

EVERY_SHAPE = [*BY_SUITE.values(), GCM6, CBC6, UDP_GCM, UDP_GCM6, UDP_CBC, WINDOW, WIDE, ESN, ESN_CBC, SHARED]
# docs/ipsec.md, "MTU and MSS": inner MTU, MSS over IPv4 and over IPv6.
TABLE = {GCM: (1446, 1406, 1386), UDP_GCM: (1438, 1398, 1378), CBC: (1438, 1398, 1378), UDP_CBC: (1422, 1382, 1362),
         GCM6: (1426, 1386, 1366), UDP_GCM6: (1418, 1378, 1358), BY_SUITE["null-sha256"]: (1454, 1414, 1394)}


class Numbered:
    """The router's own sequence numbers, counted anew whenever the cases are made."""

    def __init__(self):
        self.last = {}

    def number(self, tunnel):
        """The next one."""
        self.last[tunnel] = self.last.get(tunnel, 0) + 1
        return self.last[tunnel]

    def __call__(self, tunnel, packet, sequence=None, **options):
        """An outer packet from the router."""
        return TO_GATEWAY[tunnel].seal(packet, **self._settled(tunnel, sequence, options))

    def anything(self, tunnel, data, next_header, sequence=None, **options):
        """An outer packet from the router with any payload and next header."""
        return TO_GATEWAY[tunnel].seal_bytes(data, next_header, **self._settled(tunnel, sequence, options))

    def _settled(self, tunnel, sequence, options):
        sequence = self.number(tunnel) if sequence is None else sequence
        iv = fixed_bytes(16, f"IV {TO_GATEWAY[tunnel].sa.spi} {sequence}".encode())
        return {"sequence": sequence, "iv": iv} | options


def cases():
    """All of them."""
    seal = Numbered()
    return [*both_ways(seal), *padding_lengths(seal), *mss(seal), *too_big(), *just_fits(seal), *fragments_inside(), *df(),
            *outer_fragments(seal), *flow_padding(seal), *ecn_and_dscp(seal), *refused(seal), *payloads(seal),
            *selectors(seal), *windows(seal), *extended_numbers(), *udp(seal), *ending()]


def both_ways(seal):
    """Every suite and shape, both inner families."""
    for tunnel in EVERY_SHAPE:
        for family in (4, 6):
            packet = inner(tunnel, family)
            yield Case(f"seal-v{family}-{tunnel.name}", [from_west(packet)], [to_east(sealed(tunnel, aged(packet)))])
            packet = inner(tunnel, family, toward="client")
            yield Case(f"open-v{family}-{tunnel.name}", [from_east(seal(tunnel, packet))], [to_west(aged(packet))])


def padding_lengths(seal):
    """Sixteen sizes in a row: every length of padding there is, once in each direction."""
    for tunnel in BY_SUITE.values():
        up = [inner(tunnel, 4, size=size) for size in range(64, 80)]
        yield Case(f"seal-every-padding-{tunnel.name}", [from_west(packet) for packet in up],
                   [to_east(sealed(tunnel, aged(packet))) for packet in up])
        down = [inner(tunnel, 4, size=size, toward="client") for size in range(64, 80)]
        yield Case(f"open-every-padding-{tunnel.name}", [from_east(seal(tunnel, packet)) for packet in down],
                   [to_west(aged(packet)) for packet in down])
    # More than is needed is allowed, up to 255 bytes (RFC 4303 2.4).
    packet = inner(GCM, 4, size=98, toward="client")
    for length in (4, 128, 252):
        padded = seal(GCM, packet, padding=bytes(range(1, length + 1)))
        yield Case(f"open-padding-of-{length}", [from_east(padded)], [to_west(aged(packet))])


def mss(seal):
    """Exact for the suite, both directions, both families."""
    for tunnel, (_, *limits) in TABLE.items():
        for family, limit in zip((4, 6), limits, strict=True):
            packet = inner(tunnel, family, payload=segment([("MSS", 1460), ("NOP", None), ("WScale", 7)]))
            yield Case(f"mss-v{family}-into-{tunnel.name}", [from_west(packet)],
                       [to_east(sealed(tunnel, aged(with_mss(packet, limit))))])
            packet = inner(tunnel, family, payload=segment([("MSS", 1460)], "SA"), toward="client")
            yield Case(f"mss-v{family}-out-of-{tunnel.name}", [from_east(seal(tunnel, packet))],
                       [to_west(aged(with_mss(packet, limit)))])


def too_big():
    """One byte more than fits: told the exact MTU."""
    for tunnel in EVERY_SHAPE:
        for family in (4, 6):
            packet = inner(tunnel, family, size=tunnel.inner_mtu + 1)
            message = (ICMP(type=3, code=4, nexthopmtu=tunnel.inner_mtu) if family == 4
                       else ICMPv6PacketTooBig(mtu=tunnel.inner_mtu))
            yield Case(f"too-big-v{family}-{tunnel.name}", [from_west(packet)],
                       [to_west(reply_icmp(family, packet, message))], drops={"too_big": 1})
    packet = inner(ESP_NARROW, 6, size=1281)
    yield Case("never-less-than-1280", [from_west(packet)],
               [to_west(reply_icmp(6, packet, ICMPv6PacketTooBig(mtu=1280)))], drops={"too_big": 1})


def just_fits(seal):
    """The largest packet makes the largest outer packet that a link of 1500 takes; both ways."""
    for tunnel in EVERY_SHAPE:
        for family in (4, 6):
            packet = inner(tunnel, family, size=tunnel.inner_mtu)
            yield Case(f"just-fits-v{family}-{tunnel.name}", [from_west(packet)],
                       [to_east(sealed(tunnel, aged(packet)))])
        packet = inner(tunnel, 4, size=tunnel.inner_mtu, toward="client")
        yield Case(f"largest-opened-{tunnel.name}", [from_east(seal(tunnel, packet))], [to_west(aged(packet))])


def fragments_inside():
    """DF=0: the inner packet is cut before it is sealed (RFC 7588)."""
    for tunnel, mtu in ((GCM, 1446), (CBC, 1438), (UDP_CBC, 1422), (GCM6, 1426), (ESP_NARROW, NARROW_MTU)):
        packet = inner(tunnel, 4, size=1500, df=False)
        yield Case(f"fragment-inner-{tunnel.name}", [from_west(packet)],
                   [to_east(sealed(tunnel, piece)) for piece in pieces(aged(packet), mtu)])


def df():
    """Outer DF as the tunnel says."""
    packet = inner(ESP_DF_CLEAR, 4)
    yield Case("df-clear", [from_west(packet)], [to_east(sealed(ESP_DF_CLEAR, aged(packet), flags=0))])


def outer_fragments(seal):
    """Put together before they are opened, in any order, in UDP or not."""
    for tunnel in (GCM, CBC, UDP_GCM):
        packet = inner(tunnel, 4, size=1400, toward="client")
        parts = pieces(seal(tunnel, packet, flags=0, id=0x5100 + tunnel.number), 700)
        for name, order in (("in-order", parts), ("reversed", parts[::-1])):
            if name == "reversed":
                order = pieces(seal(tunnel, packet, flags=0, id=0x5200 + tunnel.number), 700)[::-1]
            yield Case(f"reassemble-{tunnel.name}-{name}", [from_east(part) for part in order], [to_west(aged(packet))])
    for tunnel in (GCM6, UDP_GCM6):
        packet = inner(tunnel, 6, size=1400, toward="client")
        whole = seal(tunnel, packet)
        whole = whole.__class__(bytes(whole))  # the UDP checksum is of the whole
        cut = IPv6(src=whole.src, dst=whole.dst, hlim=64, nh=44) / IPv6ExtHdrFragment(
            id=0x900 + tunnel.number, nh=whole.nh) / whole.payload
        yield Case(f"reassemble-{tunnel.name}", [from_east(part) for part in fragment6(cut, 700)[::-1]],
                   [to_west(aged(packet))])


def flow_padding(seal):
    """Bytes behind the inner packet are traffic flow padding and go no further (RFC 4303 2.7)."""
    for tunnel in (GCM, CBC):
        for family in (4, 6):
            packet = inner(tunnel, family, toward="client")
            yield Case(f"open-flow-padding-v{family}-{tunnel.name}", [from_east(seal(tunnel, packet, more=bytes(500)))],
                       [to_west(aged(packet))])


def ecn_and_dscp(seal):
    """As for GRE: the same code, seen once through ESP."""
    for family in (4, 6):
        packet = inner(GCM, family, tos=0xB9)
        yield Case(f"dscp-inherit-v{family}", [from_west(packet)], [to_east(sealed(GCM, aged(packet), tos=0xB9))])
        packet = inner(GCM, family, toward="client", tos=0x28)
        yield Case(f"ecn-congestion-v{family}", [from_east(seal(GCM, packet, tos=3))], drops={"ecn_congestion": 1})
        packet = inner(GCM, family, toward="client", tos=0x2A)
        marked = packet.copy()
        setattr(marked, "tos" if family == 4 else "tc", 0x2B)
        yield Case(f"ecn-marked-v{family}", [from_east(seal(GCM, packet, tos=3))], [to_west(aged(marked))])


def dropped(name, reason, *packets):
    """Packets from the router that must not pass."""
    return Case(name, [from_east(packet) for packet in packets], drops={reason: len(packets)})


def refused(seal):
    """What is dropped before anything is believed of it."""
    for tunnel in ESP_TUNNELS:
        if tunnel in (*BY_SUITE.values(), GCM6, CBC6, UDP_GCM, UDP_GCM6):
            packet = inner(tunnel, 4, toward="client")
            yield dropped(f"one-bit-{tunnel.name}", "esp_auth", *(
                flipped(seal(tunnel, packet), at) for at in (0, tunnel.suite.iv, tunnel.suite.iv + 40, -1)))
    packet = inner(GCM, 4, toward="client")
    renumbered = seal(GCM, packet)
    renumbered[ESP].seq += 1
    yield dropped("another-sequence-number", "esp_auth", renumbered)
    for tunnel in (GCM, GCM6, UDP_GCM):
        stranger = seal(tunnel, inner(tunnel, 4, toward="client"))
        stranger[ESP].spi = 0x00C0FFEE
        yield dropped(f"unknown-spi-{tunnel.name}", "esp_sa_unknown", fresh(stranger))
    outbound = sealed(GCM, packet)  # our own, reflected
    outbound.src, outbound.dst = GCM.remote, GCM.endpoint
    yield dropped("the-other-directions-spi", "esp_sa_unknown", outbound)
    for spi in (0, 1, 255):
        reserved = seal(GCM, packet)
        reserved[ESP].spi = spi
        yield dropped(f"reserved-spi-{spi}", "esp_spi_reserved", reserved)
    for tunnel in (GCM, CBC, GCM6, BY_SUITE["null-sha256"]):
        whole = bytes(seal(tunnel, packet)[ESP])
        shortest = 8 + tunnel.suite.iv + tunnel.suite.icv
        yield dropped(f"truncated-{tunnel.name}", "esp_truncated", *(
            TO_GATEWAY[tunnel].headers() / Raw(whole[:length]) for length in (1, 4, 7, 8, shortest, shortest + 1)))
    # Long enough, but the ICV is not where it was.
    for tunnel in (GCM, CBC):
        whole = bytes(seal(tunnel, packet)[ESP])
        yield Case(f"cut-short-{tunnel.name}", [from_east(TO_GATEWAY[tunnel].headers() / Raw(whole[:-16]))],
                   drops={"esp_auth": 1})


def flipped(packet, at):
    """The same packet with one bit of its payload changed."""
    data = bytearray(packet[ESP].data)
    data[at] ^= 0x10
    packet[ESP].data = bytes(data)
    return fresh(packet)


def fresh(packet):
    """Lengths and checksums computed anew."""
    if UDP in packet:
        del packet[UDP].len
        if packet.name == "IPv6":
            del packet[UDP].chksum
    return packet


def payloads(seal):
    """What is authentic but not to be forwarded."""
    for tunnel in (GCM, CBC, GCM6, UDP_GCM, BY_SUITE["null-sha256"]):
        packet = bytes(inner(tunnel, 4, toward="client"))
        yield dropped(f"dummy-{tunnel.name}", "esp_dummy", seal.anything(tunnel, bytes(64), 59))
        yield dropped(f"next-header-{tunnel.name}", "esp_next_header", *(
            seal.anything(tunnel, packet, next_header) for next_header in (0, 6, 17, 47, 50)))
        wrong = [seal.anything(tunnel, packet[:-2], 4, padding=padding) for padding in paddings(tunnel, len(packet) - 2)]
        wrong += [seal.anything(tunnel, packet[:-2], 4, pad_length=length) for length in (128, 255)]
        yield dropped(f"padding-{tunnel.name}", "esp_padding", *wrong)
    tunnel = GCM
    packet = inner(tunnel, 4, toward="client")
    packet.src = "203.0.113.200"
    yield dropped("source-filter", "source_filter", seal(tunnel, packet))
    loop = inner(tunnel, 4, toward="client")
    loop.dst = tunnel.remote
    yield dropped("loop-to-the-far-endpoint", "tunnel_loop", seal(tunnel, loop))
    nested = inner(tunnel, 4, toward="client")
    nested.dst = tunnel.endpoint
    yield dropped("nested", "tunnel_nested", seal(tunnel, nested))


def paddings(tunnel, data_length):
    """Of the right length for whole blocks, but not 1, 2, 3 ..."""
    short = -(data_length + 2) % max(tunnel.suite.block, 4) or tunnel.suite.block
    ascending = bytes(range(1, short + 1))
    return bytes(short), ascending[:-1] + b"\xff", bytes([0]) + ascending[1:] if short > 1 else b"\x07"


def selectors(seal):
    """Inside the selectors or not: all four ends, both families."""
    for family in (4, 6):
        good = inner(SELECT, family, toward="client")
        yield Case(f"inside-the-selectors-v{family}", [from_east(seal(SELECT, good))], [to_west(aged(good))])
        source, target = good.copy(), good.copy()
        source.src = "198.51.149.100" if family == 4 else "2001:db8:5149::1:1"
        target.dst = "192.0.2.77" if family == 4 else "2001:db8:9::10"
        yield dropped(f"outside-the-selectors-v{family}", "esp_selector", seal(SELECT, source), seal(SELECT, target))
        # Its own side of them holds the gateway too: the route leads into the tunnel, the selectors do not allow it.
        packet = inner(SELECT, family)
        packet.dst = source.src
        yield Case(f"outside-the-selectors-into-it-v{family}", [from_west(packet)], drops={"esp_selector": 1})


def windows(seal):
    """A window of 64: once each, late ones too, but not older than that."""
    packet = inner(WINDOW, 4, toward="client")
    base = seal.number(WINDOW) + 1000

    def at(number, tunnel=WINDOW):
        return seal(tunnel, packet, sequence=base + number)

    yield Case("window-forward-jump", [from_east(at(0))], [to_west(aged(packet))])
    yield dropped("window-same-again", "esp_replay", at(0), at(0))
    yield Case("window-late", [from_east(at(-1)), from_east(at(-63))], [to_west(aged(packet))] * 2)
    yield dropped("window-late-again", "esp_replay", at(-1), at(-63))
    yield dropped("window-too-old", "esp_too_old", at(-64), at(-65), at(-1000))
    # A forgery far ahead must not move the window.
    yield dropped("window-forged-jump", "esp_auth", flipped(at(500_000), 20))
    yield Case("window-not-moved", [from_east(at(1)), from_east(at(-2))], [to_west(aged(packet))] * 2)
    packet = inner(WIDE, 4, toward="client")
    base = seal.number(WIDE) + 5000
    order = (0, -1023, 900, 899, -100)
    yield Case("wide-window", [from_east(at(number, WIDE)) for number in order], [to_west(aged(packet))] * len(order))
    yield dropped("wide-window-again", "esp_replay", *(at(number, WIDE) for number in order if number > 900 - 1024))
    # Without a window anything goes, any number of times: that is what the operator asked for.
    packet = inner(GCM, 4, toward="client")
    same = seal(GCM, packet)
    yield Case("no-window", [from_east(same), from_east(same)], [to_west(aged(packet))] * 2)


def extended_numbers():
    """The upper half is never sent and yet right, also across 2^32 (RFC 4303 appendix A2)."""
    for tunnel in (ESN, ESN_CBC):
        seal = Numbered()
        packet = inner(tunnel, 4, toward="client")
        order = (0xFFFF_FF00, 0xFFFF_FFF0, 0x1_0000_0005, 0xFFFF_FFFA, 0x1_0000_0000, 0x1_0000_0040)
        yield Case(f"extended-{tunnel.name}", [from_east(seal(tunnel, packet, sequence=each)) for each in order],
                   [to_west(aged(packet))] * len(order))
        yield dropped(f"extended-again-{tunnel.name}", "esp_replay",
                      seal(tunnel, packet, sequence=0x1_0000_0005), seal(tunnel, packet, sequence=0x1_0000_0040))
        # Sealed with an upper half that the window does not stand in: below it is taken for the next 2^32.
        yield dropped(f"extended-wrong-half-{tunnel.name}", "esp_auth", seal(tunnel, packet, sequence=0x0_0000_0041),
                      seal(tunnel, packet, sequence=0xFFFF_FF80))


def udp(seal):
    """RFC 3948: keepalives, and what is neither."""
    for tunnel in (UDP_GCM, UDP_GCM6):
        keepalive = TO_GATEWAY[tunnel].headers() / Raw(b"\xff")
        yield dropped(f"keepalive-{tunnel.name}", "natt_keepalive", keepalive)
        yield dropped(f"udp-truncated-{tunnel.name}", "esp_truncated", TO_GATEWAY[tunnel].headers() / Raw(b"\1\2\3"),
                      TO_GATEWAY[tunnel].headers() / Raw(struct.pack("!I", TO_GATEWAY[tunnel].sa.spi)))
    # A checksum over IPv4 is the sender's choice; ours never has one.
    packet = inner(UDP_GCM, 4, toward="client")
    summed = seal(UDP_GCM, packet)
    del summed[UDP].chksum
    yield Case("udp-with-a-checksum", [from_east(summed)], [to_west(aged(packet))])


def ending():
    """After the last allowed packet nothing more is sent, and it is said why."""
    packets = [inner(ENDING, 4, size=100 + number) for number in range(ENDING_PACKETS + 2)]
    yield Case("hard-limit", [from_west(packet) for packet in packets],
               [to_east(sealed(ENDING, aged(packet))) for packet in packets[:ENDING_PACKETS]], drops={"esp_sequence": 2})


