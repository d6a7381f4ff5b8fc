"""The anycast lab: several gateways with the same endpoints, and in front of them a router that spreads packets.

                         +-- edge1 node1 core1 --+
    client --- [edge] ---+-- edge2 node2 core2 --+--- [switch] --- router, customers --- server
                  |      +-- edge3 node3 core3 --+       |
                  +--------------- spread ---------------+

`edge` and `switch` are bridges in one namespace, and that namespace is the
router: it has the addresses that the only gateway of other labs has, so client
and customers are the same here. What they send goes to it, and on to one of
the nodes; nodes send straight to whom it is for. A management network joins
the nodes' control processes and etcd.
"""

import base64
import json
import os
import secrets
import signal

import yaml

from lab import plan
from lab.charon import Charon
from lab.esp import Associations
from lab.etcd import Etcd
from lab.gateway import Gateway, base_config, ike_config, tenant_config
from lab.ivs import Tap
from lab.netns import Namespace, bridge, veth
from lab.router import Router
from lab.spread import Spread
from lab.topology import Lab
from lab.wait import eventually

FLEET_KEY_BYTES = 32
RESCUE_PORT = 4790
DEAF = "table inet deaf { chain input { type filter hook input priority 0; iifname mgmt drop; }; " \
       "chain output { type filter hook output priority 0; oifname mgmt drop; }; }"


