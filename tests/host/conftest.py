"""The gateway as a host's administrator meets it: on a core that others want, under a service manager, from a package."""

import os

import pytest
from lab.gateway import base_config
from lab.plan import CLIENT4, ROUTER4
from lab.wire import WireLab


@pytest.fixture
def lab():
    """Two silent neighbours and a configuration that forwards between them; the gateway is the test's to start and stop."""
    with WireLab(f"host{os.getpid()}") as lab:
        lab.up({"west": [f"{CLIENT4}/24"], "east": [f"{ROUTER4}/24"]})
        lab.config = base_config(lab.directory, lab.twin.name)
        yield lab
        if lab.gateway.running():
            assert lab.gateway.stop() == 0, lab.gateway.log_tail()
