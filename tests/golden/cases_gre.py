"""The tables of docs/gre.md, row by row: GRE in and out."""

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw
from world import (BOTH, DSCP_FIXED, KEY, KEY6, OPEN, PLAIN, PLAIN6, SUM, SUM6, TTL_INHERIT, TTL_INHERIT6, Case, aged,
                   from_east, from_west, inner, outer, to_east, to_west)


def cases():
    """All of them."""
    return [*encap(), *decap(), *flags(), *key(), *refused(), *keepalive(), *ttl_and_dscp()]


def encap():
    """All four pairings, with key and checksum as the tunnel says; never a sequence number."""
    for tunnel in (PLAIN, KEY, SUM, BOTH, PLAIN6, KEY6, SUM6):
        for family in (4, 6):
            packet = inner(tunnel, family)
            yield Case(f"encap-v{family}-in-{tunnel.name}", [from_west(packet)], [to_east(outer(tunnel, aged(packet)))])


def decap():
    """The same the other way."""
    for tunnel in (PLAIN, KEY, SUM, BOTH, PLAIN6, KEY6, SUM6):
        for family in (4, 6):
            packet = inner(tunnel, family, toward="client")
            yield Case(f"decap-v{family}-from-{tunnel.name}", [from_east(outer(tunnel, packet, "gateway"))],
                       [to_west(aged(packet))])


def flags():
    """C, K and S in any combination, whatever the tunnel sends itself; reserved bits 6 to 12 are ignored."""
    for tunnel, key in ((PLAIN, {}), (KEY, {"key_present": 1, "key": 7}), (PLAIN6, {}), (KEY6, {"key_present": 1, "key": 9})):
        packet = inner(tunnel, 4, toward="client")
        for name, more in (("c", {"chksum_present": 1}), ("s", {"seqnum_present": 1, "sequence_number": 5}),
                           ("cs", {"chksum_present": 1, "seqnum_present": 1, "sequence_number": 0xFFFFFFFF})):
            yield Case(f"decap-flags-{name}-{tunnel.name}", [from_east(outer(tunnel, packet, "gateway", gre=key | more))],
                       [to_west(aged(packet))])
    packet = inner(PLAIN, 4, toward="client")
    yield Case("decap-reserved-bits-6-to-12-ignored",
               [from_east(outer(PLAIN, packet, "gateway", gre={"recursion_control": 3, "flags": 31}))],
               [to_west(aged(packet))])
    # A short packet in a padded frame: what follows the outer packet is not part of the checksum.
    small = inner(SUM, 4, size=30, toward="client")
    frame = Ether(bytes(from_east(outer(SUM, small, "gateway"))[1])) / Raw(b"\xaa" * 20)
    yield Case("decap-checksum-in-a-padded-frame", [("east", frame)], [to_west(aged(small))])


def key():
    """A key that is wrong, missing or unexpected."""
    packet = inner(KEY, 4, toward="client")
    yield Case("key-wrong", [from_east(outer(KEY, packet, "gateway", gre={"key_present": 1, "key": 8}))],
               drops={"gre_key_wrong": 1})
    yield Case("key-missing", [from_east(outer(KEY, packet, "gateway", gre={}))], drops={"gre_key_missing": 1})
    packet = inner(PLAIN, 4, toward="client")
    yield Case("key-unexpected", [from_east(outer(PLAIN, packet, "gateway", gre={"key_present": 1, "key": 8}))],
               drops={"gre_key_wrong": 1})
    packet = inner(KEY6, 6, toward="client")
    yield Case("key-wrong-v6", [from_east(outer(KEY6, packet, "gateway", gre={"key_present": 1, "key": 8}))],
               drops={"gre_key_wrong": 1})


