"""TCP through ESP: whole, and with the segment size of the table."""

import pytest
from kinds import ESP_FRAGMENTS, ESP_TUNNELS, NAT, by_name
from lab.counters import tunnel as row_of
from lab.plan import CLIENT4, CLIENT6, mss
from lab.traffic import MIB, Capture, tcp_copy
from test_tcp import syn_mss

# docs/ipsec.md, "MTU and MSS": (suite, outer, in UDP) to (inner MTU, MSS over IPv4, MSS over IPv6).
TABLE = {
    **{(gcm, 4, False): (1446, 1406, 1386) for gcm in ("aes128gcm16", "aes256gcm16", "chacha20poly1305")},
    **{(gcm, 4, True): (1438, 1398, 1378) for gcm in ("aes128gcm16", "aes256gcm16", "chacha20poly1305")},
    **{(gcm, 6, False): (1426, 1386, 1366) for gcm in ("aes128gcm16", "aes256gcm16", "chacha20poly1305")},
    **{(gcm, 6, True): (1418, 1378, 1358) for gcm in ("aes128gcm16", "aes256gcm16", "chacha20poly1305")},
    **{(cbc, 4, False): (1438, 1398, 1378) for cbc in ("aes128-sha256", "aes256-sha256")},
    **{(cbc, 4, True): (1422, 1382, 1362) for cbc in ("aes128-sha256", "aes256-sha256")},
    ("null-sha256", 4, False): (1454, 1414, 1394),
}
# Mebibytes; a hundred are more packets than 16 bits can number. The emulated kernel is slow at CBC.
LARGE = [(next(tunnel for tunnel in ESP_TUNNELS if tunnel.suite.name == suite), toward, mib)
         for suite, toward, mib in (("aes128gcm16", "client", 100), ("aes128-sha256", "server", 20))]


@pytest.fixture(autouse=True)
def forget_path_mtus(lab):
    """Kernels announce a smaller MSS once they have learned a path's MTU; each test starts without."""
    for space in (lab.client, lab.server):
        space.sh("ip route flush cache; ip -6 route flush cache")


def client_address(family):
    return CLIENT4 if family == 4 else CLIENT6


@pytest.mark.parametrize("family", (4, 6))
@pytest.mark.parametrize("tunnel", [*ESP_TUNNELS, NAT], ids=by_name)
def test_a_mebibyte_arrives_whole_and_the_mss_is_the_tables(lab, tunnel, family):
    by_hand = TABLE.get((tunnel.suite.name, tunnel.outer, tunnel.udp_port is not None))
    wanted = mss(tunnel.inner_mtu, family)
    assert by_hand is None or by_hand == (tunnel.inner_mtu, mss(tunnel.inner_mtu, 4), mss(tunnel.inner_mtu, 6))
    before = row_of(lab.gateway, tunnel.name)
    at_server, at_client = Capture(lab.server, "eth0", incoming_only=True), Capture(lab.client, "eth0", incoming_only=True)
    with at_server, at_client:
        done = tcp_copy(lab.client, lab.server, tunnel.server(family), MIB)
    assert done.sent_sha256 == done.received_sha256
    assert syn_mss(at_server.frames) == {wanted}, "the client's SYN, as the server sees it"
    assert syn_mss(at_client.frames) == {wanted}, "the server's SYN-ACK, as the client sees it"
    row = row_of(lab.gateway, tunnel.name)
    assert row["clamped_syns"] == before["clamped_syns"] + 2
    assert row["mtu"] == tunnel.inner_mtu


@pytest.mark.parametrize("tunnel", [*ESP_TUNNELS, *ESP_FRAGMENTS, NAT], ids=by_name)
def test_a_mebibyte_from_behind_the_router_arrives_whole(lab, tunnel):
    family = 4 if tunnel.number % 2 or tunnel.outer_fragments else 6
    done = tcp_copy(lab.server, lab.client, client_address(family), MIB, bind=tunnel.server(family))
    assert done.sent_sha256 == done.received_sha256


@pytest.mark.parametrize("tunnel, toward, mib", LARGE, ids=lambda each: getattr(each, "name", str(each)))
def test_many_mebibytes_arrive_whole(lab, tunnel, toward, mib):
    if toward == "server":
        done = tcp_copy(lab.client, lab.server, tunnel.server(4), mib * MIB)
    else:  # the server's own address decides the tunnel of the way back
        done = tcp_copy(lab.server, lab.client, CLIENT4, mib * MIB, bind=tunnel.server(4))
    assert done.size == mib * MIB
    assert done.sent_sha256 == done.received_sha256
    row = row_of(lab.gateway, tunnel.name)
    assert row["encap" if toward == "server" else "decap"]["bytes"] > mib * MIB


@pytest.mark.parametrize("family", (4, 6))
def test_without_clamping_path_mtu_discovery_finds_the_tunnels_mtu(lab, config, family):
    tunnel = ESP_TUNNELS[0]
    config["tenants"]["acme"]["tunnels"][tunnel.name]["mss"] = "off"
    lab.gateway.reload(config)
    with Capture(lab.client, "eth0", incoming_only=True) as at_client:
        done = tcp_copy(lab.client, lab.server, tunnel.server(family), MIB)
    assert done.sent_sha256 == done.received_sha256
    assert syn_mss(at_client.frames) == {mss(1500, family)}
