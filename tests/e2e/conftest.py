"""One lab for most tests: a client, the gateway, a kernel router with a GRE or ESP tunnel of every kind, a server.

Tests that change the configuration take `config`, which puts the first one
back. After every test the gateway must run, and every packet be accounted for.
"""

import copy
import os

import pytest
from kinds import ALL, VLAN
from lab.counters import account
from lab.gateway import base_config, tenant_config
from lab.plan import VLAN_CORE4, VLAN_CORE6
from lab.topology import Lab
from lab.wait import eventually


@pytest.fixture(scope="session")
def lab():
    """The lab, up, with the gateway running; the gateway must end by itself with status 0 when told to."""
    with Lab(f"e2e{os.getpid()}") as lab:
        lab.up(ALL)
        config = base_config(lab.directory, lab.twin.name)
        config["tenants"]["acme"] = tenant_config(ALL)
        config["ports"]["core0"]["vlans"] = {VLAN: {"addresses": [f"{VLAN_CORE4}/24", f"{VLAN_CORE6}/64"]}}
        lab.config = config
        lab.gateway.start(config, lab.associations)
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
