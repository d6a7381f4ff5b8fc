"""Control is absent, cuts the connection or talks nonsense: charon lives on, is never held up for long, and both agree again."""

import re
import shutil
import subprocess
import time

import pytest
from daemons import TIMEOUT_S
from fake_control import HEADER, INSTANCE, SaId
from lab import plugin
from lab.image import PLUGINS
from lab.plugin import (ADD_POLICY, ADD_SA, DEL_POLICY, DEL_SA, EXPIRE, GET_SPI, HELLO, QUERY_SA, SYNC,
                        UPDATE_SA)
from lab.wait import eventually
from test_negotiation import behind_a_nat, only, settled

REQUESTS = [GET_SPI, ADD_SA, ADD_POLICY, DEL_POLICY, DEL_SA, QUERY_SA]
CUTS = ["cut before reading", "cut after reading", "half an answer"]
NONSENSE = ["oversized", "undersized", "other version", "other type", "garbage", "garbage payload"]


def whole_life(ends, child="net"):
    """Makes a tunnel, rekeys, looks at it, ends it; any step may fail."""
    ends[0].initiate(child, check=False)
    ends[0].swanctl("--rekey", "--child", child, check=False)
    ends[1].swanctl("--list-sas", check=False)
    ends[0].terminate()


def assert_converges(ends):
    """What was is gone on both sides, and a new tunnel comes up."""
    for end in ends:
        end.control.mishaps.clear()
        assert eventually(end.control.in_step, 5)
        end.terminate()
    assert eventually(lambda: not any(end.control.sas for end in ends), 8), [end.control.sas for end in ends]
    ends[0].initiate("net")
    assert eventually(lambda: settled(ends), 5)


@pytest.mark.parametrize("deed", CUTS + NONSENSE)
def test_an_answer_that_is_none(ends, deed):
    """Each type of request in turn, at the responder."""
    for kind in REQUESTS:
        ends[1].control.mishap(kind, deed)
        whole_life(ends)
        assert kind not in ends[1].control.mishaps, "it was not asked"
        assert ends[1].running()
    assert_converges(ends)


@pytest.mark.parametrize("deed", CUTS + NONSENSE)
def test_a_move_that_is_not_answered(ends, deed):
    """The peer's NAT moved, charon says so, and does not learn whether it was heard."""
    inbound, _ = behind_a_nat(ends)
    control = ends[1].control
    control.mishap(UPDATE_SA, deed)
    control.mapping(inbound.id, ends[0].local, 40123)
    assert eventually(lambda: UPDATE_SA not in control.mishaps, 5)
    assert_converges(ends)


@pytest.mark.parametrize("kind", [HELLO, SYNC], ids=["hello", "sync"])
def test_trouble_on_the_events_connection(tunnel, kind):
    end = tunnel[1]
    for deed in CUTS + NONSENSE + ["refuse 2"]:
        end.control.mishap(kind, deed)
        end.control.stop()
        end.control.start()
        assert eventually(lambda: kind not in end.control.mishaps and end.control.in_step(), 5), deed
    assert settled(tunnel)


@pytest.mark.parametrize("frame", [
    b"\xff" * 40, HEADER.pack(12, 1, EXPIRE, 0, INSTANCE), HEADER.pack(5, 1, EXPIRE, 0, INSTANCE),
    HEADER.pack(12 + 4, 1, 99, 0, INSTANCE) + b"1234", HEADER.pack(8 << 20, 1, EXPIRE, 0, INSTANCE),
    HEADER.pack(12 + 21, 1, EXPIRE, 0, INSTANCE) + b"\x05" + b"\0" * 20,
], ids=["noise", "empty", "undersized", "unknown", "oversized", "family"])
def test_nonsense_as_an_event(tunnel, frame):
    end = tunnel[1]
    before = end.control.events
    end.control.send_raw(frame)
    assert eventually(lambda: end.control.events not in (None, before), 5), "it connects anew"
    assert settled(tunnel)


def test_an_event_for_an_sa_that_charon_does_not_know(tunnel):
    known = only(tunnel[1].control.current(True)).id
    unknown = SaId(known.src, known.dst, 0x1234, 50)
    tunnel[1].control.expire(unknown, hard=True)
    tunnel[1].control.mapping(unknown, "192.0.2.99", 1)
    assert eventually(lambda: "ESP/0x00001234/192.0.2.2 not found for delete" in tunnel[1].log())
    assert settled(tunnel)


