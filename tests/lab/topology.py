"""A whole lab: client, gateway's ports, switch, customer router, server."""

import fcntl
import json
import os

from lab import plan
from lab.customer import Customer
from lab.esp import Associations
from lab.gateway import Gateway
from lab.ike import IkeTunnel
from lab.netns import Namespace, bridge, veth
from lab.router import Router, kernel_has_tunnels
from lab.state import STATE, directory_of, remove


class Lab:
    """Everything of one named lab. Use as a context manager, or `up` and `down`."""

    def __init__(self, name="lab", in_guest=None):
        self.name = name
        self.directory = directory_of(name)
        was = json.loads((self.directory / "lab.json").read_text()) if (self.directory / "lab.json").exists() else {}
        if in_guest is None:
            in_guest = was.get("in_guest")
        self.in_guest = in_guest
        self.client = Namespace(f"{name}-client")
        self.ports = Namespace(f"{name}-ports")
        self.switch = Namespace(f"{name}-switch")
        self.server = Namespace(f"{name}-server")
        self.twin = Namespace(f"{name}-twin")
        self.gateway = Gateway(self.ports, self.twin, self.directory)
        self.associations = Associations()
        self.config = None
        self.routers, self.customers = {}, {}
        if in_guest is not None:
            self.routers["router"] = Router(name, "router", self.directory, in_guest)
            for tunnel in was.get("customers", []):
                tunnel = IkeTunnel(**tunnel)
                self.customers[tunnel.name] = Customer(self.routers["router"], tunnel, self.server)

    def up(self, tunnels, edge_mtu=1500, ike=False):
        """Makes namespaces and links and starts the router, with `ike` one that has room for customers.

        The gateway is started by its own method.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with open(STATE / "lock", "w", encoding="utf-8") as lock:  # one probe and one image build at a time
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.in_guest is None:
                wish = os.environ.get("LAB_PEER", "auto")
                self.in_guest = wish == "guest" or (wish == "auto" and not kernel_has_tunnels(f"{self.name}-probe"))
            self._start(tunnels, edge_mtu, ike)
        return self

    def _remember(self):
        """What a later process needs to know of this lab."""
        customers = [{"number": each.tunnel.number, "outer": each.tunnel.outer, "nat": each.tunnel.nat}
                     for each in self.customers.values()]
        (self.directory / "lab.json").write_text(json.dumps({"in_guest": self.in_guest, "customers": customers}))

    def _start(self, tunnels, edge_mtu, ike):
        self._remember()
        self.client.create()
        self.ports.create(ipv6=False)
        self.switch.create(ipv6=False)
        self.server.create()
        bridge(self.switch, "switch")
        veth(self.client, "eth0", self.ports, "edge0", mtu=edge_mtu)
        veth(self.switch, "gateway", self.ports, "core0")
        self.switch.sh("ip link set gateway master switch")
        self.client.sh(
            f"ip address add {plan.CLIENT4}/24 dev eth0; ip address add {plan.CLIENT6}/64 dev eth0 nodad\n"
            f"ip route add default via {plan.EDGE4}; ip route add default via {plan.EDGE6}"
        )
        router = self.routers["router"] = Router(self.name, "router", self.directory, self.in_guest, ike)
        router.start(self.switch, self.server)
        for tunnel in tunnels:
            if tunnel.kind == "esp":
                self.associations.add(tunnel)
        router.configure(tunnels, associations=self.associations)
        self.address_server(self.server, tunnels)

    @staticmethod
    def address_server(server, tunnels):
        """The server has an address in every tunnel's prefix; the router is its way out."""
        lines = [f"ip address add {tunnel.server(4)}/24 dev eth0\nip address add {tunnel.server(6)}/64 dev eth0 nodad"
                 for tunnel in tunnels]
        if tunnels:
            lines += [f"ip route add default via {tunnels[0].lan_router(4)}",
                      f"ip route add default via {tunnels[0].lan_router(6)}"]
        server.sh("\n".join(lines))

    def apply_associations(self):
        """Tells the gateway of changed SAs; its configuration stays."""
        self.gateway.reload(self.config, self.associations)

    def add_client(self, port, addresses, gateways):
        """A second client with a port of the gateway to itself."""
        space = Namespace(f"{self.name}-{port}-client").create()
        veth(space, "eth0", self.ports, port)
        for address in addresses:
            space.sh(f"ip address add {address} dev eth0" + (" nodad" if ":" in address else ""))
        for gateway in gateways:
            space.sh(f"ip route add default via {gateway}")
        return space

    def add_host(self, name, addresses=()):
        """One more namespace on the switch, for example a scapy peer; its link is eth0."""
        space = Namespace(f"{self.name}-{name}").create()
        veth(self.switch, name, space, "eth0")
        self.switch.sh(f"ip link set {name} master switch")
        for address in addresses:
            space.sh(f"ip address add {address} dev eth0" + (" nodad" if ":" in address else ""))
        return space

    def add_router(self, name, tunnels, wan4, wan6, ike=False):
        """A second customer's router with a server of its own behind it; returns (router, server)."""
        server = Namespace(f"{self.name}-{name}-server").create()
        router = self.routers[name] = Router(self.name, name, self.directory, self.in_guest, ike)
        router.start(self.switch, server)
        router.configure(tunnels, wan4, wan6)
        self.address_server(server, tunnels)
        return router, server

    def add_customer(self, tunnel, router="router"):
        """A customer that speaks IKE, on this router; its charon runs and waits to be told to begin."""
        customer = self.customers[tunnel.name] = Customer(self.routers[router], tunnel, self.server_of(router))
        customer.start()
        self._remember()
        return customer

    def server_of(self, router):
        """The server behind this router."""
        return self.server if router == "router" else Namespace(f"{self.name}-{router}-server")

    def place(self, name):
        """What a user calls client, ports, switch, server, twin or router."""
        if name in self.routers:
            return self.routers[name]
        if name in self.customers:
            return self.customers[name]
        places = {"client": self.client, "ports": self.ports, "switch": self.switch,
                  "server": self.server, "twin": self.twin}
        return places[name]

    def down(self):
        """Removes this lab and nothing else."""
        remove(self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()
