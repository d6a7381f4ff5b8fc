"""Traffic made by the tests' own process: its sockets are opened inside the lab's namespaces.

No helper programs are started, so nothing has to be waited for or cleaned up.
"""

import errno
import hashlib
import os
import socket
import struct
import threading
import time
from dataclasses import dataclass

MIB = 1 << 20
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 10, 23, 62
_PMTUDISC_DONT, _PMTUDISC_PROBE = 0, 3
_ETH_P_ALL, _SO_RCVBUFFORCE = 3, 33


@dataclass
class Copy:
    """One finished TCP transfer."""

    sent_sha256: str
    received_sha256: str
    size: int
    seconds: float
    sender_mss: int

    @property
    def mbit_s(self):
        """Speed of the payload."""
        return self.size * 8 / self.seconds / 1e6


def tcp_copy(source, target, address, size, bind="", port=5001, timeout=120):
    """Sends `size` random bytes from one namespace to a listener in another; both sides take a checksum.

    `bind` is the sender's own address, where it has several.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with target.entered():
        listener = socket.create_server((address, port), family=family)
    listener.settimeout(timeout)
    received = {}

    def receive():
        link, _ = listener.accept()
        link.settimeout(timeout)
        digest, total = hashlib.sha256(), 0
        while data := link.recv(MIB):
            digest.update(data)
            total += len(data)
        received.update(sha=digest.hexdigest(), size=total)
        link.sendall(b"done")
        link.close()

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    with source.entered():
        link = socket.socket(family)
    link.settimeout(timeout)
    with link, listener:
        start = time.monotonic()
        if bind:
            link.bind((bind, 0))
        link.connect((address, port))
        mss = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
        digest = hashlib.sha256()
        left = size
        while left:
            data = os.urandom(min(left, MIB))
            link.sendall(data)
            digest.update(data)
            left -= len(data)
        link.shutdown(socket.SHUT_WR)
        link.recv(4)
        seconds = time.monotonic() - start
    thread.join(timeout)
    return Copy(digest.hexdigest(), received.get("sha", "nothing"), received.get("size", 0), seconds, mss)


class Stream:
    """Numbered UDP packets at a steady pace, and what became of them. Use as a context manager."""

    MARK = b"numbered stream"

    def __init__(self, source, target, address, per_second, size=200, port=6001, source_address=""):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with target.entered():
            self.receiver = socket.socket(family, socket.SOCK_DGRAM)
            self.receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 * MIB)
            self.receiver.bind((address, port))
        with source.entered():
            self.sender = socket.socket(family, socket.SOCK_DGRAM)
        if source_address:  # where the sender has several
            self.sender.bind((source_address, 0))
        self.sender.connect((address, port))
        self.pace_s, self.size = 1 / per_second, size
        self.tail = bytes(size - 8 - len(self.MARK)) + self.MARK
        self.sent = self.received = self.reordered = 0
        self.missing = []  # numbers, known after the end
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._send, daemon=True)

    def _send(self):
        next_at = time.monotonic()
        while not self.stopping.is_set():
            self.sender.send(struct.pack("!Q", self.sent) + self.tail)
            self.sent += 1
            next_at += self.pace_s
            time.sleep(max(0, next_at - time.monotonic()))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.receiver.settimeout(3)  # a busy machine's guest has packets on their way for as long
        seen, last = set(), -1
        try:
            while len(seen) < self.sent:
                number = struct.unpack("!Q", self.receiver.recv(2048)[:8])[0]
                self.reordered += number < last
                last = max(last, number)
                seen.add(number)
        except TimeoutError:
            pass
        self.received = len(seen)
        self.missing = [number for number in range(self.sent) if number not in seen]
        self.sender.close()
        self.receiver.close()

    def number_in(self, frame):
        """The number of the packet in a frame, tunnelled or not; None for other frames."""
        return struct.unpack("!Q", frame[-self.size:][:8])[0] if frame.endswith(self.MARK) else None

    @property
    def lost(self):
        """Packets that did not arrive; known after the end."""
        return self.sent - self.received


def udp_flows(space, target, ports, target_port=9000):
    """One small UDP packet from each of these source ports."""
    for port in ports:
        with space.entered():
            link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with link:
            link.bind(("", port))
            link.sendto(b"flow", (target, target_port))
        time.sleep(0.002)  # the ring in front of a lab's port is short


class Capture:
    """Every frame that an interface sees, in both directions, without a capture program.

    Use as a context manager; afterwards `frames` is a list of bytes.
    """

    def __init__(self, space, interface, incoming_only=False):
        with space.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 * MIB)
            self.socket.bind((interface, _ETH_P_ALL))
        self.incoming_only = incoming_only
        self.frames = []

    def __enter__(self):
        self.drain()
        self.frames.clear()
        return self

    def drain(self, wait_s=0.0):
        """Takes what has arrived so far, waiting for the first frame up to wait_s."""
        self.socket.settimeout(wait_s or 0.0)
        try:
            while True:
                frame, sender = self.socket.recvfrom(65536)
                if not (self.incoming_only and sender[2] == socket.PACKET_OUTGOING):
                    self.frames.append(frame)
                self.socket.settimeout(0.0)
        except (BlockingIOError, TimeoutError):
            pass
        return self.frames

    def __exit__(self, *_):
        self.drain(0.05)
        self.socket.close()


def send_frames(space, interface, frames):
    """Puts frames (scapy packets or bytes) on a link, in order."""
    with space.entered():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with link:
        link.bind((interface, 0))
        for frame in frames:
            link.send(bytes(frame))


ANSWERED, TOO_BIG, LOCAL, LOST, DAMAGED = "answered", "too big", "refused by the sender itself", "lost", "damaged"


class Sweep:
    """Pings of many sizes through one raw socket, a window of them in flight.

    `results` maps each payload size to (outcome, MTU named in the ICMP error or None).
    """

    def __init__(self, space, target, sizes, df, source="", window=32, tries=4, patience_s=0.6):
        self.six, self.df = ":" in target, df
        self.target, self.sizes, self.window, self.tries, self.patience_s = target, list(sizes), window, tries, patience_s
        self.identifier = int.from_bytes(os.urandom(2), "big")
        self.results = {}
        self.bytes = os.urandom(4096)
        with space.entered():
            self.socket = socket.socket(
                socket.AF_INET6 if self.six else socket.AF_INET, socket.SOCK_RAW,
                socket.IPPROTO_ICMPV6 if self.six else socket.IPPROTO_ICMP)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 * MIB)
        if source:
            self.socket.bind((source, 0))
        mode = _PMTUDISC_PROBE if df else _PMTUDISC_DONT
        if not self.six:
            self.socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, mode)
        elif df:
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, mode)
            self.socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1)

    def run(self):
        """Sends every size until it has an outcome, at most `tries` times."""
        waiting = self.sizes
        with self.socket:
            for _ in range(self.tries):
                for start in range(0, len(waiting), self.window):
                    self._burst(waiting[start:start + self.window])
                waiting = [size for size in waiting if size not in self.results]
                if not waiting:
                    break
        self.results.update((size, (LOST, None)) for size in waiting)
        return self.results

    def of(self, outcome):
        """The sizes that ended this way."""
        return sorted(size for size, (what, _) in self.results.items() if what == outcome)

    def _payload(self, size):
        return self.bytes[size % 97:size % 97 + size]

    def _burst(self, sizes):
        for size in sizes:
            kind = 128 if self.six else 8
            packet = struct.pack("!BBHHH", kind, 0, 0, self.identifier, size) + self._payload(size)
            if not self.six:
                packet = packet[:2] + struct.pack("!H", internet_checksum(packet)) + packet[4:]
            if not self._send(packet):
                self.results[size] = (LOCAL, None)
        open_sizes = {size for size in sizes if size not in self.results}
        limit = time.monotonic() + self.patience_s
        while open_sizes and (left := limit - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                packet = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                continue
            self._take(packet if self.six else packet[(packet[0] & 15) * 4:])
            open_sizes -= self.results.keys()

    def _send(self, packet):
        """False when the sender's own link is too small for it. What has no room just now is sent at the next try."""
        self.socket.settimeout(self.patience_s)  # it was as short as what was left of the last burst's
        for last in (False, True):
            try:
                self.socket.sendto(packet, (self.target, 0))
            except TimeoutError:
                return True
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
                # One refusal may be an ICMP error about an earlier packet, which the kernel reports only now.
                if last and error.errno == errno.EMSGSIZE:
                    return False
            else:
                return True
        return True

    def _take(self, message):
        kind, code, _, identifier, size = struct.unpack_from("!BBHHH", message)
        if kind == (129 if self.six else 0) and identifier == self.identifier:
            good = message[8:] == self._payload(size)
            self.results[size] = (ANSWERED if good else DAMAGED, None)
        elif (kind == 2) if self.six else (kind == 3 and code == 4):
            mtu = struct.unpack_from("!I" if self.six else "!xxH", message, 4)[0]
            inner = message[8 + 40:] if self.six else message[8 + (message[8] & 15) * 4:]
            if len(inner) >= 8:
                _, _, _, identifier, size = struct.unpack_from("!BBHHH", inner)
                if identifier == self.identifier and self.df:  # else the kernel now knows; the next try fits
                    self.results[size] = (TOO_BIG, mtu)


def internet_checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
