"""Routes of a tenant: priority, weights, and what happens to flows when a next hop goes away."""

from collections import Counter

import pytest
from kinds import TUNNELS
from lab.counters import tunnel as row_of
from lab.plan import CORE4, ROUTER4
from lab.traffic import Capture, udp_flows
from lab.wait import eventually
from scapy.layers.inet import UDP
from scapy.layers.l2 import GRE, Ether

PREFIX, TARGET = "198.51.200.0/24", "198.51.200.10"
FIRST, SECOND, THIRD = TUNNELS[0], TUNNELS[1], TUNNELS[4]
PORTS = range(20000, 20400)


@pytest.fixture
def shared(lab, config):
    """Sets the ways of one prefix; the router throws away what arrives for it."""
    acme = config["tenants"]["acme"]
    acme["prefixes"].append(PREFIX)
    routes = acme["routes"]
    lab.routers["router"].sh(f"ip route add blackhole {PREFIX}")

    def set_ways(*ways):
        acme["routes"] = routes + [{"prefix": PREFIX} | way for way in ways]
        lab.gateway.reload(config)

    yield set_ways
    lab.routers["router"].sh(f"ip route del blackhole {PREFIX}")


def ways_of_flows(lab):
    """Sends one packet of each flow and says, by source port, to which router address it went."""
    found = {}
    for _ in range(5):  # a busy machine's port may miss one: then it is sent again
        missing = [port for port in PORTS if port not in found]
        with Capture(lab.switch, "gateway") as seen:
            udp_flows(lab.client, TARGET, missing)
            eventually(lambda seen=seen, many=len(missing): len(seen.drain()) >= many, 1)
        for packet in map(Ether, seen.frames):
            if GRE in packet and UDP in packet:
                found[packet[UDP].sport] = packet.payload.dst
        if len(found) == len(PORTS):
            break
    assert set(found) == set(PORTS), "every flow went somewhere"
    return found


def test_equal_priority_shares_flows_by_weight_and_moves_only_the_lost_ones(lab, shared):
    shared(*({"via": tunnel.name, "weight": weight} for tunnel, weight in ((FIRST, 1), (SECOND, 1), (THIRD, 2))))
    before = ways_of_flows(lab)
    count = Counter(before.values())
    share = len(PORTS) / 4
    assert 0.7 * share < count[FIRST.remote] < 1.3 * share, count
    assert 0.7 * share < count[SECOND.remote] < 1.3 * share, count
    assert 0.8 * 2 * share < count[THIRD.remote] < 1.2 * 2 * share, count
    assert ways_of_flows(lab) == before, "a flow keeps its way"

    shared(*({"via": tunnel.name, "weight": weight} for tunnel, weight in ((FIRST, 1), (THIRD, 2))))
    after = ways_of_flows(lab)
    moved = {port for port in PORTS if before[port] != after[port]}
    assert moved == {port for port in PORTS if before[port] == SECOND.remote}

    shared(*({"via": tunnel.name, "weight": weight} for tunnel, weight in ((FIRST, 1), (SECOND, 1), (THIRD, 2))))
    assert ways_of_flows(lab) == before, "and back"


def test_the_lower_priority_wins_alone(lab, shared):
    shared({"via": FIRST.name, "priority": 200}, {"via": SECOND.name, "priority": 100})
    assert set(ways_of_flows(lab).values()) == {SECOND.remote}
    shared({"via": FIRST.name, "priority": 200})
    assert set(ways_of_flows(lab).values()) == {FIRST.remote}


def test_the_longest_prefix_wins(lab, shared, config):
    shared({"via": FIRST.name})
    config["tenants"]["acme"]["routes"].append({"prefix": f"{TARGET}/32", "via": THIRD.name})
    lab.gateway.reload(config)
    assert set(ways_of_flows(lab).values()) == {THIRD.remote}


def test_a_route_of_the_kernel_is_followed_and_forgotten(lab):
    """As FRR or BIRD would install it in the twin's namespace; nothing polls."""
    router = lab.routers["router"]
    router.sh(f"ip address add 198.51.210.1/32 dev lan; ip rule add from 198.51.210.1 table 250; "
              f"ip route add default via {CORE4} table 250")
    lab.twin.sh(f"ip route add 198.51.210.0/24 via {ROUTER4}")
    try:
        assert eventually(lambda: "198.51.210.0/24" in [r["prefix"] for r in lab.gateway.show("routes")["rows"]], 2)
        lab.client.sh("ping -c 2 -i 0.2 -W 1 198.51.210.1")
    finally:
        lab.twin.sh("ip route del 198.51.210.0/24")
        router.sh("ip address del 198.51.210.1/32 dev lan; ip rule del from 198.51.210.1 table 250")
    assert eventually(lambda: "198.51.210.0/24" not in [r["prefix"] for r in lab.gateway.show("routes")["rows"]], 2)


def test_our_own_keepalives_tell_a_dead_peer(lab, config):
    tunnel, router = FIRST, lab.routers["router"]
    config["tenants"]["acme"]["tunnels"][tunnel.name]["keepalive"] = {"interval_s": 1, "retries": 3}
    # Linux answers them by forwarding, if it may receive a packet with its own address as source.
    router.sh(f"echo 1 > /proc/sys/net/ipv4/conf/{tunnel.device}/accept_local")
    lab.gateway.reload(config)
    assert eventually(lambda: (row_of(lab.gateway, tunnel.name)["keepalive"] or {}).get("state") == "up", 5)
    assert row_of(lab.gateway, tunnel.name)["state"] == "up"
    router.sh(f"ip link set {tunnel.device} down")
    try:
        assert eventually(lambda: row_of(lab.gateway, tunnel.name)["state"] == "down", 8)
    finally:
        router.restore(tunnel)
    assert eventually(lambda: row_of(lab.gateway, tunnel.name)["state"] == "up", 8)
