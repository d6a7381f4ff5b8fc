"""Tunnels of this lab, and frames that take every way through the gateway. All are made by scapy."""

from lab.esp import Associations, EspTunnel
from lab.gateway import base_config, tenant_config
from lab.judge import Judge
from lab.plan import CLIENT4, CLIENT6, CORE_MAC, EDGE_MAC, ENDPOINT4, Tunnel
from lab.wire import EAST_MAC, WEST_MAC
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import GRE as Gre
from scapy.layers.l2 import Ether
from scapy.packet import Raw

GRE, KEYED, ESP, ESP_UDP, WINDOW = (
    Tunnel(0), Tunnel(1, key=7), EspTunnel(30), EspTunnel(31, udp_port=4500), EspTunnel(32, window=64))
SELECT = EspTunnel(33, selectors={"local": [f"{CLIENT4}/32"], "remote": ["198.51.133.0/28"]})
TUNNELS = [GRE, KEYED, ESP, ESP_UDP, WINDOW, SELECT]
ESP_TUNNELS = [ESP, ESP_UDP, WINDOW, SELECT]
ASSOCIATIONS = Associations(ESP_TUNNELS)
TO_GATEWAY = {tunnel: Judge(ASSOCIATIONS.inbound[tunnel.name][0], "gateway") for tunnel in ESP_TUNNELS}
WEST_ADDRESSES = [f"{CLIENT4}/24", f"{CLIENT6}/64"]
EAST_ADDRESSES = [f"{tunnel.remote}/24" for tunnel in TUNNELS]
NOWHERE, HOLE = "198.51.250.1", "198.51.251.1"
MARK = b"watched packet"


def config(directory, twin):
    """The gateway's configuration."""
    whole = base_config(directory, twin)
    tenant = tenant_config(TUNNELS)
    # No route leads there; nor to a hole.
    tenant["prefixes"] += ["198.51.250.0/24", "198.51.251.0/24"]
    tenant["routes"] = [route for route in tenant["routes"] if route["prefix"] != "0.0.0.0/0"]
    tenant["routes"] += [{"prefix": "192.0.2.0/24", "via": "internet"}, {"prefix": "198.51.251.0/24", "via": "blackhole"}]
    whole["tenants"]["acme"] = tenant
    return whole


def inside(tunnel, family=4):
    """A server behind a tunnel."""
    return tunnel.server(family)


def from_west(packet):
    """A frame from the clients' side."""
    return bytes(Ether(src=WEST_MAC, dst=EDGE_MAC) / packet)


def from_east(packet):
    """A frame from the tunnels' side."""
    return bytes(Ether(src=EAST_MAC, dst=CORE_MAC) / packet)


def to(tunnel, size=100, dst=None, **ip):
    """A client's packet to a server behind a tunnel, as a frame."""
    packet = IP(src=CLIENT4, dst=dst or inside(tunnel), **ip) / UDP(sport=7, dport=9, chksum=0)
    return from_west(packet / Raw(MARK + bytes(size - 28 - len(MARK))))


def syn(tunnel):
    """A client's connection attempt."""
    segment = TCP(sport=7, dport=80, flags="S", options=[("MSS", 1460)])
    return from_west(IP(src=CLIENT4, dst=inside(tunnel)) / segment)


def back(tunnel, src=None, dst=CLIENT4, size=100):
    """What the server behind a GRE tunnel sends, in the tunnel."""
    inner = IP(src=src or inside(tunnel), dst=dst) / UDP(sport=9, dport=7, chksum=0)
    inner /= Raw(MARK + bytes(size - 28 - len(MARK)))
    key = {"key_present": 1, "key": tunnel.key} if tunnel.key is not None else {}
    return from_east(IP(src=tunnel.remote, dst=ENDPOINT4) / Gre(**key) / inner)


def sealed_back(tunnel, src=None, dst=CLIENT4, size=100):
    """What the server behind an ESP tunnel sends, sealed."""
    inner = IP(src=src or inside(tunnel), dst=dst) / UDP(sport=9, dport=7, chksum=0)
    inner /= Raw(MARK + bytes(size - 28 - len(MARK)))
    return from_east(TO_GATEWAY[tunnel].seal(inner))


def spoiled(frame):
    """The same with a bit of its end wrong."""
    return frame[:-1] + bytes([frame[-1] ^ 1])
