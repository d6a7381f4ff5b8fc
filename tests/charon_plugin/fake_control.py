"""A control process that only remembers: it speaks the protocol of docs/charon-plugin.md to the plugin.

It keeps the SAs it was told of, records every request, and can be told to
misbehave: hold an answer, cut the connection, talk nonsense.
"""

import os
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from ipaddress import ip_address

from lab.plugin import (ADD_POLICY, ADD_SA, DEL_POLICY, DEL_SA, EXPIRE, FLUSH_POLICIES, FLUSH_SAS, GET_SPI, HELLO, MAPPING,
                        QUERY_SA, SYNC, UPDATE_SA)

NAMES = {HELLO: "HELLO", SYNC: "SYNC", GET_SPI: "GET_SPI", ADD_SA: "ADD_SA", UPDATE_SA: "UPDATE_SA", DEL_SA: "DEL_SA",
         QUERY_SA: "QUERY_SA", FLUSH_SAS: "FLUSH_SAS", ADD_POLICY: "ADD_POLICY", DEL_POLICY: "DEL_POLICY",
         FLUSH_POLICIES: "FLUSH_POLICIES"}
NOT_FOUND, REFUSED = 3, 4
IN, OUT, FWD = 1, 2, 3
INBOUND, INITIATOR, ENCAP, ESN, UPDATE = 1, 2, 4, 8, 16
NEVER = 2**64 - 1
HEADER = struct.Struct("!IBBHQ")
INSTANCE = 0x1122334455667788


class Reader:
    """Takes a payload apart; a payload that is too short or too long fails the test."""

    def __init__(self, payload):
        self.payload = payload
        self.at = 0

    def bytes(self, length):
        taken = self.payload[self.at:self.at + length]
        assert len(taken) == length, "the plugin sent a short payload"
        self.at += length
        return taken

    def number(self, length):
        return int.from_bytes(self.bytes(length), "big")

    def string(self):
        return self.bytes(self.number(2))

    def address(self):
        family, port = self.number(1), self.number(2)
        return ip_address(self.bytes({4: 4, 6: 16}[family])), port

    def sa_id(self):
        src, dst = self.address(), self.address()
        return SaId(src, dst, self.number(4), self.number(1))

    def selector(self):
        protocol, first_port, last_port, family = self.number(1), self.number(2), self.number(2), self.number(1)
        size = {4: 4, 6: 16}[family]
        first, last = ip_address(self.bytes(size)), ip_address(self.bytes(size))
        return f"{first}-{last}/{protocol}/{first_port}-{last_port}"

    def selectors(self):
        return [self.selector() for _ in range(self.number(2))]

    def end(self):
        assert self.at == len(self.payload), "the plugin sent more than the protocol says"


@dataclass(frozen=True)
class SaId:
    src: tuple
    dst: tuple
    spi: int
    protocol: int

    @property
    def key(self):
        """What finds an SA: ports and the source may change."""
        return self.dst[0], self.spi, self.protocol

    def encode(self):
        return address(*self.src) + address(*self.dst) + struct.pack("!IB", self.spi, self.protocol)


def address(ip, port=0):
    return struct.pack("!BH", ip.version, port) + ip.packed


@dataclass
class Sa:
    id: SaId
    flags: int
    reqid: int
    mode: int
    encryption: tuple = field(repr=False)  # algorithm, key
    integrity: tuple = field(repr=False)
    replay_window: int
    limits: tuple  # life and rekey of time s, bytes, packets
    tfc: int
    ipcomp: int
    src_selectors: list
    dst_selectors: list

    @property
    def inbound(self):
        return bool(self.flags & INBOUND)


@dataclass
class Call:
    """One request of the plugin, in the order of arrival."""

    type: int
    at: float
    sa: object = None      # SaId or Sa
    rest: tuple = ()

    def __str__(self):
        if self.type == ADD_SA:
            return f"ADD_SA {'in' if self.sa.inbound else 'out'} {self.sa.id.spi:08x}"
        if self.type in (UPDATE_SA, DEL_SA, QUERY_SA):
            return f"{NAMES[self.type]} {self.sa.spi:08x}"
        if self.type in (ADD_POLICY, DEL_POLICY):
            return f"{NAMES[self.type]} {'?in out fwd'.split()[self.rest[0] - 1].strip('?')} {self.rest[4]:08x}"
        return NAMES[self.type]


