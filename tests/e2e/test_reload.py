"""Changes while packets flow: nothing that is not concerned loses one."""

import json
import threading
import time
from itertools import pairwise

import pytest
import yaml
from kinds import TUNNELS
from lab.counters import missed
from lab.counters import tunnel as row_of
from lab.gateway import tunnel_config
from lab.netns import run
from lab.plan import Tunnel
from lab.traffic import Capture, Stream

SPARE = Tunnel(20)


def with_spare(config, **keys):
    """The configuration with one more tunnel and its route."""
    acme = config["tenants"]["acme"]
    acme["tunnels"][SPARE.name] = tunnel_config(SPARE) | keys
    acme["prefixes"] = acme["prefixes"] + [SPARE.prefix(4)]
    acme["routes"] = acme["routes"] + [{"prefix": SPARE.prefix(4), "via": SPARE.name}]
    return config


class Watched:
    """A stream of which the gateway may lose nothing: what came to its port is seen on the wire behind it.

    What a busy machine loses before and after the gateway (the ring of its port, the guest) is not its fault.
    """

    def __init__(self, lab, address, per_second=1000):
        self.lab, self.before = lab, missed(lab.gateway)
        self.stream = Stream(lab.client, lab.server, address, per_second=per_second)
        self.wire = Capture(lab.switch, "gateway", incoming_only=True)

    def __enter__(self):
        self.wire.__enter__()
        self.stream.__enter__()
        return self

    def __exit__(self, *error):
        self.stream.__exit__(*error)
        self.wire.__exit__()
        passed = [number for frame in self.wire.frames if (number := self.stream.number_in(frame)) is not None]
        came = self.stream.sent - (missed(self.lab.gateway) - self.before)
        self.lost_by_the_gateway = max(0, came - len(set(passed)))
        self.reordered = sum(later < earlier for earlier, later in pairwise(passed))


def test_adding_changing_removing_a_tunnel_loses_nothing_elsewhere(lab, config):
    base = yaml.safe_load(yaml.safe_dump(config))
    with Watched(lab, TUNNELS[0].server(4)) as watched:
        # However quick reloads are: long enough for packets to be on their way.
        rounds, until = 0, time.monotonic() + 4
        while rounds < 5 or time.monotonic() < until:
            rounds += 1
            lab.gateway.reload(with_spare(yaml.safe_load(yaml.safe_dump(base))))
            assert row_of(lab.gateway, SPARE.name)["mtu"] == 1476
            lab.gateway.reload(with_spare(yaml.safe_load(yaml.safe_dump(base)), mtu=1300, key=99))
            assert row_of(lab.gateway, SPARE.name)["mtu"] == 1300
            lab.gateway.reload(base)
            assert SPARE.name not in [row["name"] for row in lab.gateway.show("tunnels")["rows"]]
    assert watched.stream.received > 500
    assert watched.lost_by_the_gateway == 0
    assert watched.reordered == 0


@pytest.mark.soak
def test_changes_without_pause_for_half_a_minute(lab, config):
    base = yaml.safe_load(yaml.safe_dump(config))
    other = with_spare(yaml.safe_load(yaml.safe_dump(base)))
    changes, limit = 0, time.monotonic() + 30
    with Watched(lab, TUNNELS[4].server(6)) as watched:
        while time.monotonic() < limit:
            lab.gateway.reload(base if changes % 2 else other)
            changes += 1
    assert watched.stream.received > 15_000
    assert watched.lost_by_the_gateway == 0
    worker = next(row for row in lab.gateway.show("cores")["rows"] if row["role"] == "worker")
    assert worker["generation"] == worker["current_generation"] >= changes
    print(f"{changes} reloads, {watched.stream.received} packets, longest turn of the worker {worker['max_loop_us']} us")


def test_dry_run_says_what_would_change_and_changes_nothing(lab, config):
    generation = lab.gateway.show("status")["generation"]
    lab.gateway.write(with_spare(config))
    said = lab.gateway.ask("reload", "--dry-run", "--json", "-c", str(lab.gateway.config_file)).stdout
    assert any(SPARE.name in change["path"] for change in json.loads(said)["changes"])
    assert SPARE.name not in [row["name"] for row in lab.gateway.show("tunnels")["rows"]]
    assert lab.gateway.show("status")["generation"] == generation


def test_a_wrong_configuration_is_refused_whole_with_every_problem(lab, config):
    acme = config["tenants"]["acme"]
    acme["tunnels"][TUNNELS[0].name]["remote"] = "not an address"
    acme["tunnels"][TUNNELS[1].name]["kez"] = 7
    acme["routes"].append({"prefix": "10.0.0.0/8", "via": "nowhere"})
    lab.gateway.write(config)
    refused = lab.gateway.ask("reload", "-c", str(lab.gateway.config_file), check=False)
    assert refused.returncode == 1
    for word in (f"{TUNNELS[0].name}.remote", "kez", "nowhere"):
        assert word in refused.stdout
    checked = run([str(lab.gateway.program), "check", "-c", str(lab.gateway.config_file)], check=False)
    assert checked.returncode == 1 and "kez" in checked.stdout
    assert lab.client.sh(f"ping -c 1 -W 2 {TUNNELS[0].server(4)}")


def test_many_readers_do_not_disturb(lab):
    stop = threading.Event()

    def read():
        while not stop.is_set():
            lab.gateway.show("routes")

    readers = [threading.Thread(target=read) for _ in range(3)]
    with Watched(lab, TUNNELS[0].server(4)) as watched:
        for reader in readers:
            reader.start()
        time.sleep(2)
        stop.set()
        for reader in readers:
            reader.join()
    assert watched.lost_by_the_gateway == 0
