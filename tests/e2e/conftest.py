"""One lab for most tests: a client, the gateway, a kernel router with a tunnel of every kind, a server.

Tests that change the configuration take `config`, which puts the first one
back; tests that count packets take `counted`, which checks the sum at the end.
"""

import copy
import os
import time

import pytest
from lab.counters import account, drops
from lab.gateway import base_config, tenant_config
from lab.plan import VLAN_CORE4, VLAN_CORE6, Tunnel
from lab.topology import Lab

VLAN = 200
TUNNELS = [
    Tunnel(0),
    Tunnel(1, key=7),
    Tunnel(2, checksum=True),
    Tunnel(3, key=0xFFFFFFFF, checksum=True),
    Tunnel(4, outer=6),
    Tunnel(5, outer=6, key=9),
    Tunnel(6, outer=6, encap_limit=True),
    Tunnel(7, vlan=VLAN),
    Tunnel(8, outer_fragments=True),
]


def by_name(tunnel):
    """Test ids."""
    return tunnel.name


def eventually(question, limit_s=5.0):
    """Asks until the answer is true or the time is up; returns the last answer."""
    limit = time.monotonic() + limit_s
    while not (answer := question()) and time.monotonic() < limit:
        time.sleep(0.05)
    return answer


@pytest.fixture(scope="session")
def lab():
    """The lab, up, with the gateway running; the gateway must end by itself with status 0 when told to."""
    with Lab(f"e2e{os.getpid()}") as lab:
        lab.up(TUNNELS)
        config = base_config(lab.directory, lab.twin.name)
        config["tenants"]["acme"] = tenant_config(TUNNELS)
        config["ports"]["core0"]["vlans"] = {VLAN: {"addresses": [f"{VLAN_CORE4}/24", f"{VLAN_CORE6}/64"]}}
        lab.config = config
        lab.gateway.start(config)
        yield lab
        assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
        assert lab.gateway.stop() == 0, lab.gateway.log_tail()


@pytest.fixture(autouse=True)
def alive(lab):
    """Every test leaves a gateway that runs and has lost no packet without a reason."""
    yield
    assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
    assert eventually(lambda: account(lab.gateway).unexplained == 0), account(lab.gateway)


@pytest.fixture
def config(lab):
    """A configuration to change and reload; the first one comes back afterwards."""
    yield copy.deepcopy(lab.config)
    lab.gateway.reload(lab.config)


@pytest.fixture
def expect_drops(lab):
    """A check: between its making and its call these drops happened, no others."""
    before = drops(lab.gateway)

    def check(**wanted):
        def new():
            now = drops(lab.gateway)
            return {reason: count - before.get(reason, 0) for reason, count in now.items()
                    if count != before.get(reason, 0)}

        eventually(lambda: new() == wanted)
        assert new() == wanted

    return check
