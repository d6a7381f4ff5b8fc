"""What fleet tests do and ask."""

import json
import threading
import time

from lab import counters
from lab.plan import CLIENT4, CLIENT6
from lab.spread import CORE, EDGE
from lab.traffic import ANSWERED, Stream, Sweep
from lab.wait import eventually

SIZES = (1, 56, 500, 1200)
GRACE_S = 35  # what was replaced is received for thirty seconds more


def client_address(family):
    """The client's address."""
    return CLIENT4 if family == 4 else CLIENT6


def pings(lab, tunnel, family=4, sizes=SIZES, tries=4):
    """The outcomes of pings from the client that are not what they should be: none."""
    results = Sweep(lab.client, tunnel.server(family), sizes, df=False, tries=tries).run()
    return {size: what for size, what in results.items() if what[0] != ANSWERED}


def even(shares, directions=(EDGE, CORE), tolerance=0.05):
    """True if each node had its part, so many hundredths more or less."""
    return all(abs(share - 1 / len(shares[direction])) < tolerance for direction in directions
               for share in shares[direction].values())


def tunnel_packets(lab, tunnel):
    """What each node's own counters say of a tunnel: {node: (packets into it, packets out of it)}."""
    rows = {number: counters.tunnel(gateway, tunnel.name) for number, gateway in lab.gateways.items() if gateway.running()}
    return {number: (row["encap"]["packets"], row["decap"]["packets"]) for number, row in rows.items()}


def streams(lab, place, tunnel, per_second=100):
    """Numbered packets from the client to a tunnel's server, and back; `place` is the server."""
    return (Stream(lab.client, place, tunnel.server(4), per_second, port=6001 + 2 * tunnel.number),
            Stream(place, lab.client, CLIENT4, per_second, port=6002 + 2 * tunnel.number, source_address=tunnel.server(4)))


def lost_in_the_lab(lab):
    """Packets that ports' rings, links and the guest's processor lost around the nodes; they say so themselves."""
    router = lab.routers["router"]
    nodes = [f"{port}{number}" for number in lab.nodes for port in ("edge", "core")]
    links = []
    for place, names in ((lab.switch, ["client", "router", *nodes]), (lab.client, ["eth0"]), (lab.server, ["eth0"]),
                         (router, ["wan0", "lan0"] if router.ike else ["wan", "lan"])):
        shown = json.loads(place.sh("/sbin/ip -j -s link").stdout)
        links += [link for link in shown if link["ifname"] in names]
    backlog = sum(int(line.split()[1], 16) for line in router.sh("cat /proc/net/softnet_stat").stdout.splitlines() if line)
    rings = sum(counters.missed(gateway) for gateway in lab.gateways.values() if gateway.running())
    return rings + backlog + sum(link["stats64"][way]["dropped"] for link in links for way in ("rx", "tx"))


def drops(lab):
    """What all nodes dropped, by reason."""
    total = {}
    for gateway in lab.gateways.values():
        for reason, packets in (counters.drops(gateway) if gateway.running() else {}).items():
            total[reason] = total.get(reason, 0) + packets
    return total


def sas(lab, number, tunnel):
    """A node's SAs of a tunnel that are not about to go: {(direction, SPI)}."""
    rows = lab.gateways[number].show("sas")["rows"]
    return {(row["direction"], int(row["spi"], 16)) for row in rows if row["tunnel"] == tunnel.name and row["state"] != "retiring"}


def pair(customer):
    """What a node must have of the customer's newest child: {(direction, SPI)}."""
    child = customer.charon.children()[-1]
    return {("inbound", int(child["spi-out"], 16)), ("outbound", int(child["spi-in"], 16))}


def agreed(lab, customer, nodes=None):
    """True when these nodes (all that run) have what the customer has, and nothing else."""
    nodes = [number for number in lab.nodes if lab.gateways[number].running()] if nodes is None else nodes
    return len(customer.charon.children()) == 1 and all(
        sas(lab, number, customer.tunnel) == pair(customer) for number in nodes)


