"""No IV twice: all ESP that the nodes of a fleet send is captured, and every pair of SPI and IV looked at.

AES-GCM and ChaCha20-Poly1305 carry eight bytes of IV behind the sequence
number (RFC 4106 3.1, RFC 7634 2). Ours begin with the sender ID, three bytes
(docs/sender-ids.md): one that is seen from two nodes is wrong as well, whether
or not an IV came twice already. An SPI stands for its key: routers choose them
at random from 32 bits.
"""

import json
import re
import signal
import struct
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field

from lab.esp import NATT_PORT

ESP_HEADER, SENDER = 8, 3  # bytes: SPI and sequence number; the sender ID at the beginning of an IV
IPV4, IPV6, VLAN = 0x0800, 0x86DD, 0x8100
PROTOCOL_ESP, PROTOCOL_UDP, IPV6_FRAGMENT = 50, 17, 44
SNAP_BYTES = 128
PCAP_MAGIC = {0xA1B2C3D4: 1e-6, 0xA1B23C4D: 1e-9}


@dataclass(frozen=True)
class Sealed:
    """What one captured packet shows of its SA."""

    source: str  # the file that it was captured in: the node
    target: bytes  # the outer destination
    spi: int
    sequence: int
    iv: bytes


@dataclass
class Report:
    """What was seen. `repeated` and `shared_senders` must be empty, and `packets` not nought."""

    packets: int = 0
    by_source: Counter = field(default_factory=Counter)
    by_spi: Counter = field(default_factory=Counter)
    senders: dict = field(default_factory=dict)  # (SPI, sender ID) -> the source that it was first seen from
    repeated: list = field(default_factory=list)  # (SPI, IV, first source, second source)
    shared_senders: list = field(default_factory=list)  # (SPI, sender ID, first source, second source)

    @property
    def good(self):
        """True if something was seen, and nothing twice."""
        return self.packets > 0 and not self.repeated and not self.shared_senders

    def __str__(self):
        lines = [f"{self.packets} packets of {len(self.by_spi)} SAs from {len(self.senders)} senders, {dict(self.by_source)}"]
        lines += [f"SPI {spi:#010x}: IV {iv.hex()} from {one} and from {other}" for spi, iv, one, other in self.repeated[:10]]
        lines += [f"SPI {spi:#010x}: sender {sender.hex()} is {one} and {other}"
                  for spi, sender, one, other in self.shared_senders[:10]]
        return "\n".join(lines)


def no_iv_twice(captures, targets=None, iv_bytes=8):
    """Judges captures, {source: path of a pcap}; with `targets` only packets to these outer addresses (bytes)."""
    report, seen = Report(), {}
    for source, path in captures.items():
        for frame in frames(path):
            one = sealed(frame, source, iv_bytes)
            if one is None or (targets is not None and one.target not in targets):
                continue
            report.packets += 1
            report.by_source[source] += 1
            report.by_spi[one.spi] += 1
            place = one.target, one.spi
            if (first := seen.get((*place, one.iv))) is not None:
                report.repeated.append((one.spi, one.iv, first, source))
            else:
                seen[(*place, one.iv)] = source
            owner = report.senders.setdefault((one.spi, one.iv[:SENDER]), source)
            if owner != source and (one.spi, one.iv[:SENDER], owner, source) not in report.shared_senders:
                report.shared_senders.append((one.spi, one.iv[:SENDER], owner, source))
    return report


def frames(path):
    """The frames of a classic pcap file."""
    with open(path, "rb") as file:
        header = file.read(24)
        order = next((each for each in "<>" if len(header) == 24 and struct.unpack_from(f"{each}I", header)[0] in PCAP_MAGIC), None)
        if order is None:
            raise ValueError(f"{path} is not a pcap file")
        while len(record := file.read(16)) == 16:
            length = struct.unpack(f"{order}IIII", record)[2]
            if len(frame := file.read(length)) < length:
                return  # the capture program was cut off
            yield frame


def sealed(frame, source="", iv_bytes=8):
    """What an Ethernet frame shows of the ESP packet in it, plain or in UDP 4500; None for all others.

    A fragment that is not the first shows nothing.
    """
    kind, at = struct.unpack_from("!H", frame, 12)[0] if len(frame) >= 14 else 0, 14
    if kind == VLAN and len(frame) >= 18:
        kind, at = struct.unpack_from("!H", frame, 16)[0], 18
    found = _ipv4(frame, at) if kind == IPV4 else _ipv6(frame, at) if kind == IPV6 else None
    if found is None:
        return None
    protocol, target, at = found
    if protocol == PROTOCOL_UDP and len(frame) >= at + 8 and NATT_PORT in struct.unpack_from("!HH", frame, at):
        at += 8
        if frame[at:at + 4] == bytes(4):  # the non-ESP marker: IKE (RFC 3948 2.2)
            return None
    elif protocol != PROTOCOL_ESP:
        return None
    if len(frame) < at + ESP_HEADER + iv_bytes:
        return None
    spi, sequence = struct.unpack_from("!II", frame, at)
    return Sealed(source, target, spi, sequence, frame[at + ESP_HEADER:at + ESP_HEADER + iv_bytes])


def _ipv4(frame, at):
    if len(frame) < at + 20 or struct.unpack_from("!H", frame, at + 6)[0] & 0x1FFF:
        return None
    return frame[at + 9], frame[at + 16:at + 20], at + (frame[at] & 15) * 4


def _ipv6(frame, at):
    if len(frame) < at + 40:
        return None
    protocol, target, at = frame[at + 6], frame[at + 24:at + 40], at + 40
    if protocol == IPV6_FRAGMENT and len(frame) >= at + 8:
        if struct.unpack_from("!H", frame, at + 2)[0] & 0xFFF8:
            return None
        protocol, at = frame[at], at + 8
    return protocol, target, at


class Tap:
    """Captures all ESP that comes out of each node. Use as a context manager; afterwards `report()` judges it.

    `links` maps a node's name to the port of the switch that it is on.
    """

    def __init__(self, space, links, directory):
        self.space, self.links, self.directory = space, links, directory
        self.captures = {name: directory / f"esp-{name}.pcap" for name in links}
        self.processes, self.missed = {}, {}

    def __enter__(self):
        for name, link in self.links.items():
            command = ["tcpdump", "-p", "-n", "-i", link, "-Q", "in", "-s", SNAP_BYTES, "-B", 16384, "-w", self.captures[name],
                       f"esp or ip6 proto 50 or udp port {NATT_PORT}"]
            self.processes[name] = self.space.spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                    stderr=subprocess.PIPE, text=True)
        time.sleep(0.5)  # until they listen
        return self

    def __exit__(self, *_):
        time.sleep(0.2)
        for name, process in self.processes.items():
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=20)[1]
            dropped = re.search(r"(\d+) packets? dropped by kernel", said)
            self.missed[name] = int(dropped[1]) if dropped else 0

    def report(self, **options):
        """The judge's report; nothing was missed by the capture."""
        if any(self.missed.values()):
            raise RuntimeError(f"the capture was too slow and missed packets: {json.dumps(self.missed)}")
        return no_iv_twice(self.captures, **options)
