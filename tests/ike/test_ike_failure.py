"""Each part dies in turn: what was up goes on, and all comes together again."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from customers import ANY_CIPHER, FQDN, PLAIN
from lab import cutter
from lab.cutter import Cutter
from lab.wait import eventually
from steps import afresh, establish, pings, real_drops, sas, streams
from test_ike_rekey import lost_in_the_lab, settled, turn


def charon_pid(gateway):
    """The gateway's charon: the file has its number, and when it began."""
    return int((gateway.ike / "charon.pid").read_text().split()[0])


def is_there(pid):
    """True while the process lives."""
    return Path(f"/proc/{pid}/exe").exists()


def kill_charon(gateway, charon):
    """Kills it without a word, and waits for the next one to take commands."""
    pid = charon_pid(gateway)
    os.kill(pid, signal.SIGKILL)

    def answers():
        try:
            return charon_pid(gateway) != pid and is_there(charon_pid(gateway)) and charon.sas() == []
        except (OSError, ValueError, IndexError):
            return False

    assert eventually(answers, 20), gateway.log_tail()


def connections_are_loaded(charon, tunnel):
    """True when charon knows the tunnel."""
    return tunnel.child_name in charon.connections()


def test_packets_flow_while_charon_dies(lab, gateway, customer, charon):
    place = customer(PLAIN)
    afresh(place)
    reasons, lost = real_drops(gateway), lost_in_the_lab(lab, place)
    up, down = streams(lab, place, 100)
    with up, down:
        time.sleep(1)
        kill_charon(gateway, charon)
        time.sleep(1)
        assert len(sas(gateway, PLAIN)) == 2
    explained = lost_in_the_lab(lab, place) - lost
    assert up.sent > 150 and up.lost + down.lost <= explained
    assert real_drops(gateway) == reasons
    # The customer learns of it in time; here its administrator does it by hand. What is new takes over.
    assert eventually(lambda: connections_are_loaded(charon, PLAIN), 10)
    place.charon.terminate(check=False, force=True)
    place.charon.initiate()
    assert pings(lab, PLAIN) == {}
    assert eventually(lambda: settled(gateway, place), 60), sas(gateway, PLAIN)


def test_charon_dies_in_the_middle_of_a_rekey(lab, gateway, customer, charon):
    place = customer(PLAIN)
    establish(place)
    for delay_s in (0, 0.05, 0.3):
        begun = threading.Thread(target=place.charon.rekey_child, kwargs={"check": False})
        begun.start()
        time.sleep(delay_s)
        kill_charon(gateway, charon)
        begun.join()
        assert pings(lab, PLAIN) == {}, f"killed {delay_s} s after the beginning"
        assert eventually(lambda: connections_are_loaded(charon, PLAIN), 10)
        place.charon.terminate(check=False, force=True)
        place.charon.initiate()
        assert pings(lab, PLAIN) == {}
    assert eventually(lambda: settled(gateway, place), 60), sas(gateway, PLAIN)


@pytest.mark.parametrize("how", (signal.SIGKILL, signal.SIGTERM), ids=("killed", "stopped"))
def test_a_new_penstock_carries_on(lab, gateway, customer, charon, how):
    """The SAs of before are there again at once, and the charon of before is adopted where it was left alone."""
    places = [customer(PLAIN), customer(FQDN)]
    for place in places:
        establish(place)
    before = {place.name: set(sas(gateway, place.tunnel)) for place in places}
    pid = charon_pid(gateway)
    gateway.process.send_signal(how)
    gateway.process.wait(20)
    gateway.start(lab.config)
    if how == signal.SIGTERM:
        assert not is_there(pid), "a polite end is charon's, too"
        for place in places:
            afresh(place)
        return
    assert charon_pid(gateway) == pid and is_there(pid)
    for place in places:
        assert set(sas(gateway, place.tunnel)) == before[place.name]
        assert pings(lab, place.tunnel) == {}
        assert pings(lab, place.tunnel, 6) == {}
    for number in range(3):
        turn(places[0], charon, number)
    assert pings(lab, PLAIN) == {}
    assert eventually(lambda: settled(gateway, places[0]), 60), sas(gateway, PLAIN)


@pytest.mark.parametrize("where", (cutter.BEFORE, cutter.AFTER, cutter.INSIDE), ids=("request", "answer", "half-answer"))
def test_the_plugins_socket_is_cut_at_every_message(lab, gateway, customer, charon, where):
    """A tunnel that is up loses nothing, and the one that was being made comes up at the next try."""
    steady, broken = customer(PLAIN), customer(ANY_CIPHER)
    establish(steady)
    reasons, lost = real_drops(gateway), lost_in_the_lab(lab, steady)
    up, down = streams(lab, steady, 50)
    with Cutter(gateway.ike / "plugin.sock") as between, up, down:
        for kind in (cutter.GET_SPI, cutter.ADD_SA, cutter.ADD_POLICY):
            broken.charon.terminate(check=False, force=True)
            between.cut(kind, where)
            broken.charon.initiate(check=False, limit_s=8)
            assert between.cuts, f"no message of type {kind} was seen: {between.seen}"
            between.cuts = 0
        afresh(broken)
        for kind in (cutter.ADD_SA, cutter.DEL_SA, cutter.DEL_POLICY, cutter.QUERY_SA):
            between.cut(kind, where)
            broken.charon.rekey_child(check=False)
            charon.sas()  # asks for the counters of each
            eventually(lambda: between.cuts, 8)
            between.cuts = 0
        between.cut_all()
        afresh(broken)
        assert pings(lab, ANY_CIPHER) == {}
    explained = lost_in_the_lab(lab, steady) - lost
    assert up.lost + down.lost <= explained
    assert {name: count for name, count in real_drops(gateway).items() if name not in ("esp_sa_unknown", "esp_no_sa")} == {
        name: count for name, count in reasons.items() if name not in ("esp_sa_unknown", "esp_no_sa")}
    # The plugin finds control itself again, and both agree.
    assert eventually(lambda: settled(gateway, steady) and settled(gateway, broken), 60), gateway.log_tail()
    turn(broken, charon, 1)
    assert pings(lab, ANY_CIPHER) == {}
