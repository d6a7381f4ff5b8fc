"""A bare Debian system in a directory: to install packages on, and to boot."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from lab.image import CACHE
from lab.netns import run
from lab.wait import eventually

BARE = CACHE / "debian-bare.tar"  # what mmdebstrap makes; made once
BOOT_LIMIT_S = 60
# The container's /sys has parts of the real one only, and not this one, where DPDK looks for VFIO.
SYS_MODULE = "mkdir /run/sysfs; mount -t sysfs -o ro sysfs /run/sysfs; mount -o remount,rw /sys; mkdir /sys/module; " \
             "mount --bind /run/sysfs/module /sys/module"


def bare():
    """The archive of a bare system of this machine's release."""
    if not BARE.exists():
        new = BARE.with_suffix(f".{os.getpid()}.tar")
        CACHE.mkdir(parents=True, exist_ok=True)
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]
        run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=ca-certificates,systemd", release, str(new)], timeout=900)
        os.replace(new, BARE)
    return BARE


class Root:
    """A Debian system in a directory, of which a process sees its own processes, mounts and network devices only."""

    def __init__(self, path):
        self.path = path

    def unpack(self):
        """Fills the directory, and fetches the lists of packages."""
        run(["tar", "-xf", str(bare()), "-C", str(self.path), "--exclude=./dev/*"])
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        # A mirror behind a proxy with a certificate of its own.
        authorities = Path("/usr/local/share/ca-certificates")
        shutil.copytree(authorities, self.path / authorities.relative_to("/"), dirs_exist_ok=True)
        self.run("update-ca-certificates", check=False)
        self.apt("update")

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


class Booted:
    """A root with systemd as its first process, in a container that has no network but its own."""

    def __init__(self, root):
        self.root = root
        self.log = root.path.with_name(f"{root.path.name}.console")
        self.leader = None

    def __enter__(self):
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--directory", str(self.root.path), "--boot"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if not eventually(self._is_up, BOOT_LIMIT_S):
            self.__exit__()
            raise RuntimeError(f"the system does not boot:\n{self.log.read_text(errors='replace')}")
        self.run("sh", "-ec", SYS_MODULE)
        return self

    def _is_up(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.leader = children[0] if children else None
        return bool(children) and self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def run(self, *words, check=True, timeout=60):
        """Runs a command in it."""
        return run(["nsenter", "--target", self.leader, "--all", *map(str, words)], check=check, timeout=timeout)

    def properties(self, unit, *names):
        """What systemd says of a unit."""
        said = self.run("systemctl", "show", unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in said.splitlines())

    def __exit__(self, *_):
        self.process.terminate()  # systemd-nspawn has the system power off
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