def ready(lab, number):
    """Whether a node says that it may be sent traffic."""
    return lab.gateways[number].ask("ready", "--quiet", check=False).returncode == 0


def carried(lab, customer, nodes):
    """True when these nodes have what the customer has, maybe beside what a dead node has left."""
    return len(customer.charon.children()) == 1 and all(
        sas(lab, number, customer.tunnel) >= pair(customer) for number in nodes)


def mark(lab):
    """How long each node's log is now."""
    return {number: len(gateway.log.read_text(errors="replace")) for number, gateway in lab.gateways.items()}


def said_since(lab, marks, number):
    """What a node has logged since."""
    return lab.gateways[number].log.read_text(errors="replace")[marks[number]:]


def called_gone(lab, marks):
    """The nodes of the lab that a node has called gone since."""
    return {(number, gone) for number in lab.nodes for gone in lab.nodes.values() if f"node {gone.name} went" in said_since(lab, marks, number)}


def owners(lab, number, tunnel):
    """The names of the nodes that negotiated what a node has of a tunnel."""
    return {row["node"] for row in lab.gateways[number].show("sas")["rows"]
            if row["tunnel"] == tunnel.name and row["state"] != "retiring"}


def established(lab, tunnel, owner=1, afresh=False):
    """The customer, with a tunnel that it negotiated with this node; all nodes have it."""
    customer = lab.customers.get(tunnel.name) or lab.add_customer(tunnel)
    if afresh or not customer.charon.children() or owners(lab, owner, tunnel) != {lab.nodes[owner].name}:
        customer.charon.terminate(check=False, force=True)
        lab.spread.only(owner)
        customer.charon.initiate()
        lab.spread.everywhere()
    assert eventually(lambda: agreed(lab, customer), 60), [sas(lab, number, tunnel) for number in lab.nodes]
    return customer


class Watched:
    """Streams through a tunnel in both directions; afterwards nothing is lost that nobody owns up to. A context manager.

    `allowed` may be raised meanwhile: packets that went to a dead node.
    """

    def __init__(self, lab, tunnel, per_second=100):
        self.lab, self.tunnel, self.per_second, self.allowed = lab, tunnel, per_second, 0

    def __enter__(self):
        self.reasons, self.lost = drops(self.lab), lost_in_the_lab(self.lab)
        self.refused = counters.xfrm_stat(self.lab.customers[self.tunnel.name])
        self.up, self.down = streams(self.lab, self.lab.server, self.tunnel, self.per_second)
        self.up.__enter__()
        self.down.__enter__()
        return self

    def begun_again(self):
        """A node that was dead is ready: what came to it before that is among what is allowed to be lost."""
        self.reasons = drops(self.lab)

    def __exit__(self, kind, *_):
        self.up.__exit__()
        self.down.__exit__()
        if kind is not None:
            return
        own = max(0, lost_in_the_lab(self.lab) - self.lost)
        new = {reason: count for reason, count in drops(self.lab).items() if count > self.reasons.get(reason, 0)}
        print(f"sent {self.up.sent} up and {self.down.sent} down, lost {self.up.lost} and {self.down.lost}, "
              f"in the lab {own}, allowed {self.allowed}, dropped by gateways: {new}")
        assert self.up.sent > 50 and self.down.sent > 50
        assert counters.xfrm_stat(self.lab.customers[self.tunnel.name]) == self.refused, "the customer's kernel could not open something"
        assert self.up.lost + self.down.lost <= own + self.allowed
        assert set(new) <= {"natt_keepalive"}, new


def rekeyed_past_a_deaf_node(lab, customer, number):
    """A rekey that a node does not hear of for a second, under streams that lose nothing: what comes to it is rescued."""
    with Watched(lab, customer.tunnel, 200):
        with lab.deaf(number):
            rekey = threading.Thread(target=customer.charon.rekey_child)
            rekey.start()
            time.sleep(1)
        rekey.join()
        time.sleep(1)
    assert eventually(lambda: agreed(lab, customer), GRACE_S + 30)
