"""Under a service manager: what it is told (sd_notify), how a stop drains, reloads by signal, and the log."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from steps import Crossing, warm_up

from lab.gateway import binary
from lab.wait import eventually

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Manager:
    """Stands in for systemd: takes what the service says, with the time."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.said = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while message := self.socket.recv(4096):
                now = time.monotonic()
                self.said += [(now, line) for line in message.decode().splitlines()]

    def since(self, moment, word):
        """When it said this after a moment."""
        return [at for at, line in list(self.said) if at >= moment and line == word]

    def lines(self):
        """All that was said, in order."""
        return [line for _, line in list(self.said)]


@pytest.fixture
def manager(lab, monkeypatch):
    """A service manager that the gateway of this lab will find."""
    manager = Manager(lab.directory / "notify.sock")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    yield manager
    manager.socket.close()


@contextlib.contextmanager
def frozen(thread):
    """Stops one thread of another process, and lets it go on afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def ptrace(request):
        assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())

    ptrace(PTRACE_SEIZE)
    ptrace(PTRACE_INTERRUPT)
    os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        ptrace(PTRACE_DETACH)


def test_ready_when_it_forwards_and_alive_while_workers_turn(lab, manager):
    lab.gateway.start(lab.config)
    assert eventually(lambda: "READY=1" in manager.lines(), 5), manager.lines()
    row = next(row for row in lab.gateway.show("cores")["rows"] if row["role"] == "worker")
    assert row["generation"] == row["current_generation"] > 0
    warm_up(lab)
    began = time.monotonic()
    assert eventually(lambda: len(manager.since(began, "WATCHDOG=1")) >= 2, 10), manager.lines()
    assert manager.lines().index("READY=1") < manager.lines().index("WATCHDOG=1") or "WATCHDOG=1" in manager.lines()
    [worker] = lab.gateway.threads("worker-")
    with frozen(worker):
        time.sleep(1.5)  # what was under way
        began = time.monotonic()
        time.sleep(6)
        assert not manager.since(began, "WATCHDOG=1"), "no sign of life while a worker stands still"
        assert "the worker stands still" in lab.gateway.log_tail()
    began = time.monotonic()
    assert eventually(lambda: manager.since(began, "WATCHDOG=1"), 5), "it turns again"


def test_not_ready_before_it_runs(lab, manager):
    lab.config["ports"]["edge0"]["device"] = "net_pcap0,rx_iface_in=nothere,tx_iface=nothere"
    with pytest.raises(RuntimeError, match="ended with status 1"):
        lab.gateway.start(lab.config)
    assert "READY=1" not in manager.lines()


def test_reloads_are_told(lab, manager):
    lab.gateway.start(lab.config)
    assert eventually(lambda: "READY=1" in manager.lines(), 5)
    lab.config["icmp"]["rate"] = 77
    lab.gateway.reload(lab.config)
    lines = manager.lines()
    assert "RELOADING=1" in lines[lines.index("READY=1"):], lines
    assert any(line.startswith("MONOTONIC_USEC=") for line in lines)
    assert eventually(lambda: manager.lines().count("READY=1") == 2, 2), manager.lines()
    lab.gateway.ask("reload", "--dry-run")
    assert manager.lines().count("RELOADING=1") == 1, "a dry run is no reload"


def test_a_hangup_reloads(lab):
    lab.gateway.start(lab.config)
    lab.config["icmp"]["rate"] = 78
    lab.gateway.write(lab.config)
    lab.gateway.process.send_signal(signal.SIGHUP)
    assert eventually(lambda: "SIGHUP: reloaded changes=1" in lab.gateway.log_tail(), 5), lab.gateway.log_tail()
    assert "rate: 78" in lab.gateway.ask("show", "config").stdout


def test_a_stop_drains(lab, manager):
    lab.config["node"]["drain"] = "3s"
    lab.gateway.start(lab.config)
    warm_up(lab)
    assert lab.gateway.ask("ready").returncode == 0
    began = time.monotonic()
    lab.gateway.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: "STOPPING=1" in manager.lines(), 1), manager.lines()
    assert "EXTEND_TIMEOUT_USEC=33000000" in manager.lines()
    withdrawn = lab.gateway.ask("ready", check=False)
    assert withdrawn.returncode == 1 and "it was told to stop, and does so in" in withdrawn.stdout
    crossed = 0
    with Crossing(lab) as crossing:
        while time.monotonic() - began < 2:
            assert crossing.us(), "it forwards while it drains"
            crossed += 1
    assert lab.gateway.running() and crossed > 10
    assert lab.gateway.process.wait(10) == 0
    assert 2.8 < time.monotonic() - began < 8


def test_who_says_it_twice_does_not_wait(lab):
    lab.config["node"]["drain"] = "1h"
    lab.gateway.start(lab.config)
    lab.gateway.process.send_signal(signal.SIGTERM)
    assert eventually(lambda: lab.gateway.ask("ready", check=False).returncode == 1, 2)
    assert lab.gateway.running()
    lab.gateway.process.send_signal(signal.SIGTERM)
    assert lab.gateway.process.wait(10) == 0


def test_a_log_for_machines(lab, monkeypatch):
    monkeypatch.setenv("PENSTOCK_LOG_FORMAT", "json")
    lab.gateway.start(lab.config)
    assert lab.gateway.stop() == 0
    lines = [json.loads(line) for line in lab.gateway.log.read_text().splitlines() if line.startswith("{")]
    up = [line for line in lines if line["message"] == "port is up"]
    assert {line["port"] for line in up} == {"edge0", "core0"}
    assert all(line["level"] in ("INFO", "WARN") and line["timestamp"] for line in lines)


def test_the_journal_where_standard_error_leads_there(lab, tmp_path):
    journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (tmp_path / "journal").mkdir()
    journal.bind(str(tmp_path / "journal" / "socket"))
    journal.settimeout(10)
    lab.config["ports"] = {"edge0": {"device": "net_null0", "addresses": ["192.0.2.1/24"]}}
    lab.gateway.write(lab.config)
    into_the_journal = 'mkdir -p /run/systemd/journal; mount --bind "$1" /run/systemd/journal; shift; exec "$@"'
    with open(tmp_path / "stderr", "wb") as log:
        stream = os.fstat(log.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}
        process = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sh", "-ec", into_the_journal, "sh",
                                    tmp_path / "journal", binary(), "run", "-c", lab.gateway.config_file], stderr=log, env=environment)
    try:
        entries = b""
        while b"the gateway runs" not in entries:
            entries += journal.recv(65536)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        journal.close()
    # Fields as journald takes them: a name, a line's end, eight bytes of length, the value.
    for name, value in ((b"SYSLOG_IDENTIFIER", b"penstock"), (b"F_PORT", b"edge0"), (b"PRIORITY", b"6")):
        assert name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n" in entries, entries


def test_without_a_journal_it_says_what_to_do(lab):
    lab.gateway.write(lab.config)
    nowhere = 'mount -t tmpfs none /run; exec "$@"'
    ended = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-ec", nowhere, "sh", binary(), "run", "-c",
                            "/nowhere.yaml", "--log-format", "journald"], capture_output=True, text=True, check=False, timeout=20)
    assert ended.returncode == 1 and "use --log-format text" in ended.stderr