def parse_sa(reader):
    sa_id = reader.sa_id()
    flags, reqid, mode = reader.number(1), reader.number(4), reader.number(1)
    encryption = (reader.number(2), reader.string())
    integrity = (reader.number(2), reader.string())
    window = reader.number(4)
    limits = tuple(reader.number(8) for _ in range(6))
    tfc, ipcomp = reader.number(4), reader.number(2)
    return Sa(sa_id, flags, reqid, mode, encryption, integrity, window, limits, tfc, ipcomp,
              reader.selectors(), reader.selectors())


class FakeControl:
    """Listens from `start` to `stop`; stopping cuts all connections, as a killed process does."""

    def __init__(self, path, spi_base):
        self.path = path
        self.calls = []
        self.sas = {}          # key -> Sa
        self.policies = []     # outbound (dir, spi) as added
        self.counters = {}     # key -> (bytes, packets, idle s)
        self.synced = None     # ids of the last SYNC
        self.hellos = []
        self.instances = set()
        self.keys = set()      # every key ever seen
        self.mishaps = {}      # type -> what to do once
        self.next_spi = spi_base
        self.lock = threading.RLock()
        self.listener = None
        self.connections = set()
        self.events = None     # the connection for events
        self.compared = None   # on which one SYNC was answered well
        self.failures = []     # what a handler raised

    def start(self):
        with self.lock:
            if os.path.exists(self.path):
                os.unlink(self.path)
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(self.path))
            os.chmod(self.path, 0o600)
            self.listener.listen(64)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def stop(self):
        with self.lock:
            if self.listener:
                self.listener.shutdown(socket.SHUT_RDWR)
                self.listener.close()
                os.unlink(self.path)
            for connection in list(self.connections):
                connection.shutdown(socket.SHUT_RDWR)
            self.listener = self.events = None

    def forget(self):
        """Loses all SAs, as a process without a journal would."""
        with self.lock:
            self.sas.clear()

    def mishap(self, kind, deed):
        """What happens to the next request of this type: see _serve."""
        self.mishaps[kind] = deed

    # Events

    def expire(self, sa_id, hard):
        self.send_event(EXPIRE, sa_id.encode() + bytes([hard]))

    def mapping(self, sa_id, remote, port):
        self.send_event(MAPPING, sa_id.encode() + address(ip_address(remote), port))

    def send_event(self, kind, payload, version=1):
        self.send_raw(HEADER.pack(12 + len(payload), version, kind, 0, INSTANCE) + payload)

    def send_raw(self, frame):
        with self.lock:
            self.events.sendall(frame)

    # What the tests look at

    def in_step(self):
        """Whether the plugin's connection for events is there and its list of SAs was compared on it."""
        with self.lock:
            return self.events is not None and self.compared is self.events

    def history(self, *but):
        """The requests so far as text, without some types."""
        with self.lock:
            return [str(call) for call in self.calls if call.type not in (HELLO, SYNC, QUERY_SA) + but]

    def current(self, inbound):
        with self.lock:
            return [sa for sa in self.sas.values() if sa.inbound == inbound]

    def clear(self):
        with self.lock:
            self.calls.clear()

    # The server

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection):
        try:
            while self._serve(connection):
                pass
        except OSError:
            pass
        except Exception as error:  # shown by the test that caused it
            self.failures.append(repr(error))
        finally:
            with self.lock:
                self.connections.discard(connection)
                if self.events is connection:
                    self.events = None
            connection.close()

    def _serve(self, connection):
        """One request; whether more may follow on this connection (events only)."""
        head = _receive(connection, HEADER.size, peek=True)
        if head is None:
            return False
        length, version, kind, status, instance = HEADER.unpack(head)
        assert (version, status) == (1, 0) and length <= 1 << 20
        self.instances.add(instance)
        deed = self.mishaps.pop(kind, "")
        if deed == "cut before reading":
            return False
        frame = _receive(connection, 4 + length)
        if deed == "cut after reading":
            return False
        if deed == "never answer":
            time.sleep(10)
            return False
        if deed.startswith("hold "):
            time.sleep(float(deed.split()[1]))
        status, answer = 0, b""
        if deed.startswith("refuse "):
            status, text = int(deed.split()[1]), b"because the test says so"
            answer = struct.pack("!H", len(text)) + text
        else:
            with self.lock:
                status, answer = self._handle(kind, Reader(frame[HEADER.size:]), connection)
        reply = HEADER.pack(12 + len(answer), 1, kind, status, INSTANCE) + answer
        if deed == "half an answer":
            reply = reply[:len(reply) // 2]
        elif deed == "oversized":
            reply = HEADER.pack(0xffffffff, 1, kind, 0, INSTANCE)
        elif deed == "undersized":
            reply = HEADER.pack(3, 1, kind, 0, INSTANCE)
        elif deed == "other version":
            reply = HEADER.pack(12 + len(answer), 9, kind, 0, INSTANCE) + answer
        elif deed == "other type":
            reply = HEADER.pack(12 + len(answer), 1, kind ^ 64, 0, INSTANCE) + answer
        elif deed == "garbage":
            reply = bytes(range(7, 256)) * 3
        elif deed == "garbage payload":
            reply = HEADER.pack(12 + 33, 1, kind, 0, INSTANCE) + b"\xff" * 33
        connection.sendall(reply)
        if kind == SYNC and not deed:
            self.compared = connection
        return kind in (HELLO, SYNC) and deed != "half an answer"

    def _handle(self, kind, reader, connection):
        call = Call(kind, time.monotonic())
        self.calls.append(call)
        answer, status = b"", 0
        if kind == HELLO:
            self.hellos.append((reader.string(), reader.string()))
            self.events = connection
        elif kind == SYNC:
            listed = {}
            for _ in range(reader.number(4)):
                inbound, sa_id = reader.number(1), reader.sa_id()
                listed[sa_id.key] = (bool(inbound), sa_id)
            self.synced = listed
            unknown = [sa_id for key, (_, sa_id) in listed.items() if key not in self.sas]
            for key in [key for key in self.sas if key not in listed]:
                del self.sas[key]
            answer = struct.pack("!I", len(unknown)) + b"".join(sa_id.encode() for sa_id in unknown)
        elif kind == GET_SPI:
            call.rest = (reader.address(), reader.address(), reader.number(1))
            self.next_spi += 1
            answer = struct.pack("!I", self.next_spi)
        elif kind == ADD_SA:
            call.sa = parse_sa(reader)
            self.sas[call.sa.id.key] = call.sa
            self.keys |= {key for _, key in (call.sa.encryption, call.sa.integrity) if key}
        elif kind == UPDATE_SA:
            call.sa = reader.sa_id()
            call.rest = (reader.address(), reader.address(), reader.number(1), reader.number(1), reader.number(4))
            sa = self.sas.pop(call.sa.key, None)
            if sa:
                sa.id = SaId(call.rest[0], call.rest[1], sa.id.spi, sa.id.protocol)
                self.sas[sa.id.key] = sa
            status = 0 if sa else NOT_FOUND
        elif kind == DEL_SA:
            call.sa = reader.sa_id()
            status = 0 if self.sas.pop(call.sa.key, None) else NOT_FOUND
        elif kind == QUERY_SA:
            call.sa = reader.sa_id()
            if call.sa.key in self.sas:
                answer = struct.pack("!QQQ", *self.counters.get(call.sa.key, (0, 0, NEVER)))
            else:
                status = NOT_FOUND
        elif kind in (ADD_POLICY, DEL_POLICY):
            call.rest = (reader.number(1), reader.number(1), reader.number(1), reader.number(4), reader.number(4),
                         reader.address(), reader.address(), reader.selector(), reader.selector())
        reader.end()
        if status:
            answer = struct.pack("!H", 9) + b"not found"
        return status, answer


def _receive(connection, length, peek=False):
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data) if not peek else length, socket.MSG_PEEK if peek else 0)
        if not more:
            return None
        data = more if peek else data + more
        if peek and len(data) < length:
            time.sleep(0.001)
    return data