def test_without_control_nothing_is_negotiated_until_it_is_back(ends):
    end = ends[1]
    log = len(end.log())
    end.control.stop()
    began = time.monotonic()
    for _ in range(3):
        assert "failed" in ends[0].initiate("net", check=False).stdout
    assert time.monotonic() - began < 3 * TIMEOUT_S
    said = end.log()[log:]
    assert said.count("penstock does not answer on") == 1 and "nothing can be negotiated until it runs" in said
    end.control.start()
    assert eventually(end.control.in_step, 5)
    ends[0].initiate("net")
    assert settled(ends)
    assert end.log()[log:].count("penstock answers again") == 1


def test_a_restarted_control_is_told_what_charon_has(tunnel):
    for end in tunnel:
        ids = {sa.id.key: (sa.inbound, sa.id) for sa in end.control.sas.values()}
        end.control.synced = None
        end.control.stop()
        end.control.start()
        assert eventually(lambda: end.control.synced is not None, 5)
        assert end.control.synced == ids
    assert settled(tunnel)
    assert len(tunnel[0].control.instances) == 1 and tunnel[0].control.instances != tunnel[1].control.instances
    charon, plugin = tunnel[0].control.hellos[-1]
    assert re.fullmatch(rb"[56]\.\d+\.\d+", charon) and re.fullmatch(rb"\d+\.\d+\.\d+", plugin)


def test_sas_that_control_lost_are_expired(tunnel):
    old = only(tunnel[1].spis())
    tunnel[1].control.stop()
    tunnel[1].control.forget()
    tunnel[1].control.start()
    assert eventually(lambda: settled(tunnel) and only(tunnel[1].spis()) != old, 10), "charon made a new one by itself"


def test_a_delete_while_control_is_away_is_made_up_for(tunnel):
    tunnel[1].control.stop()
    tunnel[1].terminate()
    assert tunnel[1].control.sas
    tunnel[1].control.start()
    assert eventually(lambda: not tunnel[1].control.sas, 5)


def test_after_an_answer_that_got_lost_both_lists_are_compared(ends):
    """Control has the SA, charon does not; the events connection never broke."""
    events = ends[1].control.events
    ends[1].control.mishap(ADD_SA, "half an answer")
    ends[1].control.mishap(DEL_SA, "cut before reading")
    assert "failed" in ends[0].initiate("net", check=False).stdout
    assert eventually(lambda: not ends[1].control.sas, 5)
    assert ends[1].control.events is events


def test_a_control_that_hangs_holds_charon_only_so_long(ends):
    end = ends[1]
    end.control.mishap(GET_SPI, "never answer")
    began = time.monotonic()
    assert "failed" in ends[0].initiate("net", check=False).stdout
    assert TIMEOUT_S * 0.9 < time.monotonic() - began < TIMEOUT_S + 1
    assert "Connection timed out" in end.log()
    ends[0].initiate("net")
    assert settled(ends)


def test_a_hanging_comparison_holds_charon_only_so_long(ends):
    end = ends[1]
    end.control.mishap(SYNC, "never answer")
    end.control.stop()
    end.control.start()
    assert eventually(lambda: SYNC not in end.control.mishaps, 5)
    began = time.monotonic()
    ends[0].initiate("net", check=False)
    assert time.monotonic() - began < 2 * TIMEOUT_S + 1
    assert_converges(ends)


def test_the_wrong_version_is_refused(pair, plugins, tmp_path):
    """Charon, for which the plugin is critical, does not start with one that was built for another strongSwan."""
    other = tmp_path / plugin.NAME
    version = only(set(re.findall(rb"strongswan=([0-9.]+)\0", (plugins / plugin.NAME).read_bytes())))
    other.write_bytes((plugins / plugin.NAME).read_bytes().replace(version + b"\0", version[:-1] + b"x\0"))
    directory = plugin.copy_with(other, tmp_path / "plugins")
    config = (pair[0].directory / "strongswan.conf").read_text().replace(str(pair[0].directory), str(tmp_path))
    (tmp_path / "strongswan.conf").write_text(config)
    script = f"mount --make-rprivate / && mount --bind {directory} {PLUGINS} && exec /usr/sbin/charon-systemd"
    done = subprocess.run(["unshare", "--mount", "--net", "sh", "-ec", script], timeout=20, capture_output=True,
                          env={"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "STRONGSWAN_CONF": str(tmp_path / "strongswan.conf")})
    assert done.returncode != 0
    log = (tmp_path / "charon.log").read_text()
    assert f"was built for strongSwan {version[:-1].decode()}x and this is another version" in log
    shutil.rmtree(directory)
