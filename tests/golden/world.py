"""The world of the golden packets: tunnels, addresses, and how scapy spells a frame of each side.

Every frame here is made by scapy, none by the gateway's own code.
"""

import hashlib
from dataclasses import dataclass, field

from lab.esp import NATT_PORT, SUITES, Associations, EspTunnel
from lab.gateway import base_config, tenant_config, tunnel_config
from lab.judge import Judge
from lab.plan import CLIENT4, CLIENT6, CORE_MAC, EDGE4, EDGE6, EDGE_MAC, Tunnel
from lab.wire import EAST_MAC, WEST_MAC
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

PLAIN, KEY, SUM, BOTH = Tunnel(0), Tunnel(1, key=7), Tunnel(2, checksum=True), Tunnel(3, key=0xFFFFFFFF, checksum=True)
PLAIN6, KEY6, SUM6 = Tunnel(4, outer=6), Tunnel(5, outer=6, key=9), Tunnel(6, outer=6, checksum=True)
TTL_INHERIT, DSCP_FIXED, DF_COPY, DF_CLEAR = Tunnel(10), Tunnel(11), Tunnel(12), Tunnel(13)
MSS_FIXED, MSS_OFF, NARROW, OPEN, TTL_INHERIT6 = Tunnel(14), Tunnel(15), Tunnel(16), Tunnel(17), Tunnel(18, outer=6)
NARROW_MTU = 1200
TUNNELS = [PLAIN, KEY, SUM, BOTH, PLAIN6, KEY6, SUM6, TTL_INHERIT, DSCP_FIXED, DF_COPY, DF_CLEAR, MSS_FIXED, MSS_OFF,
           NARROW, OPEN, TTL_INHERIT6]
SPECIAL = {
    TTL_INHERIT: {"ttl": "inherit"}, TTL_INHERIT6: {"ttl": "inherit"}, DSCP_FIXED: {"dscp": 46},
    DF_COPY: {"df": "copy"}, DF_CLEAR: {"df": "clear"}, MSS_FIXED: {"mss": 1300}, MSS_OFF: {"mss": "off"},
    NARROW: {"mtu": NARROW_MTU}, OPEN: {"source_filter": "off"},
}

# ESP: every suite, then a tunnel for each of the other things that an SA can be told.
BY_SUITE = {name: EspTunnel(30 + number, suite=suite) for number, (name, suite) in enumerate(SUITES.items())}
GCM, CBC = BY_SUITE["aes128gcm16"], BY_SUITE["aes128-sha256"]
GCM6, CBC6 = EspTunnel(40, 6), EspTunnel(41, 6, CBC.suite)
UDP_GCM, UDP_GCM6 = EspTunnel(42, udp_port=NATT_PORT), EspTunnel(43, 6, udp_port=NATT_PORT)
UDP_CBC = EspTunnel(44, suite=CBC.suite, udp_port=40500)
WINDOW, WIDE = EspTunnel(45, window=64), EspTunnel(46, suite=CBC.suite, window=1024)
ESN, ESN_CBC = EspTunnel(47, window=64, esn=True), EspTunnel(48, suite=CBC.suite, window=64, esn=True)
SELECT = EspTunnel(49, selectors={"local": [f"{CLIENT4}/32", "2001:db8:1::/64"],
                                  "remote": ["198.51.149.0/28", "2001:db8:5149::/120"]})
ENDING, SHARED = EspTunnel(50, remote_of=30), EspTunnel(51, remote_of=30)
ROAMING, ESP_DF_CLEAR, ESP_NARROW = EspTunnel(52, udp_port=NATT_PORT), EspTunnel(53), EspTunnel(54)
ESP_TUNNELS = [*BY_SUITE.values(), GCM6, CBC6, UDP_GCM, UDP_GCM6, UDP_CBC, WINDOW, WIDE, ESN, ESN_CBC, SELECT, ENDING,
               SHARED, ROAMING, ESP_DF_CLEAR, ESP_NARROW]
SPECIAL |= {ESP_DF_CLEAR: {"df": "clear"}, ESP_NARROW: {"mtu": NARROW_MTU}}
ENDING_PACKETS = 3
ROAMED = "198.18.0.250"


def fixed_bytes(count, label=b"keys of the golden captures"):
    """Bytes that are the same at every run, different for every label; keys of tests are no secret."""
    return hashlib.shake_256(label).digest(count)


def golden_associations():
    """The SAs of this world."""
    made = iter(range(1000))
    sas = Associations(ESP_TUNNELS, lambda count: fixed_bytes(count, f"key {next(made)}".encode()))
    sas.outbound[ENDING.name].limits = {"hard_packets": ENDING_PACKETS}
    return sas


