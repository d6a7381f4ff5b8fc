"""New SAs for old under numbered streams both ways: nothing is lost, whoever begins.

What the lab itself lost (rings and queues of a busy machine, an emulated guest) is subtracted; on an idle machine that
is nothing.
"""

import re
from contextlib import contextmanager

import pytest
from customers import BY_VOLUME, EXHAUSTED, REKEYED, by_name
from lab.counters import assert_explained, drops, xfrm_stat
from lab.wait import eventually
from steps import afresh, establish, log_since, lost, mark, pings, real_drops, sas, streams

DEAF_FOR_IKE = "table inet deaf { chain input { type filter hook input priority 0; " \
               "udp dport 500 drop; udp dport 4500 @th,64,32 0 drop; }; }"


def turn(customer, charon, number):
    """One rekey of the child SA: begun by the gateway or the customer in turns, each ninth by both at once."""
    def gateway():
        charon.rekey_child(customer.tunnel.child_name, check=False)

    before = spis(customer)
    with customer.charon.events("child-rekey") as rekeys:
        if number % 9 == 8:
            # Neither knows of the other's: the customer hears the gateway's request when it is sent again.
            with deaf_for_ike(customer):
                gateway()
                customer.charon.rekey_child(check=False)
        elif number % 2:
            customer.charon.rekey_child(check=False)
        else:
            gateway()
        assert rekeys.next(20), customer.charon.log_tail()
    # Of two that were begun at once one may come too late and be made anew.
    assert eventually(lambda: (now := spis(customer)) and not now & before, 40), customer.charon.log_tail()


@contextmanager
def deaf_for_ike(customer):
    """The customer's kernel drops IKE that comes in, and nothing else: what is in port 4500 without zeros in front is ESP."""
    customer.sh(f"/usr/sbin/nft '{DEAF_FOR_IKE}'")
    try:
        yield
    finally:
        customer.sh("/usr/sbin/nft delete table inet deaf")


def spis(customer):
    """Of the customer's child SAs, both ways; the one that is replaced is not INSTALLED any more."""
    return {child[way] for child in customer.charon.children() for way in ("spi-in", "spi-out")}


def collisions(gateway, customer):
    """How often either charon saw that both had begun a rekey of the child SA."""
    words = "CHILD_REKEY collision"
    seen = customer.sh(f"grep -c '{words}' {customer.charon.directory}/charon.txt || true").stdout
    return int(seen or 0) + (gateway.ike / "charon.log").read_text(errors="replace").count(words)


def turn_ike(customer, charon, number):
    """One rekey of the IKE SA."""
    with customer.charon.events("ike-rekey") as rekeys:
        if number % 2:
            customer.charon.rekey_ike()
        else:
            charon.rekey_ike(customer.tunnel.child_name)
        assert rekeys.next(20), customer.charon.log_tail()


def settled(gateway, customer):
    """True when both sides have the same one pair of SAs."""
    children = customer.charon.children()
    return len(children) == 1 and set(sas(gateway, customer.tunnel)) == {
        ("inbound", int(children[0]["spi-out"], 16)), ("outbound", int(children[0]["spi-in"], 16))}


def rekeys_under_streams(lab, gateway, customer, charon, child_turns, ike_turns, per_second=100):
    tunnel = customer.tunnel
    establish(customer)
    reasons, refused, before = real_drops(gateway), xfrm_stat(customer), lost(lab, customer)
    up, down = streams(lab, customer, per_second)
    with up, down:
        for number in range(child_turns):
            turn(customer, charon, number)
            if ike_turns and number % (child_turns // ike_turns) == 0:
                turn_ike(customer, charon, number // (child_turns // ike_turns))
    explained = lost(lab, customer) - before
    print(f"{child_turns} + {ike_turns} rekeys: sent {up.sent} up and {down.sent} down, lost {up.lost} and {down.lost}, "
          f"in the lab {explained}")
    assert up.sent > 100 and down.sent > 100
    assert real_drops(gateway) == reasons
    assert xfrm_stat(customer) == refused, "the customer's kernel could not open something"
    assert_explained((up, down), explained)
    assert eventually(lambda: settled(gateway, customer), 60), sas(gateway, tunnel)


@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_rekeys_lose_nothing(lab, gateway, customer, charon, tunnel):
    rekeys_under_streams(lab, gateway, customer(tunnel), charon, child_turns=9, ike_turns=3)


@pytest.mark.soak
@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_many_rekeys_lose_nothing(lab, gateway, customer, charon, tunnel):
    place = customer(tunnel)
    establish(place)
    before = collisions(gateway, place)
    turns = 100 if tunnel is REKEYED[0] else 40
    rekeys_under_streams(lab, gateway, place, charon, child_turns=turns, ike_turns=turns // 5)
    seen = collisions(gateway, place) - before
    print(f"both had begun in {turns // 9} turns; either charon saw it, {seen} times in all")
    assert seen >= turns // 9, "both at once was not tried as often as it should"
    # What was replaced goes: charon keeps it for five seconds, we keep it for thirty more.
    assert eventually(lambda: len(sas(gateway, tunnel, ended=True)) == 2, 60), sas(gateway, tunnel, ended=True)


def test_a_volume_brings_new_sas_without_loss(lab, gateway, customer):
    place = customer(BY_VOLUME)
    first = afresh(place)
    reasons, before = real_drops(gateway), lost(lab, place)
    up, down = streams(lab, place, 150)
    with up, down:
        assert eventually(lambda: all(child["spi-in"] != first["spi-in"] for child in place.charon.children()), 60)
    explained = lost(lab, place) - before
    assert 2000 < up.sent < 6000
    assert real_drops(gateway) == reasons
    assert_explained((up, down), explained)
    assert pings(lab, BY_VOLUME) == {}


def test_a_limit_that_nobody_acts_on_is_loud(lab, gateway, customer):
    """The customer's charon is stopped, its kernel goes on: no rekey, and the SAs end at their limit."""
    place = customer(EXHAUSTED)
    afresh(place)
    since, before = mark(gateway), drops(gateway).get("esp_lifetime", 0)
    place.charon.kill("STOP")
    try:
        assert pings(lab, EXHAUSTED, sizes=range(1, 101)) == {}
        # Limits of volume are looked at once a second.
        assert eventually(lambda: pings(lab, EXHAUSTED, sizes=range(1, 101), tries=1) != {}, 10)
        assert drops(gateway)["esp_lifetime"] > before
        line = f"an SA was stopped, its life in packets is over; .*{EXHAUSTED.child_name}"
        assert eventually(lambda: re.search(line, log_since(gateway, since)), 5), log_since(gateway, since)
    finally:
        place.charon.kill("CONT")
    afresh(place)
    assert pings(lab, EXHAUSTED) == {}
