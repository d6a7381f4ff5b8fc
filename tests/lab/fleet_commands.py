"""`scripts/lab fleet ...`: the anycast lab by hand."""

import argparse
import json
import os
import sys

from lab import plan
from lab.fleet import FleetLab
from lab.ike import IkeTunnel
from lab.place import execute
from lab.scale import report
from lab.spread import CORE, EDGE
from lab.traffic import MIB, tcp_copy

FIRST_IKE = 90  # the first customer's number
PLACES = (f"client, server, router (GRE), ike{FIRST_IKE} and so on (customers), spread (the router in front of the nodes), "
          "ports1, twin1 and so on (a node's links and control process; its kernel side), store")
ACTIONS = ("start", "pause", "resume", "kill", "restart", "compact", "snapshot", "restore")


def add_parser(commands):
    """Adds `fleet` and its own commands."""
    fleet = commands.add_parser("fleet", help="several gateways behind a router that spreads packets over them",
                                description=__doc__).add_subparsers(dest="fleet_command", required=True)
    up = fleet.add_parser("up", help="make the lab and start the gateways")
    up.add_argument("--gateways", type=int, default=3, choices=range(1, 4), help="how many nodes (default: 3)")
    up.add_argument("--customers", type=int, default=0, help=f"with strongSwan, from number {FIRST_IKE} on (default: 0)")
    up.add_argument("--tunnels", type=int, default=1, help="GRE tunnels to the router (default: 1)")
    up.add_argument("--spread", choices=("packet", "flow"), default="packet", help="how packets are spread (default: packet)")
    up.add_argument("--members", type=int, choices=(1, 3), default=1, help="of etcd (default: 1)")
    up.add_argument("--no-store", action="store_true", help="nodes that know nothing of each other: enough for GRE")
    fleet.add_parser("down", help="remove the lab")
    fleet.add_parser("status", help="say what is there, and how many packets went to whom")
    ask = fleet.add_parser("ask", help="ask a node, for example: ask 2 show tunnels")
    ask.add_argument("node", type=int)
    ask.add_argument("words", nargs=argparse.REMAINDER)
    run = fleet.add_parser("exec", help="run a command somewhere in the lab")
    run.add_argument("place", help=PLACES)
    run.add_argument("words", nargs=argparse.REMAINDER)
    spread = fleet.add_parser("spread", help="spread otherwise, for example: spread flow --nodes 1 3")
    spread.add_argument("how", choices=("packet", "flow"))
    spread.add_argument("--nodes", type=int, nargs="+", help="only over these (default: all)")
    spread.add_argument("--direction", choices=(EDGE, CORE), help="only what comes from clients (edge) or customers (core)")
    store = fleet.add_parser("store", help="do something to etcd: " + ", ".join(ACTIONS))
    store.add_argument("action", choices=ACTIONS)
    store.add_argument("file", nargs="?", help="of snapshot and restore")
    ctl = fleet.add_parser("etcdctl", help="etcdctl with all rights, for example: etcdctl get --prefix --keys-only /penstock/")
    ctl.add_argument("words", nargs=argparse.REMAINDER)
    copy = fleet.add_parser("copy", help="copy random bytes over TCP and compare checksums")
    copy.add_argument("source", choices=("client", "server"))
    copy.add_argument("--tunnel", type=int, default=0, help=f"its number; the first customer's is {FIRST_IKE} (default: 0)")
    copy.add_argument("--mib", type=int, default=100, help="how much (default: 100)")
    measure = fleet.add_parser("measure", help="a fleet of its own with many tunnels: how long things take, and how much memory")
    measure.add_argument("--tunnels", type=int, default=5000, help="of each node; an IPsec tunnel has two SAs (default: 5000)")
    measure.add_argument("--kind", choices=("ipsec", "gre"), default="ipsec", help="of tunnels (default: ipsec)")
    measure.add_argument("--gateways", type=int, default=3, choices=range(1, 4), help="how many nodes (default: 3)")
    measure.add_argument("--changes", type=int, default=200, help="SAs that are negotiated meanwhile, one after the other (default: 200)")
    for name, number in (("start", "start it again"), ("kill", "kill -9")):
        fleet.add_parser(name, help=f"a node: {number}").add_argument("node", type=int)


def main(arguments):
    """Runs one command; the exit status is the command's."""
    command, name = arguments.fleet_command, arguments.name or "fleet"
    if command == "up":
        return command_up(name, arguments)
    if command == "measure":
        print(json.dumps(report(arguments.name or "scale", arguments.gateways, arguments.tunnels, arguments.kind, arguments.changes), indent=1))
        return 0
    lab = FleetLab(name)
    if command != "down" and not lab.is_there():
        sys.exit(f"no fleet {name!r} is up; start it with: scripts/lab --name {name} fleet up")
    if getattr(arguments, "node", None) not in (None, *lab.nodes):
        sys.exit(f"no node {arguments.node}; there are {', '.join(map(str, lab.nodes))}")
    return globals()[f"command_{command}"](lab, arguments)


