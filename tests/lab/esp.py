"""ESP in the lab: suites by every party's name for them, tunnels, and keys made at random for each run.

`inbound` and `outbound` are the gateway's: inbound is what the router sends.
"""

import copy
import os
from dataclasses import dataclass, field

from lab.plan import Addresses

NATT_PORT = 4500
NARROW_PATH_MTU = 1300  # of the router's way to the endpoint, where its kernel is to fragment outer packets


@dataclass(frozen=True)
class Suite:
    """Algorithms of an SA: lengths in bytes, and what Linux and scapy call them."""

    name: str  # in the static-SA file
    key: int  # AEAD: with the four bytes of salt
    auth_key: int
    iv: int
    icv: int
    block: int
    kernel_crypt: str
    kernel_auth: str | None
    scapy_crypt: str
    scapy_auth: str | None

    @property
    def aead(self):
        """True if one algorithm does both."""
        return self.auth_key == 0

    def kernel_words(self, key, auth_key):
        """The algorithms and keys of `ip xfrm state add`."""
        if self.aead:
            return f"aead '{self.kernel_crypt}' {hexadecimal(key)} {self.icv * 8}"
        crypt = hexadecimal(key) if key else "''"
        return (f"auth-trunc '{self.kernel_auth}' {hexadecimal(auth_key)} {self.icv * 8} "
                f"enc '{self.kernel_crypt}' {crypt}")

    def inner_mtu(self, outer, udp, link_mtu=1500):
        """The largest inner packet: what is left is rounded down to whole blocks, two bytes are the trailer."""
        room = link_mtu - (20 if outer == 4 else 40) - 8 * udp - 8 - self.iv - self.icv
        return room // self.block * self.block - 2


def _gcm(name, bits):
    return Suite(name, bits // 8 + 4, 0, 8, 16, 4, "rfc4106(gcm(aes))", None, "AES-GCM", None)


def _cbc(name, bits, sha, auth_key, icv):
    scapy = "HMAC-SHA1-96" if sha == 1 else f"SHA2-{sha}-{icv * 8}"
    return Suite(name, bits // 8, auth_key, 16, icv, 16, "cbc(aes)", f"hmac(sha{sha})", "AES-CBC", scapy)


SUITES = {suite.name: suite for suite in (
    _gcm("aes128gcm16", 128),
    _gcm("aes256gcm16", 256),
    Suite("chacha20poly1305", 36, 0, 8, 16, 4, "rfc7539esp(chacha20,poly1305)", None, "CHACHA20-POLY1305", None),
    _cbc("aes128-sha1", 128, 1, 20, 12),
    _cbc("aes128-sha256", 128, 256, 32, 16),
    _cbc("aes256-sha256", 256, 256, 32, 16),
    _cbc("aes128-sha384", 128, 384, 48, 24),
    _cbc("aes256-sha512", 256, 512, 64, 32),
    Suite("null-sha256", 0, 32, 0, 16, 4, "ecb(cipher_null)", "hmac(sha256)", "NULL", "SHA2-256-128"),
)}


@dataclass(frozen=True, eq=False)
class EspTunnel(Addresses):
    """One ESP tunnel between the gateway's anycast endpoint and the router."""

    suite: Suite = SUITES["aes128gcm16"]
    udp_port: int | None = None  # UDP encapsulation; the router's port, as a NAT on the way would show it
    window: int = 0  # anti-replay window of both sides, 0 for none
    esn: bool = False
    remote_of: int | None = None  # has the same outer addresses as tunnel number ...
    selectors: dict | None = None  # the gateway's; None for any
    outer_fragments: bool = False  # the way to the endpoint is narrow: the router's kernel fragments outer packets
    kind: str = "esp"

    @property
    def name(self):
        """Its name in the gateway's configuration and in test ids."""
        words = [f"esp{self.number}", self.suite.name, f"v{self.outer}"]
        if self.udp_port is not None:
            words.append("udp" if self.udp_port == NATT_PORT else f"udp{self.udp_port}")
        words += ["esn"] if self.esn else []
        words += [f"window{self.window}"] if self.window else []
        words += ["selectors"] if self.selectors is not None else []
        words += ["fragments"] if self.outer_fragments else []
        return "-".join(words)

    @property
    def remote(self):
        """The router's outer address."""
        number = 70 + (self.number if self.remote_of is None else self.remote_of)
        return f"198.18.0.{number}" if self.outer == 4 else f"2001:db8:2::{number}"

    @property
    def device(self):
        """The router's interface."""
        return f"esp{self.number}"

    @property
    def inner_mtu(self):
        """What docs/ipsec.md promises for an outer link of 1500."""
        return self.suite.inner_mtu(self.outer, self.udp_port is not None)

    @property
    def router_mtu(self):
        """The MTU of the router's device."""
        return 1500 if self.outer_fragments else self.inner_mtu


@dataclass
class Sa:
    """One direction's SA, as both sides must have it."""

    tunnel: EspTunnel
    spi: int
    key: bytes = field(repr=False)
    auth_key: bytes = field(repr=False)
    limits: dict = field(default_factory=dict)  # soft_packets, hard_packets

    def entry(self, **windows):
        """As the static-SA file has it."""
        words = {"spi": self.spi, "cipher": self.tunnel.suite.name}
        if self.key:
            words["key"] = hexadecimal(self.key)
        if self.auth_key:
            words["auth_key"] = hexadecimal(self.auth_key)
        return words | {"esn": self.tunnel.esn} | windows | self.limits


class Associations:
    """The SAs of a lab's tunnels: what the router and the gateway are given."""

    def __init__(self, tunnels=(), randomness=os.urandom):
        self.randomness = randomness
        self.tunnels = {}
        self.inbound, self.outbound = {}, {}  # by tunnel name; inbound is a list, for rekeying
        self.made = 0
        for tunnel in tunnels:
            self.add(tunnel)

    def add(self, tunnel):
        """A first pair of SAs."""
        self.tunnels[tunnel.name] = tunnel
        self.inbound[tunnel.name] = [self.make(tunnel)]
        self.outbound[tunnel.name] = self.make(tunnel)

    def without(self, tunnel):
        """The same SAs but this tunnel's."""
        others = copy.copy(self)
        others.tunnels = {name: each for name, each in self.tunnels.items() if name != tunnel.name}
        return others

    def make(self, tunnel):
        """A new SA; no SPI is ever used twice."""
        self.made += 1
        spi = 0x1000_0000 + tunnel.number * 0x1_0000 + self.made
        return Sa(tunnel, spi, self.randomness(tunnel.suite.key), self.randomness(tunnel.suite.auth_key))

    def file(self, tenant="acme"):
        """The content of the static-SA file."""
        return {"tunnels": {f"{tenant}/{name}": self._entry(tunnel) for name, tunnel in self.tunnels.items()}}

    def _entry(self, tunnel):
        entry = {}
        if tunnel.udp_port is not None:
            entry["udp"] = {"local_port": NATT_PORT, "remote_port": tunnel.udp_port}
        entry["inbound"] = [sa.entry(replay_window=tunnel.window) for sa in self.inbound[tunnel.name]]
        entry["outbound"] = self.outbound[tunnel.name].entry(peer_replay_window=tunnel.window)
        if tunnel.selectors is not None:
            entry["selectors"] = tunnel.selectors
        return entry


def hexadecimal(key):
    """As ip and the static-SA file write keys."""
    return "0x" + key.hex()