ASSOCIATIONS = golden_associations()
TO_ROUTER = {tunnel: Judge(ASSOCIATIONS.outbound[tunnel.name], "router") for tunnel in ESP_TUNNELS}
TO_GATEWAY = {tunnel: Judge(ASSOCIATIONS.inbound[tunnel.name][0], "gateway") for tunnel in ESP_TUNNELS}

EAST_ADDRESSES = [f"{tunnel.remote}/{24 if tunnel.outer == 4 else 64}" for tunnel in TUNNELS + ESP_TUNNELS
                  if getattr(tunnel, "remote_of", None) is None] + [f"{ROAMED}/24"]
WEST_ADDRESSES = [f"{CLIENT4}/24", f"{CLIENT6}/64"]
CLIENT = {4: CLIENT4, 6: CLIENT6}


def config(directory, twin):
    """The gateway's configuration for this world."""
    whole = base_config(directory, twin)
    tenant = tenant_config(TUNNELS + ESP_TUNNELS)
    for tunnel, keys in SPECIAL.items():
        tenant["tunnels"][tunnel.name] = tunnel_config(tunnel) | keys
    whole["tenants"]["acme"] = tenant
    return whole


@dataclass
class Case:
    """Frames that go in, frames that must come out (in this order on each side), and drops that must be counted."""

    name: str
    send: list
    expect: list = field(default_factory=list)
    drops: dict = field(default_factory=dict)


def inner(tunnel, family, size=100, toward="server", ttl=61, tos=0, df=True, payload=None, **more):
    """A UDP packet of `size` bytes in all between the client and the tunnel's server."""
    client, server = CLIENT[family], tunnel.server(family)
    source, target = (client, server) if toward == "server" else (server, client)
    headers = 28 if family == 4 else 48
    data = payload if payload is not None else UDP(sport=4000, dport=9000) / Raw(bytes(i & 255 for i in range(size - headers)))
    if family == 4:
        return IP(src=source, dst=target, ttl=ttl, tos=tos, flags="DF" if df else 0, id=0x1234, **more) / data
    return IPv6(src=source, dst=target, hlim=ttl, tc=tos, **more) / data


def aged(packet):
    """The same packet one hop later."""
    packet = packet.copy()
    if IP in packet and packet.name == "IP":
        packet.ttl -= 1
        del packet.chksum
    else:
        packet.hlim -= 1
    return packet


def outer(tunnel, payload, toward="router", tos=0, ttl=64, df=True, gre=None):
    """GRE around a packet, between our endpoint and the router."""
    ours, theirs = tunnel.endpoint, tunnel.remote
    source, target = (ours, theirs) if toward == "router" else (theirs, ours)
    fields = gre if gre is not None else gre_fields(tunnel)
    fields.setdefault("proto", 0x86DD if payload.name == "IPv6" else 0x0800)
    if tunnel.outer == 4:
        return IP(src=source, dst=target, ttl=ttl, tos=tos, flags="DF" if df else 0, id=0) / GRE(**fields) / payload
    return IPv6(src=source, dst=target, hlim=ttl, tc=tos, nh=47) / GRE(**fields) / payload


def sealed(tunnel, packet, sequence=0, **options):
    """What the gateway sends into an ESP tunnel; its sequence number and IV are its own business."""
    options.setdefault("iv", bytes(16))
    return TO_ROUTER[tunnel].seal(packet, sequence=sequence, **options)


def gre_fields(tunnel):
    """What the tunnel's configuration puts into a GRE header."""
    fields = {}
    if tunnel.key is not None:
        fields |= {"key_present": 1, "key": tunnel.key}
    if tunnel.checksum:
        fields |= {"chksum_present": 1}
    return fields


def from_west(packet):
    """On the clients' link, to the gateway."""
    return "west", Ether(src=WEST_MAC, dst=EDGE_MAC) / packet


def to_west(packet):
    """On the clients' link, from the gateway."""
    return "west", Ether(src=EDGE_MAC, dst=WEST_MAC) / packet


def from_east(packet):
    """On the tunnels' link, to the gateway."""
    return "east", Ether(src=EAST_MAC, dst=CORE_MAC) / packet


def to_east(packet):
    """On the tunnels' link, from the gateway."""
    return "east", Ether(src=CORE_MAC, dst=EAST_MAC) / packet


def reply_icmp(family, about, message):
    """An ICMP error of ours to a client: TTL 64, DSCP CS6, from the address of the port that `about` came in by."""
    raw = bytes(about)
    if family == 4:
        return IP(src=EDGE4, dst=about.src, ttl=64, tos=0xC0, flags="DF", id=0) / message / Raw(
            raw[:576 - 28])
    return IPv6(src=EDGE6, dst=about.src, hlim=64, tc=0xC0) / message / Raw(raw[:1280 - 48])

