"""Health probes against a kernel router: what they see, when they see it, and what becomes of routes and flows.

The times are those of docs/health.md. Loss is made by a switch port that forwards nothing for a while, or by a router whose
tunnel device is down.
"""

import contextlib
import re
import socket
import threading
import time

import pytest
from kinds import ALL, LIMITED, REKEYED, SELECT, TUNNELS, WRAPPED, by_name
from lab.counters import account, drops
from lab.counters import tunnel as row_of
from lab.plan import CORE4, ENDPOINT4
from lab.traffic import Stream
from lab.wait import eventually
from test_routes import PORTS, ways_of_flows

FIRST, SECOND, THIRD = TUNNELS[0], TUNNELS[1], TUNNELS[4]
ESP = next(tunnel for tunnel in ALL if tunnel.kind == "esp")
PREFIX, ROUTER, TARGET = "198.51.200.0/24", "198.51.200.1", "198.51.200.10"
TIMEOUT_S = 0.75
DEGRADED, DOWN = 500_000, 1_000_000
SLACK_S = 0.8  # of a busy machine, and of asking


@pytest.fixture
def probe(lab, config):
    """Sets `health` of tunnels, and nothing else."""
    def set_health(**health):
        for tunnel in config["tenants"]["acme"]["tunnels"].values():
            tunnel.pop("health", None)
        for name, value in health.items():
            config["tenants"]["acme"]["tunnels"][name]["health"] = value
        lab.gateway.reload(config)

    return set_health


def health(lab, tunnel):
    """What `show tunnels` says of a tunnel's probes."""
    return row_of(lab.gateway, tunnel.name)["health"]


def becomes(lab, tunnel, state, limit_s):
    """Waits for a state and returns how long it took; fails when it does not come."""
    began = time.monotonic()
    found = eventually(lambda: health(lab, tunnel)["state"] == state, limit_s)
    took = time.monotonic() - began
    assert found, f"not {state} within {limit_s} s: {health(lab, tunnel)}\n{lab.gateway.log_tail()}"
    return took


@contextlib.contextmanager
def nothing_passes(lab):
    """The switch's port to the router forwards nothing, without anybody's link going down."""
    lab.switch.sh("bridge link set dev router state disabled")
    try:
        yield
    finally:
        lab.switch.sh("bridge link set dev router state forwarding")


def lose_one(lab, tunnel):
    """Loses one probe of a tunnel that is probed once a second, and neither its retries nor the next."""
    sent = health(lab, tunnel)["sent"]
    assert eventually(lambda: health(lab, tunnel)["sent"] > sent, 3)  # the next one is most of a second away
    lost, sent = health(lab, tunnel)["lost_5m"], health(lab, tunnel)["sent"]
    with nothing_passes(lab):
        assert eventually(lambda: health(lab, tunnel)["sent"] > sent, 3)
    assert eventually(lambda: health(lab, tunnel)["lost_5m"] > lost, 3)
    return health(lab, tunnel)["lost_5m"] - lost


def test_a_router_that_answers_is_healthy_whatever_the_tunnel(lab, probe):
    # The selectors of one leave no room for the tunnel's own link; numbers of others are counted by other tests.
    names = [tunnel.name for tunnel in ALL if tunnel not in (SELECT, LIMITED, *REKEYED, *WRAPPED)]
    punted = sum(row["punted"] for row in lab.gateway.show("cores")["rows"])
    probe(**dict.fromkeys(names, "on"))

    def sick():
        rows = {row["name"]: row["health"] for row in lab.gateway.show("tunnels")["rows"]}
        return [(name, rows[name]) for name in names if rows[name]["state"] != "healthy"]

    assert eventually(lambda: not sick(), 20), sick()
    rows = [row for row in lab.gateway.show("tunnels")["rows"] if row["name"] in names]
    for row in rows:
        found = row["health"]
        assert found["target"] and found["answered"] > 0 and found["penalty"] == 0, row
        assert found["round_trip_us"] < TIMEOUT_S * 1e6, row
        assert row["state"] == "up", row
    # Nothing of it went to the kernel, and no answer is a drop.
    assert eventually(lambda: account(lab.gateway).unexplained == 0)
    assert sum(row["punted"] for row in lab.gateway.show("cores")["rows"]) - punted < 200
    assert seen_at(lab) >= len(rows)


