"""Captures: what is in the file, what is not, and that nothing else is said."""

import stat
import subprocess

import pytest
import ways
from lab.counters import drops
from lab.gateway import binary
from scapy.utils import rdpcap
from ways import ESP, GRE, KEYED, MARK
from watching import Watching, tshark, words_of


def capture(lab, tmp_path, *words):
    """A capture to a file in this directory."""
    return Watching(lab, "capture", "-w", str(tmp_path / "out.pcapng"), *words)


def play(lab, west=(), east=()):
    """Sends frames and waits for what the gateway makes of them."""
    lab.collect()
    lab.send("west", list(west))
    lab.send("east", list(east))
    return lab.collect(count=len(west) + len(east), limit_s=1)


def test_every_frame_is_there_outside_and_inside(lab, tmp_path):
    with capture(lab, tmp_path) as watching:
        left = play(lab, [ways.to(GRE), ways.to(ESP)], [ways.back(KEYED), ways.sealed_back(ESP)])
    noise = ("arp", "icmpv6")  # of the twins
    packets = [p for p in tshark(tmp_path / "out.pcapng") if not any(word in p["frame.protocols"] for word in noise)]
    assert watching.caught == (len(tshark(tmp_path / "out.pcapng")), 0)
    seen = {(p["frame.interface_name"], words_of(p)["direction"], words_of(p)["layer"], words_of(p).get("tunnel"))
            for p in packets}
    for tunnel, towards in ((GRE, "out"), (ESP, "out"), (KEYED, "in"), (ESP, "in")):
        name = f"acme/{tunnel.name}"
        came, went = ("edge0", "core0") if towards == "out" else ("core0", "edge0")
        assert {(came, "in", "outer", name), (f"tunnel {name}", towards, "inner", name), (went, "out", "outer", name)} <= seen
    assert len(packets) == 4 * 3
    assert all(words_of(p)["end"] == "sent" for p in packets)
    # Byte by byte what was on the wire.
    raw = {bytes(packet) for packet in rdpcap(str(tmp_path / "out.pcapng"))}
    assert set(left["east"]) | set(left["west"]) <= raw
    assert sum(MARK in bytes(packet) for packet in raw) >= 10, "inside of ESP too"


def test_the_file_is_the_owners_alone(lab, tmp_path):
    with capture(lab, tmp_path, "--max-packets", "3"):
        play(lab, [ways.to(GRE)])
    assert stat.S_IMODE((tmp_path / "out.pcapng").stat().st_mode) == 0o600


def test_inner_and_outer(lab, tmp_path):
    for layer in ("inner", "outer"):
        with capture(lab, tmp_path, f"--{layer}", "--tunnel", GRE.name):
            play(lab, [ways.to(GRE), ways.to(KEYED)])
        packets = tshark(tmp_path / "out.pcapng")
        assert {words_of(packet)["layer"] for packet in packets} == {layer}
        assert {words_of(packet)["tunnel"] for packet in packets} == {f"acme/{GRE.name}"}
        assert len(packets) == {"inner": 1, "outer": 2}[layer]


def test_drops_of_one_reason_and_of_any(lab, tmp_path):
    west = [ways.to(GRE), ways.to(GRE, dst=ways.NOWHERE), ways.to(GRE, dst=ways.HOLE), ways.to(GRE, ttl=1),
            ways.to(GRE, size=1490, flags="DF")]
    east = [ways.back(GRE, src="10.9.9.9"), ways.spoiled(ways.sealed_back(ESP))]
    expected = {"no_route": 1, "blackhole": 1, "ttl_expired": 1, "too_big": 1, "source_filter": 1, "esp_auth": 1}
    before = drops(lab.gateway)
    with capture(lab, tmp_path, "--drops", "all", "--outer") as watching:
        play(lab, west, east)
    after = drops(lab.gateway)
    packets = tshark(tmp_path / "out.pcapng")
    found = [words_of(packet)["reason"].rstrip(":") for packet in packets]
    assert {reason: found.count(reason) for reason in expected} == expected
    assert {reason: found.count(reason) for reason in found} == {
        reason: after[reason] - before.get(reason, 0) for reason in after if after[reason] != before.get(reason, 0)}
    assert watching.caught == (len(packets), 0)
    esp = next(packet for packet in packets if "reason=esp_auth" in packet["frame.comment"])
    assert words_of(esp)["tunnel"] == f"acme/{ESP.name}"
    with capture(lab, tmp_path, "--drops", "source_filter"):
        play(lab, west, east)
    packets = tshark(tmp_path / "out.pcapng")
    assert [words_of(packet)["reason"] for packet in packets] == ["source_filter:"]
    assert words_of(packets[0])["tunnel"] == f"acme/{GRE.name}"


