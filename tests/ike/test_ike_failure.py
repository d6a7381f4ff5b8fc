"""Each part dies in turn: what was up goes on, and all comes together again."""

import os
import signal
from pathlib import Path

import pytest
from customers import ANY_CIPHER, FQDN, PLAIN
from lab import cutter
from lab.counters import assert_explained
from lab.cutter import Cutter
from lab.plan import CLIENT4
from lab.plugin import ADD_POLICY, ADD_SA, DEL_POLICY, DEL_SA, GET_SPI, QUERY_SA, UPDATE_SA
from lab.traffic import Sweep
from lab.wait import eventually
from steps import afresh, establish, lost, pings, real_drops, sas, streams
from test_ike_rekey import settled, turn


def charon_pid(gateway):
    """The gateway's charon: the file has its number, and when it began."""
    return int((gateway.ike / "charon.pid").read_text().split()[0])


def is_there(pid):
    """True while the process lives."""
    return Path(f"/proc/{pid}/exe").exists()


def another_answers(gateway, charon, pid):
    """Waits until a charon other than this one takes commands."""
    def answers():
        try:
            return charon_pid(gateway) != pid and is_there(charon_pid(gateway)) and charon.sas() == []
        except (OSError, ValueError, IndexError):
            return False

    assert eventually(answers, 60), gateway.log_tail()  # it is waited twice as long each time, up to half a minute


def negotiates_anew(gateway, customer, charon):
    """The customer learns in time that charon is another; here its administrator does it by hand."""
    assert eventually(lambda: connections_are_loaded(charon, customer.tunnel), 10)
    customer.charon.terminate(check=False, force=True)
    customer.charon.initiate()


def carries_a_second(stream):
    """Waits until a second's packets more were sent."""
    sent = stream.sent
    assert eventually(lambda: stream.sent >= sent + 100)


def connections_are_loaded(charon, tunnel):
    """True when charon knows the tunnel."""
    return tunnel.child_name in charon.connections()


def test_packets_flow_while_charon_dies(lab, gateway, customer, charon):
    place = customer(PLAIN)
    afresh(place)
    reasons, before = real_drops(gateway), lost(lab, place)
    up, down = streams(lab, place, 100)
    with up, down:
        assert eventually(lambda: up.sent > 100)
        pid = charon_pid(gateway)
        os.kill(pid, signal.SIGKILL)
        another_answers(gateway, charon, pid)
        carries_a_second(up)
        assert len(sas(gateway, PLAIN)) == 2
    explained = lost(lab, place) - before
    assert up.sent > 150
    assert_explained((up, down), explained)
    assert real_drops(gateway) == reasons
    negotiates_anew(gateway, place, charon)  # what is new takes over
    assert pings(lab, PLAIN) == {}
    assert eventually(lambda: settled(gateway, place), 60), sas(gateway, PLAIN)


def test_charon_dies_in_the_middle_of_a_rekey(lab, gateway, customer, charon):
    """After each message of a rekey: control has done it, and charon dies without knowing."""
    place = customer(PLAIN)
    afresh(place)
    with Cutter(gateway.ike / "plugin.sock") as between:
        for kind in (GET_SPI, ADD_SA, DEL_SA):
            reasons, before, pid = real_drops(gateway), lost(lab, place), charon_pid(gateway)
            up, down = streams(lab, place)
            with up, down:
                between.cut(kind, cutter.AFTER, lambda pid=pid: os.kill(pid, signal.SIGKILL))
                place.charon.rekey_child(check=False)
                another_answers(gateway, charon, pid)
                assert between.cuts == 1, f"no message of type {kind} was seen: {between.seen}"
                between.cuts = 0
                carries_a_second(up)
            explained = lost(lab, place) - before
            assert_explained((up, down), explained)
            assert real_drops(gateway) == reasons
            assert pings(lab, PLAIN) == {}
            negotiates_anew(gateway, place, charon)
            assert pings(lab, PLAIN) == {}
    assert eventually(lambda: settled(gateway, place), 60), sas(gateway, PLAIN)


