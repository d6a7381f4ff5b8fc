"""How long negotiations take, seen on the wire beside the gateway.

From a customer's first IKE packet to the answer after which its security
associations carry packets (the gateway holds that one back until all its
workers have them), and to the first packet of ESP that the gateway sends it.
"""

import signal
import subprocess
import time

from lab.esp import NATT_PORT
from lab.plan import ENDPOINT4
from lab.wait import eventually
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapReader

IKE_AUTH, RESPONSE = 35, 0x20  # RFC 7296 3.1
NON_ESP = b"\0\0\0\0"  # RFC 3948 2.2


class Negotiations:
    """Watches the lab's switch. Use as a context manager; afterwards `seconds` and `to_esp` have them by customer.

    It sees ESP in UDP only, as of customers behind NATs.
    """

    def __init__(self, lab):
        self.lab, self.file = lab, lab.directory / "negotiations.pcap"
        self.seconds, self.to_esp = {}, {}

    def __enter__(self):
        command = ["tcpdump", "-i", "gateway", "-U", "-w", self.file, "udp port 500 or udp port 4500"]
        self.file.unlink(missing_ok=True)
        self.process = self.lab.switch.spawn(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # It writes the file's header when it listens.
        assert eventually(lambda: self.file.exists() and self.file.stat().st_size), "tcpdump does not begin"
        return self

    def __exit__(self, *_):
        eventually(self._at_rest, 2)
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)
        begun = {}
        for frame, stamp in RawPcapReader(str(self.file)):
            packet, at = Ether(frame), stamp.sec + stamp.usec / 1e6
            if IP not in packet or UDP not in packet:
                continue
            if packet[IP].dst == ENDPOINT4:
                begun.setdefault(packet[IP].src, at)
            elif packet[IP].dst in begun:
                took, payload = at - begun[packet[IP].dst], bytes(packet[UDP].payload)
                if is_last_answer(payload):
                    self.seconds.setdefault(packet[IP].dst, took)
                elif is_esp(packet[UDP].sport, payload):
                    self.to_esp.setdefault(packet[IP].dst, took)

    def _at_rest(self):
        """True when the file does not grow any more."""
        before = self.file.stat().st_size
        time.sleep(0.1)
        return self.file.stat().st_size == before


def percentile(seconds, part):
    """That much of them (0 to 1) took at most so many seconds."""
    ordered = sorted(seconds.values())
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def is_esp(port, payload):
    """True for ESP in UDP: neither IKE nor a keepalive (RFC 3948 2)."""
    return port == NATT_PORT and len(payload) > 8 and not payload.startswith(NON_ESP)


def is_last_answer(payload):
    """True for a response of IKE_AUTH."""
    header = payload.removeprefix(NON_ESP)[:28]
    return len(header) == 28 and header[18] == IKE_AUTH and bool(header[19] & RESPONSE)
