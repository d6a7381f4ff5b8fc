"""The router in front of a fleet: what comes for an anycast address, or for behind a tunnel, goes to one node of several.

It is a Linux router. Its routes are one table a node; a packet's mark says which, and nftables sets the mark:

    packet  the next node for each packet, round and round: what no real network does, and the worst that one could do
    flow    by a hash of the addresses and, where a packet shows them, of the ports or the SPI, as routers do

It looks at packets one by one. Nothing here tracks connections, which would put fragments together.
"""

import json
from dataclasses import dataclass, replace

from lab.plan import ENDPOINT4, ENDPOINT6

EDGE, CORE = "edge", "core"  # from clients to behind the tunnels; from customers to the endpoints
FIRST_MARK = {EDGE: 10, CORE: 20}
SEED = 0x0F1EE7
BRIDGED = [f"/proc/sys/net/bridge/bridge-nf-call-{tables}" for tables in ("iptables", "ip6tables")]
# What a hash takes in, the most general first: a later line that fits wins.
FLOWS = (
    ("meta nfproto ipv4", "ip saddr . ip daddr"),
    ("meta nfproto ipv6", "ip6 saddr . ip6 daddr"),
    ("ip frag-off & 0x3fff == 0 meta l4proto { tcp, udp }", "ip saddr . ip daddr . th sport . th dport"),
    ("meta nfproto ipv6 meta l4proto { tcp, udp }", "ip6 saddr . ip6 daddr . th sport . th dport"),
    ("ip frag-off & 0x3fff == 0 meta l4proto esp", "ip saddr . ip daddr . esp spi"),
    ("meta nfproto ipv6 meta l4proto esp", "ip6 saddr . ip6 daddr . esp spi"),
)


@dataclass(frozen=True)
class Way:
    """How one direction is spread."""

    how: str
    nodes: tuple

    def rules(self, direction):
        """The lines of nftables that mark a packet of this direction."""
        marks = ", ".join(f"{place} : {FIRST_MARK[direction] + node}" for place, node in enumerate(self.nodes))
        if self.how == "packet":
            return [f"meta mark set numgen inc mod {len(self.nodes)} map {{ {marks} }}"]
        return [f"{which} meta mark set jhash {what} mod {len(self.nodes)} seed {SEED:#x} map {{ {marks} }}"
                for which, what in FLOWS]


class Spread:
    """The router's rules; `space` holds its bridges, `edge` and `switch`."""

    def __init__(self, space, nodes):
        self.space = space
        self.nodes = {node.number: node for node in nodes}
        self.ways = {EDGE: Way("packet", tuple(self.nodes)), CORE: Way("packet", tuple(self.nodes))}

    def start(self):
        """One routing table for each node and direction, and the rules."""
        # What crosses a bridge is not routed: without this its packets meet the rules, too, where the kernel has br_netfilter.
        lines = [f"[ ! -e {each} ] || echo 0 > {each}" for each in BRIDGED]
        for number, node in self.nodes.items():
            for direction, device, via in ((EDGE, "edge", (node.edge4, node.edge6)), (CORE, "switch", (node.core4, node.core6))):
                mark = FIRST_MARK[direction] + number
                for family, address in zip((4, 6), via, strict=True):
                    lines += [f"ip -{family} route add default via {address} dev {device} table {100 + mark}",
                              f"ip -{family} rule add fwmark {mark} table {100 + mark}"]
        self.space.sh("\n".join(lines))
        self.space.sh(["nft", self._table()])
        self._apply((EDGE, CORE))

    def _table(self):
        counters = [f"{direction}{number}" for direction in (EDGE, CORE) for number in self.nodes]
        marked = [f"meta mark {FIRST_MARK[direction] + number} counter name {direction}{number}"
                  for direction in (EDGE, CORE) for number in self.nodes]
        return "\n".join((
            "table inet spread {", *(f"counter {name} {{ }}" for name in counters),
            f"chain {EDGE} {{ }}", f"chain {CORE} {{ }}",
            "chain come {", "type filter hook prerouting priority mangle",
            # To the router itself and to all on the link; an IPv6 address that has no route is no unicast to `fib`.
            "fib daddr type { local, broadcast, anycast, multicast } return",
            f"iifname edge goto {EDGE}",
            f"iifname switch ip daddr {ENDPOINT4} goto {CORE}", f"iifname switch ip6 daddr {ENDPOINT6} goto {CORE}", "}",
            "chain go {", "type filter hook forward priority filter", *marked, "}",
            # All are on one link: the kernel would tell them the shorter way.
            "chain silence {", "type filter hook output priority filter",
            "icmp type redirect drop", "icmpv6 type nd-redirect drop", "}", "}"))

    def _apply(self, directions):
        lines = [line for direction in directions
                 for line in (f"flush chain inet spread {direction}",
                              *(f"add rule inet spread {direction} {rule}" for rule in self.ways[direction].rules(direction)))]
        self.space.sh(["nft", "\n".join(lines)])

    def set(self, how=None, nodes=None, directions=(EDGE, CORE)):
        """`how` is packet or flow, `nodes` those that are there; what is not said stays. At once, between two packets."""
        for direction in directions:
            way = self.ways[direction]
            way = way if how is None else replace(way, how=how)
            self.ways[direction] = way if nodes is None else replace(way, nodes=tuple(nodes))
        self._apply(directions)

    def only(self, *nodes, directions=(EDGE, CORE)):
        """Everything to these nodes."""
        self.set(nodes=nodes, directions=directions)

    def without(self, node, directions=(EDGE, CORE)):
        """As if this node had withdrawn its routes."""
        self.set(nodes=[each for each in self.nodes if each != node], directions=directions)

    def everywhere(self, how=None):
        """To all nodes again."""
        self.set(how, self.nodes)

    def counts(self):
        """Packets that went to each node so far: {direction: {number: packets}}."""
        found = json.loads(self.space.sh("nft -j list counters table inet spread").stdout)["nftables"]
        packets = {each["counter"]["name"]: each["counter"]["packets"] for each in found if "counter" in each}
        return {direction: {number: packets[f"{direction}{number}"] for number in self.nodes} for direction in (EDGE, CORE)}

    def shares(self, before):
        """What part of the packets since `before = counts()` went to each node."""
        shares = {}
        for direction, now in self.counts().items():
            new = {number: packets - before[direction][number] for number, packets in now.items()}
            whole = sum(new.values())
            shares[direction] = {number: packets / whole if whole else 0.0 for number, packets in new.items()}
        return shares
