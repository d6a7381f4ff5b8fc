"""The Debian packages: installed on a bare Debian root, used there, and purged."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from lab.debian import Booted, Root
from lab.gateway import REPOSITORY, binary
from lab.netns import run
from lab.wait import eventually

PROGRAM = "/usr/sbin/penstock"
LAST_EXPOSURE = 6.0  # systemd-analyze security: 10 is a service without any limit


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Both packages, of the program that is tested."""
    target = tmp_path_factory.mktemp("target")
    plugins = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "charon-plugin"
    scripts = REPOSITORY / "scripts"
    run([f"{scripts}/charon-plugin", "build"], timeout=300)
    run(["env", f"CARGO_TARGET_DIR={target}", f"{scripts}/package", "--program", str(binary()), "--plugin",
         f"{plugins}/libstrongswan-penstock.so"], timeout=900)
    return sorted((target / "packages").glob("*.deb"))


@pytest.fixture(scope="module")
def root(tmp_path_factory, packages):
    """A bare Debian with the packages installed."""
    path = tmp_path_factory.mktemp("debian")
    root = Root(path)
    root.unpack()
    root.before = root.files()
    for package in packages:
        shutil.copy(package, path / "tmp")
    root.apt("install", *(f"/tmp/{package.name}" for package in packages))
    yield root
    shutil.rmtree(path, ignore_errors=True)


def test_what_is_in_it(packages):
    program = next(package for package in packages if package.name.startswith("penstock_"))
    names = run(["dpkg-deb", "--contents", str(program)]).stdout
    for path in ("usr/sbin/penstock", "usr/sbin/penstock-setup-host", "etc/penstock/penstock.yaml", "lib/systemd/system/penstock.service",
                 "usr/share/man/man1/penstock.1.gz", "usr/share/man/man1/penstock-doctor.1.gz", "usr/share/doc/penstock/copyright",
                 "usr/share/bash-completion/completions/penstock", "usr/share/zsh/vendor-completions/_penstock",
                 "usr/share/fish/vendor_completions.d/penstock.fish", "usr/share/doc/penstock/configuration.md",
                 "usr/share/penstock/monitoring/penstock.rules.yaml", "usr/share/penstock/monitoring/grafana-dashboard.json"):
        assert f"./{path}\n" in names, path
    assert all(" root/root " in line for line in names.splitlines())
    fields = run(["dpkg-deb", "--field", str(program)]).stdout
    assert re.search(r"^Depends: .*libc6 .*librte-eal23", fields, re.MULTILINE), fields


def test_it_runs_there(root):
    """The shipped configuration starts, answers, and ends."""
    assert root.run(PROGRAM, "check", "-c", "/etc/penstock/penstock.yaml").returncode == 0
    script = """
        ip link set lo up
        penstock run -c /etc/penstock/penstock.yaml 2>/tmp/log & pid=$!
        for _ in $(seq 100); do penstock show status --json >/tmp/status 2>/dev/null && break; sleep 0.1; done
        penstock show status --json; penstock ready; penstock show tunnels >&2
        kill -TERM $pid; wait $pid || { echo "ended with $?"; cat /tmp/log; exit 1; } >&2
    """
    done = root.run("sh", "-ec", script)
    status = json.loads(re.search(r"^\{.*?^\}", done.stdout, re.MULTILINE | re.DOTALL).group())
    assert status["node"] == "penstock", done.stdout


def test_the_doctor_there(root):
    done = root.run(PROGRAM, "doctor", "--json", check=False)
    findings = json.loads(done.stdout[:done.stdout.rindex("]") + 1])
    bad = [finding for finding in findings if finding["verdict"] == "bad"]
    assert all(finding.get("mend") for finding in findings if finding["verdict"] in ("bad", "warning"))
    # A container need not have a tun device; all else is there.
    assert [finding["check"] for finding in bad] in ([], ["kernel.tun"]), bad
    assert done.returncode == (1 if bad else 0)
    by_check = {finding["check"]: finding["verdict"] for finding in findings}
    assert by_check["port.edge0.driver"] == "ok" and by_check["memory.hugepages"] == "not_needed"
    root.run("sh", "-ec", "mv /usr/lib/x86_64-linux-gnu/dpdk /usr/lib/x86_64-linux-gnu/dpdk.away")
    try:
        broken = root.run(PROGRAM, "doctor", check=False)
        assert broken.returncode == 1 and "DPDK's driver net_null is not installed" in broken.stdout
    finally:
        root.run("mv", "/usr/lib/x86_64-linux-gnu/dpdk.away", "/usr/lib/x86_64-linux-gnu/dpdk")


def test_the_plugin_is_where_charon_looks(root):
    plugin = root.path / "usr/lib/ipsec/plugins/libstrongswan-penstock.so"
    assert plugin.exists()
    assert (root.path / "usr/lib/ipsec/plugins/libstrongswan-nonce.so").exists()


