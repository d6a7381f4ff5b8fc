"""Tenants as objects of the store: written through one node, taken by all."""

import os

import pytest
import yaml
from lab.fleet import FleetLab
from lab.netns import CommandFailed
from lab.plan import Tunnel
from lab.prometheus import samples, scrape
from lab.wait import eventually

PREFIX = "/penstock/lab/tenants/"
pytestmark = pytest.mark.usefixtures("alive")


@pytest.fixture(scope="module")
def lab():
    """Three nodes, with one GRE tunnel in their files."""
    with FleetLab(f"ften{os.getpid()}") as lab:
        lab.up([Tunnel(0)])
        lab.start_gateways([Tunnel(0)])
        assert lab.ready(), [gateway.log_tail() for gateway in lab.gateways.values()]
        yield lab
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def tunnels(lab, number, tenant):
    """The tunnels of a tenant on a node: {name: remote}."""
    return {row["name"]: row["remote"] for row in lab.gateways[number].show("tunnels")["rows"] if row["tenant"] == tenant}


def everywhere(lab, tenant, expected):
    """All nodes come to have these tunnels of a tenant."""
    assert eventually(lambda: all(tunnels(lab, number, tenant) == expected for number in lab.nodes), 15), (
        [tunnels(lab, number, tenant) for number in lab.nodes], lab.gateways[2].log_tail())


def write(tmp_path, tunnels, name="globex"):
    """A file for apply."""
    tenant = {"tunnels": {tunnel: {"endpoint": "anycast4", "remote": remote} for tunnel, remote in tunnels.items()}}
    file = tmp_path / "tenants.yaml"
    file.write_text(yaml.safe_dump({"tenants": {name: tenant}}))
    return file


def test_a_tenant_comes_changes_and_goes(lab, tmp_path):
    one, two = lab.gateways[1], lab.gateways[2]
    file = write(tmp_path, {"hq": "198.18.0.201"})
    dry = one.ask("apply", "-f", str(file), "--dry-run").stdout
    assert "+ tenants.globex" in dry and "nothing was changed" in dry
    assert lab.store.keys(PREFIX) == []
    assert "written as revision" in one.ask("apply", "-f", str(file)).stdout
    everywhere(lab, "globex", {"hq": "198.18.0.201"})
    got = two.ask("get", "tenants", "globex").stdout
    changed = tmp_path / "changed.yaml"
    changed.write_text(got.replace("198.18.0.201", "198.18.0.202"))
    two.ask("apply", "-f", str(changed))
    everywhere(lab, "globex", {"hq": "198.18.0.202"})
    changed.write_text(got.replace("198.18.0.201", "198.18.0.203"))
    stale = one.ask("apply", "-f", str(changed), check=False)
    assert stale.returncode == 1 and "somebody has changed it" in stale.stdout
    one.ask("delete", "tunnel", "globex", "hq")
    everywhere(lab, "globex", {})
    one.ask("delete", "tenant", "globex")
    assert eventually(lambda: lab.store.keys(PREFIX) == [], 5)


def test_what_does_not_fit_is_refused_whole(lab, tmp_path):
    for tenant, remote, expected in (("acme", "198.18.0.201", "store"), ("globex", "nonsense", "remote")):
        file = write(tmp_path, {"hq": remote}, tenant)
        refused = lab.gateways[3].ask("apply", "-f", str(file), check=False)
        assert refused.returncode == 1 and expected in refused.stdout, refused.stdout
    assert lab.store.keys(PREFIX) == []


def test_what_is_wrong_in_the_store_is_said_and_changes_nothing(lab):
    """Somebody writes by hand: nodes go on with what they had, are not ready, and say why."""
    before = tunnels(lab, 1, "acme")
    lab.store.put(PREFIX + "globex", b'{"schema": 1, "tenant": {"tunnels": {"hq": {"endpoint": "nowhere", "remote": "198.18.0.201"}}}}')
    try:
        def complains(number):
            said = lab.gateways[number].ask("ready", check=False)
            return said.returncode == 1 and "nowhere" in said.stdout
        assert all(eventually(lambda number=number: complains(number), 15) for number in lab.nodes)
        assert tunnels(lab, 1, "acme") == before and tunnels(lab, 1, "globex") == {}
    finally:
        lab.store.delete(PREFIX + "globex")
    assert all(eventually(lambda number=number: lab.gateways[number].ask("ready", check=False).returncode == 0, 15)
               for number in lab.nodes)
    with pytest.raises(CommandFailed, match="no tenant"):
        lab.gateways[1].ask("delete", "tenant", "globex")


def test_metrics_say_how_a_node_stands_with_the_fleet(lab, tmp_path):
    """Also while the store is away; and a scrape asks no other node anything."""
    def read(number):
        return {name: value for (name, labels), value in samples(scrape(lab.gateways[number])).items() if not labels}

    lab.gateways[1].ask("apply", "-f", str(write(tmp_path, {"hq": "198.18.0.201"})))
    everywhere(lab, "globex", {"hq": "198.18.0.201"})
    for number in lab.nodes:
        now = read(number)
        assert now["penstock_ready"] == 1
        assert (now["penstock_fleet_nodes"], now["penstock_fleet_nodes_ready"]) == (3, 3)
        assert now["penstock_fleet_store_connected"] == 1
        assert eventually(lambda number=number: read(number)["penstock_fleet_lag_revisions"] == 0)
        shown = lab.gateways[number].show("fleet")
        assert abs(now["penstock_fleet_store_revision"] - shown["store"]["revision"]) <= 20
        assert now["penstock_fleet_propagation_seconds_count"] <= shown["barrier"]["propagation"]["count"]
    lab.store.pause()
    try:
        assert eventually(lambda: read(1)["penstock_fleet_store_connected"] == 0, 30)
        assert eventually(lambda: read(1)["penstock_fleet_store_away_seconds"] > 0, 5)
    finally:
        lab.store.resume()
    assert eventually(lambda: read(1)["penstock_fleet_store_connected"] == 1, 30)
    lab.gateways[1].ask("delete", "tenant", "globex")
    everywhere(lab, "globex", {})
