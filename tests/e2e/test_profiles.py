"""The traffic generators' profiles: the gateway takes their configuration, and their frames are what they say.

TRex and pktgen need real NICs; their programming interface is stood in for."""

import subprocess
import sys
import types
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import GRE, Ether
from scapy.utils import rdpcap

from lab.gateway import REPOSITORY, binary

TREX = REPOSITORY / "perf" / "trex"
CASES = ("forward", "gre-encap", "gre-decap", "gre-encap-syn", "gre-transit")


@pytest.fixture
def profile(monkeypatch):
    """penstock.py, loaded as TRex would."""
    api = types.ModuleType("trex_stl_lib.api")
    api.STLPktBuilder = lambda pkt: pkt
    api.STLTXCont = lambda percentage: percentage
    api.STLStream = lambda packet, mode: (packet, mode)
    monkeypatch.setitem(sys.modules, "trex_stl_lib", types.ModuleType("trex_stl_lib"))
    monkeypatch.setitem(sys.modules, "trex_stl_lib.api", api)
    monkeypatch.syspath_prepend(str(TREX))
    import penstock
    yield penstock.register()
    sys.modules.pop("penstock", None)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", (64, 512, 1400))
def test_streams_are_the_cases_frames(profile, case, size):
    streams = profile.get_streams(tunables=["--case", case, "--size", str(size), "--tunnels", "100"])
    assert len(streams) == 512
    assert sum(share for _, share in streams) == pytest.approx(100)
    for packet, _ in streams:
        read = Ether(bytes(packet))
        inner = read[GRE].payload if GRE in read else read[IP]
        assert len(inner) == size
        assert (GRE in read) == (case in ("gre-decap", "gre-transit"))
        assert (TCP in read) == (case == "gre-encap-syn")


def test_the_gateway_takes_the_configuration(tmp_path):
    made = subprocess.run([TREX / "gateway.py", "--edge", "net_null0", "--core", "net_null1", "--tunnels", "1000"],
                          check=True, capture_output=True, text=True)
    file = Path(tmp_path / "bench.yaml")
    file.write_text(made.stdout)
    checked = subprocess.run([binary(), "check", "-c", file], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_pcap_for_pktgen(tmp_path):
    file = tmp_path / "decap.pcap"
    subprocess.run([TREX / "write_pcap.py", "--case", "gre-decap", "--size", "512", "--flows", "16", file], check=True)
    packets = rdpcap(str(file))
    assert len(packets) == 16
    assert all(len(packet[GRE].payload) == 512 for packet in packets)
