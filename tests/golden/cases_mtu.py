"""docs/gre.md, "MTU and MSS", row by row: MTU, fragments, ICMP, MSS."""

from scapy.layers.inet import ICMP, TCP, fragment
from scapy.layers.inet6 import (IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, ICMPv6PacketTooBig,
                                ICMPv6TimeExceeded, PadN, fragment6)
from scapy.packet import Raw
from world import (BOTH, CLIENT, DF_CLEAR, DF_COPY, KEY, KEY6, MSS_FIXED, MSS_OFF, NARROW, NARROW_MTU, PLAIN, PLAIN6, SUM, SUM6,
                   Case, aged, from_east, from_west, inner, outer, reply_icmp, to_east, to_west)

# The rows of the table in docs/gre.md, "MTU and MSS".
MSS = {PLAIN: (1436, 1416), KEY: (1432, 1412), SUM: (1432, 1412), BOTH: (1428, 1408), PLAIN6: (1416, 1396),
       KEY6: (1412, 1392), SUM6: (1412, 1392)}
PORTS = {"sport": 40000, "dport": 80}


def cases():
    """All of them."""
    return [*mss(), *mss_left_alone(), *too_big(), *fragments_inside(), *df(), *narrow_v6(), *expired(),
            *outer_fragments()]


def segment(options, flags="S", data=b""):
    """A TCP segment with these options."""
    return TCP(**PORTS, flags=flags, seq=1, ack=2 if "A" in flags else 0, options=options) / Raw(data)


def with_mss(packet, value):
    """The same packet, its MSS option lowered and its checksum computed anew."""
    packet = packet.copy()
    packet[TCP].options = [("MSS", value) if name == "MSS" else (name, each) for name, each in packet[TCP].options]
    del packet[TCP].chksum
    return packet


def settled(packet):
    """Checksums and lengths filled in, as bytes; needed before options are edited."""
    return packet.__class__(bytes(packet))


def mss():
    """SYN and SYN-ACK, both directions, both families, exact for every tunnel."""
    for tunnel, limits in MSS.items():
        for family, limit in zip((4, 6), limits, strict=True):
            for flags in ("S", "SA"):
                options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (7, 0)), ("NOP", None), ("WScale", 7)]
                packet = inner(tunnel, family, payload=segment(options, flags))
                yield Case(f"mss-{flags.lower()}-v{family}-into-{tunnel.name}", [from_west(packet)],
                           [to_east(outer(tunnel, aged(with_mss(packet, limit))))])
                packet = inner(tunnel, family, payload=segment(options, flags), toward="client")
                yield Case(f"mss-{flags.lower()}-v{family}-out-of-{tunnel.name}",
                           [from_east(outer(tunnel, packet, "gateway"))], [to_west(aged(with_mss(packet, limit)))])
    packet = inner(MSS_FIXED, 4, payload=segment([("MSS", 1460)]))
    yield Case("mss-fixed", [from_west(packet)], [to_east(outer(MSS_FIXED, aged(with_mss(packet, 1300))))])
    packet = inner(PLAIN, 4, payload=segment([("NOP", None), ("MSS", 1460), ("NOP", None)]))
    yield Case("mss-at-an-odd-offset", [from_west(packet)], [to_east(outer(PLAIN, aged(with_mss(packet, 1436))))])
    base = IPv6(src=CLIENT[6], dst=PLAIN.server(6), hlim=61)
    packet = base / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]) / segment([("MSS", 1440)])
    yield Case("mss-behind-ipv6-destination-options", [from_west(packet)],
               [to_east(outer(PLAIN, aged(with_mss(packet, 1416))))])