def test_filters_are_tcpdumps(lab, tmp_path):
    with capture(lab, tmp_path, "--filter", f"dst host {ways.inside(KEYED)}", "--both"):
        play(lab, [ways.to(GRE), ways.to(KEYED), ways.to(ESP)])
    packets = tshark(tmp_path / "out.pcapng")
    # As it came, and inside; the outer packet has other addresses.
    assert [(p["frame.interface_name"], p["ip.dst"]) for p in packets] == [
        ("edge0", ways.inside(KEYED)), (f"tunnel acme/{KEYED.name}", ways.inside(KEYED))]
    with capture(lab, tmp_path, "--filter", "ip proto 50"):
        play(lab, [ways.to(GRE), ways.to(KEYED), ways.to(ESP)])
    assert [p["frame.interface_name"] for p in tshark(tmp_path / "out.pcapng")] == ["core0"]


def test_limits(lab, tmp_path):
    with capture(lab, tmp_path, "--max-packets", "4", "--outer") as watching:
        play(lab, [ways.to(GRE)] * 10)
        watching.wait()
    assert len(tshark(tmp_path / "out.pcapng")) == 4
    with capture(lab, tmp_path, "--max-seconds", "1", "--snaplen", "64", "--outer", "--tunnel", GRE.name) as watching:
        play(lab, [ways.to(GRE, size=1000)])
        watching.wait()
    packets = tshark(tmp_path / "out.pcapng")
    assert [(p["frame.cap_len"], p["frame.len"]) for p in packets] == [("64", "1014"), ("64", "1038")]


@pytest.mark.parametrize(("words", "said"), [
    (["--filter", "host and"], "syntax error"),
    (["--tunnel", "nobody"], "there is no tunnel nobody"),
    (["--drops", "no_rout"], "did you mean no_route"),
    (["--snaplen", "9"], "write 64 to 65535"),
])
def test_what_makes_no_sense_is_refused_and_the_file_left_alone(lab, tmp_path, words, said):
    file = tmp_path / "out.pcapng"
    file.write_text("old")
    command = [binary(), "capture", "-w", file, *words, "--socket", lab.gateway.socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, file.read_text()) == (1, "old")
    assert said in done.stderr


def test_a_reader_that_goes_away_ends_it(lab, tmp_path):
    for number in range(6):  # more than may run at once
        with capture(lab, tmp_path) as watching:
            watching.process.kill()
            watching.process.communicate()
            watching.process.returncode = 0
        play(lab, [ways.to(GRE)] * (number + 1))


def test_four_at_once_and_no_fifth(lab, tmp_path):
    running = [Watching(lab, "capture", "-w", str(tmp_path / f"{n}.pcapng"), "--outer", "--tunnel", GRE.name) for n in range(4)]
    for each in running:
        each.__enter__()
    command = [binary(), "capture", "-w", tmp_path / "5.pcapng", "--socket", lab.gateway.socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "end one of them first" in done.stderr
    play(lab, [ways.to(GRE)])
    for each in running:
        each.__exit__(None, None, None)
    assert all(len(tshark(tmp_path / f"{n}.pcapng")) == 2 for n in range(4))


def test_a_hundred_thousand_packets_under_load(lab, tmp_path):
    """Nothing is lost that it says it caught, and what it did not catch it says."""
    tunnels = (GRE, KEYED, ESP)
    frames = [ways.to(tunnel) for tunnel in tunnels] * 100
    before = {tunnel.name: row(lab, tunnel)["encap"]["packets"] for tunnel in tunnels}
    with capture(lab, tmp_path, "--inner", "--snaplen", "128") as watching:
        sent = 0
        while sent < 100_000:
            lab.send("west", frames)
            sent += len(frames)
            lab.collect()
        lab.collect(count=1, limit_s=2)
    packets = tshark(tmp_path / "out.pcapng")
    caught, missed = watching.caught
    assert len(packets) == caught
    went_in = {tunnel.name: row(lab, tunnel)["encap"]["packets"] - before[tunnel.name] for tunnel in tunnels}
    assert caught + missed == sum(went_in.values())
    found = [words_of(packet)["tunnel"].removeprefix("acme/") for packet in packets]
    counts = {tunnel.name: found.count(tunnel.name) for tunnel in tunnels}
    print(f"{sent} sent, {sum(went_in.values())} through the gateway, {caught} caught, {missed} missed: {counts}")
    assert all(counts[name] <= went_in[name] for name in counts)
    assert missed or counts == went_in
    times = [float(packet["frame.time_epoch"]) for packet in packets]
    assert times == sorted(times), "in the order of time"


def row(lab, tunnel):
    """A tunnel's counters."""
    return next(row for row in lab.gateway.show("tunnels")["rows"] if row["name"] == tunnel.name)
