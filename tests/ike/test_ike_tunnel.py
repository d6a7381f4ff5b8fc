"""From nothing to packets: every kind of customer negotiates and carries traffic of both families, both ways."""

import pytest
from customers import ALL, KEY_ID, KINDS, PLAIN, SECOND_GUEST, by_name
from lab.counters import drops
from lab.counters import tunnel as row_of
from lab.traffic import MIB, Sweep, tcp_copy
from lab.wait import eventually
from steps import afresh, client_address, establish, pings, sas, shown


@pytest.mark.parametrize("tunnel", [*KINDS, SECOND_GUEST], ids=by_name)
def test_a_customer_negotiates_and_pings_are_answered(lab, gateway, customer, tunnel):
    child = afresh(customer(tunnel))
    ours = sas(gateway, tunnel)
    # What is out for one is in for the other.
    assert set(ours) == {("inbound", int(child["spi-out"], 16)), ("outbound", int(child["spi-in"], 16))}
    assert child.get("encap", "no") == ("yes" if tunnel.nat else "no")
    for family in (4, 6):
        assert pings(lab, tunnel, family) == {}
    assert all(row["packets"] >= 8 for row in sas(gateway, tunnel).values())


@pytest.mark.parametrize("tunnel", [*KINDS, SECOND_GUEST], ids=by_name)
def test_a_copy_arrives_whole_both_ways(lab, gateway, customer, tunnel):
    place = customer(tunnel)
    establish(place)
    for family in (4, 6):
        to_server = tcp_copy(lab.client, place.server, tunnel.server(family), MIB // 4)
        to_client = tcp_copy(place.server, lab.client, client_address(family), MIB // 4, bind=tunnel.server(family))
        for done in (to_server, to_client):
            assert done.size == MIB // 4 and done.sent_sha256 == done.received_sha256
    assert row_of(gateway, tunnel.name)["mtu"] == tunnel.inner_mtu()


def test_twenty_mebibytes_arrive_whole_both_ways(lab, gateway, customer):
    place = customer(PLAIN)
    establish(place)
    for done in (tcp_copy(lab.client, place.server, PLAIN.server(4), 20 * MIB),
                 tcp_copy(place.server, lab.client, client_address(4), 20 * MIB, bind=PLAIN.server(4))):
        print(f"{done.mbit_s:.0f} Mbit/s")
        assert done.size == 20 * MIB and done.sent_sha256 == done.received_sha256


def test_behind_a_nat_ten_mebibytes_arrive_whole_both_ways(lab, gateway, customer):
    tunnel = next(each for each in KINDS if each.nat)
    place = customer(tunnel)
    establish(place)
    for done in (tcp_copy(lab.client, place.server, tunnel.server(6), 10 * MIB),
                 tcp_copy(place.server, lab.client, client_address(6), 10 * MIB, bind=tunnel.server(6))):
        assert done.size == 10 * MIB and done.sent_sha256 == done.received_sha256


def esp_selector(gateway):
    return drops(gateway).get("esp_selector", 0)


def test_a_packet_of_the_customers_outside_the_selectors_dies(lab, gateway, customer):
    """The customer's kernel is told to seal for an address that was not negotiated."""
    place = customer(KEY_ID)
    child = establish(place)
    before, source, outside = esp_selector(gateway), KEY_ID.lan_router(4), "192.0.3.1"
    place.sh(f"/sbin/ip route replace {outside} dev wan\n"
             f"/sbin/ip xfrm policy add src {source}/32 dst {outside}/32 dir out priority 1 tmpl src {KEY_ID.wan} "
             f"dst {KEY_ID.endpoint} proto esp reqid {child['reqid']} mode tunnel")
    place.sh(f"ping -c 3 -W 1 -I {source} {outside}", check=False)
    place.sh(f"/sbin/ip xfrm policy delete src {source}/32 dst {outside}/32 dir out")
    assert eventually(lambda: esp_selector(gateway) == before + 3), drops(gateway)
    assert pings(lab, KEY_ID) == {}


def test_a_packet_of_the_clients_outside_the_selectors_dies(lab, gateway, customer):
    establish(customer(KEY_ID))
    before, source = esp_selector(gateway), "192.0.3.1"
    lab.client.sh(f"ip address add {source}/32 dev lo")
    try:
        Sweep(lab.client, KEY_ID.server(4), (56, 57, 58), df=False, source=source, tries=1).run()
    finally:
        lab.client.sh(f"ip address delete {source}/32 dev lo")
    assert eventually(lambda: esp_selector(gateway) == before + 3), drops(gateway)
    assert pings(lab, KEY_ID) == {}


def test_what_is_negotiated_is_shown(lab, gateway, customer):
    child = establish(customer(PLAIN))
    assert {row["tunnel"] for row in gateway.show("ike")["rows"]} == {tunnel.name for tunnel in ALL}, "up or not"
    row = shown(gateway, PLAIN)
    assert row["state"] == "up" and row["remote_id"] == PLAIN.remote and row["peer"].startswith(PLAIN.remote)
    assert [int(each["spi_in"], 16) for each in row["children"] if each["state"] == "installed"] == [int(child["spi-out"], 16)]
    assert {each["cipher"] for each in sas(gateway, PLAIN).values()} == {"aes128gcm16"}
    told = "".join(gateway.ask("show", what).stdout for what in ("ike", "sas", "config")) + gateway.log.read_text()
    assert PLAIN.name in told and PLAIN.psk not in told
