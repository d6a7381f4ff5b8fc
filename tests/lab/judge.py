"""scapy as the other side of an SA: what it seals the gateway or a kernel must open, and the other way round.

The algorithms are scapy's, none is ours. Only that the upper half of an extended sequence number comes last in what a
separate integrity algorithm covers (RFC 4303 2.2.1) is said here, for scapy does not know.
"""

import struct

from lab.esp import NATT_PORT
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation, _ESPPlain

NEXT_IPV4, NEXT_IPV6, NEXT_DUMMY = 4, 41, 59


class Judge:
    """One SA. `toward` says which way its packets go: "gateway" or "router"."""

    def __init__(self, sa, toward):
        self.sa, self.tunnel, self.suite, self.toward = sa, sa.tunnel, sa.tunnel.suite, toward
        self.scapy = SecurityAssociation(
            ESP, spi=sa.spi, crypt_algo=self.suite.scapy_crypt, crypt_key=sa.key,
            auth_algo=self.suite.scapy_auth, auth_key=sa.auth_key, tunnel_header=IP())
        self.sequence = 0

    def seal(self, packet, more=b"", **options):
        """An outer packet that carries this one; `more` is traffic flow padding behind it (RFC 4303 2.7)."""
        return self.seal_bytes(bytes(packet) + more, NEXT_IPV6 if packet.name == "IPv6" else NEXT_IPV4, **options)

    def seal_bytes(self, data, next_header, sequence=None, iv=None, padding=None, pad_length=None, **outer):
        """An outer packet with any payload, next header and padding; the next sequence number unless told."""
        if sequence is None:
            sequence = self.sequence = self.sequence + 1
        return self.headers(**outer) / self._seal(data, next_header, sequence, iv, padding, pad_length)

    def _seal(self, data, next_header, sequence, iv, padding=None, pad_length=None):
        algorithm, high = self.scapy.crypt_algo, sequence >> 32
        plain = _ESPPlain(spi=self.sa.spi, seq=sequence & 0xFFFFFFFF, data=data, nh=next_header,
                          iv=algorithm.generate_iv() if iv is None else iv[:self.suite.iv])
        algorithm.pad(plain)
        if padding is not None:
            plain.padding, plain.padlen = padding, len(padding)
        if pad_length is not None:  # a lie
            plain.padlen = pad_length
        sealed = algorithm.encrypt(self.scapy, plain, self.scapy.crypt_key, self.suite.icv if self.suite.aead else None,
                                   esn_en=self.tunnel.esn, esn=high)
        if not self.suite.aead:
            sealed.data += self._icv(bytes(sealed), high)
        return sealed

    def headers(self, source=None, udp_port=None, **fields):
        """The outer headers of this direction; fields are the IP header's."""
        tunnel, (sport, dport) = self.tunnel, (udp_port or self.tunnel.udp_port, NATT_PORT)
        ends = source or tunnel.remote, tunnel.endpoint
        if self.toward == "router":
            ends, sport, dport = ends[::-1], dport, sport
        if tunnel.outer == 4:
            ip = IP(**{"src": ends[0], "dst": ends[1], "ttl": 64, "flags": "DF", "id": 0, "proto": 50} | fields)
        else:
            ip = IPv6(**{"src": ends[0], "dst": ends[1], "hlim": 64, "nh": 50} | fields)
        if tunnel.udp_port is None:
            return ip
        setattr(ip, "proto" if tunnel.outer == 4 else "nh", 17)
        # Over IPv4 the checksum is zero (RFC 3948 2.1); over IPv6 Linux takes only packets that have one (RFC 8200 8.1).
        return ip / (UDP(sport=sport, dport=dport, chksum=0) if tunnel.outer == 4 else UDP(sport=sport, dport=dport))

    def open(self, packet, high=0):
        """The inner packet of an outer one, verified to the last bit: sealed again it must be the same.

        `high` is the upper half of an extended sequence number.
        """
        esp = packet[ESP].copy()
        if esp.spi != self.sa.spi:
            raise IPSecIntegrityError(f"SPI {esp.spi:#x}, not {self.sa.spi:#x}")
        if not self.suite.aead:
            whole = bytes(esp)
            if self._icv(whole[:-self.suite.icv], high) != whole[-self.suite.icv:]:
                raise IPSecIntegrityError("the ICV is wrong")
        plain = self.scapy.crypt_algo.decrypt(self.scapy, esp, self.scapy.crypt_key, self.suite.icv,
                                              esn_en=self.tunnel.esn, esn=high)
        if plain.nh not in (NEXT_IPV4, NEXT_IPV6):
            raise IPSecIntegrityError(f"next header {plain.nh}")
        again = self._seal(bytes(plain.data), plain.nh, high << 32 | esp.seq, plain.iv)
        if bytes(again) != bytes(packet[ESP]):
            raise IPSecIntegrityError(f"the padding of {plain.padlen} bytes is not 1, 2, 3 ... or not the shortest")
        return (IP if plain.nh == NEXT_IPV4 else IPv6)(bytes(plain.data))

    def _icv(self, covered, high):
        code = self.scapy.auth_algo.new_mac(self.sa.auth_key)
        code.update(covered + struct.pack("!I", high) if self.tunnel.esn else covered)
        return code.finalize()[:self.suite.icv]
