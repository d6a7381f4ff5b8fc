"""The gateway between two silent neighbours, with the world's configuration."""

import os

import pytest
import world
from lab.wire import WireLab


@pytest.fixture(scope="session")
def lab():
    """A running gateway; it must end with status 0 when told to."""
    with WireLab(f"golden{os.getpid()}") as lab:
        lab.up({"west": world.WEST_ADDRESSES, "east": world.EAST_ADDRESSES})
        lab.gateway.start(world.config(lab.directory, lab.twin.name), world.ASSOCIATIONS)
        warm_up(lab)
        yield lab
        assert lab.gateway.running(), f"the gateway died:\n{lab.gateway.log_tail()}"
        assert lab.gateway.stop() == 0, lab.gateway.log_tail()


def warm_up(lab):
    """One packet to every tunnel and one back, until neighbours are resolved and all of them arrive the fast way."""
    for _ in range(20):
        frames = {"west": [], "east": []}
        for tunnel in world.TUNNELS:
            for family in (4, 6):
                frames["west"].append(world.from_west(world.inner(tunnel, family))[1])
                packet = world.inner(tunnel, family, toward="client")
                frames["east"].append(world.from_east(world.outer(tunnel, packet, "gateway"))[1])
        for tunnel in world.ESP_TUNNELS:  # only into these: what comes out of them is numbered
            if tunnel is not world.ENDING:
                frames["west"].append(world.from_west(world.inner(tunnel, 4))[1])
        for side, each in frames.items():
            lab.send(side, each)
        lab.collect(count=sum(map(len, frames.values())), limit_s=1)
        if all(row["state"] == "up" for row in lab.gateway.show("tunnels")["rows"]):
            lab.collect()
            return
    raise AssertionError(f"tunnels do not come up: {lab.gateway.show('tunnels')}")
