"""New SAs for old under numbered streams both ways: nothing is lost, whoever begins.

What the lab itself lost (rings and queues of a busy machine, an emulated guest) is subtracted; on an idle machine that
is nothing.
"""

import json
import threading

import pytest
from customers import BY_VOLUME, EXHAUSTED, REKEYED, by_name
from lab.counters import drops, missed
from lab.wait import eventually
from steps import afresh, establish, log_since, mark, pings, real_drops, sas, streams


def lost_in_the_lab(lab, customer):
    """Packets that ports' rings, links and the guest's processor lost around the gateway."""
    links = []
    for place, ip, names in ((lab.switch, "ip", (customer.machine.name, "gateway")), (customer.server, "ip", ("eth0",)),
                             (lab.client, "ip", ("eth0",)), (customer.machine, "/sbin/ip", ("wan0", "lan0"))):
        links += [json.loads(place.sh(f"{ip} -j -s link show dev {name}").stdout)[0] for name in names]
    backlog = sum(int(line.split()[1], 16) for line in customer.sh("cat /proc/net/softnet_stat").stdout.splitlines() if line)
    return missed(lab.gateway) + backlog + sum(link["stats64"][way]["dropped"] for link in links for way in ("rx", "tx"))


def turn(customer, charon, number):
    """One rekey of the child SA: begun by the customer, by the gateway, or by both at once."""
    begin = (lambda: customer.charon.rekey_child(check=False), lambda: charon.rekey_child(customer.tunnel.child_name, check=False))
    sides = ((0,), (1,), (0, 1))[number % 3]
    threads = [threading.Thread(target=begin[side]) for side in sides]
    with customer.charon.events("child-rekey") as rekeys:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert rekeys.next(20), customer.charon.log_tail()


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
    reasons, refused, lost = real_drops(gateway), customer.xfrm_stat(), lost_in_the_lab(lab, customer)
    up, down = streams(lab, customer, per_second)
    with up, down:
        for number in range(child_turns):
            turn(customer, charon, number)
            if ike_turns and number % (child_turns // ike_turns) == 0:
                turn_ike(customer, charon, number // (child_turns // ike_turns))
    explained = lost_in_the_lab(lab, customer) - lost
    print(f"{child_turns} + {ike_turns} rekeys: sent {up.sent} up and {down.sent} down, lost {up.lost} and {down.lost}, "
          f"in the lab {explained}")
    assert up.sent > 100 and down.sent > 100
    assert real_drops(gateway) == reasons
    assert customer.xfrm_stat() == refused, "the customer's kernel could not open something"
    assert up.lost + down.lost <= explained
    assert eventually(lambda: settled(gateway, customer), 60), sas(gateway, tunnel)


@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_rekeys_lose_nothing(lab, gateway, customer, charon, tunnel):
    rekeys_under_streams(lab, gateway, customer(tunnel), charon, child_turns=9, ike_turns=3)


@pytest.mark.soak
@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_a_hundred_rekeys_lose_nothing(lab, gateway, customer, charon, tunnel):
    rekeys_under_streams(lab, gateway, customer(tunnel), charon, child_turns=100, ike_turns=20)
    # What was replaced goes: charon keeps it for five seconds, we keep it for thirty more.
    assert eventually(lambda: len(sas(gateway, tunnel, ended=True)) == 2, 60), sas(gateway, tunnel, ended=True)


def test_a_volume_brings_new_sas_without_loss(lab, gateway, customer):
    place = customer(BY_VOLUME)
    first = afresh(place)
    reasons, lost = real_drops(gateway), lost_in_the_lab(lab, place)
    up, down = streams(lab, place, 150)
    with up, down:
        assert eventually(lambda: all(child["spi-in"] != first["spi-in"] for child in place.charon.children()), 60)
    explained = lost_in_the_lab(lab, place) - lost
    assert 2000 < up.sent < 6000
    assert real_drops(gateway) == reasons
    assert up.lost + down.lost <= explained
    assert pings(lab, BY_VOLUME) == {}


def test_a_limit_that_nobody_acts_on_is_loud(lab, gateway, customer):
    """The customer's charon is stopped, its kernel goes on: no rekey, and the SAs end at their limit."""
    place = customer(EXHAUSTED)
    afresh(place)
    since, before = mark(gateway), drops(gateway).get("esp_lifetime", 0)
    place.charon.kill("STOP")
    try:
        assert pings(lab, EXHAUSTED, sizes=range(1, 151)) == {}
        # Limits of volume are looked at once a second.
        assert eventually(lambda: pings(lab, EXHAUSTED, sizes=range(1, 151)) != {}, 10)
        assert drops(gateway)["esp_lifetime"] > before
        assert eventually(lambda: EXHAUSTED.name in log_since(gateway, since), 5)
    finally:
        place.charon.kill("CONT")
    afresh(place)
    assert pings(lab, EXHAUSTED) == {}
