#!/usr/bin/python3
"""Golden vectors for the header code, made by scapy, so that something other than us is the judge.

Each file in wire/ holds one vector a line: `key=value` fields apart by spaces, bytes in hexadecimal.
The Rust side is dataplane/tests/wire_golden.rs. The output is the same at every run; `--check` compares it
with what is committed and changes nothing.
"""

import random
import sys
from pathlib import Path

from scapy.all import (
    GRE, ICMP, IP, TCP, UDP, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6,
    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, IPOption_NOP,
    IPOption_Router_Alert, PadN, Raw, raw,
)
from scapy.layers.ipsec import AH, ESP
from scapy.utils import checksum

HERE = Path(__file__).parent / "wire"
RANDOM = random.Random(2784)

CLIENT4, SERVER4, ROUTER4, ENDPOINT4 = "198.51.100.7", "203.0.113.9", "192.0.2.1", "203.0.113.1"
CLIENT6, SERVER6, ROUTER6, ENDPOINT6 = "2001:db8:7::7", "2001:db8:9::9", "2001:db8::1", "2001:db8:ffff::1"


def noise(length):
    return RANDOM.randbytes(length)


def line(**fields):
    return " ".join(f"{k}={v.hex() if isinstance(v, bytes) else v}" for k, v in fields.items())


def checksums():
    for length in [0, 1, 2, 3, 4, 5, 7, 8, 15, 20, 31, 33, 63, 64, 65, 127, 255]:
        data = noise(length)
        yield line(bytes=data, checksum=checksum(data) if data else 0xFFFF)
    yield line(bytes=b"\xff" * 64, checksum=checksum(b"\xff" * 64))
    yield line(bytes=b"\x00" * 64, checksum=checksum(b"\x00" * 64))


def ipv4_headers():
    """A packet, what it says, and what a router makes of it: TTL lower, other TOS, other identification."""
    optional = [[], [IPOption_Router_Alert()], [IPOption_NOP()] * 8, [IPOption_NOP()] * 40]
    for index in range(24):
        options = optional[index % 4]
        fields = dict(
            src=f"10.{RANDOM.randrange(256)}.0.1", dst=SERVER4, ttl=RANDOM.randrange(2, 256),
            tos=RANDOM.randrange(256), id=RANDOM.randrange(65536), proto=RANDOM.choice([1, 6, 17, 47, 50]),
            flags=RANDOM.choice(["", "DF", "MF"]), frag=RANDOM.choice([0, 0, 185]),
        )
        payload = Raw(noise(RANDOM.randrange(0, 32)))
        before = IP(options=options, **fields) / payload

        def changed(**change):
            return raw(IP(options=options, **(fields | change)) / payload)

        tos, ident = RANDOM.randrange(256), RANDOM.randrange(65536)
        parsed = IP(raw(before))
        yield line(
            packet=raw(before), ihl=parsed.ihl * 4, len=parsed.len, tos=fields["tos"], id=fields["id"],
            df=int(parsed.flags.DF), mf=int(parsed.flags.MF), offset=parsed.frag * 8, ttl=fields["ttl"],
            proto=fields["proto"], ttl_less=changed(ttl=fields["ttl"] - 1), new_tos=tos,
            with_tos=changed(tos=tos), new_id=ident, with_id=changed(id=ident),
        )


def ipv6_chains():
    """Extension headers in front of a transport header."""
    base = dict(src=CLIENT6, dst=SERVER6, tc=0xB9, fl=0xABCDE)
    hop, dest = IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
    routing = IPv6ExtHdrRouting(addresses=["2001:db8::a", "2001:db8::b"])
    first, later = IPv6ExtHdrFragment(offset=0, m=1, id=0xCAFEBABE), IPv6ExtHdrFragment(offset=181, m=0, id=7)


    def authenticated(following):
        return AH(nh=following, payloadlen=4, spi=300, seq=1, icv=b"\0" * 12)

    udp = UDP(sport=1, dport=2) / Raw(b"golden")
    for name, headers in {
        "none": [], "hop": [hop], "dest": [dest], "routing": [routing], "first": [first], "ah": [authenticated(17)],
        "many": [hop, dest, routing, first, authenticated(60), dest],
        "eight": [dest] * 8,
    }.items():
        packet = IPv6(**base)
        for header in headers:
            packet = packet / header.copy()
        packet = packet / udp
        bytes_ = raw(packet)
        where = bytes_.rindex(raw(UDP(bytes_[-14:]))[:4])
        fragment = "first" if first in headers else "none"
        yield line(name=name, packet=bytes_, proto=17, offset=where, fragment=fragment)
    tail = IPv6(**base) / hop.copy() / later.copy() / Raw(b"the middle of it")
    tail[IPv6ExtHdrFragment].nh = 6
    yield line(name="later", packet=raw(tail), proto=6, offset=40 + 8 + 8, fragment="later")
    nine = IPv6(**base)
    for _ in range(9):
        nine = nine / dest.copy()
    yield line(name="nine", packet=raw(nine / udp), proto=0, offset=0, fragment="refused")


