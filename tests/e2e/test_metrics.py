"""Metrics: what the gateway says to Prometheus is what `show` says, and the rules and the dashboard stand on it."""

import copy
import json
import os
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from kinds import ESP_TUNNELS, TUNNELS
from lab.counters import drops
from lab.counters import tunnel as row_of
from lab.netns import CommandFailed
from lab.prometheus import (
    DASHBOARD,
    OPEN_METRICS,
    RULE_TESTS,
    RULES,
    Prometheus,
    dashboard_queries,
    draw_dashboard,
    promtool,
    samples,
    scrape,
    scrape_tcp,
    used_metrics,
)
from lab.traffic import Stream
from lab.wait import eventually

LISTEN = "127.0.0.1:9477"
MANY = 10_000


def labels(**pairs):
    """Labels as `samples` has them."""
    return tuple(sorted(pairs.items()))


@pytest.fixture(scope="module")
def prometheus(lab):
    """A Prometheus that scrapes the gateway, which a reload has told to listen, and another one to be silent again."""
    lab.config["metrics"] = {"listen": LISTEN}
    lab.gateway.reload(lab.config)
    prometheus = Prometheus(lab.ports, lab.directory / "prometheus", LISTEN)
    try:
        yield prometheus.start()
    finally:
        prometheus.stop()
        del lab.config["metrics"]
        lab.gateway.reload(lab.config)
    with pytest.raises(ConnectionRefusedError):
        scrape_tcp(lab.ports, LISTEN)


def test_promtool_accepts_rules_their_tests_and_metrics(lab):
    assert "SUCCESS" in promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)
    assert promtool("check", "metrics", stdin=scrape(lab.gateway)) == ""


