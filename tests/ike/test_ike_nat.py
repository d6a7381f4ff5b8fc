"""Customers behind NATs that forget: the gateway finds them again where their packets come from."""

import pytest
from customers import FQDN, RFC822, by_name
from lab.plan import CLIENT4
from lab.traffic import Sweep
from lab.wait import eventually
from steps import afresh, pings

BEHIND = (FQDN, RFC822)


def port_of(charon, tunnel):
    """The customer's port as the gateway's charon knows it."""
    return next((int(sa["remote-port"]) for sa in charon.sas() if sa["remote-id"] == tunnel.customer_id), None)


@pytest.mark.parametrize("tunnel", BEHIND, ids=by_name)
def test_a_moved_customer_is_found_by_its_packets(lab, gateway, customer, charon, tunnel):
    place = customer(tunnel)
    afresh(place)
    assert 20000 <= port_of(charon, tunnel) < 21000
    place.nat.move(30000)
    try:
        # Something of its own shows its new place.
        Sweep(place.server, CLIENT4, (56, 57), df=False, source=tunnel.server(4)).run()
        assert pings(lab, tunnel) == {} and pings(lab, tunnel, 6) == {}
        assert eventually(lambda: 30000 <= (port_of(charon, tunnel) or 0) < 31000, 5), "charon was told"
        before = {child["spi-in"] for child in place.charon.children()}
        charon.rekey_child(tunnel.child_name)
        assert eventually(lambda: {child["spi-in"] for child in place.charon.children()} - before, 20), "and reaches it"
        assert pings(lab, tunnel) == {}
    finally:
        place.nat.move(20000)
        Sweep(place.server, CLIENT4, (56, 57), df=False, source=tunnel.server(4)).run()

