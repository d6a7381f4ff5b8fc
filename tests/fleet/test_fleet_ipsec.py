"""IPsec over three gateways: negotiated with one, carried by all, whatever dies meanwhile.

Each customer is a stock strongSwan over the Linux kernel. Losses are counted by numbers at both ends; what the lab says
that it lost itself is taken off. From the first packet to the last all ESP of all nodes is captured, and no IV may come twice.
"""

import os
import time

import pytest
from lab import plan
from lab.fleet import FleetLab
from lab.ike import IkeTunnel
from lab.spread import CORE, EDGE
from lab.traffic import MIB, tcp_copy
from lab.wait import eventually
from steps import (GRACE_S, Watched, agreed, called_gone, carried, established, even, mark, pair, pings, ready,
                   rekeyed_past_a_deaf_node, said_since, sas, tunnel_packets)

PLAIN = IkeTunnel(0, window=0)
SIX = IkeTunnel(1, outer=6, window=0)
BEHIND_NAT = IkeTunnel(2, nat=True, remote_any=True, identity="branch-2.example.net", window=0)
LATE = IkeTunnel(3, window=0)  # negotiated when something is wrong
VOLUME = IkeTunnel(4, window=0, gateway={"esp_rekey_packets": 1500})
SHORT = IkeTunnel(5, window=0, gateway={"esp_rekey": "10s"})
CUSTOMERS = [PLAIN, SIX, BEHIND_NAT, LATE, VOLUME, SHORT]
PREFIX = "/penstock/lab/"
OUTAGE_S = float(os.environ.get("FLEET_OUTAGE_S", "20"))
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Three nodes with a store of three members, and customers whose tunnels are not up yet."""
    with FleetLab(f"fsec{os.getpid()}", members=3) as lab:
        lab.up([], ike=True)
        lab.start_gateways([], CUSTOMERS)
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        with lab.tap() as tap:
            yield lab
        report = tap.report()
        print(report)
        assert report.good, report
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def ids(value):
    """Test ids."""
    return value.name if isinstance(value, IkeTunnel) else str(value)


@pytest.mark.parametrize("tunnel", (PLAIN, SIX, BEHIND_NAT), ids=ids)
def test_negotiated_with_one_carried_by_all(lab, spread, tunnel):
    established(lab, tunnel)
    before, own = spread.counts(), tunnel_packets(lab, tunnel)
    for family in (4, 6):
        assert pings(lab, tunnel, family, sizes=range(1, 1300, 13)) == {}
    shares = spread.shares(before)
    assert even(shares), shares
    for number, packets in tunnel_packets(lab, tunnel).items():
        assert all(now - then >= 50 for now, then in zip(packets, own[number], strict=True)), (number, packets)


@pytest.mark.parametrize("tunnel, upward, mib", [(PLAIN, True, 100), (PLAIN, False, 100), (SIX, True, 20), (BEHIND_NAT, False, 20)], ids=ids)
def test_a_copy_over_all_nodes(lab, spread, tunnel, upward, mib):
    established(lab, tunnel)
    before, server = spread.counts(), tunnel.server(4)
    if upward:
        done = tcp_copy(lab.client, lab.server, server, mib * MIB, timeout=300)
    else:
        done = tcp_copy(lab.server, lab.client, plan.CLIENT4, mib * MIB, bind=server, timeout=300)
    print(f"{mib} MiB at {done.mbit_s:.0f} Mbit/s")
    assert done.received_sha256 == done.sent_sha256
    assert even(spread.shares(before)), spread.shares(before)


def test_replies_without_the_tunnel(lab, spread):
    customer = established(lab, PLAIN)
    lab.direct_return(customer, PLAIN)
    try:
        before = spread.counts()
        assert pings(lab, PLAIN, sizes=range(1, 200)) == {}
        assert even(spread.shares(before), (EDGE,))
        assert spread.counts()[CORE] == before[CORE]
    finally:
        lab.direct_return(customer, PLAIN, direct=False)


def test_ike_is_sprayed_as_well(lab, spread):
    """Each message of a negotiation comes to another node: the owner gets them all."""
    customer = established(lab, PLAIN)
    customer.charon.terminate(check=False, force=True)
    spread.everywhere("packet")
    customer.charon.initiate()
    assert pings(lab, PLAIN) == {}
    assert eventually(lambda: agreed(lab, customer), 60)


def rekeys(lab, tunnel, turns, per_second=100):
    customer, owner = established(lab, tunnel, afresh=True), lab.charon(1)
    with Watched(lab, tunnel, per_second):
        for number in range(turns):
            with customer.charon.events("child-rekey") as seen:
                if number % 2:
                    owner.rekey_child(tunnel.child_name, check=False)
                else:
                    customer.charon.rekey_child(check=False)
                assert seen.next(30), customer.charon.log_tail()
    assert eventually(lambda: agreed(lab, customer), 60)


@pytest.mark.parametrize("tunnel", (PLAIN, BEHIND_NAT), ids=ids)
def test_rekeys_lose_nothing(lab, spread, tunnel):
    rekeys(lab, tunnel, turns=10)


@pytest.mark.soak
def test_two_hundred_rekeys_lose_nothing(lab, spread):
    rekeys(lab, PLAIN, turns=200)
    barrier = lab.gateways[1].show("fleet")["barrier"]
    print(barrier)
    assert barrier["waits"] >= 400 and barrier["timeouts"] == 0 and barrier["p99_us"] < 250_000, barrier


def test_a_volume_is_that_of_all_nodes(lab, spread):
    """Each node carries a third of it: alone none would come to the limit before 4 500 packets."""
    customer = established(lab, VOLUME, afresh=True)
    first = pair(customer)
    with Watched(lab, VOLUME, 150) as watched:
        assert eventually(lambda: pair(customer) != first, 60)
        sent = watched.up.sent, watched.down.sent
    print(f"a rekey after {sent} packets")
    assert 1200 < max(sent) < 2500, sent
    assert eventually(lambda: agreed(lab, customer), 60)
    assert pings(lab, VOLUME) == {}


def test_the_owner_dies(lab, spread):
    """Its SAs go on over the others; the customer negotiates anew with whoever answers; the dead node comes back."""
    customer = established(lab, PLAIN, owner=2, afresh=True)
    try:
        with Watched(lab, PLAIN, 200) as watched:
            time.sleep(1)
            before = spread.counts()
            lab.kill_gateway(2)
            spread.without(2)
            after = spread.counts()
            watched.allowed = sum(after[direction][2] - before[direction][2] for direction in (EDGE, CORE))
            time.sleep(5)
        assert pings(lab, PLAIN) == {}
        # What the customer's administrator, or its dead peer detection, does: nobody has this IKE SA any more.
        customer.charon.terminate(check=False, force=True)
        customer.charon.initiate()
        assert pings(lab, PLAIN) == {}
        assert eventually(lambda: carried(lab, customer, (1, 3)), 30)
    finally:
        if not lab.gateways[2].running():
            lab.start_gateway(2)
    assert eventually(lambda: agreed(lab, customer), 60), "it takes everything from the store"
    assert lab.ready()
    assert pings(lab, PLAIN) == {}


def test_what_a_dead_node_left_is_removed(lab, spread):
    """It is past its end when the store is away: the node that removes it asks until the store has done so."""
    def left():
        return [key for key in sealed_records(lab) if key.startswith(f"{PREFIX}sas/2/acme/{SHORT.name}/")]

    customer = established(lab, SHORT, owner=2, afresh=True)
    lab.kill_gateway(2)
    spread.without(2)
    try:
        assert left()
        lab.store.pause()
        time.sleep(15)
        lab.store.resume()
        lab.store.wait()
        assert eventually(lambda: not left(), 40), left()
    finally:
        customer.charon.terminate(check=False, force=True)
        lab.start_gateway(2)
    assert lab.ready()


def test_a_node_restarts_under_load(lab, spread):
    """kill -9 and a new start, not the owner: it has all from the store before it takes packets."""
    customer = established(lab, PLAIN)
    with Watched(lab, PLAIN) as watched:
        # Until the router has its neighbour: what waits for that would come when it is alive again.
        time.sleep(1)
        before = spread.counts()
        lab.kill_gateway(3)
        spread.without(3)
        after = spread.counts()
        watched.allowed = sum(after[direction][3] - before[direction][3] for direction in (EDGE, CORE))
        lab.start_gateway(3)
        assert eventually(lambda: ready(lab, 3), 30)
        assert sas(lab, 3, PLAIN) == pair(customer)
        watched.begun_again()
        spread.only(1, 2, 3)
        time.sleep(2)


@pytest.mark.parametrize("how", ("paused", "killed"))
def test_the_store_is_away(lab, spread, how):
    """Forwarding loses nothing. What is negotiated meanwhile works at its owner, and everywhere when the store is back."""
    established(lab, PLAIN)
    late = lab.customers.get(LATE.name) or lab.add_customer(LATE)
    late.charon.terminate(check=False, force=True)
    marks = mark(lab)
    with Watched(lab, PLAIN):
        (lab.store.pause if how == "paused" else lab.store.kill)()
        try:
            begun = time.monotonic()
            spread.only(1, directions=(CORE,))
            late.charon.initiate()
            spread.set(nodes=(1, 2, 3), directions=(CORE,))
            time.sleep(max(0, OUTAGE_S - (time.monotonic() - begun)))
        finally:
            (lab.store.resume if how == "paused" else lab.store.start)()
            lab.store.wait()
        assert eventually(lambda: agreed(lab, late), 60), [sas(lab, number, LATE) for number in lab.nodes]
    assert pings(lab, LATE) == {}
    # Their records went with leases that nobody could keep; they live all the same.
    assert called_gone(lab, marks) == set()
    assert all(ready(lab, number) for number in lab.nodes)


def test_a_member_of_the_store_dies(lab, spread):
    """One of three: nodes that were connected to it go to another, and rekeys go on."""
    for member in lab.store.members:
        customer = established(lab, PLAIN)
        with Watched(lab, PLAIN):
            member.kill()
            try:
                customer.charon.rekey_child()
                assert eventually(lambda: agreed(lab, customer), GRACE_S + 30)
            finally:
                member.start()
                lab.store.wait()


def test_the_store_is_compacted(lab, spread):
    """While a node cannot see it: what it would resume from is gone, so it reads everything again when it is back."""
    customer = established(lab, PLAIN)
    with Watched(lab, PLAIN):
        with lab.deaf(3):
            customer.charon.rekey_child()
            # It hears from the others that there is more than it has; whoever announces it takes it out.
            assert eventually(lambda: not ready(lab, 3), 10)
            spread.without(3)
            assert eventually(lambda: agreed(lab, customer, (1, 2)), GRACE_S + 30)
            lab.store.compact()
        assert eventually(lambda: ready(lab, 3), 30)
        assert eventually(lambda: agreed(lab, customer), 60)
        spread.everywhere("packet")


def test_the_store_is_restored(lab, spread, tmp_path):
    """From a backup that does not know the newest SAs: nothing that carries packets is taken away."""
    customer = established(lab, PLAIN)
    lab.store.snapshot(tmp_path / "backup")
    with Watched(lab, PLAIN):
        customer.charon.rekey_child()
        assert eventually(lambda: agreed(lab, customer), GRACE_S + 30)
        lab.store.restore(tmp_path / "backup")
        time.sleep(10)
        assert eventually(lambda: agreed(lab, customer), GRACE_S + 60)
    customer.charon.rekey_child()
    assert eventually(lambda: agreed(lab, customer), GRACE_S + 30)
    assert pings(lab, PLAIN) == {}


def sealed_records(lab):
    """The keys of all SA records."""
    return [key for key in lab.store.keys(PREFIX + "sas/")]


@pytest.mark.parametrize("how", ("tampered", "truncated", "foreign", "empty"))
def test_a_bad_record(lab, spread, how):
    """Refused, named in the log, nothing installed; what was there goes on."""
    established(lab, PLAIN)
    key = sealed_records(lab)[0]
    value = lab.store.get(key)
    bad = {"tampered": value[:-1] + bytes([value[-1] ^ 1]), "truncated": value[:len(value) // 2], "foreign": value, "empty": b""}[how]
    place = key.rsplit("-", 1)[0] + "-0a0b0c0d"  # sas/NODE/TENANT/TUNNEL/i-SPI
    before, marks = {number: sas(lab, number, PLAIN) for number in lab.nodes}, mark(lab)
    lab.store.put(place, bad)
    try:
        assert all(eventually(lambda number=number: "0a0b0c0d" in said_since(lab, marks, number), 10) for number in lab.nodes)
        assert {number: sas(lab, number, PLAIN) for number in lab.nodes} == before
        assert pings(lab, PLAIN) == {}
    finally:
        lab.store.delete(place)


def test_a_bad_record_of_sender_ids(lab, spread):
    """Refused and named; a node that starts takes none by it, says why, and goes on as soon as it is deleted."""
    established(lab, PLAIN)
    key = PREFIX + "senders"
    value = lab.store.get(key)
    for bad in (value[:-1] + bytes([value[-1] ^ 1]), lab.store.get(sealed_records(lab)[0]), value):  # the last is an old one
        refused, marks = lab.gateways[1].show("fleet")["store"]["refused"], mark(lab)
        lab.store.put(key, bad)
        assert all(eventually(lambda number=number: "senders" in said_since(lab, marks, number), 10) for number in lab.nodes)
        shown = lab.gateways[1].show("fleet")["store"]
        assert shown["refused"] > refused and "senders" in shown["last_refused"], shown
    spread.without(3)
    lab.kill_gateway(3)
    lab.start_gateway(3)
    try:
        assert eventually(lambda: "`senders`" in lab.gateways[3].ask("ready", check=False).stdout, 30)
        assert pings(lab, PLAIN) == {}
    finally:
        lab.store.delete(key)
    assert eventually(lambda: ready(lab, 3), 60), lab.gateways[3].ask("ready", check=False).stdout
    spread.everywhere()
    assert pings(lab, PLAIN) == {}


def test_an_old_record_put_back(lab, spread):
    """The record as it was before: it does not open, and what it told meanwhile stays."""
    customer = established(lab, PLAIN)
    old = {key: lab.store.get(key) for key in sealed_records(lab)}
    customer.charon.rekey_child()
    assert eventually(lambda: agreed(lab, customer), GRACE_S + 30)
    changed = [key for key in old if lab.store.get(key) not in (None, old[key])]
    assert changed, "a rekey changes the record of what was replaced"
    marks = mark(lab)
    lab.store.put(changed[0], old[changed[0]])
    assert all(eventually(lambda number=number: changed[0].rsplit("/", 1)[1] in said_since(lab, marks, number), 10)
               for number in lab.nodes)
    assert eventually(lambda: agreed(lab, customer), 10)
    assert pings(lab, PLAIN) == {}


def test_a_deaf_node(lab, spread):
    """It does not hear of new SAs for a second: what comes to it is rescued, not lost."""
    customer = established(lab, PLAIN)
    rekeyed_past_a_deaf_node(lab, customer, 3)


def test_a_deaf_owner(lab, spread):
    """Nobody hears of what it negotiates: it says that it is not ready, and the customer negotiates anew with the others.

    When it hears again it tells what it had. That is older, however late it is told.
    """
    customer = established(lab, PLAIN, owner=3, afresh=True)
    with lab.deaf(3):
        customer.charon.rekey_child()
        assert eventually(lambda: not ready(lab, 3), 20)
        spread.without(3)
        # What its dead peer detection does.
        customer.charon.terminate(check=False, force=True)
        customer.charon.initiate()
        assert eventually(lambda: carried(lab, customer, (1, 2)), 30)
        assert pings(lab, PLAIN) == {}
    assert eventually(lambda: ready(lab, 3), 30)
    assert eventually(lambda: carried(lab, customer, (1, 2, 3)), 30)
    spread.everywhere("packet")
    for _ in range(5):
        assert pings(lab, PLAIN) == {}
        time.sleep(1)


def test_two_nodes_with_one_name(lab, spread):
    """The second one refuses to start, and says why."""
    config = dict(lab.configs[3])
    lab.gateways[3].stop()
    try:
        with pytest.raises(RuntimeError, match="node1"):
            lab.gateways[3].start(config | {"node": config["node"] | {"name": lab.nodes[1].name}})
    finally:
        lab.start_gateway(3)
    assert lab.ready()
    assert pings(lab, established(lab, PLAIN).tunnel) == {}
