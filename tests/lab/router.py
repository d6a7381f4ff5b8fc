"""The customer's router: a Linux kernel with GRE, in a namespace or in a guest.

Both kinds take the same shell text, so a test cannot tell them apart.
"""

from lab.guest import Guest
from lab.netns import Namespace, veth
from lab.plan import CLIENT4, CLIENT6, CORE4, CORE6, ENDPOINT4, ENDPOINT6, ROUTER4, ROUTER6, VLAN_CORE4, VLAN_CORE6


def kernel_has_gre(scratch):
    """True if this kernel can really make GRE devices of both outer families (tried in a scratch namespace)."""
    space = Namespace(scratch).create()
    try:
        return all(
            space.sh(command, check=False).returncode == 0
            for command in (
                "ip link add probe4 type gre local 192.0.2.1 remote 192.0.2.2",
                "ip link add probe6 type ip6gre local 2001:db8::1 remote 2001:db8::2",
            )
        )
    finally:
        space.delete()


class Router:
    """A kernel GRE peer with two links: `wan` on the lab's switch, `lan` to the server."""

    def __init__(self, lab_name, name, directory, in_guest):
        self.space = Namespace(f"{lab_name}-{name}")
        self.guest = Guest(self.space, directory / name) if in_guest else None
        self.name = name

    def start(self, wan, server):
        """Makes the peer; `wan` is the switch's namespace, `server` the one behind it."""
        self.space.create(forwarding=True)
        if self.guest:
            self.guest.boot(wan, self.name, server, "eth0")
            self.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        else:
            veth(wan, self.name, self.space, "wan")
            veth(self.space, "lan", server, "eth0")
        wan.sh(f"ip link set {self.name} master switch")

    def sh(self, text, check=True, timeout=60):
        """Runs shell text on the router."""
        return (self.guest or self.space).sh(text, check=check, timeout=timeout)

    def configure(self, tunnels, wan4=ROUTER4, wan6=ROUTER6):
        """Addresses, the way to the gateway's endpoints, and one GRE device per tunnel."""
        lines = [
            f"ip address add {wan4}/24 dev wan",
            f"ip address add {wan6}/64 dev wan nodad",
            f"ip route add {ENDPOINT4}/32 via {CORE4}",
            f"ip route add {ENDPOINT6}/128 via {CORE6}",
        ]
        for tunnel in tunnels:
            lines += self._tunnel_lines(tunnel)
        if tunnels:  # what the router says itself (ICMP errors) goes home by the first tunnel
            lines += [f"ip route add {CLIENT4}/32 dev {tunnels[0].device}",
                      f"ip route add {CLIENT6}/128 dev {tunnels[0].device}"]
        self.sh("\n".join(lines))

    @staticmethod
    def _tunnel_lines(tunnel):
        kind = "gre" if tunnel.outer == 4 else "ip6gre"
        options = f" key {tunnel.key}" if tunnel.key is not None else ""
        options += " csum" if tunnel.checksum else ""
        options += "" if tunnel.outer == 4 or tunnel.encap_limit else " encaplimit none"
        options += " nopmtudisc ignore-df" if tunnel.outer_fragments else ""
        table = 100 + tunnel.number
        return Router._outer_address_lines(tunnel) + [
            f"ip link add {tunnel.device} type {kind} local {tunnel.remote} remote {tunnel.endpoint} ttl 64{options}",
            f"ip link set {tunnel.device} up mtu {tunnel.router_mtu}",
            f"ip address add {tunnel.router_address(4)}/31 dev {tunnel.device}",
            f"ip address add {tunnel.router_address(6)}/127 dev {tunnel.device} nodad",
            f"ip address add {tunnel.lan_router(4)}/24 dev lan",
            f"ip address add {tunnel.lan_router(6)}/64 dev lan nodad",
            # Replies leave by the tunnel whose prefix they come from.
            f"ip route add default dev {tunnel.device} table {table}",
            f"ip -6 route add default dev {tunnel.device} table {table}",
            f"ip rule add from {tunnel.prefix(4)} iif lan table {table}",
            f"ip -6 rule add from {tunnel.prefix(6)} iif lan table {table}",
            f"ip rule add from {tunnel.router_address(4)} table {table}",
            f"ip -6 rule add from {tunnel.router_address(6)} table {table}",
        ]

    def restore(self, tunnel):
        """Sets a tunnel's device up again after `ip link set ... down`, with what the kernel forgot meanwhile."""
        device, table = tunnel.device, 100 + tunnel.number
        self.sh(f"ip link set {device} up\n"
                f"ip address replace {tunnel.router_address(6)}/127 dev {device} nodad\n"
                f"ip route replace default dev {device} table {table}\n"
                f"ip -6 route replace default dev {device} table {table}\n"
                f"ip route replace {CLIENT4}/32 dev {device}; ip route replace {CLIENT6}/128 dev {device}")

    @staticmethod
    def _outer_address_lines(tunnel):
        address = f"{tunnel.remote}/24" if tunnel.outer == 4 else f"{tunnel.remote}/64"
        nodad = "" if tunnel.outer == 4 else " nodad"
        if tunnel.vlan is None:
            return [f"ip address add {address} dev wan{nodad}"]
        link, table = f"wan.{tunnel.vlan}", 200 + tunnel.number
        gateway = VLAN_CORE4 if tunnel.outer == 4 else VLAN_CORE6
        return [
            f"ip link show {link} >/dev/null 2>&1 || ip link add link wan name {link} type vlan id {tunnel.vlan}",
            f"ip link set {link} up",
            f"ip address add {address} dev {link}{nodad}",
            f"ip route add {tunnel.endpoint} via {gateway} dev {link} table {table}",
            f"ip rule add from {tunnel.remote} table {table}" if tunnel.outer == 4 else
            f"ip -6 rule add from {tunnel.remote} table {table}",
        ]
