"""The frames of the bench's cases, for traffic generators on real NICs.

Addresses (RFC 2544 and documentation ranges; `gateway.py` writes the gateway's side):

  tester port 0  198.18.0.2  ---  edge0 198.18.0.1   clients, the Internet
  tester port 1  198.18.1.2  ---  core0 198.18.1.1   customers' routers
  endpoint 203.0.113.1; tunnel i: remote 198.19.0.0 + i + 1, inside it 100.64.0.0 + 4 i, a /30
"""

from ipaddress import IPv4Address

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Raw

CASES = ("forward", "gre-encap", "gre-decap", "gre-encap-syn", "gre-transit")
CLIENT = IPv4Address("198.18.0.2")
FAR_CLIENTS = IPv4Address("20.0.0.0")
ENDPOINT = IPv4Address("203.0.113.1")
REMOTES = IPv4Address("198.19.0.1")
INSIDE = IPv4Address("100.64.0.0")
MAX_TUNNELS = 32_000


def remote(tunnel):
    """The customer's router of a tunnel."""
    return str(REMOTES + tunnel)


def inside(tunnel, host=1):
    """An address behind a tunnel."""
    return str(INSIDE + 4 * tunnel + host)


def port_of(case):
    """The tester's port that sends: 0 faces edge0, 1 faces core0."""
    return 1 if case in ("gre-decap", "gre-transit") else 0


def frames(case, size, tunnels, flows, gateway_mac="02:00:00:00:00:01"):
    """One frame for each flow; `size` is the inner IP packet's."""
    return [_frame(case, size, tunnels, flow, gateway_mac) for flow in range(flows)]


def _frame(case, size, tunnels, flow, gateway_mac):
    tunnel = flow % tunnels
    ether = Ether(dst=gateway_mac, src="02:00:00:00:00:02", type=0x0800)
    far = str(FAR_CLIENTS + flow)
    outer = IP(src=remote(tunnel), dst=str(ENDPOINT), flags="DF") / GRE()
    if case == "forward":
        return ether / _padded(IP(src=str(CLIENT), dst=far, flags="DF") / UDP(sport=1024 + flow, dport=53), size)
    if case == "gre-encap":
        return ether / _padded(IP(src=far, dst=inside(tunnel), flags="DF") / UDP(sport=1024, dport=53), size)
    if case == "gre-encap-syn":
        syn = TCP(sport=1024, dport=80, flags="S", options=[("MSS", 1460)])
        return ether / _padded(IP(src=far, dst=inside(tunnel), flags="DF") / syn, size)
    if case == "gre-decap":
        return ether / outer / _padded(IP(src=inside(tunnel), dst=far, flags="DF") / UDP(sport=53, dport=1024), size)
    if case == "gre-transit":
        other = inside((tunnel + 1) % tunnels, host=2)
        return ether / outer / _padded(IP(src=inside(tunnel), dst=other, flags="DF") / UDP(sport=53, dport=1024), size)
    raise ValueError(f"no case {case!r}; there are: {', '.join(CASES)}")


def _padded(packet, size):
    missing = size - len(packet)
    if missing < 0:
        raise ValueError(f"an inner packet of {size} bytes is too small; write {len(packet)} or more")
    return packet / Raw(bytes(missing))
