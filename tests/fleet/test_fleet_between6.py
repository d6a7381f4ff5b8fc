"""Nodes that reach one another by IPv6: what one has to have of another goes that way."""

import os

import pytest
from lab.fleet import FleetLab
from lab.ike import IkeTunnel
from steps import established, pings, rekeyed_past_a_deaf_node

TUNNEL = IkeTunnel(0, window=0)
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Three nodes and a customer, both of whose packets are IPv4."""
    with FleetLab(f"fsix{os.getpid()}") as lab:
        lab.between = 6
        lab.up([], ike=True)
        lab.start_gateways([], [TUNNEL])
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def rescued(lab):
    """Packets that nodes handed to others so far, and took from them."""
    shown = [gateway.show("fleet")["rescue"] for gateway in lab.gateways.values()]
    return sum(each["sent"] for each in shown), sum(each["received"] for each in shown)


def test_acknowledgements(lab, spread):
    """Nobody waits until the time is up."""
    established(lab, TUNNEL)
    assert pings(lab, TUNNEL) == {}
    barrier = lab.gateways[1].show("fleet")["barrier"]
    assert barrier["waits"] > 0 and barrier["timeouts"] == 0, barrier


def test_what_a_deaf_node_cannot_open(lab, spread):
    customer, before = established(lab, TUNNEL), rescued(lab)
    rekeyed_past_a_deaf_node(lab, customer, 3)
    sent, received = (now - then for now, then in zip(rescued(lab), before, strict=True))
    assert sent > 0 and received > 0, (sent, received)
    assert pings(lab, TUNNEL) == {}


def test_a_node_with_the_other_family(lab):
    """It does not start, and says why."""
    config = dict(lab.configs[3])
    lab.gateways[3].stop()
    try:
        with pytest.raises(RuntimeError, match="fleet.address of the same family"):
            lab.gateways[3].start(config | {"fleet": config["fleet"] | {"address": lab.nodes[3].core4}})
    finally:
        lab.start_gateway(3)
