"""Health probes of three nodes with one address: answers come to any of them, and each tells the others what it finds."""

import os
import time

import pytest
from lab.counters import tunnel as row_of
from lab.fleet import FleetLab
from lab.plan import Tunnel
from lab.wait import eventually

TUNNEL, BY_THE_INTERNET = Tunnel(0), Tunnel(1, key=7)
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Three nodes and two GRE tunnels: answers of one come out of it, those of the other plain."""
    with FleetLab(f"fhea{os.getpid()}") as lab:
        tunnels = [TUNNEL, BY_THE_INTERNET]
        lab.up(tunnels)
        for number in lab.nodes:
            config = lab.configs[number] = lab.node_config(number, tunnels)
            probed = config["tenants"]["acme"]["tunnels"]
            probed[TUNNEL.name]["health"] = "on"
            probed[BY_THE_INTERNET.name]["health"] = {"direction": "unidirectional"}
            lab.start_gateway(number)
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def health(lab, number, tunnel=TUNNEL):
    """What a node's probes say."""
    return row_of(lab.gateways[number], tunnel.name)["health"]


def everywhere(lab, question, limit_s=15):
    """All nodes come to answer yes for both tunnels."""
    found = eventually(lambda: all(question(health(lab, number, tunnel)) for number in lab.nodes
                                   for tunnel in (TUNNEL, BY_THE_INTERNET)), limit_s)
    assert found, [(number, health(lab, number), health(lab, number, BY_THE_INTERNET)) for number in lab.nodes]


def recovers(lab):
    """No tunnel is down anywhere; one that was is degraded for minutes."""
    everywhere(lab, lambda found: found["state"] in ("healthy", "degraded"), 20)


def seen_at(lab, number):
    """Answers that came to a node, to whomever."""
    return sum(row["probe_answers"] for row in lab.gateways[number].show("cores")["rows"])


def test_an_answer_finds_its_node_wherever_it_comes(lab, spread):
    spread.everywhere("packet")
    recovers(lab)
    everywhere(lab, lambda found: found["fleet"] and found["fleet"]["nodes"] == 3)
    # All answers come to one node; the others' probes are answered no less.
    spread.only(1)
    answered = {number: health(lab, number)["answered"] for number in lab.nodes}
    lost = {number: health(lab, number)["lost_5m"] for number in lab.nodes}
    astray = [health(lab, 2, tunnel)["astray"] for tunnel in (TUNNEL, BY_THE_INTERNET)]
    seen = {number: seen_at(lab, number) for number in lab.nodes}
    time.sleep(6)
    for number in lab.nodes:
        assert health(lab, number)["answered"] - answered[number] >= 5, (number, health(lab, number))
        assert health(lab, number)["lost_5m"] - lost[number] <= 1, (number, health(lab, number))
    assert seen_at(lab, 1) - seen[1] >= 30, "two tunnels of three nodes, for six seconds"
    for number in (2, 3):
        assert seen_at(lab, number) - seen[number] <= 2, "what was under way"
    assert [health(lab, 2, tunnel)["astray"] for tunnel in (TUNNEL, BY_THE_INTERNET)] == astray, "by the right way"


def test_what_one_node_cannot_reach_is_its_own_trouble(lab, spread):
    spread.only(1, 3)
    recovers(lab)
    lab.switch.sh("bridge link set dev core2 state disabled")
    try:
        assert eventually(lambda: health(lab, 2)["state"] == "down", 10), health(lab, 2)
        assert health(lab, 2)["penalty"] == 1_000_000
        # The others hear of it by the way that is cut off as well: node 2 has no say any more, or is one of three.
        assert eventually(lambda: health(lab, 1)["fleet"]["nodes"] in (2, 3), 10)
        assert health(lab, 1)["state"] != "down" and health(lab, 1)["fleet"]["state"] != "down"
        assert health(lab, 1)["penalty"] < 1_000_000
    finally:
        lab.switch.sh("bridge link set dev core2 state forwarding")
    recovers(lab)


def test_what_all_find_down_is_down(lab, spread):
    spread.everywhere("packet")
    recovers(lab)
    router = lab.routers["router"]
    router.sh(f"ip link set {TUNNEL.device} down")
    try:
        assert eventually(lambda: all(health(lab, number)["fleet"] == {"state": "down", "nodes": 3, "degraded": 0, "down": 3}
                                      for number in lab.nodes), 15), [health(lab, number) for number in lab.nodes]
        assert all(health(lab, number, BY_THE_INTERNET)["state"] != "down" for number in lab.nodes)
        assert "of 3 nodes 3 find it down" in lab.gateways[3].ask("show", "tunnels", "--detail").stdout
    finally:
        router.restore(TUNNEL)
    recovers(lab)


def test_a_node_that_starts_anew_joins_in(lab, spread):
    spread.everywhere("packet")
    recovers(lab)
    lab.kill_gateway(3)
    spread.without(3)
    assert eventually(lambda: health(lab, 1)["fleet"]["nodes"] == 2, 20), health(lab, 1)
    lab.start_gateway(3)
    assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
    spread.everywhere("packet")
    everywhere(lab, lambda found: found["fleet"]["nodes"] == 3, 20)
    recovers(lab)
