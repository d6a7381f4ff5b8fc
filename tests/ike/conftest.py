"""One lab for the IKE tests: a client, the gateway with a charon of its own, and guests full of customers.

Customers are made when a test first wants them. `lab` has no gateway until a
test asks for `gateway`, so that the tests of the lab itself need no Penstock.
"""

import copy
import os

import pytest
from customers import ALL, SECOND_GUEST
from lab.charon import Charon
from lab.counters import account
from lab.gateway import base_config, ike_config, tenant_config
from lab.topology import Lab
from lab.wait import eventually


@pytest.fixture(scope="session")
def lab():
    """Client, switch, server, and a guest with room for customers."""
    with Lab(f"ike{os.getpid()}") as lab:
        lab.up([], ike=True)
        yield lab


@pytest.fixture(scope="session")
def started(lab):
    """The lab's gateway, running; it must end by itself with status 0 when told to."""
    config = base_config(lab.directory, lab.twin.name)
    config["ike"] = ike_config(lab.directory)
    config["tenants"]["acme"] = tenant_config(ALL, lab.directory)
    lab.config = config
    lab.gateway.write_credentials(ALL)
    lab.gateway.start(config)
    yield lab.gateway
    assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
    assert lab.gateway.stop() == 0, lab.gateway.log_tail()


@pytest.fixture
def gateway(started):
    """The gateway. After each test it still runs and has lost no packet without a reason."""
    yield started
    assert started.running(), f"the gateway died:\n{started.log_tail()}"
    assert eventually(lambda: account(started).unexplained == 0), account(started)


@pytest.fixture
def config(lab, gateway):
    """A configuration to change and reload; the first one comes back afterwards."""
    yield copy.deepcopy(lab.config)
    gateway.reload(lab.config)


@pytest.fixture
def charon(lab, gateway):
    """The gateway's charon."""
    return Charon(lab.twin, str(gateway.ike))


@pytest.fixture
def customer(lab):
    """Gives a tunnel's customer, made at its first use, with its own configuration."""
    def get(tunnel):
        if tunnel.name not in lab.customers:
            if tunnel is SECOND_GUEST and "west" not in lab.routers:
                lab.add_router("west", [], "198.18.0.67", "2001:db8:2::67", ike=True)
            lab.add_customer(tunnel, "west" if tunnel is SECOND_GUEST else "router")
        found = lab.customers[tunnel.name]
        if found.tunnel is not tunnel:
            found.configure(tunnel)
        return found
    return get
