"""Thousands of SAs: nodes have them in seconds, and hear of a new one as soon as with none. docs/fleet.md has the numbers for
a hundred thousand: `scripts/lab fleet measure`, and the second test with FLEET_SAS."""

import os

import pytest
import yaml
from lab.fleet import FleetLab
from lab.ike import IkeTunnel
from lab.scale import ScaleLab, load, tenants_text
from lab.wait import eventually
from steps import established, ready

TUNNELS = 5000  # each with a pair of SAs: ten thousand
NODES = 2
READY_S = 20  # a node alone is ready after three, when its sender IDs have come
P99_MS = 250  # five times what a quiet machine needs: this one builds something meanwhile
EMPTY_MIB, KIB_A_TUNNEL = 260, 40  # twice what it is
SAS = int(os.environ.get("FLEET_SAS", "10000"))
REKEYS = 50
OURS = IkeTunnel(0, window=0)
pytestmark = pytest.mark.soak


def test_ten_thousand_sas():
    with ScaleLab(f"fsca{os.getpid()}", NODES, TUNNELS) as lab:
        lab.up([])
        fill = lab.fill()
        starts = [lab.start_measured(number) for number in lab.nodes]
        result = lab.measure(100, NODES)
        print(fill, *starts, result, sep="\n")
        assert fill["records"] == 2 * TUNNELS
        for start in starts:
            assert start.sas == 2 * TUNNELS
            assert start.ready_s < READY_S
            assert start.rss_mib < EMPTY_MIB + TUNNELS * KIB_A_TUNNEL / 1024
        assert result["nodes"] == NODES and result["timeouts"] == 0
        assert result["p99_ms"] < P99_MS
        for gateway in lab.gateways.values():
            assert gateway.stop() == 0, gateway.log_tail()


def test_rekeys_beside_the_sas_of_others():
    """A real customer rekeys while the store has thousands of SAs for tunnels that the nodes do not have."""
    with FleetLab(f"frek{os.getpid()}") as lab:
        lab.up([], ike=True)
        config = lab.node_config(1, [], [OURS])
        del config["tenants"]
        file = lab.directory / "others.yaml"
        file.write_text(yaml.safe_dump(config) + tenants_text(lab.directory, SAS // 2))
        load(lab.gateways[1].space, file, "fill")
        lab.start_gateways([], [OURS])
        assert lab.ready() and all(eventually(lambda number=number: ready(lab, number), 60) for number in lab.nodes)
        assert [gateway.show("fleet")["sas"]["foreign"] for gateway in lab.gateways.values()] == [SAS] * len(lab.nodes)
        customer = established(lab, OURS)
        for number in range(REKEYS):
            with customer.charon.events("child-rekey") as seen:
                if number % 2:
                    lab.charon(1).rekey_child(OURS.child_name, check=False)
                else:
                    customer.charon.rekey_child(check=False)
                assert seen.next(30), customer.charon.log_tail()
        barrier = lab.gateways[1].show("fleet")["barrier"]
        print(SAS, barrier)
        assert barrier["waits"] >= 2 * REKEYS and barrier["timeouts"] == 0, barrier
        assert barrier["p99_us"] < P99_MS * 1000, barrier
