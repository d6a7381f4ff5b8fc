"""`penstock top` on a real terminal, in front of a real gateway."""

import re
import subprocess

import pytest
from kinds import ESP_TUNNELS, TUNNELS
from lab.gateway import binary
from lab.terminal import Terminal
from lab.traffic import Stream


@pytest.fixture
def top(lab):
    """It, on 80 columns and 24 lines."""
    terminal = Terminal([binary(), "top", "--interval", "0.5", "--socket", lab.gateway.socket])
    yield terminal
    terminal.close()


def rate_of(text, name):
    """Packets a second into a tunnel, as its line says."""
    line = next(line for line in text.splitlines() if f"/{name} " in line)
    return int(line.split()[2])


def test_rates_pages_sort_filter_and_one_tunnel(lab, top):
    gre, esp = TUNNELS[0], ESP_TUNNELS[0]
    top.wait_for("1 tunnels")
    with Stream(lab.client, lab.server, gre.server(4), per_second=400):
        top.read(3)
        # The busiest tunnel comes up: by name, by state, by what goes in.
        top.press("s", "s")
        top.read(1)
        first = next(line for line in top.text.splitlines() if line.startswith("acme/"))
        assert f"/{gre.name} " in first, top.text
        assert 200 < rate_of(top.text, gre.name) < 800, top.text
        assert re.search(r"[▁▂▃▄▅▆▇█]{4}", first), "its trend"
        top.press("enter")
        top.wait_for("into the tunnel")
        assert f"acme/{gre.name} (gre)" in top.text
        assert "MTU 1476" in top.text
        top.press("esc")
    top.press("/", *esp.name, "enter")
    top.wait_for(f"filter: {esp.name}")
    top.press("enter")
    top.wait_for("outbound 0x")
    assert " left" in top.text
    top.press("esc", "2")
    top.wait_for("CYCLES")
    top.press("3")
    top.wait_for("WHAT IT MEANS")
    top.press("4")
    top.wait_for("LOST/s")
    assert "edge0" in top.text
    assert all(len(line) <= 80 for line in top.text.splitlines())
    top.press("q")
    assert top.end() == 0
    assert top.is_as_before()


def test_a_gateway_that_does_not_run_and_no_terminal(lab):
    nowhere = lab.directory / "nowhere.sock"
    terminal = Terminal([binary(), "top", "--socket", nowhere])
    terminal.wait_for("the gateway is not running")
    assert terminal.end() == 3
    assert terminal.is_as_before()
    terminal.close()
    piped = subprocess.run([binary(), "top", "--socket", lab.gateway.socket], capture_output=True, text=True, check=False)
    assert piped.returncode == 1
    assert "needs a terminal" in piped.stderr
