"""The lab's address plan: who is where, for tunnel number n.

    client 192.0.2.10 --- 192.0.2.1 gateway 198.18.0.1 --- 198.18.0.70+n router --- server 198.51.100+n.10
           2001:db8:1::10   ::1            2001:db8:2::1     2001:db8:2::70+n       2001:db8:51nn::10

The router's end of each tunnel has an outer address of its own, so one router
can hold tunnels of every kind side by side; each carries a prefix of its own.
"""

from dataclasses import dataclass

CLIENT4, CLIENT6 = "192.0.2.10", "2001:db8:1::10"
EDGE4, EDGE6 = "192.0.2.1", "2001:db8:1::1"
CORE4, CORE6 = "198.18.0.1", "2001:db8:2::1"
EDGE_MAC, CORE_MAC = "02:00:00:00:01:01", "02:00:00:00:02:01"
VLAN_CORE4, VLAN_CORE6 = "198.19.0.1", "2001:db8:3::1"  # our addresses on the core port's VLAN
ENDPOINT4, ENDPOINT6 = "203.0.113.1", "2001:db8:ffff::1"
ROUTER4, ROUTER6 = "198.18.0.66", "2001:db8:2::66"


@dataclass(frozen=True)
class Node:
    """One gateway: its name, its number in a fleet, its ports' addresses."""

    name: str
    number: int
    edge4: str
    edge6: str
    core4: str
    core6: str
    edge_mac: str
    core_mac: str


ALONE = Node("lab", 0, EDGE4, EDGE6, CORE4, CORE6, EDGE_MAC, CORE_MAC)


def fleet_node(number):
    """Node 1, 2 or 3 of a fleet, whose router has the addresses that a lone gateway has."""
    host = 10 + number
    return Node(f"node{number}", number, f"192.0.2.{host}", f"2001:db8:1::{host}", f"198.18.0.{host}", f"2001:db8:2::{host}",
                f"02:00:00:00:01:{host}", f"02:00:00:00:02:{host}")


@dataclass(frozen=True)
class Addresses:
    """Where tunnel number n is, whatever it is made of."""

    number: int
    outer: int = 4

    @property
    def vlan(self):
        """The VLAN of the router's outer address; None for untagged."""
        return None

    @property
    def place(self):
        """The number in the addresses behind the router."""
        return self.number

    @property
    def remote(self):
        """The router's outer address."""
        network4, network6 = ("198.18.0", "2001:db8:2") if self.vlan is None else ("198.19.0", "2001:db8:3")
        return f"{network4}.{70 + self.number}" if self.outer == 4 else f"{network6}::{70 + self.number}"

    @property
    def endpoint(self):
        """The gateway's outer address."""
        return ENDPOINT4 if self.outer == 4 else ENDPOINT6

    def gateway_address(self, family):
        """Our interface address inside the tunnel."""
        return f"10.255.{self.number}.0" if family == 4 else f"fd00:255:{self.number}::"

    def router_address(self, family):
        """The router's interface address inside the tunnel."""
        return f"10.255.{self.number}.1" if family == 4 else f"fd00:255:{self.number}::1"

    def prefix(self, family):
        """The network behind the router that this tunnel leads to."""
        return f"198.51.{100 + self.place}.0/24" if family == 4 else f"2001:db8:{5100 + self.place}::/64"

    def lan_router(self, family):
        """The router's address on the server's link."""
        return f"198.51.{100 + self.place}.1" if family == 4 else f"2001:db8:{5100 + self.place}::1"

    def server(self, family):
        """The server's address in this tunnel's prefix."""
        return f"198.51.{100 + self.place}.10" if family == 4 else f"2001:db8:{5100 + self.place}::10"


@dataclass(frozen=True)
class Tunnel(Addresses):
    """One GRE tunnel between the gateway's anycast endpoint and the router."""

    key: int | None = None
    checksum: bool = False
    encap_limit: bool = False  # Linux's default for ip6gre: an RFC 2473 option in front of GRE
    outer_fragments: bool = False  # the router's device has an MTU of 1500: its kernel fragments outer packets
    prefix_of: int | None = None  # leads to the same prefix as tunnel number ...: tenants may overlap
    vlan: int | None = None  # the router's outer address is on this VLAN
    kind: str = "gre"

    @property
    def name(self):
        """Its name in the gateway's configuration and in test ids."""
        words = [f"gre{self.number}", f"v{self.outer}"]
        words += ["key"] if self.key is not None else []
        words += ["csum"] if self.checksum else []
        words += ["limit"] if self.encap_limit else []
        words += ["fragments"] if self.outer_fragments else []
        words += [f"vlan{self.vlan}"] if self.vlan is not None else []
        return "-".join(words)

    @property
    def device(self):
        """The router's interface."""
        return f"tun{self.number}"

    @property
    def place(self):
        """The number in the addresses behind the router."""
        return self.number if self.prefix_of is None else self.prefix_of

    @property
    def inner_mtu(self):
        """What docs/gre.md promises for an outer link of 1500."""
        return 1500 - (20 if self.outer == 4 else 40) - 4 - (4 if self.key is not None else 0) - 4 * self.checksum

    @property
    def router_mtu(self):
        """The MTU of the router's device: the encapsulation limit takes eight bytes more."""
        return 1500 if self.outer_fragments else self.inner_mtu - 8 * self.encap_limit


def mss(inner_mtu, family):
    """The TCP segment that fits: IP and TCP headers off the MTU."""
    return inner_mtu - (40 if family == 4 else 60)