@pytest.mark.parametrize("tunnel", (FIRST, THIRD, ESP), ids=by_name)
def test_an_outage_is_seen_in_time_and_its_end_too(lab, probe, tunnel):
    probe(**{tunnel.name: "on"})
    becomes(lab, tunnel, "healthy", 5)
    with nothing_passes(lab):
        took = becomes(lab, tunnel, "down", 8)
        # The next probe is up to a second away; it is lost after its time, its two retries after the same again.
        assert 2 * TIMEOUT_S - 0.1 <= took <= 1 + 2 * TIMEOUT_S + SLACK_S, took
        found = row_of(lab.gateway, tunnel.name)
        assert (found["state"], found["health"]["penalty"]) == ("down", DOWN)
        assert found["reason"] == "no probe of the last second was answered"
        assert "down" in lab.gateway.ask("show", "tunnels").stdout
        assert "the tunnel is down" in lab.gateway.log_tail()
        # It stays down, and three in a row are sent each second until something answers: no more than one is tried anew.
        sent = found["health"]["sent"]
        time.sleep(3)
        assert 5 <= health(lab, tunnel)["sent"] - sent <= 13
    # Three answers in a row: retries of the last lost probe may be among them.
    took = becomes(lab, tunnel, "degraded", 8)
    assert took <= 3 + SLACK_S, took
    assert health(lab, tunnel)["penalty"] == DEGRADED
    assert row_of(lab.gateway, tunnel.name)["state"] == "up"


def test_one_lost_probe_is_nothing_and_the_second_degrades(lab, probe):
    probe(**{FIRST.name: "on"})
    becomes(lab, FIRST, "healthy", 5)
    assert lose_one(lab, FIRST) == 1, "its retries were answered"
    assert health(lab, FIRST)["state"] == "healthy"
    lose_one(lab, FIRST)
    becomes(lab, FIRST, "degraded", 2)
    found = health(lab, FIRST)
    assert re.fullmatch(r"[2-4] of \d+ probes of the last 5 minutes were not answered", found["reason"])
    assert found["penalty"] == DEGRADED
    assert "degraded" in lab.gateway.ask("show", "tunnels").stdout


@pytest.mark.soak
def test_degraded_ends_after_five_clean_minutes(lab, probe):
    probe(**{FIRST.name: {"rate": "high"}})
    becomes(lab, FIRST, "healthy", 5)
    with nothing_passes(lab):
        becomes(lab, FIRST, "down", 8)
    becomes(lab, FIRST, "degraded", 8)
    took = becomes(lab, FIRST, "healthy", 330)
    assert 299 <= took <= 307 + SLACK_S, took
    assert health(lab, FIRST)["penalty"] == 0


@pytest.mark.parametrize("tunnel", (FIRST, ESP), ids=by_name)
def test_answers_by_the_internet(lab, probe, tunnel):
    """The customer's router sends the answer to the endpoint as it would to any host."""
    probe(**{tunnel.name: {"direction": "unidirectional"}})
    becomes(lab, tunnel, "healthy", 5)
    assert health(lab, tunnel)["source"] == ENDPOINT4 and health(lab, tunnel)["target"] == tunnel.remote
    assert health(lab, tunnel)["astray"] == 0
    decapsulated = row_of(lab.gateway, tunnel.name)["decap"]["packets"]
    time.sleep(2)
    assert row_of(lab.gateway, tunnel.name)["decap"]["packets"] == decapsulated, "none came back by the tunnel"
    # A forged one is the kernel's, as any ICMP, and changes nothing.
    before = health(lab, tunnel)["answered"]
    lab.client.sh(f"ping -c 3 -i 0.2 -W 1 {ENDPOINT4}", check=False)
    assert health(lab, tunnel)["answered"] - before <= 3


@pytest.mark.parametrize("direction", ("bidirectional", "unidirectional"))
def test_replies_are_sent_home_by_a_router_that_only_routes(lab, probe, direction):
    """The target does not exist: the router sees a packet from there to us, and routes it."""
    probe(**{FIRST.name: {"type": "reply", "direction": direction, "target": "198.51.100.99"}})
    becomes(lab, FIRST, "healthy", 5)


