"""What workers do while nothing comes: what it costs the core, and what it costs packets."""

import statistics
import time

import pytest
from steps import Crossing, cpu_s, switches, warm_up

FRAMES = 200
WATCHED_S = 2.0


@pytest.mark.parametrize("policy", ("poll", "pause", "sleep"))
def test_what_an_idle_worker_costs(lab, policy):
    lab.config["cores"]["idle"] = policy
    lab.gateway.start(lab.config)
    warm_up(lab)
    [worker] = lab.gateway.threads("worker-")
    before, given, began = cpu_s(lab, worker), switches(lab, worker), time.monotonic()
    time.sleep(WATCHED_S)
    watched = time.monotonic() - began
    share, given = (cpu_s(lab, worker) - before) / watched, (switches(lab, worker) - given) / watched
    times = []
    with Crossing(lab) as crossing:
        for _ in range(FRAMES):
            time.sleep(0.002)  # longer than its patience: each frame finds it at rest
            times.append(crossing.us())
    assert None not in times, f"{times.count(None)} of {FRAMES} frames were lost"
    times.sort()
    p50, p99 = statistics.median(times), times[int(0.99 * FRAMES)]
    print(f"{policy}: {share:.0%} of a core, {given:.0f} times a second given away; {p50:.0f} us p50, {p99:.0f} us p99")
    if policy == "sleep":
        assert share < 0.6 and given > 500, "it sleeps"
    else:
        assert given < 100, "the core is never given away"
    row = next(row for row in lab.gateway.show("cores")["rows"] if row["role"] == "worker")
    assert row["idle_policy"] == policy
    assert (f"worker/{policy}" in lab.gateway.ask("show", "cores").stdout) == (policy != "poll")


def test_workers_may_differ(lab):
    worker = lab.config["cores"]["workers"][0]
    lab.config["cores"]["idle"] = {worker: "sleep"}
    lab.gateway.start(lab.config)
    assert lab.gateway.show("cores")["rows"][1]["idle_policy"] == "sleep"