class FleetLab(Lab):
    """A lab with gateways 1 to `gateways`, and with `store` an etcd that makes them a fleet."""

    def __init__(self, name="fleet", gateways=3, store=True, members=1, in_guest=None):
        super().__init__(name, in_guest)
        was = json.loads(self._memory.read_text()) if self._memory.exists() else {}
        gateways, store, members = was.get("gateways", gateways), was.get("store", store), was.get("members", members)
        self.nodes = {number: plan.fleet_node(number) for number in range(1, gateways + 1)}
        self.gateways = {number: self._gateway(number) for number in self.nodes}
        self.spread = Spread(self.switch, self.nodes.values())
        self.store = Etcd(Namespace(f"{name}-store"), self.directory / "store", members) if store else None
        self.configs = {}
        self.between = 4  # the family of what nodes send one another

    @property
    def _memory(self):
        return self.directory / "fleet.json"

    def _gateway(self, number):
        directory = self.directory / self.nodes[number].name
        return Gateway(Namespace(f"{self.name}-ports{number}"), Namespace(f"{self.name}-twin{number}"), directory, punctual=True)

    def _start(self, tunnels, edge_mtu, ike):
        self._remember()
        self._memory.write_text(json.dumps({"gateways": len(self.nodes), "store": self.store is not None,
                                            "members": len(self.store.members) if self.store else 0}))
        self.client.create()
        self.server.create()
        self.switch.create(forwarding=True)
        for name, addresses in (("edge", (plan.EDGE4, plan.EDGE6)), ("switch", (plan.CORE4, plan.CORE6))):
            bridge(self.switch, name)
            self.switch.sh(f"ip address add {addresses[0]}/24 dev {name}; ip address add {addresses[1]}/64 dev {name} nodad")
        veth(self.client, "eth0", self.switch, "client", mtu=edge_mtu)
        self.switch.sh("ip link set client master edge")
        self.client.sh(
            f"ip address add {plan.CLIENT4}/24 dev eth0; ip address add {plan.CLIENT6}/64 dev eth0 nodad\n"
            f"ip route add default via {plan.EDGE4}; ip route add default via {plan.EDGE6}")
        if self.store:
            self.store.up()
            self._write_fleet_key()
        for number in self.nodes:
            self._connect(number)
        self.spread.start()
        self._start_router(tunnels, ike)

    def _start_router(self, tunnels, ike):
        router = self.routers["router"] = Router(self.name, "router", self.directory, self.in_guest, ike)
        router.start(self.switch, self.server)
        router.configure(tunnels, associations=Associations())
        self.address_server(self.server, tunnels)

    def _connect(self, number):
        """A node's links: its ports on the bridges, and its control process on the management network."""
        gateway = self.gateways[number]
        gateway.directory.mkdir(parents=True, exist_ok=True)
        gateway.space.create(ipv6=False)
        for port, master in (("edge", "edge"), ("core", "switch")):
            veth(self.switch, f"{port}{number}", gateway.space, f"{port}0")
            self.switch.sh(f"ip link set {port}{number} master {master}")
        if self.store:
            self.store.connect(gateway.space, number)

    def _write_fleet_key(self):
        """One key for all; each node reads the same file."""
        text = yaml.safe_dump({"keys": [{"key": base64.b64encode(secrets.token_bytes(FLEET_KEY_BYTES)).decode()}]})
        path = self.directory / "fleet.key"
        path.touch(0o600)
        path.write_text(text)

    def fleet_config(self, number):
        """`fleet:` of a node's configuration."""
        node = self.nodes[number]
        return {"name": "lab", "store": self.store.client_config(), "key_file": str(self.directory / "fleet.key"),
                "address": node.core4 if self.between == 4 else node.core6, "port": RESCUE_PORT}

    def node_config(self, number, tunnels, customers=()):
        """A node's whole configuration: tenants and endpoints are the same on all."""
        gateway = self.gateways[number]
        config = base_config(gateway.directory, gateway.twin.name, self.nodes[number])
        config["tenants"]["acme"] = tenant_config([*tunnels, *customers], gateway.directory)
        if customers:
            config["ike"] = ike_config(gateway.directory)
            gateway.write_credentials(customers)
        if self.store:
            config["fleet"] = self.fleet_config(number)
        return config

    def start_gateways(self, tunnels, customers=()):
        """Starts all nodes, one after the other."""
        for number in self.nodes:
            self.configs[number] = self.node_config(number, tunnels, customers)
            self.start_gateway(number)

    def start_gateway(self, number):
        """Starts a node, for the first time or after its end, with the configuration that it had."""
        gateway = self.gateways[number]
        gateway.start(self.configs.get(number) or yaml.safe_load(gateway.config_file.read_text()))

    def kill_gateway(self, number):
        """kill -9: what its ports' rings and queues held is gone. Its charon lives until the next start."""
        gateway = self.gateways[number]
        os.kill(int(gateway.pid_file.read_text()), signal.SIGKILL)
        if gateway.process is not None:
            gateway.process.wait(10)

    def charon(self, number):
        """A node's charon."""
        gateway = self.gateways[number]
        return Charon(gateway.twin, str(gateway.ike))

    def deaf(self, number):
        """A context manager: nothing passes between this node's control process and the store."""
        return Deaf(self.gateways[number].space)

    def tap(self):
        """Captures all ESP that the nodes send; see `lab.ivs`."""
        return Tap(self.switch, {node.name: f"core{number}" for number, node in self.nodes.items()}, self.directory)

    def direct_return(self, place, tunnel, direct=True):
        """Replies of this tunnel's server go to the client without the tunnel, as with most customers, or through it again.

        `place` is the router, or the customer, who has an uplink of the outer family only; behind a NAT there is no such way.
        """
        ways = {4: (plan.CLIENT4, plan.CORE4), 6: (plan.CLIENT6, plan.CORE6)}
        table, families = ("", (tunnel.outer,)) if tunnel.kind == "ike" else (f"table {100 + tunnel.number}", (4, 6))
        verb = "replace" if direct else "delete"
        place.sh("\n".join(f"/sbin/ip -{family} route {verb} {ways[family][0]} via {ways[family][1]} dev wan {table}"
                           for family in families))

    def ready(self, limit_s=30):
        """Waits until each node says that it may be sent traffic, and answers pings at the endpoints, so that neighbours are
        known; True when all do."""
        def answers(number):
            self.spread.only(number)
            if self.gateways[number].ask("ready", "--quiet", check=False).returncode != 0:
                return False
            return all(self.client.sh(f"ping -c1 -W1 {endpoint}", check=False).returncode == 0
                       for endpoint in (plan.ENDPOINT4, plan.ENDPOINT6))
        try:
            return all(eventually(lambda number=number: answers(number), limit_s) for number in self.nodes)
        finally:
            self.spread.everywhere()

    def is_there(self):
        """True if a fleet of this name is up."""
        return self._memory.exists()

    def place(self, name):
        """Those of Lab, and spread, store, ports1, twin1 and so on."""
        for number, gateway in self.gateways.items():
            if name in (f"ports{number}", f"twin{number}"):
                return gateway.space if name.startswith("ports") else gateway.twin
        if name in ("ports", "twin"):  # whose?
            raise KeyError(name)
        if name == "store" and self.store:
            return self.store.space
        return self.switch if name == "spread" else super().place(name)

    def down(self):
        """Removes this lab and nothing else."""
        if self.store and self.directory.exists():
            self.store.stop()
        super().down()


class Deaf:
    """A node without its management network. Use as a context manager."""

    def __init__(self, space):
        self.space = space

    def __enter__(self):
        self.space.sh(["nft", DEAF])
        return self

    def __exit__(self, *_):
        self.space.sh("nft delete table inet deaf")