def test_requests_to_a_host_behind_the_router(lab, probe):
    probe(**{FIRST.name: {"target": FIRST.server(4), "rate": "high"}})
    becomes(lab, FIRST, "healthy", 5)
    sent = health(lab, FIRST)["sent"]
    time.sleep(3)
    assert 25 <= health(lab, FIRST)["sent"] - sent <= 40


@pytest.fixture
def behind(lab, config):
    """A host behind the router that answers clients by the Internet, whatever tunnel their packets came by."""
    router = lab.routers["router"]
    router.sh(f"ip address add {ROUTER}/24 dev lan; ip rule add from {PREFIX} iif lan table 251; "
              f"ip route add default via {CORE4} table 251")
    lab.server.sh(f"ip address add {TARGET}/24 dev eth0")
    acme = config["tenants"]["acme"]
    acme["prefixes"].append(PREFIX)
    routes = list(acme["routes"])

    def set_ways(*ways):
        acme["routes"] = routes + [{"prefix": PREFIX, "via": tunnel.name, "priority": priority} for tunnel, priority in ways]

    yield set_ways
    router.sh(f"ip address del {ROUTER}/24 dev lan; ip rule del from {PREFIX} iif lan table 251; "
              f"ip route del default via {CORE4} table 251")
    lab.server.sh(f"ip address del {TARGET}/24 dev eth0")


def ways(lab):
    """The tenant's ways to PREFIX, best first."""
    rows = lab.gateway.show("routes")["rows"]
    return next(row["hops"] for row in rows if (row["tenant"], row["prefix"]) == ("acme", PREFIX))


class SlowCopy:
    """A TCP connection from the client to TARGET that carries a numbered line every 10 ms; both ends are ours."""

    def __init__(self, lab, port):
        with lab.server.entered():
            listener = socket.create_server((TARGET, port))
        with lab.client.entered():
            self.link = socket.socket()
        self.link.settimeout(20)
        self.received, self.sent, self.trouble = bytearray(), 0, None
        self.link.connect((TARGET, port))
        self.other, _ = listener.accept()
        listener.close()
        self.other.settimeout(20)
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]

    def _send(self):
        try:
            while not self.stopping.is_set():
                self.link.sendall(b"%015d\n" % self.sent)
                self.sent += 1
                time.sleep(0.01)
            self.link.shutdown(socket.SHUT_WR)
        except OSError as trouble:
            self.trouble = trouble

    def _receive(self):
        try:
            while data := self.other.recv(65536):
                self.received += data
        except OSError as trouble:
            self.trouble = trouble

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)
        self.link.close()
        self.other.close()


@pytest.mark.parametrize("first", (FIRST, ESP), ids=by_name)
def test_a_tcp_connection_moves_to_the_second_tunnel_and_lives(lab, behind, probe, first):
    router = lab.routers["router"]
    behind((first, 100), (SECOND, 200))
    probe(**{first.name: "on", SECOND.name: "on"})
    for tunnel in (first, SECOND):
        becomes(lab, tunnel, "healthy", 5)
    with SlowCopy(lab, 7100 + first.number) as copy:
        assert eventually(lambda: len(copy.received) > 1000, 5)
        before = row_of(lab.gateway, SECOND.name)["encap"]["packets"]
        router.sh(f"ip link set {first.device} down")
        try:
            took = becomes(lab, first, "down", 8)
            assert took <= 1 + 2 * TIMEOUT_S + SLACK_S, took
            so_far = len(copy.received)
            assert eventually(lambda: len(copy.received) > so_far + 2000, 8), "the connection goes on"
            assert eventually(lambda: row_of(lab.gateway, SECOND.name)["encap"]["packets"] > before + 20, 5)
            assert [(hop["via"], hop["penalty"], hop["active"]) for hop in ways(lab)] == [
                (SECOND.name, 0, True), (first.name, DOWN, False)]
        finally:
            router.restore(first)
        # Degraded still comes after healthy, so nothing moves back for five minutes.
        becomes(lab, first, "degraded", 8)
        so_far = len(copy.received)
        assert eventually(lambda: len(copy.received) > so_far + 1000, 5)
    assert copy.trouble is None
    assert bytes(copy.received) == b"".join(b"%015d\n" % number for number in range(copy.sent)), "nothing lost or doubled"


