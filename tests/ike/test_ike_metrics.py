"""What metrics say of a tunnel that negotiates."""

from customers import PLAIN
from lab.prometheus import samples, scrape
from lab.wait import eventually
from steps import afresh, establish, sas


def events(gateway):
    """What charon told of, counted."""
    counted = samples(scrape(gateway))
    return {dict(labels)["event"]: count for (name, labels), count in counted.items() if name == "penstock_ike_events_total"}


def test_age_budget_and_events_are_those_of_show(gateway, customer):
    place = customer(PLAIN)
    establish(place)
    before = events(gateway)
    afresh(place)
    assert eventually(lambda: events(gateway)["child_established"] > before["child_established"])
    after = events(gateway)
    for event in ("established", "ended", "child_ended"):
        assert after[event] == before[event] + 1, (event, before, after)
    assert after["failed"] == before["failed"]

    read = samples(scrape(gateway))
    assert read["penstock_ike_running", ()] == 1
    of = {"tenant": "acme", "tunnel": PLAIN.name}
    assert read["penstock_tunnel_up", tuple(sorted(of.items()))] == 1
    for (direction, _), row in sas(gateway, PLAIN).items():
        labels = tuple(sorted((of | {"direction": direction}).items()))
        assert row["age_s"] - 5 <= read["penstock_tunnel_sa_age_seconds", labels] <= row["age_s"]
        end = row["budget"]["seconds"]["end"]
        assert end <= read["penstock_tunnel_sa_remaining_seconds", labels] <= end + 5
        if direction == "outbound":
            assert read["penstock_tunnel_sa_sequence_remaining_ratio", labels] > 0.99
            left = read["penstock_tunnel_sa_remaining_sequence_numbers", labels]
            assert row["sequence_left"] <= left <= row["sequence_left"] + 100

    place.charon.rekey_child()
    assert eventually(lambda: events(gateway)["child_rekeyed"] == after["child_rekeyed"] + 1)


def test_a_tunnel_whose_router_is_silent_is_there_all_the_same(gateway, customer):
    place = customer(PLAIN)
    place.charon.terminate(check=False)
    labels = (("tenant", "acme"), ("tunnel", PLAIN.name))
    assert eventually(lambda: samples(scrape(gateway))["penstock_tunnel_up", labels] == 0, 20)
    read = samples(scrape(gateway))
    assert ("penstock_tunnel_sas", (("direction", "outbound"), *labels)) in read
    assert ("penstock_tunnel_sa_age_seconds", (("direction", "outbound"), *labels)) not in read
    establish(place)
    assert eventually(lambda: samples(scrape(gateway))["penstock_tunnel_up", labels] == 1, 20)