def test_every_alert_has_a_unit_test():
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "alert" in rule}
    fired = set()
    for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        fired |= {case["alertname"] for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert alerts == fired


def test_the_dashboard_and_the_rules_use_what_a_scrape_has(lab):
    text = scrape(lab.gateway)
    announced = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))
    histograms = set(re.findall(r"^# TYPE (\w+) histogram$", text, re.MULTILINE))
    announced |= {name + part for name in histograms for part in ("_bucket", "_sum", "_count")}
    assert used_metrics() - announced == set()
    recorded = {rule["record"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"] if "record" in rule}
    used = set(re.findall(r"\b\w+:penstock_\w+:\w+", DASHBOARD.read_text() + RULES.read_text()))
    assert used - recorded == set()
    listed = re.findall(r'reason=~\\?"([a-z_|]+)', DASHBOARD.read_text() + RULES.read_text())
    reasons = {dict(pairs)["reason"] for name, pairs in samples(text) if name == "penstock_dropped_packets_total"}
    assert {reason for reasons_of in listed for reason in reasons_of.split("|")} - reasons == set()
    assert listed
    # Without a fleet and IKE everything else has samples.
    there = {name for name, _ in samples(text)}
    silent = {name for name in used_metrics() - there if not name.startswith(("penstock_fleet_", "penstock_ike_"))}
    assert silent <= {"penstock_tunnel_sa_remaining_seconds", "penstock_tunnel_degraded"}, \
        "only negotiated associations have a lifetime, and only tunnels with probes a health"


def test_every_configured_tunnel_is_there_whatever_its_state(lab, config):
    name = ESP_TUNNELS[0].name
    before = samples(scrape(lab.gateway))
    assert before["penstock_tunnel_up", labels(tenant="acme", tunnel=name)] == 1
    # An IPsec tunnel that nobody has negotiated.
    config["tenants"]["acme"]["tunnels"]["nobody"] = {"type": "ipsec", "endpoint": "anycast4", "remote": "100.64.99.9"}
    lab.gateway.reload(config)
    now = samples(scrape(lab.gateway))
    rows = lab.gateway.show("tunnels")["rows"]
    assert {dict(pairs)["tunnel"] for metric, pairs in now if metric == "penstock_tunnel_up"} == {row["name"] for row in rows}
    of = labels(tenant="acme", tunnel="nobody")
    assert now["penstock_tunnel_up", of] == 0
    assert now["penstock_tunnel_encap_packets_total", of] == 0
    for direction in ("inbound", "outbound"):
        assert now["penstock_tunnel_sas", labels(tenant="acme", tunnel="nobody", direction=direction)] == 0
        assert now["penstock_tunnel_sas", labels(tenant="acme", tunnel=name, direction=direction)] == 1


def test_the_listener_serves_nothing_else(lab, prometheus):
    assert scrape_tcp(lab.ports, LISTEN, "/v1/show/config").status == 404
    plain, open_metrics = scrape_tcp(lab.ports, LISTEN), scrape_tcp(lab.ports, LISTEN, accept=OPEN_METRICS)
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert open_metrics.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert open_metrics.text.endswith("# EOF\n")
    assert samples(plain.text).keys() == samples(open_metrics.text).keys()


def test_queries_give_the_numbers_of_show(lab, prometheus):
    gre, esp = TUNNELS[1], ESP_TUNNELS[0]
    with Stream(lab.client, lab.server, gre.server(4), per_second=500), Stream(lab.client, lab.server, esp.server(4), per_second=500):
        time.sleep(4)
    ports = {row["name"]: row for row in lab.gateway.show("ports")["rows"]}

    def agree():
        """At rest, once it was scraped again."""
        for tunnel in (gre, esp):
            row = row_of(lab.gateway, tunnel.name)
            of = f'{{tenant="acme",tunnel="{tunnel.name}"}}'
            assert row["encap"]["packets"] > 1000
            for metric, shown in (
                ("tunnel_encap_packets_total", row["encap"]["packets"]), ("tunnel_encap_bytes_total", row["encap"]["bytes"]),
                ("tunnel_decap_packets_total", row["decap"]["packets"]), ("tunnel_decap_bytes_total", row["decap"]["bytes"]),
                ("tunnel_dropped_packets_total", row["drops"]), ("tunnel_mtu_bytes", row["mtu"]),
                ("tunnel_mss_ipv4_bytes", row["mss_v4"]), ("tunnel_up", int(row["state"] == "up")),
            ):
                assert prometheus.value(f"penstock_{metric}{of}") == shown, metric
        shown = drops(lab.gateway)
        counted = prometheus.query("sum by (reason) (penstock_dropped_packets_total) > 0")
        assert {sample["metric"]["reason"]: int(sample["value"][1]) for sample in counted} == shown
        status = lab.gateway.show("status")
        assert prometheus.value("sum(penstock_worker_transmit_packets_total)") == status["tx_packets"]
        assert prometheus.value("penstock_tunnels_up") == status["tunnels"]["up"]
        assert prometheus.value("penstock_tables_generation") == status["generation"]
        assert prometheus.value("penstock_unaccounted_packets") == 0
        return True

    def settled():
        try:
            return agree()
        except AssertionError:
            return False

    # Neighbours and keepalives go on: until both looks fall between two packets.
    assert eventually(settled, 20) or agree()
    assert prometheus.value('penstock_port_receive_packets_total{port="edge0"}') >= ports["edge0"]["counters"]["rx_packets"]
    # What the stream was is in the rates, too.
    assert prometheus.value(f'max_over_time(rate(penstock_tunnel_encap_packets_total{{tunnel="{gre.name}"}}[3s])[60s:1s])') > 250


def test_rules_are_evaluated_over_real_scrapes(lab, prometheus, config):
    assert eventually(lambda: prometheus.query("instance_core:penstock_worker_idle:ratio_rate1m"), 30)
    assert 0 <= prometheus.value("instance_core:penstock_worker_idle:ratio_rate1m") <= 1
    assert prometheus.value("instance_core:penstock_worker_cycles_per_packet:ratio_rate1m") > 0
    assert 1 <= prometheus.value("instance_core:penstock_worker_burst_packets:ratio_rate1m") <= 64
    rules = prometheus.rules()
    assert {rule["health"] for rule in rules.values()} == {"ok"}, [rule for rule in rules.values() if rule["health"] != "ok"]
    # A tunnel goes down: its alert is on its way.
    config["tenants"]["acme"]["tunnels"]["nobody"] = {"type": "ipsec", "endpoint": "anycast4", "remote": "100.64.99.9"}
    lab.gateway.reload(config)
    alert = 'ALERTS{alertname="PenstockTunnelDown",tunnel="nobody",tenant="acme"}'
    assert eventually(lambda: prometheus.query(alert), 20)
    lab.gateway.reload(lab.config)
    assert eventually(lambda: not prometheus.query(alert), 20)


def test_the_dashboard_s_queries_are_answered(lab, prometheus):
    """Each is right, and has an answer where there is something to tell: no fleet, no IKE and no trouble here."""
    fleet = {"Behind the store", "From a change until all nodes have it", "Nodes and store", "Rescued"}
    trouble = {"Tunnels that are not up", "Drops by reason", "Dropped out of tunnels"}
    silent = fleet | trouble | {"Events", "Tunnels", "charon", "Time left of associations"}

    def unexpectedly_empty():
        answers = {}
        for panel, all_of in dashboard_queries():
            answers.setdefault(panel["title"], []).extend(prometheus.ask("query", query=asked) for asked in all_of)
        wrong = [(title, answer) for title, all_of in answers.items() for answer in all_of if answer["status"] != "success"]
        assert not wrong
        return {title for title, all_of in answers.items() if not any(answer["data"]["result"] for answer in all_of)} - silent

    with Stream(lab.client, lab.server, TUNNELS[1].server(4), per_second=200):
        # What is recorded over a minute takes a few scrapes.
        assert eventually(lambda: not unexpectedly_empty(), 60), unexpectedly_empty()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


def test_a_picture_of_the_dashboard(lab, prometheus):
    """Every graph has an answer for its time. With PICTURES=docs/pictures it is drawn, too, which takes npm and minutes."""
    pictures = os.environ.get("PICTURES")
    seconds = 180 if pictures else 5
    with ExitStack() as streams:
        for tunnel, rate in ((TUNNELS[1], 800), (TUNNELS[0], 500), (ESP_TUNNELS[0], 300)):
            streams.enter_context(Stream(lab.client, lab.server, tunnel.server(4), per_second=rate))
        time.sleep(seconds)
    now = time.time()
    for panel, all_of in dashboard_queries():
        if panel["type"] != "table":
            for asked in all_of:
                answer = prometheus.ask("query_range", query=asked, start=now - seconds, end=now, step=1)
                assert answer["status"] == "success", (panel["title"], answer)
    if pictures:
        draw_dashboard(prometheus, seconds, Path(pictures).resolve() / "dashboard.png")


def test_an_address_that_is_not_ours_is_refused_and_nothing_changes(lab, config):
    config["metrics"] = {"listen": "192.0.2.250:9477"}
    generation = lab.gateway.show("status")["generation"]
    with pytest.raises(CommandFailed, match="metrics.listen: cannot listen on 192.0.2.250:9477"):
        lab.gateway.reload(config)
    assert lab.gateway.show("status")["generation"] == generation


def test_ten_thousand_tunnels_take_less_than_a_second(lab, config):
    many = copy.deepcopy(config)
    many["tenants"]["many"] = {"tunnels": {
        f"t{number}": {"endpoint": "anycast4", "remote": f"100.{80 + number // 65536}.{number // 256 % 256}.{number % 256}"}
        for number in range(MANY)
    }}
    # YAML of this size takes Python long; JSON is YAML.
    lab.gateway.config_file.write_text(json.dumps(many))
    lab.gateway.ask("reload", "-c", str(lab.gateway.config_file))
    took = []
    for _ in range(5):
        start = time.monotonic()
        text = scrape(lab.gateway)
        took.append(time.monotonic() - start)
    there = [pairs for name, pairs in samples(text) if name == "penstock_tunnel_up"]
    assert len(there) == MANY + len(lab.config["tenants"]["acme"]["tunnels"])
    print(f"{len(text) >> 20} MiB, {text.count(chr(10))} lines, seconds: {[round(seconds, 3) for seconds in took]}")
    # A busy machine makes some of them slow.
    assert min(took) < 1
