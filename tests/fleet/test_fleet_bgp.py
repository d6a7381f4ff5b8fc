"""Nodes announce the endpoints by BGP while they can serve them: the files of docs/examples, and BIRD as the router."""

import os
import signal

import pytest
import yaml
from lab import plan
from lab.bgp import Bgp
from lab.scale import ScaleLab
from lab.wait import eventually
from steps import ready

pytestmark = pytest.mark.usefixtures("alive")
ALL = {1, 2, 3}
TENANT = "tenants: {globex: {tunnels: {hq: {endpoint: anycast4, remote: 198.18.0.201}}}}\n"


@pytest.fixture(scope="module")
def lab():
    """Three nodes that run, and no customer."""
    with ScaleLab(f"fbgp{os.getpid()}", 3, 1, "gre") as lab:
        lab.up([])
        for number, gateway in lab.gateways.items():
            gateway.twin.create()  # BIRD's home, which outlives the gateway (docs/kernel-twin.md)
            lab.start_measured(number)
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()
            gateway.twin.delete()


@pytest.fixture(scope="module")
def bgp(lab):
    """All nodes are announced."""
    with Bgp(lab) as bgp:
        assert all_in(bgp), (bgp.ways(4), bgp.ways(6), bgp.router.ask("show protocols all"))
        yield bgp


def all_in(bgp):
    """True when the router spreads over all nodes."""
    return eventually(lambda: bgp.ways(4) == bgp.ways(6) == ALL, 60)


def answers(lab):
    """True when the endpoints answer the router, whichever node it chooses."""
    return all(lab.switch.sh(f"ping -c2 -i0.2 -W1 {endpoint}", check=False).returncode == 0
               for endpoint in (plan.ENDPOINT4, plan.ENDPOINT6))


def test_the_router_spreads_over_all(lab, bgp):
    assert answers(lab)


def test_a_node_that_is_not_ready_is_withdrawn(lab, bgp, tmp_path):
    """A deaf node: it hears from the others that it lacks something. It is out in seconds, and comes back by itself."""
    file = tmp_path / "tenant.yaml"
    file.write_text(TENANT)
    with lab.deaf(3):
        lab.gateways[1].ask("apply", "-f", str(file))

        def is_out():
            lab.gateways[1].show("fleet")  # asks the others what they have
            return bgp.ways(4) == bgp.ways(6) == {1, 2}

        assert eventually(is_out, 30), (bgp.ways(4), bgp.ways(6))
        assert not ready(lab, 3)
        assert answers(lab)
    assert all_in(bgp) and ready(lab, 3)


def test_a_node_that_is_told_to_stop_is_out_before_it_does(lab, bgp):
    """While it drains; it forwards on meanwhile, so that what was under way to it arrives."""
    gateway = lab.gateways[1]
    config = yaml.safe_load(gateway.config_file.read_text())
    config["node"]["drain"] = "20s"
    gateway.reload(config)
    gateway.process.send_signal(signal.SIGTERM)
    try:
        assert eventually(lambda: bgp.ways(4) == bgp.ways(6) == {2, 3}, 10), (bgp.ways(4), bgp.ways(6))
        assert gateway.running() and answers(lab)
        assert gateway.process.wait(30) == 0, gateway.log_tail()
    finally:
        gateway.config_file.unlink()  # the lab writes it again
        lab.start_measured(1)
    assert all_in(bgp)


def test_a_node_that_dies_is_out_after_the_hold_time(lab, bgp):
    lab.kill_gateway(2)
    try:
        assert eventually(lambda: bgp.ways(4) == bgp.ways(6) == {1, 3}, 30), (bgp.ways(4), bgp.ways(6))
        assert answers(lab)
    finally:
        lab.start_measured(2)
    assert all_in(bgp)