def refused():
    """What must not pass, each with its own reason."""
    packet = inner(PLAIN, 4, toward="client")

    def dropped(name, reason, *packets):
        return Case(name, [from_east(each) for each in packets], drops={reason: len(packets)})

    # Bit 1 routing, bit 4 strict source route, bit 5 the first of recursion control.
    yield dropped("reserved-bits-1-to-5", "gre_reserved", *(
        outer(PLAIN, packet, "gateway", gre=fields)
        for fields in ({"strict_route_source": 1}, {"recursion_control": 4}, {"routing_present": 1})))
    yield dropped("version-1", "gre_version", outer(PLAIN, packet, "gateway", gre={"version": 1}))
    yield dropped("version-7", "gre_version", outer(PLAIN6, packet, "gateway", gre={"version": 7}))
    yield dropped("checksum-wrong", "gre_checksum", *(
        outer(tunnel, inner(tunnel, 4, toward="client"), "gateway", gre={"chksum_present": 1, "chksum": 0xBEEF})
        for tunnel in (PLAIN, SUM, SUM6)))
    yield dropped("payload-not-ip", "gre_protocol", outer(PLAIN, packet, "gateway", gre={"proto": 0x6558}))
    yield dropped("truncated-gre-header", "gre_truncated",
                  IP(src=KEY.remote, dst=KEY.endpoint, proto=47, flags="DF", id=0) / Raw(b"\x20\x00\x08\x00\x00"))
    stranger = outer(PLAIN, packet, "gateway")
    stranger.src = "198.18.0.250"
    yield dropped("unknown-remote", "gre_tunnel_unknown", stranger)
    for tunnel, family in ((PLAIN, 4), (PLAIN6, 6)):
        foreign = inner(tunnel, family, toward="client")
        foreign.src = "203.0.113.200" if family == 4 else "2001:db8:bad::1"
        yield dropped(f"source-filter-v{family}", "source_filter", outer(tunnel, foreign, "gateway"))
        loop = inner(tunnel, family, toward="client")
        loop.dst = tunnel.remote
        yield dropped(f"loop-to-the-far-endpoint-v{family}", "tunnel_loop", outer(tunnel, loop, "gateway"))
    foreign = inner(OPEN, 4, toward="client")
    foreign.src = "203.0.113.200"
    yield Case("source-filter-off", [from_east(outer(OPEN, foreign, "gateway"))], [to_west(aged(foreign))])


def keepalive():
    """Cisco's, Juniper's and MikroTik's: a packet to themselves inside the tunnel, GRE type 0, comes back bare."""
    for tunnel, payload in ((PLAIN, b""), (KEY, b""), (PLAIN, bytes(24))):
        key = {"key_present": 1, "key": tunnel.key} if tunnel.key is not None else {}
        back = IP(src=tunnel.endpoint, dst=tunnel.remote, ttl=255, id=77) / GRE(proto=0, **key) / Raw(payload)
        yield Case(f"keepalive-{tunnel.name}-{len(payload)}", [from_east(outer(tunnel, back, "gateway", ttl=255))],
                   [to_east(aged(back))])
    back = IPv6(src=PLAIN6.endpoint, dst=PLAIN6.remote, hlim=255, nh=47) / GRE(proto=0)
    yield Case("keepalive-v6", [from_east(outer(PLAIN6, back, "gateway", ttl=255))], [to_east(aged(back))])


def ttl_and_dscp():
    """TTL and DSCP inherit or fixed; ECN by RFC 6040."""
    for tunnel in (TTL_INHERIT, TTL_INHERIT6):
        for family in (4, 6):
            packet = inner(tunnel, family, ttl=33)
            yield Case(f"ttl-inherit-v{family}-in-{tunnel.name}", [from_west(packet)],
                       [to_east(outer(tunnel, aged(packet), ttl=32))])
    for family in (4, 6):
        for tos in (0x00, 0x28, 0xB8, 0x29, 0x2A, 0x2B):
            packet = inner(PLAIN, family, tos=tos)
            yield Case(f"dscp-inherit-v{family}-{tos:02x}", [from_west(packet)],
                       [to_east(outer(PLAIN, aged(packet), tos=tos))])
        packet = inner(DSCP_FIXED, family, tos=0x29)
        yield Case(f"dscp-fixed-v{family}", [from_west(packet)],
                   [to_east(outer(DSCP_FIXED, aged(packet), tos=46 << 2 | 1))])
        yield from ecn(family)


def ecn(family):
    """RFC 6040 figure 4, every pair; the outer DSCP does not reach the inner packet."""
    not_ect, ect1, ect0, congested = range(4)
    table = {(not_ect, ect1): not_ect, (not_ect, ect0): not_ect, (ect1, ect0): ect1, (ect0, ect1): ect1}
    for inside in range(4):
        for outside in range(4):
            packet = inner(PLAIN, family, toward="client", tos=0x28 | inside)
            sent = [from_east(outer(PLAIN, packet, "gateway", tos=0xB8 | outside))]
            name = f"ecn-v{family}-inner-{inside:02b}-outer-{outside:02b}"
            if (inside, outside) == (not_ect, congested):
                yield Case(name, sent, drops={"ecn_congestion": 1})
                continue
            result = congested if outside == congested else table.get((inside, outside), inside)
            expected = packet.copy()
            if family == 4:
                expected.tos = 0x28 | result
            else:
                expected.tc = 0x28 | result
            yield Case(name, sent, [to_west(aged(expected))])


