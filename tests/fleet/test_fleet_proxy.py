"""A fleet whose nodes ask an etcd grpc-proxy, as docs/fleet.md has it for many nodes."""

import os
import time

import pytest
from lab.proxy import Proxy
from lab.scale import ScaleLab
from lab.wait import eventually
from steps import called_gone, mark, ready

pytestmark = pytest.mark.usefixtures("alive")
TUNNELS, SAS = 100, 200
AWAY_S = 8  # longer than the lease of a node's record


@pytest.fixture(scope="module")
def lab():
    """Three nodes, with SAs of a fourth in the store."""
    with ScaleLab(f"fpxy{os.getpid()}", 3, TUNNELS) as lab:
        lab.up([])
        lab.store.proxy = Proxy(lab.store).up()
        lab.fill()
        for number in lab.nodes:
            lab.start_measured(number)
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def fleet(lab, number):
    """What a node says of the fleet."""
    return lab.gateways[number].show("fleet")


def sees_all(lab, number):
    """True when a node has all SAs and knows that the two others live."""
    shown = fleet(lab, number)
    return shown["sas"]["foreign"] == SAS and {row["name"] for row in shown["nodes"]} >= {"node1", "node2", "node3"}


def test_all_nodes_have_what_the_store_has(lab):
    assert all(eventually(lambda number=number: sees_all(lab, number), 10) for number in lab.nodes)


def test_changes_go_through_one_watch(lab):
    result = lab.measure(50, 3)
    print(result)
    assert result["timeouts"] == 0 and result["sas"] == 50


def test_the_proxy_is_away(lab):
    """For longer than a lease lives, which the proxy cannot keep then. Nobody is called gone when it is back."""
    marks = mark(lab)
    lab.store.proxy.kill()
    try:
        assert all(eventually(lambda number=number: not fleet(lab, number)["store"]["connected"], AWAY_S) for number in lab.nodes)
        time.sleep(AWAY_S)
    finally:
        lab.store.proxy.start()
    assert all(eventually(lambda number=number: fleet(lab, number)["store"]["connected"], 30) for number in lab.nodes)
    assert all(eventually(lambda number=number: ready(lab, number) and sees_all(lab, number), 30) for number in lab.nodes)
    assert called_gone(lab, marks) == set()
    result = lab.measure(20, 3)
    assert result["timeouts"] == 0, result
