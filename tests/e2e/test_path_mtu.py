"""Path MTUs that are probed: a router on the way loses what is too large and says nothing.

The times are those of docs/health.md.
"""

import time

import pytest
from kinds import ALL, TUNNELS, by_name
from lab.counters import tunnel as row_of
from lab.middle import Middle
from lab.plan import CLIENT4, mss
from lab.traffic import MIB, Capture, tcp_copy
from lab.wait import eventually
from test_health import becomes, nothing_passes
from test_tcp import syn_mss

FIRST, OVER6 = TUNNELS[0], TUNNELS[4]
ESP = next(tunnel for tunnel in ALL if tunnel.kind == "esp" and tunnel.suite.name == "aes128gcm16")
CBC = next(tunnel for tunnel in ALL if tunnel.kind == "esp" and tunnel.suite.name == "aes128-sha256" and tunnel.outer == 4)
KINDS = (FIRST, OVER6, ESP, CBC)
CONFIRM_S, TRY_S, TRIES = 10, 0.75, 3
SEARCH_S = 25
SLACK_S = 3  # of a busy machine with an emulated router


def inner(tunnel, outer):
    """The largest inner packet in outer ones of so many bytes."""
    if tunnel.kind == "esp":
        return tunnel.suite.inner_mtu(tunnel.outer, tunnel.udp_port is not None, outer)
    return tunnel.inner_mtu - 1500 + outer


def row(lab, tunnel):
    return row_of(lab.gateway, tunnel.name)


def found(lab, tunnel):
    """What probes have found; None while they look for it."""
    probes = row(lab, tunnel)["health"]["path_mtu"]
    return None if probes["searching"] else probes["largest"]


def finds(lab, tunnel, wanted, limit_s):
    began = time.monotonic()
    assert eventually(lambda: found(lab, tunnel) == wanted, limit_s), (row(lab, tunnel), lab.gateway.log_tail())
    return time.monotonic() - began


@pytest.fixture
def middle(lab):
    with Middle(lab, KINDS) as middle:
        yield middle
    for space in (lab.client, lab.server):
        space.sh("ip route flush cache; ip -6 route flush cache")


@pytest.fixture
def probe(lab, config):
    """Sets `health` of tunnels, with their path MTUs."""
    def set_health(*tunnels, **keys):
        for tunnel in tunnels:
            health = {"path_mtu": True, **keys}
            config["tenants"]["acme"]["tunnels"][tunnel.name]["health"] = health
        lab.gateway.reload(config)

    return set_health


def ping_passes(lab, tunnel, size):
    """One inner packet of so many bytes from the client, and its answer."""
    done = lab.client.sh(f"ping -c 1 -W 2 -M do -s {size - 28} {tunnel.server(4)}", check=False)
    return done.returncode == 0


@pytest.mark.parametrize("tunnel", KINDS, ids=by_name)
def test_a_black_hole_is_measured_to_the_byte_and_tcp_passes(lab, probe, middle, tunnel):
    wanted = inner(tunnel, 1400)
    middle.limit(1400)
    # Without probes the tunnel knows nothing of it.
    assert row(lab, tunnel)["mtu"] == inner(tunnel, 1500)
    assert eventually(lambda: ping_passes(lab, tunnel, wanted), 10)
    assert not ping_passes(lab, tunnel, inner(tunnel, 1500))
    probe(tunnel)
    took = finds(lab, tunnel, wanted, SEARCH_S + SLACK_S)
    shown = row(lab, tunnel)
    assert middle.lost() >= TRIES
    assert shown["mtu"] == wanted
    assert shown["path_mtu"]["source"] == "probed" and shown["path_mtu"]["expires_s"] is None
    assert 1400 - 16 < shown["path_mtu"]["outer"] <= 1400, shown
    assert f"path MTU {shown['path_mtu']['outer']} probed" in lab.gateway.ask("show", "tunnels").stdout
    assert (shown["mss_v4"], shown["mss_v6"]) == (mss(wanted, 4), mss(wanted, 6))
    probes = shown["health"]["path_mtu"]
    assert shown["health"]["state"] == "healthy" and shown["health"]["lost_5m"] < TRIES < probes["lost"], shown
    # What senders are told, and what passes.
    assert ping_passes(lab, tunnel, wanted)
    lost = middle.lost()
    with Capture(lab.server, "eth0", incoming_only=True) as at_server:
        there = tcp_copy(lab.client, lab.server, tunnel.server(4), 2 * MIB)
    assert there.size == 2 * MIB and there.sent_sha256 == there.received_sha256
    assert syn_mss(at_server.frames) == {mss(wanted, 4)}
    back = tcp_copy(lab.server, lab.client, CLIENT4, 2 * MIB, bind=tunnel.server(4))
    assert back.size == 2 * MIB and back.sent_sha256 == back.received_sha256
    assert middle.lost() == lost, "TCP sent nothing too large"
    print(f"{tunnel.name}: {wanted} found after {took:.1f} s, {probes}")