def gre_headers():
    """Every combination of checksum, key and sequence number, with the checksum that scapy computes."""
    for options in range(8):
        c, k, s = options & 1, options >> 1 & 1, options >> 2 & 1
        for length in (0, 1, 40, 41):
            key, sequence = RANDOM.randrange(2**32), RANDOM.randrange(2**32)
            fields = dict(proto=RANDOM.choice([0x0800, 0x86DD]), chksum_present=c, key_present=k, seqnum_present=s)
            if k:
                fields["key"] = key
            if s:
                fields["sequence_number"] = sequence
            packet = raw(GRE(**fields) / Raw(noise(length)))
            yield line(
                packet=packet, len=len(packet) - length, c=c, key=key if k else "none",
                seq=sequence if s else "none", proto=fields["proto"],
            )


def syns():
    """A SYN before, and the same SYN as scapy builds it with the MSS that the limit allows."""
    def kinds(mss):
        stamp = ("Timestamp", (0x01020304, 0))
        yield "linux", [("MSS", mss), ("SAckOK", b""), stamp, ("NOP", None), ("WScale", 7)]
        yield "windows", [("MSS", mss), ("NOP", None), ("WScale", 8), ("NOP", None), ("NOP", None), ("SAckOK", b"")]
        yield "alone", [("MSS", mss)]
        yield "odd", [("NOP", None), ("MSS", mss), ("NOP", None), ("NOP", None), ("NOP", None)]
        yield "late", [stamp, ("SAckOK", b""), ("MSS", mss)]
        yield "late-odd", [("WScale", 3), stamp, ("MSS", mss), ("EOL", None)]
        yield "none", [("SAckOK", b""), ("NOP", None), ("NOP", None)]
        yield "empty", []

    def packets(mss, flags, payload):
        for name, options in kinds(mss):
            tcp = TCP(sport=50000, dport=443, seq=0x11223344, flags=flags, window=64240, options=options)
            tcp = tcp / Raw(payload)
            yield f"{name}-4", IP(src=CLIENT4, dst=SERVER4, id=1, flags="DF") / tcp
            yield f"{name}-4-options", IP(src=CLIENT4, dst=SERVER4, id=1, options=[IPOption_Router_Alert()]) / tcp
            yield f"{name}-6", IPv6(src=CLIENT6, dst=SERVER6) / tcp
            yield f"{name}-6-hop", IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrHopByHop() / tcp

    for offered, limit in ((1460, 1436), (8960, 1412), (1436, 1436), (536, 1436), (65535, 88)):
        flags, payload = ("S", "SA")[limit % 8 == 4], noise(limit % 7)
        rows = zip(packets(offered, flags, payload), packets(min(offered, limit), flags, payload))
        for (name, before), (_, after) in rows:
            yield line(name=f"{name}-{offered}-{flags}", limit=limit, before=raw(before), after=raw(after))
    before = raw(IP(src=CLIENT4, dst=SERVER4) / TCP(flags="A", options=[("MSS", 1460)]))
    yield line(name="not-a-syn", limit=1300, before=before, after=before)