def one_gap(stream):
    """True if what is missing was sent in one go."""
    return stream.missing == list(range(stream.missing[0], stream.missing[-1] + 1))


@pytest.mark.parametrize("how", (signal.SIGKILL, signal.SIGTERM), ids=("killed", "stopped"))
def test_a_new_penstock_carries_on(lab, gateway, customer, charon, how):
    """The SAs of before are there again at once, and the charon of before is adopted where it was left alone."""
    places = [customer(PLAIN), customer(FQDN)]
    for place in places:
        establish(place)
    before = {place.name: set(sas(gateway, place.tunnel)) for place in places}
    pid = charon_pid(gateway)
    up, down = streams(lab, places[0])
    with up, down:
        assert eventually(lambda: up.sent > 50)
        gateway.process.send_signal(how)
        gateway.process.wait(20)
        gateway.start(lab.config)
        if how == signal.SIGTERM:
            assert not is_there(pid), "a polite end is charon's, too"
            for place in places:
                afresh(place)
        carries_a_second(up)
    print(f"missing {len(up.missing)} of {up.sent} up, {len(down.missing)} of {down.sent} down")
    assert one_gap(up) and one_gap(down), (up.missing, down.missing)
    if how == signal.SIGTERM:
        for place in places:
            assert pings(lab, place.tunnel) == {}
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
    reasons, before = real_drops(gateway), lost(lab, steady)
    up, down = streams(lab, steady, 50)
    with Cutter(gateway.ike / "plugin.sock") as between, up, down:
        for kind in (GET_SPI, ADD_SA, ADD_POLICY):
            broken.charon.terminate(check=False, force=True)
            between.cut(kind, where)
            broken.charon.initiate(check=False, limit_s=8)
            assert between.cuts, f"no message of type {kind} was seen: {between.seen}"
            between.cuts = 0
        afresh(broken)
        for kind in (ADD_SA, DEL_SA, DEL_POLICY, QUERY_SA):
            establish(broken)
            between.cut(kind, where)
            broken.charon.rekey_child(check=False)
            charon.sas()  # asks for the counters of each
            assert eventually(lambda: between.cuts, 8), f"no message of type {kind} was seen: {between.seen}"
            between.cuts = 0
        between.cut_all()
        afresh(broken)
        assert pings(lab, ANY_CIPHER) == {}
    explained = lost(lab, steady) - before
    assert_explained((up, down), explained)
    assert {name: count for name, count in real_drops(gateway).items() if name not in ("esp_sa_unknown", "esp_no_sa")} == {
        name: count for name, count in reasons.items() if name not in ("esp_sa_unknown", "esp_no_sa")}
    # The plugin finds control itself again, and both agree.
    assert eventually(lambda: settled(gateway, steady) and settled(gateway, broken), 60), gateway.log_tail()
    turn(broken, charon, 1)
    assert pings(lab, ANY_CIPHER) == {}


@pytest.mark.parametrize("where", (cutter.BEFORE, cutter.AFTER, cutter.INSIDE), ids=("request", "answer", "half-answer"))
def test_the_plugins_socket_is_cut_while_a_customer_moves(lab, gateway, customer, charon, where):
    """Its NAT forgets; charon hears of the new port, says so, and does not learn whether that was heard."""
    place = customer(FQDN)
    afresh(place)
    with Cutter(gateway.ike / "plugin.sock") as between:
        between.cut(UPDATE_SA, where)
        place.nat.move(31000)
        try:
            def moved():
                Sweep(place.server, CLIENT4, (56, 57), df=False, source=FQDN.server(4), tries=1).run()
                return between.cuts

            assert eventually(moved, 15), f"no UPDATE_SA was seen: {between.seen}"
            assert eventually(lambda: pings(lab, FQDN) == {}, 15)
        finally:
            place.nat.move(20000)
            Sweep(place.server, CLIENT4, (56, 57), df=False, source=FQDN.server(4)).run()
    assert pings(lab, FQDN) == {}
    assert eventually(lambda: settled(gateway, place), 60), sas(gateway, FQDN)
