"""GRE tunnels over three gateways that know nothing of each other: no store is needed where there is no state."""

import os
import time

import pytest
from lab.fleet import FleetLab
from lab.plan import Tunnel, mss
from lab.spread import CORE, EDGE
from lab.traffic import MIB, tcp_copy, udp_flows
from steps import client_address, drops, even, lost_in_the_lab, pings, streams, tunnel_packets

PLAIN, SIX, CHECKED = Tunnel(0), Tunnel(1, outer=6), Tunnel(2, key=7, checksum=True)
TUNNELS = [PLAIN, SIX, CHECKED]
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Three nodes without a store."""
    with FleetLab(f"fgre{os.getpid()}", store=False) as lab:
        lab.up(TUNNELS)
        lab.start_gateways(TUNNELS)
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", TUNNELS, ids=lambda tunnel: tunnel.name)
def test_pings_over_all_nodes(lab, spread, tunnel, family):
    assert pings(lab, tunnel, family, sizes=(1,)) == {}  # neighbours are found
    before, own = spread.counts(), tunnel_packets(lab, tunnel)
    assert pings(lab, tunnel, family, sizes=range(1, 1400, 7)) == {}
    shares = spread.shares(before)
    assert even(shares), shares
    for number, (encapsulated, decapsulated) in tunnel_packets(lab, tunnel).items():
        assert encapsulated - own[number][0] >= 60 and decapsulated - own[number][1] >= 60, number


@pytest.mark.parametrize("tunnel, family, upward, mib", [
    (PLAIN, 4, True, 100), (PLAIN, 4, False, 100), (PLAIN, 6, True, 20), (SIX, 4, True, 20), (SIX, 6, False, 20),
    (CHECKED, 4, False, 20),
], ids=lambda value: value.name if isinstance(value, Tunnel) else str(value))
def test_a_copy_over_all_nodes(lab, spread, tunnel, family, upward, mib):
    before, own = spread.counts(), tunnel_packets(lab, tunnel)
    ends = (lab.client, lab.server, tunnel.server(family)) if upward else (lab.server, lab.client, client_address(family))
    done = tcp_copy(*ends, mib * MIB, bind="" if upward else tunnel.server(family), timeout=300)
    print(f"{mib} MiB at {done.mbit_s:.0f} Mbit/s")
    assert done.received_sha256 == done.sent_sha256
    assert done.sender_mss in (mss(tunnel.inner_mtu, family), mss(tunnel.inner_mtu, family) - 12)  # less with timestamps
    shares = spread.shares(before)
    assert even(shares), shares
    heavy, light = (0, 1) if upward else (1, 0)
    least = mib * MIB / 1500 / 3.3
    for number, packets in tunnel_packets(lab, tunnel).items():
        assert packets[heavy] - own[number][heavy] > least, (number, packets)
        assert packets[light] > own[number][light], (number, packets)


def test_pieces_of_a_packet_go_over_different_nodes(lab, spread):
    """The client's fragments are packets like others: each goes alone, none is put together on the way."""
    for family in (4, 6):
        before = spread.counts()
        assert pings(lab, PLAIN, family, sizes=(3000, 4000)) == {}
        new = {number: packets - before[EDGE][number] for number, packets in spread.counts()[EDGE].items()}
        assert sum(new.values()) >= 6 and all(new.values()), new


def test_replies_without_the_tunnel(lab, spread):
    """Direct return: what the server says goes home by the customer's own uplink."""
    router = lab.routers["router"]
    lab.direct_return(router, PLAIN)
    try:
        before = spread.counts()
        for family in (4, 6):
            assert pings(lab, PLAIN, family, sizes=range(1, 100)) == {}
        shares = spread.shares(before)
        assert even(shares, (EDGE,)), shares
        assert spread.counts()[CORE] == before[CORE]
        done = tcp_copy(lab.client, lab.server, PLAIN.server(4), 10 * MIB)
        assert done.received_sha256 == done.sent_sha256
        assert spread.counts()[CORE] == before[CORE]
    finally:
        lab.direct_return(router, PLAIN, direct=False)
    before = spread.counts()
    assert pings(lab, PLAIN) == {}
    assert spread.counts()[CORE] != before[CORE]


def test_a_flow_stays_on_its_node(lab, spread):
    spread.everywhere("flow")
    before = spread.counts()
    done = tcp_copy(lab.client, lab.server, PLAIN.server(4), 5 * MIB)
    assert done.received_sha256 == done.sent_sha256
    shares = spread.shares(before)
    for direction in (EDGE, CORE):  # one flow, and strays: a neighbour's ICMP
        assert max(shares[direction].values()) > 0.95, shares


def test_many_flows_are_on_all_nodes(lab, spread):
    spread.everywhere("flow")
    before = spread.counts()
    udp_flows(lab.client, PLAIN.server(4), range(20000, 20150))
    shares = spread.shares(before)
    assert even(shares, (EDGE,), tolerance=0.2), shares


def test_each_direction_has_a_way_of_its_own(lab, spread):
    """Per packet from the client, all of the customer's to one node, as networks do that are not symmetric."""
    spread.only(2, directions=(CORE,))
    before = spread.counts()
    assert pings(lab, PLAIN, sizes=range(1, 200)) == {}
    shares = spread.shares(before)
    assert even(shares, (EDGE,)) and shares[CORE][2] == 1, shares
    spread.everywhere()
    spread.without(1, directions=(EDGE,))
    before = spread.counts()
    assert pings(lab, PLAIN, sizes=range(1, 200)) == {}
    shares = spread.shares(before)
    assert even(shares, (CORE,)) and shares[EDGE][1] == 0, shares


def test_a_node_dies_and_comes_back(lab, spread):
    """Lost is what the router sent to the dead node until it withdrew, and nothing else."""
    before, reasons, lost = spread.counts(), drops(lab), lost_in_the_lab(lab)
    up, down = streams(lab, lab.server, PLAIN, 200)
    with up, down:
        time.sleep(1)
        at_death = spread.counts()
        lab.kill_gateway(2)
        spread.without(2)
        gone = sum(spread.counts()[direction][2] - at_death[direction][2] for direction in (EDGE, CORE))
        time.sleep(1)
        lab.start_gateway(2)
        # Its neighbours find it again before packets do.
        lab.client.sh("ping -c1 -W2 192.0.2.12", check=False)
        time.sleep(1)
        spread.everywhere()
        time.sleep(1)
    explained = lost_in_the_lab(lab) - lost
    print(f"sent {up.sent} and {down.sent}, lost {up.lost} and {down.lost}; {gone} went to the dead node, {explained} in the lab")
    assert up.sent > 500 and down.sent > 500
    assert up.lost + down.lost <= gone + max(0, explained)
    dropped = {reason: count - reasons.get(reason, 0) for reason, count in drops(lab).items() if count > reasons.get(reason, 0)}
    # Some of what went to it waited for its neighbour, and came when it had just started.
    assert dropped.pop("no_route", 0) <= gone and dropped == {}
    assert before[EDGE][2] < at_death[EDGE][2] < spread.counts()[EDGE][2]
