"""How long negotiations take, seen on the wire beside the gateway.

From a customer's first IKE packet to the answer after which its security
associations carry packets: the gateway holds that one back until all its
workers have them.
"""

import signal
import subprocess
import time

from lab.plan import ENDPOINT4
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader

IKE_AUTH, RESPONSE = 35, 0x20  # RFC 7296 3.1
NON_ESP = b"\0\0\0\0"  # RFC 3948 2.2


class Negotiations:
    """Watches IKE on the lab's switch. Use as a context manager; afterwards `seconds` has them by customer."""

    def __init__(self, lab):
        self.lab, self.file = lab, lab.directory / "negotiations.pcap"
        self.seconds = {}

    def __enter__(self):
        command = ["tcpdump", "-i", "gateway", "-U", "-w", self.file, "udp port 500 or udp port 4500"]
        self.process = self.lab.switch.spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)  # until it listens
        return self

    def __exit__(self, *_):
        time.sleep(0.2)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)
        begun = {}
        for frame, stamp in RawPcapReader(str(self.file)):
            packet, at = Ether(frame), stamp.sec + stamp.usec / 1e6
            if IP not in packet or UDP not in packet:
                continue
            if packet[IP].dst == ENDPOINT4:
                begun.setdefault(packet[IP].src, at)
            elif is_last_answer(bytes(packet[UDP].payload)) and packet[IP].dst in begun:
                self.seconds.setdefault(packet[IP].dst, at - begun[packet[IP].dst])

    def percentile(self, part):
        """That much of them (0 to 1) took at most so many seconds."""
        ordered = sorted(self.seconds.values())
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def is_last_answer(payload):
    """True for a response of IKE_AUTH."""
    header = payload.removeprefix(NON_ESP)[:28]
    return len(header) == 28 and header[18] == IKE_AUTH and bool(header[19] & RESPONSE)
