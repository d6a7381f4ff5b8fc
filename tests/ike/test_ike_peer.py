"""The lab's customers against a stock charon, without a gateway: when this fails, the lab is wrong."""

import dataclasses

import pytest
from customers import STOCK
from lab.ike import IkeTunnel
from lab.stock import StockCharon
from lab.traffic import ANSWERED, Sweep
from lab.wait import eventually

PEERS = [IkeTunnel(40, peer=STOCK), IkeTunnel(41, nat=True, identity="branch-41", peer=STOCK, connection={"mobike": "no"}),
         IkeTunnel(42, route_based=False, peer=STOCK)]
INSIDE = "192.0.2.10"  # the client's address, which the stock charon has itself here


@pytest.fixture(scope="module")
def stock(lab):
    space = lab.add_host("stock", [f"{STOCK}/24"])
    space.sh(f"ip address add {INSIDE}/32 dev lo")
    connections, secrets = {}, {}
    for tunnel in PEERS:
        child = {"local_ts": f"{INSIDE}/32", "remote_ts": tunnel.prefix(4), "esp_proposals": tunnel.esp_proposals}
        connections[tunnel.name] = {
            "version": 2, "local_addrs": STOCK, "proposals": tunnel.proposals, "encap": "yes",
            "local": {"auth": "psk", "id": STOCK}, "remote": {"auth": "psk", "id": tunnel.customer_id},
            "children": {tunnel.name: child},
        }
        secrets[f"ike-{tunnel.name}"] = {"id-1": tunnel.customer_id, "secret": tunnel.psk}
    charon = StockCharon(space, lab.directory / "stock")
    charon.configure({"connections": connections, "secrets": secrets}, {})
    charon.start()
    space.sh("ip route add 198.51.0.0/16 dev ipsec0 src " + INSIDE)
    yield charon
    charon.stop()
    space.delete()


@pytest.fixture(params=PEERS, ids=lambda tunnel: tunnel.name)
def peer(request, customer, stock):
    found = customer(request.param)
    found.charon.initiate()
    yield found
    found.charon.terminate(check=False)


def answers(stock, tunnel):
    """True if a ping from behind the stock charon to behind the customer is answered."""
    sweep = Sweep(stock.place, tunnel.server(4), [56, 57, 1000], df=False, source=INSIDE)
    sweep.run()
    return sweep.of(ANSWERED) == sweep.sizes


def test_a_tunnel_comes_up_and_carries_packets(stock, peer):
    assert answers(stock, peer.tunnel), peer.charon.log_tail()
    child, = peer.charon.children()
    assert int(child["packets-in"]) >= 3 and int(child["packets-out"]) >= 3
    assert {state[2] for state in peer.states() if state[3]} == {int(child[way], 16) for way in ("spi-in", "spi-out")}
    remote = stock.sas()[0]["remote-port"]
    assert (20000 <= int(remote) < 21000) if peer.nat else remote == "4500"


def test_new_sas_of_either_sides_making_carry_packets(stock, peer):
    for side, child in ((peer.charon, "net"), (stock, peer.name)):
        before = {child["spi-in"] for child in peer.charon.children()}
        side.rekey_child(child)
        assert eventually(lambda: {child["spi-in"] for child in peer.charon.children()} - before, 10)
        assert answers(stock, peer.tunnel)
    for side, connection in ((peer.charon, "penstock"), (stock, peer.name)):
        before = {sa["uniqueid"] for sa in peer.charon.sas()}
        side.rekey_ike(connection)
        assert eventually(lambda: {sa["uniqueid"] for sa in peer.charon.sas()} - before, 10)
        assert answers(stock, peer.tunnel)


def test_a_nat_gives_new_ports_when_told(stock, customer):
    behind = customer(PEERS[1])
    behind.charon.initiate()
    behind.nat.move(30000)
    assert answers_after_traffic(stock, behind)
    port = int(next(sa["remote-port"] for sa in stock.sas() if sa["remote-id"] == "branch-41"))
    assert 30000 <= port < 31000
    behind.charon.terminate(check=False)
    behind.nat.move(20000)


def answers_after_traffic(stock, behind):
    """The customer's own packet shows its new place; then pings go both ways."""
    behind.charon.rekey_ike()
    return eventually(lambda: answers(stock, behind.tunnel), 20)  # the first message may need to be sent again


def test_a_secret_that_differs_is_refused_by_both(stock, customer):
    good = customer(PEERS[0]).tunnel
    bad = customer(dataclasses.replace(good, psk="not this one"))
    said = bad.charon.initiate(check=False)
    assert "AUTHENTICATION_FAILED" in said or "AUTH_FAILED" in said, said
    customer(good).charon.initiate()
    bad.charon.terminate(check=False)
