"""Frames between the two neighbours, and threads of the gateway."""

import socket
import struct
import time
from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from lab.plan import CLIENT4, EDGE_MAC, ROUTER4
from lab.wire import WEST_MAC

MAGIC = b"host-test"


def frame(number):
    """A numbered packet from the west that is to be forwarded to the east."""
    packet = IP(src=CLIENT4, dst=ROUTER4) / UDP(sport=4000, dport=9000) / Raw(MAGIC + struct.pack("!I", number))
    return bytes(Ether(src=WEST_MAC, dst=EDGE_MAC) / packet)


def number_of(data):
    """The number in a frame; None: it is not one of ours."""
    at = data.find(MAGIC)
    return None if at < 0 else struct.unpack_from("!I", data, at + len(MAGIC))[0]


class Crossing:
    """Frames from the west to the east, one at a time, timed by the kernel at their arrival."""

    SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it

    def __init__(self, lab):
        self.west, self.east = (_packet_socket(lab.spaces[side]) for side in ("west", "east"))
        self.east.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self.east.settimeout(1)
        self.number = 0

    def us(self):
        """How long the next frame takes, microseconds; None: it did not arrive within a second."""
        self.number += 1
        data = frame(self.number)
        began = time.clock_gettime(time.CLOCK_REALTIME)
        self.west.send(data)
        while True:
            try:
                arrived, ancillary, _, _ = self.east.recvmsg(2048, 64)
            except TimeoutError:
                return None
            if number_of(arrived) == self.number:
                seconds, nanoseconds = next(struct.unpack("@qq", value) for _, kind, value in ancillary if kind == self.SO_TIMESTAMPNS)
                return (seconds + nanoseconds / 1e9 - began) * 1e6

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.west.close()
        self.east.close()


def _packet_socket(space):
    with space.entered():
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        made.bind(("eth0", 0))
    return made


def warm_up(lab):
    """Until neighbours are resolved."""
    with Crossing(lab) as crossing:
        assert any(crossing.us() for _ in range(10)), lab.gateway.log_tail()


def switches(lab, thread):
    """How often a thread gave its core away."""
    status = Path(f"/proc/{lab.gateway.process.pid}/task/{thread}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))


def cpu_s(lab, thread):
    """Processor time that a thread took, seconds."""
    nanoseconds = Path(f"/proc/{lab.gateway.process.pid}/task/{thread}/schedstat").read_text().split()[0]
    return int(nanoseconds) / 1e9
