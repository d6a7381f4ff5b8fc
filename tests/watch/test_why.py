"""`why`: what it says is what happens."""

import json
import subprocess

import pytest
import ways
from lab.counters import drops
from lab.gateway import binary
from lab.plan import CLIENT4
from lab.wait import eventually
from test_capture import play
from ways import ESP, ESP_UDP, GRE, KEYED, SELECT, WINDOW

SERVER = ways.inside(GRE)


def why(lab, *words):
    """Its exit status and its answer."""
    command = [binary(), "why", "--tenant", "acme", "--json", *words, "--socket", lab.gateway.socket]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


# Words for `why`, and the frame that is the same packet, by the side it comes from.
CASES = {
    "into GRE": ([CLIENT4, SERVER, "--proto", "udp"], "west", lambda: ways.to(GRE)),
    "into GRE with a key": ([CLIENT4, ways.inside(KEYED)], "west", lambda: ways.to(KEYED)),
    "a SYN": ([CLIENT4, SERVER, "--proto", "tcp", "--dport", "80"], "west", lambda: ways.syn(GRE)),
    "into ESP": ([CLIENT4, ways.inside(ESP), "--proto", "udp"], "west", lambda: ways.to(ESP)),
    "into ESP in UDP": ([CLIENT4, ways.inside(ESP_UDP), "--proto", "udp"], "west", lambda: ways.to(ESP_UDP)),
    "into ESP with a window": ([CLIENT4, ways.inside(WINDOW), "--proto", "udp"], "west", lambda: ways.to(WINDOW)),
    "outside the selectors": (
        [CLIENT4, "198.51.133.200", "--proto", "udp"], "west", lambda: ways.to(SELECT, dst="198.51.133.200")),
    "inside the selectors": ([CLIENT4, "198.51.133.10"], "west", lambda: ways.to(SELECT, dst="198.51.133.10")),
    "too big": ([CLIENT4, SERVER, "--proto", "udp", "--size", "1490", "--df"], "west",
                lambda: ways.to(GRE, size=1490, flags="DF")),
    "big, and cut": ([CLIENT4, SERVER, "--proto", "udp", "--size", "1490"], "west", lambda: ways.to(GRE, size=1490)),
    "no route": ([CLIENT4, ways.NOWHERE], "west", lambda: ways.to(GRE, dst=ways.NOWHERE)),
    "a blackhole": ([CLIENT4, ways.HOLE], "west", lambda: ways.to(GRE, dst=ways.HOLE)),
    "an impossible source": (["127.0.0.1", SERVER], "west", lambda: ways.from_west(
        ways.IP(src="127.0.0.1", dst=SERVER) / ways.UDP())),
    "out of GRE": ([SERVER, CLIENT4, "--from-tunnel", GRE.name], "east", lambda: ways.back(GRE)),
    "out of GRE with a key": ([ways.inside(KEYED), CLIENT4, "--from-tunnel", KEYED.name], "east", lambda: ways.back(KEYED)),
    "out of ESP": ([ways.inside(ESP), CLIENT4, "--from-tunnel", ESP.name], "east", lambda: ways.sealed_back(ESP)),
    "out of ESP in UDP": (
        [ways.inside(ESP_UDP), CLIENT4, "--from-tunnel", ESP_UDP.name], "east", lambda: ways.sealed_back(ESP_UDP)),
    "from a foreign source": (
        ["10.9.9.9", CLIENT4, "--from-tunnel", GRE.name], "east", lambda: ways.back(GRE, src="10.9.9.9")),
    "from a foreign source in ESP": (
        ["10.9.9.9", CLIENT4, "--from-tunnel", ESP.name], "east", lambda: ways.sealed_back(ESP, src="10.9.9.9")),
    "from tunnel to tunnel": (
        [SERVER, ways.inside(ESP), "--from-tunnel", GRE.name], "east", lambda: ways.back(GRE, dst=ways.inside(ESP))),
    "back to the far end": (
        [SERVER, GRE.remote, "--from-tunnel", GRE.name], "east", lambda: ways.back(GRE, dst=GRE.remote)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_it_says_is_what_happens(lab, name):
    words, side, frame = CASES[name]
    status, answer = why(lab, *words)
    before = drops(lab.gateway)
    left = play(lab, **{side: [frame()]})
    after = drops(lab.gateway)
    happened = {reason for reason in after if after[reason] != before.get(reason, 0)}
    assert happened == ({answer["reason"]} if answer["outcome"] == "dropped" else set()), answer
    assert status == (1 if answer["outcome"] == "dropped" else 0)
    # What leaves, by port: the packet, its pieces, or the error about it.
    said = [packet["steps"][-1]["text"] for packet in answer["packets"] if packet["end"] == "sent"]
    ports = {"by edge0": "west", "by core0": "east"}
    assert {port: len(left[port]) for port in left} == {port: [ports[text] for text in said].count(port) for port in left}
    assert answer["outcome"] != "dropped" or answer["text"].startswith(f"Dropped as {answer['reason']}")


def test_it_disturbs_nothing(lab):
    """No counter moves, no number is used up, and the workers' tables stay."""
    def reading():
        sas = [(sa["spi"], sa["sequence"], sa["packets"], sa["drops"]) for sa in lab.gateway.show("sas")["rows"]]
        tunnels = [(t["name"], t["encap"], t["decap"], t["drops"]) for t in lab.gateway.show("tunnels")["rows"]]
        return sas, tunnels, drops(lab.gateway), lab.gateway.show("status")["generation"]

    lab.collect()
    before = reading()
    for words, _, _ in CASES.values():
        why(lab, *words)
    assert reading() == before
    assert lab.collect() == {"west": [], "east": []}


def test_a_fix_that_is_said_helps(lab, config):
    status, answer = why(lab, CLIENT4, ways.NOWHERE)
    assert status == 1 and f"add a route that covers {ways.NOWHERE} to tenants.acme.routes" in answer["fix"]
    config["tenants"]["acme"]["routes"].append({"prefix": "198.51.250.0/24", "via": GRE.name})
    lab.gateway.reload(config, ways.ASSOCIATIONS)
    status, answer = why(lab, CLIENT4, ways.NOWHERE)
    assert status == 0 and f"goes into tunnel acme/{GRE.name}" in answer["text"]
    status, answer = why(lab, "10.9.9.9", CLIENT4, "--from-tunnel", GRE.name)
    assert status == 1 and "tenants.acme.prefixes" in answer["fix"]
    config["tenants"]["acme"]["prefixes"].append("10.9.9.0/24")
    lab.gateway.reload(config, ways.ASSOCIATIONS)
    assert why(lab, "10.9.9.9", CLIENT4, "--from-tunnel", GRE.name)[0] == 0


def test_without_an_association_it_says_so(lab, config):
    lab.gateway.reload(config, ways.ASSOCIATIONS.without(ESP))
    # Until the old one is gone, packets still go.
    assert eventually(lambda: why(lab, CLIENT4, ways.inside(ESP))[0] == 1, 5)
    _, answer = why(lab, CLIENT4, ways.inside(ESP))
    assert answer["reason"] == "esp_no_sa" and ESP.name in answer["fix"]
    assert any("is down" in note for note in answer["notes"])


def test_it_says_when_it_is_not_the_tenants_packet(lab):
    _, answer = why(lab, CLIENT4, "8.8.8.8")
    assert any("never comes to acme's table" in note for note in answer["notes"]), answer


@pytest.mark.parametrize(("words", "said"), [
    ([CLIENT4, "2001:db8::1"], "two families"),
    ([CLIENT4, SERVER, "--size", "20"], "at least 28 bytes"),
    ([CLIENT4, SERVER, "--from-tunnel", "nobody"], "there is no tunnel acme/nobody"),
])
def test_what_makes_no_sense_is_refused(lab, words, said):
    command = [binary(), "why", "--tenant", "acme", *words, "--socket", lab.gateway.socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and said in done.stderr


def test_what_it_prints(lab):
    command = [binary(), "why", "--tenant", "acme", CLIENT4, SERVER, "--proto", "tcp", "--socket", lab.gateway.socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Forwarded: it goes into tunnel acme/{GRE.name}, its MSS lowered from 1460 to 1436, and leaves")
    assert f"{CLIENT4} > {SERVER} TCP 49152 > 443" in done.stdout
    assert "  encap       GRE, 68 bytes, to core0 via" in done.stdout
