"""The gateway between two silent neighbours, and somebody who watches what it does with their packets."""

import copy
import os

import pytest
import ways
from lab.counters import account
from lab.wait import eventually
from lab.wire import WireLab


@pytest.fixture(scope="session")
def lab():
    """A running gateway; it must end with status 0 when told to."""
    with WireLab(f"watch{os.getpid()}") as lab:
        lab.up({"west": ways.WEST_ADDRESSES, "east": ways.EAST_ADDRESSES})
        lab.config = ways.config(lab.directory, lab.twin.name)
        lab.gateway.start(lab.config, ways.ASSOCIATIONS)
        warm_up(lab)
        yield lab
        assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
        assert lab.gateway.stop() == 0, lab.gateway.log_tail()


def warm_up(lab):
    """Packets into every tunnel until its neighbours are resolved."""
    for _ in range(20):
        lab.send("west", [ways.to(tunnel) for tunnel in ways.TUNNELS])
        lab.send("east", [ways.back(ways.GRE)])
        lab.collect(count=len(ways.TUNNELS) + 1, limit_s=1)
        if all(row["state"] == "up" for row in lab.gateway.show("tunnels")["rows"]):
            lab.collect()
            return
    raise AssertionError(f"tunnels do not come up: {lab.gateway.show('tunnels')}")


@pytest.fixture(autouse=True)
def alive(lab):
    """Every test leaves a gateway that runs, has lost no packet without a reason, and watches nothing any more."""
    yield
    assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
    assert eventually(lambda: account(lab.gateway).unexplained == 0), account(lab.gateway)


@pytest.fixture
def config(lab):
    """A configuration to change and reload; the first one comes back afterwards."""
    yield copy.deepcopy(lab.config)
    lab.gateway.reload(lab.config, ways.ASSOCIATIONS)
