"""Thousands of tunnels: nodes have them in seconds, and hear of a new SA as soon as with one. docs/fleet.md has the numbers
for a hundred thousand, by `scripts/lab fleet measure`."""

import os

import pytest
from lab.scale import ScaleLab

TUNNELS = 5000  # each with a pair of SAs: ten thousand
NODES = 2
READY_S = 20  # a node alone is ready after three, when its sender IDs have come
P99_MS = 250  # five times what a quiet machine needs: this one builds something meanwhile
EMPTY_MIB, KIB_A_TUNNEL = 260, 40  # twice what it is


@pytest.mark.soak
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