def icmp_errors():
    """The error as scapy builds it about a packet that scapy built."""
    v4 = {
        "time": ICMP(type=11, code=0), "net": ICMP(type=3, code=0), "host": ICMP(type=3, code=1),
        "prohibited": ICMP(type=3, code=13), "too-big": ICMP(type=3, code=4, nexthopmtu=1476),
    }
    v6 = {
        "time": ICMPv6TimeExceeded(code=0), "net": ICMPv6DestUnreach(code=0), "prohibited": ICMPv6DestUnreach(code=1),
        "host": ICMPv6DestUnreach(code=3), "too-big": ICMPv6PacketTooBig(mtu=1456),
    }
    for name, message in v4.items():
        for length in (0, 9, 520, 521, 700) if name == "time" else (9, 700):
            about = raw(IP(src=CLIENT4, dst=SERVER4, id=9, ttl=1) / UDP(sport=1, dport=33434) / Raw(noise(length)))
            error = IP(src=ROUTER4, dst=CLIENT4, tos=0xC0, id=0, flags="DF", ttl=64) / message / Raw(about[: 576 - 28])
            yield line(name=name, about=about, error=raw(error))
    about = raw(IP(src=CLIENT4, dst=SERVER4, ttl=1, options=[IPOption_Router_Alert()]) / ICMP(type=8, seq=3))
    error = IP(src=ROUTER4, dst=CLIENT4, tos=0xC0, id=0, flags="DF", ttl=64) / v4["time"] / Raw(about)
    yield line(name="time", about=about, error=raw(error))
    for name, message in v6.items():
        for length in (0, 9, 1184, 1185) if name == "too-big" else (9,):
            about = raw(IPv6(src=CLIENT6, dst=SERVER6, hlim=1) / UDP(sport=1, dport=33434) / Raw(noise(length)))
            error = IPv6(src=ROUTER6, dst=CLIENT6, tc=0xC0, hlim=64) / message / Raw(about[: 1280 - 48])
            yield line(name=name, about=about, error=raw(error))
    about = raw(IPv6(src=CLIENT6, dst=SERVER6, hlim=1) / IPv6ExtHdrHopByHop() / ICMPv6EchoRequest(seq=3))
    yield line(name="time", about=about, error=raw(
        IPv6(src=ROUTER6, dst=CLIENT6, tc=0xC0, hlim=64) / v6["time"] / Raw(about)))


def too_big_reports():
    """What a router says about an outer packet of ours."""
    inner = noise(64)
    payloads = {
        "gre": (47, GRE(proto=0x0800) / Raw(inner), "none", "none"),
        "gre-key": (47, GRE(proto=0x86DD, key_present=1, key=0xDEADBEEF) / Raw(inner), 0xDEADBEEF, "none"),
        "gre-all": (47, GRE(proto=0x0800, chksum_present=1, key_present=1, key=5, seqnum_present=1) / Raw(inner),
                    5, "none"),
        "esp": (50, ESP(spi=0x1234ABCD, seq=9) / Raw(inner), "none", 0x1234ABCD),
    }
    for name, (proto, payload, key, spi) in payloads.items():
        outer4 = raw(IP(src=ENDPOINT4, dst=SERVER4, flags="DF", proto=proto) / payload)
        for cut in (28 if name != "gre-all" else 36, len(outer4)):
            for mtu, told in ((1400, 1400), (0, 68)):
                report = IP(src=ROUTER4, dst=ENDPOINT4) / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(outer4[:cut])
                # Below 296, the length of the quoted packet here, the only plateau is 68.
                yield line(name=name, report=raw(report), proto=proto, key=key, spi=spi, mtu=told)
        outer6 = raw(IPv6(src=ENDPOINT6, dst=SERVER6, nh=proto) / payload)
        report = IPv6(src=ROUTER6, dst=ENDPOINT6) / ICMPv6PacketTooBig(mtu=1400) / Raw(outer6)
        yield line(name=name, report=raw(report), proto=proto, key=key, spi=spi, mtu=1400)


FILES = {
    "checksum.txt": checksums, "ipv4.txt": ipv4_headers, "ipv6.txt": ipv6_chains, "gre.txt": gre_headers,
    "mss.txt": syns, "icmp.txt": icmp_errors, "too_big.txt": too_big_reports,
}


def main():
    check = sys.argv[1:] == ["--check"]
    HERE.mkdir(exist_ok=True)
    differ = []
    for name, make in FILES.items():
        text = "".join(f"{vector}\n" for vector in make())
        path = HERE / name
        if check:
            if not path.exists() or path.read_text() != text:
                differ.append(name)
        else:
            path.write_text(text)
    if differ:
        sys.exit(f"{', '.join(differ)}: not what this script makes; run it and look at the difference")


if __name__ == "__main__":
    main()
