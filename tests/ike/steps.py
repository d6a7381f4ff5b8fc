"""What many IKE tests do."""

from lab.counters import drops, lost_in_the_lab
from lab.plan import CLIENT4, CLIENT6
from lab.traffic import ANSWERED, LOST, Stream, Sweep
from lab.wait import eventually

SIZES = (1, 56, 500, 1200)


def client_address(family):
    """The client's address."""
    return CLIENT4 if family == 4 else CLIENT6


def establish(customer):
    """Brings the tunnel up if it is not; its one child SA."""
    if not customer.charon.children():
        customer.charon.initiate()
    assert eventually(lambda: len(customer.charon.children()) == 1, 10), customer.charon.sas()
    return customer.charon.children()[0]


def afresh(customer):
    """Ends what there is and negotiates anew; the one child SA."""
    customer.charon.terminate(check=False)
    assert eventually(lambda: not customer.charon.sas(), 15)
    customer.charon.initiate()
    return establish(customer)


def pings(lab, tunnel, family=4, sizes=SIZES, tries=4):
    """The outcomes of pings from the client that are not what they should be: none."""
    sweep = Sweep(lab.client, tunnel.server(family), sizes, df=False, tries=tries)
    sweep.run()
    return {size: what for size, what in sweep.results.items() if what[0] != ANSWERED}


def silence(lab, tunnel, family=4):
    """True if nothing comes back through the tunnel."""
    sweep = Sweep(lab.client, tunnel.server(family), (56,), df=False, tries=1)
    return all(what[0] == LOST for what in sweep.run().values())


def sas(gateway, tunnel, ended=False):
    """The gateway's SAs of a tunnel, {(direction, SPI): row}, without those that have ended and only wait for stragglers."""
    rows = [row for row in gateway.show("sas")["rows"] if row["tunnel"] == tunnel.name]
    return {(row["direction"], int(row["spi"], 16)): row for row in rows if ended or row["state"] != "retiring"}


def shown(gateway, tunnel):
    """The row of `show ike`."""
    return next(row for row in gateway.show("ike")["rows"] if row["tunnel"] == tunnel.name)


def failures(gateway, tunnel):
    """How often a tunnel's negotiation has failed."""
    return (shown(gateway, tunnel).get("last_failure") or {"count": 0})["count"]


def failed_with(gateway, tunnel, words, since):
    """True if a tunnel has failed more often than `since`, the last time told in these words."""
    return failures(gateway, tunnel) > since and all(
        word in shown(gateway, tunnel)["last_failure"]["reason"] for word in words)


def real_drops(gateway):
    """Drops by reason, without those that are no loss: keepalives of customers behind a NAT."""
    return {reason: count for reason, count in drops(gateway).items() if reason != "natt_keepalive"}


def streams(lab, customer, per_second=100):
    """Numbered packets from the client to behind the customer, and back."""
    tunnel = customer.tunnel
    return (Stream(lab.client, customer.server, tunnel.server(4), per_second, port=6001 + 2 * tunnel.number),
            Stream(customer.server, lab.client, CLIENT4, per_second, port=6002 + 2 * tunnel.number,
                   source_address=tunnel.server(4)))


def lost(lab, customer):
    """Packets that the lab lost on a customer's way."""
    return lost_in_the_lab(lab, customer.machine, customer.server)


def log_since(gateway, mark):
    """What the gateway has logged since `mark = len(gateway.log.read_text())`."""
    return gateway.log.read_text(errors="replace")[mark:]


def mark(gateway):
    """The log's length now."""
    return len(gateway.log.read_text(errors="replace"))
