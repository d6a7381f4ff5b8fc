"""Two customers with the same private network, each with its own router, server and clients."""

import os
import select
import socket

import pytest
from lab.counters import account
from lab.gateway import base_config, port, tenant_config, tunnel_config
from lab.plan import Tunnel
from lab.topology import Lab
from lab.traffic import MIB, tcp_copy

ACME = Tunnel(0)
BETA = Tunnel(21, prefix_of=0)


@pytest.fixture(scope="module")
def tenants():
    """acme's clients are the Internet's; beta's come in by a port of its own."""
    with Lab(f"two{os.getpid()}") as lab:
        lab.up([ACME])
        lab.beta_client = lab.add_client("edge1", ["10.77.0.10/24", "2001:db8:77::10/64"],
                                         ["10.77.0.1", "2001:db8:77::1"])
        lab.beta_router, lab.beta_server = lab.add_router("beta", [BETA], "198.18.0.67", "2001:db8:2::67")
        config = base_config(lab.directory, lab.twin.name)
        config["ports"]["edge1"] = port("edge1", 2, "02:00:00:00:03:01", ["10.77.0.1/24", "2001:db8:77::1/64"])
        config["ports"]["edge1"]["tenant"] = "beta"
        config["tenants"]["acme"] = tenant_config([ACME])
        config["tenants"]["beta"] = {
            "tunnels": {BETA.name: tunnel_config(BETA)},
            "routes": [{"prefix": BETA.prefix(family), "via": BETA.name} for family in (4, 6)],
        }
        lab.gateway.start(config)
        yield lab
        assert lab.gateway.running(), lab.gateway.log_tail()
        assert account(lab.gateway).unexplained == 0


def who_answers(client, servers, address, port):
    """Which of these servers a connection to this address reaches."""
    listeners = {}
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for name, space in servers.items():
        with space.entered():
            listeners[name] = socket.create_server((address, port), family=family)
    with client.entered():
        link = socket.socket(family)
    link.settimeout(5)
    with link:
        link.connect((address, port))
        ready, _, _ = select.select(listeners.values(), [], [], 2)
        reached = [name for name, listener in listeners.items() if listener in ready]
    for listener in listeners.values():
        listener.close()
    return reached


@pytest.mark.parametrize("family", (4, 6))
def test_the_same_address_is_another_server_for_each_tenant(tenants, family):
    servers = {"acme": tenants.server, "beta": tenants.beta_server}
    assert who_answers(tenants.client, servers, ACME.server(family), 7001) == ["acme"]
    assert who_answers(tenants.beta_client, servers, BETA.server(family), 7002) == ["beta"]


def test_both_carry_traffic_whole(tenants):
    for client, server, tunnel in ((tenants.client, tenants.server, ACME),
                                   (tenants.beta_client, tenants.beta_server, BETA)):
        done = tcp_copy(client, server, tunnel.server(4), 10 * MIB)
        assert done.sent_sha256 == done.received_sha256


def test_a_tenant_does_not_reach_what_is_not_its_own(tenants):
    assert "100% packet loss" in tenants.beta_client.sh("ping -c 2 -i 0.2 -W 1 192.0.2.10", check=False).stdout
    assert "100% packet loss" in tenants.client.sh("ping -c 2 -i 0.2 -W 1 10.77.0.10", check=False).stdout