def command_up(name, arguments):
    """Makes the lab; a failure on the way removes what was made."""
    if FleetLab(name).directory.exists():
        sys.exit(f"lab {name!r} is already up; remove it with: scripts/lab --name {name} fleet down")
    if arguments.customers and arguments.no_store:
        sys.exit("customers with IPsec need a fleet: leave out --no-store")
    tunnels = [plan.Tunnel(number) for number in range(arguments.tunnels)]
    customers = [IkeTunnel(FIRST_IKE + number, window=0) for number in range(arguments.customers)]
    lab = FleetLab(name, arguments.gateways, not arguments.no_store, arguments.members)
    try:
        lab.up(tunnels, ike=bool(customers))
        lab.start_gateways(tunnels, customers)
        lab.spread.everywhere(arguments.spread)
        for tunnel in customers:
            lab.add_customer(tunnel).charon.initiate()
    except BaseException:
        lab.down()
        raise
    return command_status(lab, arguments)


def command_down(lab, _):
    """Removes the lab."""
    lab.down()


def command_status(lab, _):
    """Says what is there."""
    for number, gateway in lab.gateways.items():
        answers = gateway.socket.exists() and gateway.ask("show", "ports", check=False).returncode == 0
        print(f"node {number}: penstock {'answers' if answers else 'is not running'}   log {gateway.log}")
    print(f"  client {plan.CLIENT4} {plan.CLIENT6}   first server {plan.Tunnel(0).server(4)} {plan.Tunnel(0).server(6)}")
    for name, customer in lab.customers.items():
        print(f"  customer {name}, its server {customer.tunnel.server(4)} {customer.tunnel.server(6)}")
    print(f"  etcd {', '.join(lab.store.endpoints)}" if lab.store else "  no store")
    for direction, counts in lab.spread.counts().items():
        print(f"  sent from {direction}: " + ", ".join(f"{packets} to node {number}" for number, packets in counts.items()))


def command_ask(lab, arguments):
    """Runs the penstock client against one node."""
    done = lab.gateways[arguments.node].ask(*arguments.words, check=False)
    print(done.stdout, end="")
    return done.returncode


def command_exec(lab, arguments):
    """Runs a command in a namespace or on a router."""
    return execute(lab, arguments.place, arguments.words, PLACES)


def command_spread(lab, arguments):
    """Another way to spread; each direction that is named gets it whole."""
    directions = (arguments.direction,) if arguments.direction else (EDGE, CORE)
    lab.spread.set(arguments.how, arguments.nodes or lab.nodes, directions)


def command_store(lab, arguments):
    """What may happen to a store."""
    if lab.store is None:
        sys.exit("this fleet has no store")
    if (arguments.file is None) == (arguments.action in ("snapshot", "restore")):
        sys.exit("snapshot and restore, and nothing else, need a file")
    getattr(lab.store, arguments.action)(*([os.path.abspath(arguments.file)] if arguments.file else []))


def command_etcdctl(lab, arguments):
    """As root of etcd."""
    if lab.store is None:
        sys.exit("this fleet has no store")
    done = lab.store.ctl(arguments.words, check=False, timeout=3600)
    print(done.stdout, end="")
    return done.returncode


def command_copy(lab, arguments):
    """One transfer between client and server, through one tunnel."""
    server, before = plan.Addresses(arguments.tunnel).server(4), lab.spread.counts()
    if arguments.source == "client":
        done = tcp_copy(lab.client, lab.server, server, arguments.mib * MIB, timeout=3600)
    else:
        done = tcp_copy(lab.server, lab.client, plan.CLIENT4, arguments.mib * MIB, bind=server, timeout=3600)
    equal = done.sent_sha256 == done.received_sha256
    print(f"{done.size // MIB} MiB at {done.mbit_s:.0f} Mbit/s, checksums {'equal' if equal else 'DIFFER'}")
    for direction, shares in lab.spread.shares(before).items():
        print(f"  sent from {direction}: " + ", ".join(f"{share:.0%} to node {number}" for number, share in shares.items()))
    return 0 if equal else 1


def command_start(lab, arguments):
    """A node, after its end."""
    lab.start_gateway(arguments.node)


def command_kill(lab, arguments):
    """kill -9; the router does not know, see `spread`."""
    lab.kill_gateway(arguments.node)