def mss_left_alone():
    """Lower values, no option, other segments, later fragments, malformed lists, clamping off."""
    def same(name, packet, tunnel=PLAIN):
        return Case(name, [from_west(packet)], [to_east(outer(tunnel, aged(packet)))])

    yield same("mss-already-lower", inner(PLAIN, 4, payload=segment([("MSS", 1436)])))
    yield same("mss-already-much-lower", inner(PLAIN, 4, payload=segment([("MSS", 536)])))
    yield same("mss-no-option", inner(PLAIN, 4, payload=segment([("SAckOK", b""), ("EOL", None)])))
    yield same("mss-not-a-syn", inner(PLAIN, 4, payload=segment([("MSS", 1460)], "A")))
    yield same("mss-off", inner(MSS_OFF, 4, payload=segment([("MSS", 1460)])), MSS_OFF)
    for name, options in (("length-0", b"\x02\x00\x05\xb4"), ("length-3", b"\x02\x03\x05\xb4"),
                          ("cut-off", b"\x01\x01\x02\x04"), ("before-it-length-1", b"\x08\x01\x01\x01\x02\x04\x05\xb4"),
                          ("after-the-end", b"\x00\x00\x00\x00\x02\x04\x05\xb4")):
        header = TCP(**PORTS, flags="S", seq=1, dataofs=5 + len(options) // 4)
        yield same(f"mss-malformed-{name}", inner(PLAIN, 4, payload=header / Raw(options)))
    later = inner(PLAIN, 4, payload=Raw(bytes(segment([("MSS", 1460)]))), df=False, frag=5, proto=6)
    yield same("mss-not-in-a-later-fragment", later)


def too_big():
    """DF=1: ICMP 3/4 with the tunnel's exact MTU; IPv6: Packet Too Big. What just fits passes."""
    for tunnel in (PLAIN, KEY, SUM, BOTH, PLAIN6, KEY6):
        for family in (4, 6):
            fits = inner(tunnel, family, size=tunnel.inner_mtu)
            yield Case(f"just-fits-v{family}-{tunnel.name}", [from_west(fits)], [to_east(outer(tunnel, aged(fits)))])
            packet = inner(tunnel, family, size=tunnel.inner_mtu + 1)
            message = (ICMP(type=3, code=4, nexthopmtu=tunnel.inner_mtu) if family == 4
                       else ICMPv6PacketTooBig(mtu=tunnel.inner_mtu))
            yield Case(f"too-big-v{family}-{tunnel.name}", [from_west(packet)],
                       [to_west(reply_icmp(family, packet, message))], drops={"too_big": 1})


def pieces(packet, mtu):
    """What RFC 791 makes of a packet for a link of this MTU, by scapy."""
    return fragment(settled(packet), (mtu - 20) // 8 * 8)


def fragments_inside():
    """DF=0: the inner packet is cut before encapsulation (RFC 7588), each outer packet stays atomic."""
    for tunnel in (PLAIN, KEY, SUM, PLAIN6):
        packet = inner(tunnel, 4, size=1500, df=False)
        yield Case(f"fragment-inner-{tunnel.name}", [from_west(packet)],
                   [to_east(outer(tunnel, piece)) for piece in pieces(aged(packet), tunnel.inner_mtu)])
    packet = inner(NARROW, 4, size=1500, df=False)
    yield Case("fragment-inner-narrow", [from_west(packet)],
               [to_east(outer(NARROW, piece)) for piece in pieces(aged(packet), NARROW_MTU)])
    # Our own fragment of a fragment keeps More Fragments and the offset.
    first = pieces(inner(NARROW, 4, size=3000, df=False), 1500)[0]
    yield Case("fragment-a-fragment", [from_west(first)],
               [to_east(outer(NARROW, piece)) for piece in pieces(aged(first), NARROW_MTU)])


def df():
    """DF copied, DF clear: then the outer packet is what gets cut."""
    for inside in (True, False):
        packet = inner(DF_COPY, 4, df=inside)
        yield Case(f"df-copy-{int(inside)}", [from_west(packet)], [to_east(outer(DF_COPY, aged(packet), df=inside))])
    packet = inner(DF_COPY, 6)
    yield Case("df-copy-of-ipv6-is-set", [from_west(packet)], [to_east(outer(DF_COPY, aged(packet)))])
    packet = inner(DF_CLEAR, 4)
    yield Case("df-clear", [from_west(packet)], [to_east(outer(DF_CLEAR, aged(packet), df=False))])
    for family in (4, 6):
        packet = inner(DF_CLEAR, family, size=1500)
        whole = outer(DF_CLEAR, aged(packet), df=False)
        yield Case(f"df-clear-too-big-v{family}", [from_west(packet)], [to_east(each) for each in pieces(whole, 1500)])


def narrow_v6():
    """Never below 1280 for IPv6: a packet of that size crosses a narrower tunnel with the outer packet cut."""
    packet = inner(NARROW, 6, size=1281)
    yield Case("never-less-than-1280", [from_west(packet)],
               [to_west(reply_icmp(6, packet, ICMPv6PacketTooBig(mtu=1280)))], drops={"too_big": 1})
    packet = inner(NARROW, 6, size=1280)
    yield Case("1280-crosses-a-narrow-tunnel", [from_west(packet)],
               [to_east(piece) for piece in pieces(outer(NARROW, aged(packet), df=False), NARROW_MTU + 24)])


def expired():
    """TTL 1 and 0 end here, with time exceeded from our address on the port it came in by."""
    for tunnel in (PLAIN, PLAIN6):
        for family, message in ((4, ICMP(type=11, code=0)), (6, ICMPv6TimeExceeded(code=0))):
            packet = inner(tunnel, family, ttl=1)
            yield Case(f"ttl-expired-v{family}-{tunnel.name}", [from_west(packet)],
                       [to_west(reply_icmp(family, packet, message))], drops={"ttl_expired": 1})
    # No error about an ICMP error (RFC 1122 3.2.2).
    about = inner(PLAIN, 4)
    error = inner(PLAIN, 4, ttl=1, payload=ICMP(type=3, code=1) / Raw(bytes(about)[:28]))
    yield Case("no-error-about-an-error", [from_west(error)], drops={"ttl_expired": 1})


def outer_fragments():
    """Outer fragments are put together before decapsulation, in any order."""
    for family in (4, 6):
        packet = inner(PLAIN, family, size=1476, toward="client")
        whole = outer(PLAIN, packet, "gateway", df=False)
        whole.id = 0x4242 + family
        parts = pieces(whole, 700)
        for name, order in (("in-order", parts), ("reversed", parts[::-1])):
            yield Case(f"reassemble-v{family}-in-v4-{name}", [from_east(part) for part in order],
                       [to_west(aged(packet))])
        whole = outer(PLAIN6, packet.__class__(bytes(packet)), "gateway")
        whole = IPv6(src=whole.src, dst=whole.dst, hlim=64, nh=44) / IPv6ExtHdrFragment(id=0x777 + family, nh=47) / whole.payload
        parts = fragment6(whole, 700)
        yield Case(f"reassemble-v{family}-in-v6", [from_east(part) for part in parts[::-1]], [to_west(aged(packet))])


