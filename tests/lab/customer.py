"""Customers that speak IKE: each a router with a charon of its own, in a network namespace on a machine of the lab.

The machine is a `Router` with `ike`, a guest or a namespace; both kinds take
the same shell text. Its two links are bridges:

    switch -- wan [bridge] -- (NAT) -- customer -- [bridge] lan -- server
"""

import re

from lab.charon import Charon
from lab.plan import CLIENT4, CLIENT6, CORE4, CORE6


class Inside:
    """A network namespace on a machine."""

    def __init__(self, machine, name):
        self.machine, self.name = machine, f"{machine.lab_name}-{name}"

    def create(self, *links):
        """Makes it with these links: (name, bridge of the machine), or (name, another Inside, its link's name)."""
        lines = []
        for number, (link, to, *peer) in enumerate(links):
            # Made here, under names of their own, and moved: the machine itself has a link of the same name.
            near, far = (f"{self.name[-10:]}.{number}{side}" for side in "nf")
            lines += [f"link add {near} type veth peer name {far}", f"link set {near} netns {self.name} name {link}",
                      f"link set {far} netns {to.name} name {peer[0]}" if peer else f"link set {far} master {to} up"]
        self.machine.sh(f"mkdir -p /run/netns\n/sbin/ip netns add {self.name}\n" + batch(lines))
        settings = {"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0, "ipv6/conf/default/accept_ra": 0,
                    "ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1, "ipv4/conf/all/rp_filter": 0,
                    "ipv4/conf/default/rp_filter": 0, "ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0}
        settings |= {f"ipv6/conf/{link}/accept_dad": 0 for link, *_ in links}
        self.sh("".join(f"echo {value} > /proc/sys/net/{key}\n" for key, value in settings.items())
                + batch(f"link set {link} up" for link in ("lo", *(link for link, *_ in links))))
        return self

    def sh(self, text, check=True, timeout=60):
        """Runs shell text here."""
        return self.machine.sh(f"nsenter --net=/run/netns/{self.name} -- sh -e <<'ENDOFTEXT'\n{text}\nENDOFTEXT\n", check, timeout)

    def connect_unix(self, path, timeout=60):
        """A socket that is connected to a unix socket of the machine."""
        return self.machine.connect_unix(path, timeout)

    def delete(self):
        """Removes it and its links."""
        self.machine.sh(f"/sbin/ip netns delete {self.name}", check=False)


class Nat:
    """A NAT in front of one customer, as in a home router: all behind it has one address, ports are the NAT's."""

    def __init__(self, machine, tunnel):
        self.tunnel = tunnel
        self.space = Inside(machine, f"n{tunnel.number}")

    def start(self):
        """Makes it; the customer's link comes later, by name `inside`."""
        self.space.create(("wan", "wan"))
        length = 24 if self.tunnel.outer == 4 else 64
        self.space.sh(batch([f"address add {self.tunnel.remote}/{length} dev wan {nodad(self.tunnel.remote)}",
                             f"route add default via {CORE4 if self.tunnel.outer == 4 else CORE6}"]) + self._rules())

    def connected(self):
        """The customer's link is there."""
        length = 24 if self.tunnel.outer == 4 else 64
        self.space.sh(f"/sbin/ip link set inside up\n"
                      f"/sbin/ip address add {self.tunnel.nat_inside}/{length} dev inside {nodad(self.tunnel.nat_inside)}")

    def move(self, first_port):
        """Forgets all mappings; new ones have ports from `first_port` on.

        A masquerading kernel forgets when the link goes down, as a router does that restarts.
        """
        gateway = CORE4 if self.tunnel.outer == 4 else CORE6
        length = 24 if self.tunnel.outer == 4 else 64
        # An IPv6 address goes with its link.
        self.space.sh(f"/usr/sbin/nft flush ruleset\n{self._rules(first_port)}"
                      f"/sbin/ip link set wan down; /sbin/ip link set wan up\n"
                      f"/sbin/ip address replace {self.tunnel.remote}/{length} dev wan {nodad(self.tunnel.remote)}\n"
                      f"/sbin/ip route replace default via {gateway}")

    def _rules(self, first_port=20000):
        # A range of ports above the well-known ones: the gateway never sees 500 or 4500 from here.
        ports = f"masquerade to :{first_port}-{first_port + 999}"
        return f"""/usr/sbin/nft -f - <<'END'
table inet nat {{
    chain leave {{
        type nat hook postrouting priority srcnat
        oifname wan meta l4proto udp {ports}
        oifname wan masquerade
    }}
}}
END
"""


class Customer:
    """One customer's router."""

    def __init__(self, machine, tunnel, server):
        self.machine, self.tunnel, self.server = machine, tunnel, server
        self.name = tunnel.name
        self.space = Inside(machine, f"c{tunnel.number}")
        self.nat = Nat(machine, tunnel) if tunnel.nat else None
        self.charon = Charon(self.space, f"{machine.directory}/{tunnel.name}", **self._settings())

    def _settings(self):
        return {"install_routes": "no" if self.tunnel.route_based else "yes"}

    def start(self):
        """Makes its namespace and starts its charon; nothing is negotiated yet."""
        self.make()
        self.charon.start()
        return self

    def make(self):
        """The namespace with links, addresses, routes, and charon's files; no charon."""
        tunnel = self.tunnel
        if self.nat:
            self.nat.start()
            self.space.create(("wan", self.nat.space, "inside"), ("lan", "lan"))
            self.nat.connected()
        else:
            self.space.create(("wan", "wan"), ("lan", "lan"))
        gateway = tunnel.nat_inside if self.nat else CORE4 if tunnel.outer == 4 else CORE6
        lines = [
            f"address add {tunnel.wan}/{24 if tunnel.outer == 4 else 64} dev wan {nodad(tunnel.wan)}",
            f"address add {tunnel.lan_router(4)}/24 dev lan",
            f"address add {tunnel.lan_router(6)}/64 dev lan nodad",
            *([f"route add {tunnel.endpoint} via {gateway}"] if self.nat or not tunnel.peer else []),
        ]
        if tunnel.route_based:
            lines += [
                f"link add {tunnel.device} type xfrm dev wan if_id {tunnel.number + 1}",
                f"link set {tunnel.device} up mtu {tunnel.inner_mtu()}",
                f"address add {tunnel.router_address(4)}/31 dev {tunnel.device}",
                f"address add {tunnel.router_address(6)}/127 dev {tunnel.device} nodad",
                f"route add default dev {tunnel.device}", f"route add ::/0 dev {tunnel.device}",
            ]
        else:  # a policy catches what a route sends out of wan
            lines += [f"route add {CLIENT4}/32 dev wan", f"route add {CLIENT6}/128 dev wan"]
        self.space.sh(batch(lines))
        self._address_server()
        self.configure(tunnel)

    def _address_server(self):
        """The server has an address in each customer's prefix, and answers from it by that customer's router."""
        tunnel, table = self.tunnel, 100 + self.tunnel.number
        lines = []
        for family, length, more in ((4, 24, ""), (6, 64, " nodad")):
            ip = f"ip -{family}"
            lines += [f"{ip} address add {tunnel.server(family)}/{length} dev eth0{more}",
                      f"{ip} route add default via {tunnel.lan_router(family)} table {table}",
                      f"{ip} rule add from {tunnel.prefix(family)} table {table}"]
        self.server.sh("\n".join(lines))

    def configure(self, tunnel):
        """Takes another configuration for the same place; a running charon loads it."""
        running = self.tunnel is not tunnel
        self.tunnel = tunnel
        self.machine.sh(f"mkdir -p {self.charon.directory}")
        self.charon.configure(tunnel.swanctl(), tunnel.swanctl_files())
        if running:
            self.charon.load()

    def sh(self, text, check=True, timeout=60):
        """Runs shell text on the router; `swanctl` there speaks to its charon."""
        return self.space.sh(f"export {self.charon.environment}\n{text}", check=check, timeout=timeout)

    def states(self):
        """Its kernel's SAs: (source, target, SPI, packets)."""
        text = self.sh("/sbin/ip -s xfrm state").stdout
        found = []
        for block in re.split(r"(?m)^(?=src )", text)[1:]:
            ends = re.match(r"src (\S+) dst (\S+)\n\s+proto esp spi (0x[0-9a-f]+)", block)
            packets = re.search(r"lifetime current:\s+\d+\(bytes\), (\d+)\(packets\)", block)
            if ends:
                found.append((ends[1], ends[2], int(ends[3], 16), int(packets[1]) if packets else 0))
        return found


def batch(lines):
    """Shell text that gives `ip` all these lines at once: one process for many is what a slow guest needs."""
    return "/sbin/ip -batch - <<'ENDOFBATCH'\n" + "\n".join(lines) + "\nENDOFBATCH\n"


def nodad(address):
    """The word for an IPv6 address that is used at once."""
    return "nodad" if ":" in address else ""
