"""Two stock charon daemons, joined by a cable; each has the plugin and a fake control.

CHARON_PLUGIN=path tests another build of it, CHARON_PRELOAD=library loads
that first (an address sanitizer's, for a build with one).
"""

import os

import pytest
from daemons import Daemon
from lab import plugin
from lab.netns import run, veth
from lab.wait import eventually

CHILD = """
    local_ts = {mine}
    remote_ts = {theirs}
    reqid = {reqid}
    esp_proposals = {esp}
    rekey_time = 3000
    life_time = 3300
    rand_time = 0
    rekey_bytes = 500000
    life_bytes = 1000000
    rekey_packets = 5000
    life_packets = 10000
    rand_bytes = 0
    rand_packets = 0
    replay_window = 64
"""
NETS = {"a": "10.1.0.0/16,fd00:1::/32", "b": "10.2.0.0/16,fd00:2::/32"}
PORTS = {"a": "10.3.0.0/16[tcp/1000-2000]", "b": "10.4.0.1/32[tcp]"}
CIPHERS = {"gcm": "aes256gcm16-ecp256", "cbc": "aes128-sha256-modp2048", "chacha": "chacha20poly1305-curve25519",
           "null": "null-sha512"}


def children(me, peer):
    """The CHILD_SAs of one end: `net` is what most tests use."""
    made = {"net": CHILD.format(mine=NETS[me], theirs=NETS[peer], reqid=7, esp="aes128gcm16-ecp256"),
            "ports": CHILD.format(mine=PORTS[me], theirs=PORTS[peer], reqid=8, esp="aes128gcm16-ecp256")}
    for number, (name, esp) in enumerate(CIPHERS.items()):
        mine, theirs = (f"10.{10 + number}.{1 if end == 'a' else 2}.0/24" for end in (me, peer))
        made[name] = CHILD.format(mine=mine, theirs=theirs, reqid=20 + number, esp=esp)
    return made


@pytest.fixture(scope="session")
def plugins(tmp_path_factory):
    """The plugin directory that the daemons see."""
    return plugin.copy_with(os.environ.get("CHARON_PLUGIN") or plugin.build(), tmp_path_factory.mktemp("plugins") / "plugins")


@pytest.fixture(scope="session")
def pair(tmp_path_factory, plugins):
    """Both daemons, up for all tests."""
    base = tmp_path_factory.mktemp("charon")
    ends = [Daemon(base / "a", "a", "b", "192.0.2.1", "192.0.2.2", 0xC0A00000),
            Daemon(base / "b", "b", "a", "192.0.2.2", "192.0.2.1", 0xC0B00000)]
    preload = os.environ.get("CHARON_PRELOAD")
    environment = {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"} if preload else {}
    try:
        for end in ends:
            end.space.create()
        veth(ends[0].space, "eth0", ends[1].space, "eth0")
        for end in ends:
            end.space.sh(f"ip address add {end.local}/24 dev eth0")
            end.control.start()
            end.start(plugins, environment)
        yield ends
        for end in ends:
            assert end.stop() == 0, end.log()[-2000:]
            log = end.log().lower()
            assert not any(key.hex() in log for key in end.control.keys)
    finally:
        for end in ends:
            if end.process and end.running():
                end.process.kill()
            end.space.delete()


@pytest.fixture
def ends(pair):
    """Both ends without an SA, their controls well behaved; afterwards both still run and agree with their controls."""
    for end in pair:
        end.control.mishaps.clear()
        end.control.failures.clear()
        if not end.control.listener:
            end.control.start()
        assert eventually(end.control.in_step, 5)
        end.terminate()
        end.configure(children(end.name, end.peer))
        end.control.clear()
    yield pair
    for end in pair:
        assert end.running(), end.log()[-3000:]
        assert not end.control.failures, end.control.failures


@pytest.fixture
def tunnel(ends):
    """Both ends with the tunnel `net` up, their records empty."""
    ends[0].initiate("net")
    for end in ends:
        end.control.clear()
    return ends


def pytest_sessionstart(session):
    """Says early what is missing."""
    run(["sh", "-c", "command -v swanctl && test -x /usr/sbin/charon-systemd"])