def test_units(root):
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", f"--root={root.path}", "penstock.service", "penstock-netns.service"],
                              capture_output=True, text=True, check=False)
    ours = [line for line in (verified.stdout + verified.stderr).splitlines() if "penstock" in line]
    assert verified.returncode == 0 and not ours, verified.stdout + verified.stderr
    rated = run(["systemd-analyze", "security", "--offline=yes", f"--root={root.path}", "penstock.service"], check=False).stdout
    exposure = float(re.search(r"exposure level for penstock.service: ([0-9.]+)", rated).group(1))
    print(f"exposure {exposure}")
    assert exposure < LAST_EXPOSURE, rated


VPN = {"type": "ipsec", "endpoint": "gateway", "remote": "203.0.113.78", "ike": {"psk_file": "/etc/penstock/vpn.psk"}}


@pytest.fixture(scope="class")
def machine(root):
    """The system, booted, with an IPsec tunnel beside what is shipped; its watchdog is impatient."""
    file = root.path / "etc/penstock/penstock.yaml"
    settings = yaml.safe_load(file.read_text()) | {"ike": {"mode": "managed"}}
    settings["tenants"]["example"]["tunnels"]["vpn"] = VPN
    file.write_text(yaml.safe_dump(settings))
    secret = root.path / "etc/penstock/vpn.psk"
    secret.touch(0o600)
    secret.write_text("a key of this test, of no use elsewhere\n")
    drop_in = root.path / "etc/systemd/system/penstock.service.d/watchdog.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=3\n")
    root.run("systemctl", "disable", "strongswan")  # docs/install.md: Penstock starts charon itself
    with Booted(root) as machine:
        yield machine
    shutil.rmtree(drop_in.parent)
    secret.unlink()


def state(machine):
    """What systemd says of the service."""
    return machine.properties("penstock", "ActiveState", "StatusText", "Result", "MainPID", "NRestarts")


def charon(machine):
    """The numbers of charon's processes."""
    return machine.run("sh", "-c", "cd /proc; grep -lx charon-systemd [0-9]*/comm || true").stdout.split()


class TestService:
    """systemd runs the unit, with what it forbids; the last one stops it."""

    def test_it_starts_with_its_rights(self, machine):
        """`start` returns when it is ready: twins in their namespace, charon with our plugin, a sender ID on disk."""
        started = machine.run("systemctl", "start", "penstock", check=False)
        assert started.returncode == 0, machine.run("journalctl", "--no-pager", "-u", "penstock").stdout
        assert state(machine)["ActiveState"] == "active" and state(machine)["StatusText"] == "forwarding"
        assert machine.run("ip", "-n", "penstock", "-br", "address", "show", "edge0").stdout.count("192.0.2.1/24") == 1
        assert eventually(lambda: "charon: running" in machine.run("penstock", "show", "ike").stdout, 20), machine.run("penstock", "show", "ike").stdout
        assert eventually(lambda: machine.run("penstock", "ready", check=False).returncode == 0, 20), machine.run("penstock", "ready", check=False).stdout
        assert (machine.root.path / "var/lib/penstock/leases.redb").exists()
        fields = machine.run("journalctl", "--output=json", "--identifier=penstock", "F_PORT=edge0").stdout.splitlines()
        assert "port is up" in {json.loads(line)["MESSAGE"] for line in fields}

    def test_it_reloads(self, machine):
        before = state(machine)["MainPID"]
        file = machine.root.path / "etc/penstock/penstock.yaml"
        file.write_text(file.read_text() + "icmp: {rate: 77}\n")
        machine.run("systemctl", "reload", "penstock")
        assert "rate: 77" in machine.run("penstock", "show", "config").stdout
        file.write_text(file.read_text() + "nonsense: 1\n")
        assert machine.run("systemctl", "reload", "penstock", check=False).returncode != 0
        assert state(machine)["MainPID"] == before and state(machine)["ActiveState"] == "active"
        file.write_text(file.read_text().replace("nonsense: 1\n", ""))

    def test_it_comes_back(self, machine):
        """After a crash, and after it has stood still for as long as the watchdog waits; charon is the same one."""
        before = charon(machine)
        assert len(before) == 1
        for number, how in enumerate(("KILL", "STOP"), 1):
            machine.run("systemctl", "kill", "--kill-who=main", f"--signal={how}", "penstock")
            assert eventually(lambda: state(machine)["NRestarts"] == str(number) and state(machine)["ActiveState"] == "active", 40), state(machine)
            assert charon(machine) == before

    def test_it_stops(self, machine):
        machine.run("systemctl", "stop", "penstock")
        after = state(machine)
        assert after["ActiveState"] == "inactive" and after["Result"] == "success", after
        assert charon(machine) == []
        assert "penstock" in machine.run("ip", "netns", "list").stdout, "routing daemons are in it"


def test_purged_it_leaves_nothing(root):
    """The last one: what the package brought and what it made goes; what others need stays."""
    root.apt("purge", "penstock", "penstock-charon")
    left = sorted(path for path in root.files() if "penstock" in path)
    assert left == [], left
    root.apt("autoremove", "--purge")
    stayed = sorted(path for path in root.files() - root.before if not path.startswith(("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd")))
    assert not [path for path in stayed if "penstock" in path or path.startswith("/etc/strongswan.d/penstock")], stayed