@pytest.mark.parametrize("tunnel", (FIRST, ESP), ids=by_name)
def test_it_is_raised_and_lowered_in_time(lab, probe, middle, tunnel):
    middle.limit(1400)
    probe(tunnel, path_mtu_raise="15s")
    finds(lab, tunnel, inner(tunnel, 1400), SEARCH_S + SLACK_S)
    # A little more, then all.
    middle.limit(1450)
    took = finds(lab, tunnel, inner(tunnel, 1450), 15 + SEARCH_S + SLACK_S)
    middle.limit()
    whole = finds(lab, tunnel, inner(tunnel, 1500), 15 + TRY_S + SLACK_S)
    assert row(lab, tunnel)["path_mtu"] is None and row(lab, tunnel)["mtu"] == inner(tunnel, 1500)
    # Now the path shrinks.
    middle.limit(1300)
    began = time.monotonic()
    assert eventually(lambda: row(lab, tunnel)["mtu"] <= inner(tunnel, 1300), CONFIRM_S + TRIES * TRY_S + SLACK_S)
    lowered = time.monotonic() - began
    assert "lost for their size" in lab.gateway.log_tail()
    finds(lab, tunnel, inner(tunnel, 1300), SEARCH_S + SLACK_S)
    exact = time.monotonic() - began
    shown = row(lab, tunnel)
    assert shown["mtu"] == inner(tunnel, 1300) and shown["health"]["path_mtu"]["black_holes"] == 1
    done = tcp_copy(lab.client, lab.server, tunnel.server(4), MIB)
    assert done.sent_sha256 == done.received_sha256
    print(f"{tunnel.name}: raised after {took:.1f} s, whole after {whole:.1f} s, lowered after {lowered:.1f} s, "
          f"exact after {exact:.1f} s")


@pytest.mark.parametrize("tunnel", (FIRST, ESP), ids=by_name)
def test_a_tunnel_that_is_down_keeps_its_mtu(lab, probe, middle, tunnel):
    wanted = inner(tunnel, 1400)
    middle.limit(1400)
    probe(tunnel)
    finds(lab, tunnel, wanted, SEARCH_S + SLACK_S)
    with nothing_passes(lab):
        becomes(lab, tunnel, "down", 8)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            shown = row(lab, tunnel)
            assert shown["mtu"] == wanted and shown["path_mtu"]["outer"] <= 1400, shown
            time.sleep(0.5)
    becomes(lab, tunnel, "degraded", 8)
    time.sleep(CONFIRM_S + 3)
    shown = row(lab, tunnel)
    assert shown["mtu"] == wanted and shown["health"]["path_mtu"]["black_holes"] == 0, shown


def test_a_router_that_tells_is_believed_at_once(lab, probe, middle):
    probe(FIRST, path_mtu_raise="1h")
    finds(lab, FIRST, inner(FIRST, 1500), 10)
    middle.tell(FIRST.remote, 1380)
    began = time.monotonic()
    ping_passes(lab, FIRST, inner(FIRST, 1500))
    assert eventually(lambda: row(lab, FIRST)["mtu"] == inner(FIRST, 1380), 3), row(lab, FIRST)
    # It is tried, and then known to pass.
    assert eventually(lambda: (row(lab, FIRST)["path_mtu"] or {}).get("source") == "probed", 5), row(lab, FIRST)
    assert found(lab, FIRST) == inner(FIRST, 1380)
    assert time.monotonic() - began < 2 * TRY_S + SLACK_S
    # Without probes nothing is left of it.
    probe(FIRST, path_mtu=False)
    assert row(lab, FIRST)["health"]["path_mtu"] is None
    assert eventually(lambda: row(lab, FIRST)["path_mtu"] is None and row(lab, FIRST)["mtu"] == inner(FIRST, 1500), 3)
