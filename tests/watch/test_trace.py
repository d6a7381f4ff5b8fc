"""Traces: a packet's way, stage by stage."""

import json
from itertools import groupby

import ways
from lab.plan import CLIENT4
from test_capture import play
from watching import Watching
from ways import ESP, GRE, WINDOW


def trace(lab, *words):
    """A trace as JSON."""
    return Watching(lab, "trace", "--json", "--count", "100", *words)


def stages(row):
    """The stages of one packet; look-ups that follow each other are one."""
    return [stage for stage, _ in groupby(step["stage"] for step in row["steps"])]


def text(row):
    """All of its way."""
    return "\n".join(f"{step['stage']} {step['text']}" for step in row["steps"])


def test_into_a_gre_tunnel(lab):
    with trace(lab, "--tunnel", f"acme/{GRE.name}") as watching:
        play(lab, [ways.syn(GRE)])
    (row,) = watching.rows
    assert stages(row) == ["came", "classify", "route", "tunnel", "encap", "sent"]
    assert "received by edge0, queue 0" in text(row)
    assert f"internet: {GRE.prefix(4)} → acme: {GRE.prefix(4)} → tunnel acme/{GRE.name}" in text(row)
    assert "MSS 1460 becomes 1436" in text(row)
    assert f"core0 via {GRE.remote}" in text(row) and "sent by core0" in text(row)
    assert (row["end"], row["tunnel_out"]) == ("sent", f"acme/{GRE.name}")


def test_out_of_a_gre_tunnel(lab):
    with trace(lab, "--filter", f"src host {ways.inside(GRE)}") as watching:
        play(lab, [], [ways.back(GRE)])
    (row,) = watching.rows
    assert stages(row) == ["came", "classify", "route", "decap", "route", "forward", "sent"]
    assert "endpoint anycast4" in text(row) and f"out of tunnel acme/{GRE.name}, 100 bytes inside" in text(row)
    assert "acme: 192.0.2.0/24 → internet: 192.0.2.0/24 → " in text(row)
    assert f"forward plain to edge0 via {CLIENT4}" in text(row)


def test_esp_both_ways_and_a_replay(lab):
    sealed = ways.sealed_back(WINDOW)
    with trace(lab, "--tunnel", WINDOW.name) as watching:
        play(lab, [ways.to(WINDOW)], [sealed])
        play(lab, [], [sealed])
    out, back, again = watching.rows
    assert stages(out)[-3:] == ["tunnel", "seal", "sent"]
    assert f"SPI {ways.ASSOCIATIONS.outbound[WINDOW.name].spi:#010x}" in text(out)
    assert stages(back) == ["came", "classify", "route", "locate", "decap", "route", "forward", "sent"]
    assert f"SPI {ways.ASSOCIATIONS.inbound[WINDOW.name][0].spi:#010x}, number" in text(back)
    assert (again["end"], again["reason"]) == ("dropped", "esp_replay")
    assert stages(again)[-2:] == ["locate", "dropped"]


def test_a_drop_and_the_error_about_it(lab):
    with trace(lab, "--filter", "not arp and not icmp6") as watching:
        play(lab, [ways.to(GRE, size=1490, flags="DF")])
    dropped, error = watching.rows
    assert stages(dropped)[-2:] == ["mtu", "dropped"] and "MTU of 1476" in text(dropped)
    assert dropped["reason"] == "too_big"
    assert stages(error)[0] == "came" and "an ICMP error" in text(error) and error["end"] == "sent"


def test_what_it_prints_without_json(lab):
    with Watching(lab, "trace", "--tunnel", ESP.name, "--count", "1") as watching:
        play(lab, [ways.to(ESP)])
        watching.wait()
    assert f"{CLIENT4} > {ways.inside(ESP)} UDP 7 > 9, 114 bytes" in watching.output
    assert "  seal        ESP, SPI" in watching.output
    assert watching.caught == (1, 0)


def test_count_ends_it_and_json_is_a_line_for_each(lab):
    with Watching(lab, "trace", "--json", "--count", "2", "--drops", "blackhole") as watching:
        play(lab, [ways.to(GRE, dst=ways.HOLE)] * 5)
        watching.wait()
    assert [json.loads(line)["reason"] for line in watching.output.splitlines()] == ["blackhole"] * 2