def test_only_flows_of_the_sick_tunnel_move(lab, behind, probe):
    router = lab.routers["router"]
    behind((FIRST, 100), (SECOND, 100), (THIRD, 100))
    probe(**{tunnel.name: "on" for tunnel in (FIRST, SECOND, THIRD)})
    for tunnel in (FIRST, SECOND, THIRD):
        becomes(lab, tunnel, "healthy", 5)
    before = ways_of_flows(lab)
    router.sh(f"ip link set {SECOND.device} down")
    try:
        becomes(lab, SECOND, "down", 8)
        after = ways_of_flows(lab)
    finally:
        router.restore(SECOND)
    moved = {port for port in PORTS if before[port] != after[port]}
    assert moved == {port for port in PORTS if before[port] == SECOND.remote}
    # One of three equal ways: about a third of the flows.
    assert 0.22 < len(moved) / len(PORTS) < 0.45, len(moved)


def test_all_down_is_as_if_none_was(lab, behind, probe):
    behind((FIRST, 100), (SECOND, 200))
    probe(**{FIRST.name: "on", SECOND.name: "on"})
    with nothing_passes(lab):
        for tunnel in (FIRST, SECOND):
            becomes(lab, tunnel, "down", 8)
        assert [(hop["via"], hop["active"]) for hop in ways(lab)] == [(FIRST.name, True), (SECOND.name, False)]


def seen_at(lab):
    """Answers to probes that workers have seen."""
    return sum(row["probe_answers"] for row in lab.gateway.show("cores")["rows"])


def pings_answered(router):
    """Echo replies that a router's kernel has sent."""
    names, values = (line.split() for line in router.sh("grep ^Icmp: /proc/net/snmp").stdout.splitlines())
    return int(dict(zip(names, values, strict=True))["OutEchoReps"])


def test_probes_go_on_under_full_load(lab, probe):
    """More packets for the tunnel than there is time for. The router's kernel loses many of them, and probes too: those are
    lost indeed. But all leave in time, and none that it answers is lost on the gateway."""
    router = lab.routers["router"]
    probe(**{FIRST.name: {"rate": "high"}})
    becomes(lab, FIRST, "healthy", 5)
    before, answered, seen = health(lab, FIRST), pings_answered(router), seen_at(lab)
    streams = [Stream(lab.client, lab.server, FIRST.server(4), 20_000, 64, 6100 + number) for number in range(4)]
    with contextlib.ExitStack() as stack:
        for stream in streams:
            stack.enter_context(stream)
        time.sleep(6)
        sent = health(lab, FIRST)["sent"] - before["sent"]
    assert sum(stream.sent for stream in streams) > 30_000
    assert sent >= 50, f"{sent} in six seconds, of ten a second"
    assert pings_answered(router) - answered > 20

    def missing():
        return pings_answered(router) - answered - (seen_at(lab) - seen)

    assert eventually(lambda: missing() <= 0, 5), (missing(), health(lab, FIRST), drops(lab.gateway))


def test_keepalives_without_probes_move_routes_too(lab, behind, config):
    router = lab.routers["router"]
    behind((FIRST, 100), (SECOND, 200))
    config["tenants"]["acme"]["tunnels"][FIRST.name]["keepalive"] = {"interval_s": 1, "retries": 3}
    router.sh(f"echo 1 > /proc/sys/net/ipv4/conf/{FIRST.device}/accept_local")
    lab.gateway.reload(config)

    def active():
        return [hop["via"] for hop in ways(lab) if hop["active"]]

    assert eventually(lambda: (row_of(lab.gateway, FIRST.name)["keepalive"] or {}).get("state") == "up", 5)
    assert active() == [FIRST.name]
    router.sh(f"ip link set {FIRST.device} down")
    try:
        assert eventually(lambda: active() == [SECOND.name], 8)
    finally:
        router.restore(FIRST)
    assert eventually(lambda: active() == [FIRST.name], 8)


def test_a_reload_leaves_what_is_known(lab, probe):
    probe(**{FIRST.name: "on"})
    becomes(lab, FIRST, "healthy", 5)
    answered = health(lab, FIRST)["answered"]
    probe(**{FIRST.name: "on", SECOND.name: {"rate": "low"}})
    assert health(lab, FIRST)["state"] == "healthy" and health(lab, FIRST)["answered"] >= answered
    probe()
    assert health(lab, FIRST) is None
    account_before = account(lab.gateway)
    time.sleep(1.5)
    assert account(lab.gateway).came - account_before.came < 50, "nobody is probed any more"
