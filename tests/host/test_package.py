"""The Debian packages: installed on a bare Debian root, used there, and purged."""

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.gateway import REPOSITORY, binary
from lab.image import CACHE
from lab.netns import run

BARE = CACHE / "debian-bare.tar"  # what debootstrap makes; made once
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


class Root:
    """A Debian system in a directory, of which a process sees its own processes, mounts and network devices only."""

    def __init__(self, path):
        self.path = path

    def command(self, words, network="--net"):
        """The words around a command."""
        prepare = ('mount --rbind /dev "$0/dev"; mount -t sysfs sysfs "$0/sys" 2>/dev/null || mount --rbind /sys "$0/sys"; '
                   'mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/run"; exec chroot "$0" "$@"')
        isolated = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private", *([network] if network else [])]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
        clean += [f"{name}={value}" for name, value in os.environ.items() if name.lower().endswith("_proxy")]
        return [*isolated, "sh", "-ec", prepare, str(self.path), *clean, *map(str, words)]

    def run(self, *words, check=True, network="--net", timeout=180):
        """Runs a command in it."""
        return run(self.command(words, network), check=check, timeout=timeout)

    def apt(self, *words):
        """apt-get, which needs this machine's network."""
        return self.run("apt-get", "-qq", "-y", "--no-install-recommends", *words, network=None, timeout=1200)

    def files(self):
        """Every path in it that is not a cache or a log."""
        found = set()
        for directory, names, files in os.walk(self.path):
            inside = Path("/") / Path(directory).relative_to(self.path)
            names[:] = [name for name in names if str(inside / name) not in ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/cache", "/var/log")]
            found |= {str(inside / name) for name in names + files}
        return found


@pytest.fixture(scope="module")
def root(tmp_path_factory, packages):
    """A bare Debian with the packages installed."""
    if not BARE.exists():
        new = BARE.with_suffix(f".{os.getpid()}.tar")
        CACHE.mkdir(parents=True, exist_ok=True)
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]
        run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,systemd", release, str(new)], timeout=900)
        os.replace(new, BARE)
    path = tmp_path_factory.mktemp("debian")
    run(["tar", "-xf", str(BARE), "-C", str(path), "--exclude=./dev/*"])
    root = Root(path)
    shutil.copy("/etc/resolv.conf", path / "etc/resolv.conf")
    for place in ("/usr/local/share/ca-certificates",):
        shutil.copytree(place, path / place[1:], dirs_exist_ok=True)
    root.run("update-ca-certificates", check=False)
    root.apt("update")
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
                 "usr/share/fish/vendor_completions.d/penstock.fish", "usr/share/doc/penstock/configuration.md"):
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


def test_purged_it_leaves_nothing(root):
    """The last one: what the package brought and what it made goes; what others need stays."""
    root.apt("purge", "penstock", "penstock-charon")
    left = sorted(path for path in root.files() if "penstock" in path)
    assert left == [], left
    root.apt("autoremove", "--purge")
    stayed = sorted(path for path in root.files() - root.before if not path.startswith(("/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd")))
    assert not [path for path in stayed if "penstock" in path or path.startswith("/etc/strongswan.d/penstock")], stayed
