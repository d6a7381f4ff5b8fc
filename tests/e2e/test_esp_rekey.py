"""New SAs for old while packets flow: not one is lost, counted at the far end."""

import json

import pytest
from kinds import REKEYED, by_name
from lab.counters import drops, missed
from lab.plan import CLIENT4
from lab.rekey import Rekeying
from lab.traffic import Stream


def refused_by_the_router(lab):
    """What the router's kernel counts about packets that it could not open or seal."""
    lines = lab.routers["router"].sh("cat /proc/net/xfrm_stat").stdout.splitlines()
    return {name: int(count) for name, count in map(str.split, lines) if int(count)}


def lost_in_the_lab(lab):
    """Packets that a busy machine loses around the gateway: rings and queues of ports and of the guest."""
    places = ((lab.switch, "ip", "router"), (lab.server, "ip", "eth0"), (lab.client, "ip", "eth0"),
              (lab.routers["router"], "/sbin/ip", "wan"), (lab.routers["router"], "/sbin/ip", "lan"))
    links = [json.loads(place.sh(f"{ip} -j -s link show dev {link}").stdout)[0] for place, ip, link in places]
    return missed(lab.gateway) + sum(link["stats64"][way]["dropped"] for link in links for way in ("rx", "tx"))


def rekey_under_traffic(lab, tunnel, turns, per_second):
    """Streams both ways while the tunnel's SAs are replaced."""
    reasons, refused, lost = drops(lab.gateway), refused_by_the_router(lab), lost_in_the_lab(lab)
    up = Stream(lab.client, lab.server, tunnel.server(4), per_second)
    down = Stream(lab.server, lab.client, CLIENT4, per_second, port=6002, source_address=tunnel.server(4))
    rekeying = Rekeying(lab, tunnel)
    with up, down:
        for _ in range(turns):
            rekeying.turn()
    rekeying.finish()
    assert up.sent > 100 and down.sent > 100
    assert drops(lab.gateway) == reasons
    assert refused_by_the_router(lab) == refused
    assert up.lost + down.lost <= lost_in_the_lab(lab) - lost, f"up {up.lost} of {up.sent}, down {down.lost} of {down.sent}"
    print(f"{turns} rekeys, {up.received} packets up, {down.received} down, lost {up.lost} and {down.lost}")


@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_five_rekeys_lose_nothing(lab, tunnel):
    rekey_under_traffic(lab, tunnel, turns=5, per_second=500)


@pytest.mark.soak
@pytest.mark.parametrize("tunnel", REKEYED, ids=by_name)
def test_a_hundred_rekeys_lose_nothing(lab, tunnel):
    rekey_under_traffic(lab, tunnel, turns=100, per_second=1000)
