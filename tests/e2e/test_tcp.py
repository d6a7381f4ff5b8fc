"""TCP through the tunnel: whole, fast enough, and with the segment size of the table."""

import pytest
from kinds import TUNNELS, by_name
from lab.counters import tunnel as row_of
from lab.plan import CLIENT4, CLIENT6, mss
from lab.traffic import MIB, Capture, tcp_copy
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether

# docs/gre.md, "MTU and MSS": (outer, options of four bytes) to (inner MTU, MSS over IPv4, MSS over IPv6)
TABLE = {(4, 0): (1476, 1436, 1416), (4, 1): (1472, 1432, 1412), (4, 2): (1468, 1428, 1408),
         (6, 0): (1456, 1416, 1396), (6, 1): (1452, 1412, 1392)}


@pytest.fixture(autouse=True)
def forget_path_mtus(lab):
    """Kernels announce a smaller MSS once they have learned a path's MTU; each test starts without."""
    for space in (lab.client, lab.server):
        space.sh("ip route flush cache; ip -6 route flush cache")


def syn_mss(frames):
    """MSS options of the SYNs among these frames."""
    found = set()
    for frame in frames:
        packet = Ether(frame)
        if TCP in packet and packet[TCP].flags.S:
            found.add(dict(packet[TCP].options).get("MSS"))
    return found


def table_row(tunnel):
    return TABLE[tunnel.outer, (tunnel.key is not None) + tunnel.checksum]


def client_address(family):
    return CLIENT4 if family == 4 else CLIENT6


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", TUNNELS, ids=by_name)
def test_mss_on_the_wire_is_the_tables(lab, tunnel, family):
    wanted = table_row(tunnel)[family // 2 - 1]
    assert wanted == mss(tunnel.inner_mtu, family)
    before = row_of(lab.gateway, tunnel.name)["clamped_syns"]
    at_server, at_client = Capture(lab.server, "eth0", incoming_only=True), Capture(lab.client, "eth0", incoming_only=True)
    with at_server, at_client:
        done = tcp_copy(lab.client, lab.server, tunnel.server(family), 10_000)
    assert done.sent_sha256 == done.received_sha256
    assert syn_mss(at_server.frames) == {wanted}, "the client's SYN, as the server sees it"
    assert syn_mss(at_client.frames) == {wanted}, "the server's SYN-ACK, as the client sees it"
    assert row_of(lab.gateway, tunnel.name)["clamped_syns"] == before + 2
    assert row_of(lab.gateway, tunnel.name)["mtu"] == table_row(tunnel)[0]


def copy_arrives_whole(lab, tunnel, family, toward, mib):
    if toward == "server":
        done = tcp_copy(lab.client, lab.server, tunnel.server(family), mib * MIB)
    else:  # the server's own address decides the tunnel of the way back
        done = tcp_copy(lab.server, lab.client, client_address(family), mib * MIB, bind=tunnel.server(family))
    assert done.size == mib * MIB
    assert done.sent_sha256 == done.received_sha256
    row = row_of(lab.gateway, tunnel.name)
    assert row["encap" if toward == "server" else "decap"]["bytes"] > mib * MIB


@pytest.mark.parametrize("toward", ("server", "client"))
@pytest.mark.parametrize("tunnel", (TUNNELS[0], TUNNELS[4]), ids=by_name)
@pytest.mark.parametrize("family", (4, 6))
def test_ten_mebibytes_arrive_whole(lab, tunnel, family, toward):
    copy_arrives_whole(lab, tunnel, family, toward, 10)


@pytest.mark.parametrize("toward", ("server", "client"))
def test_a_hundred_mebibytes_arrive_whole(lab, toward):
    """More packets than an IPv4 identification has values."""
    copy_arrives_whole(lab, TUNNELS[0], 4, toward, 100)


@pytest.mark.parametrize("family", (4, 6))
def test_without_clamping_path_mtu_discovery_finds_the_tunnels_mtu(lab, config, family):
    tunnel = TUNNELS[2]
    config["tenants"]["acme"]["tunnels"][tunnel.name]["mss"] = "off"
    lab.gateway.reload(config)
    with Capture(lab.client, "eth0", incoming_only=True) as at_client:
        done = tcp_copy(lab.client, lab.server, tunnel.server(family), 2 * MIB)
    assert done.sent_sha256 == done.received_sha256
    assert syn_mss(at_client.frames) == {mss(1500, family)}


def test_a_fixed_mss_is_used(lab, config):
    tunnel = TUNNELS[1]
    config["tenants"]["acme"]["tunnels"][tunnel.name]["mss"] = 1200
    lab.gateway.reload(config)
    with Capture(lab.client, "eth0", incoming_only=True) as at_client:
        tcp_copy(lab.client, lab.server, tunnel.server(4), 10_000)
    assert syn_mss(at_client.frames) == {1200}

