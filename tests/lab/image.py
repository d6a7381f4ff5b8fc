"""The guest's kernel and initramfs, built once and cached.

Debian's cloud kernel is downloaded as a package and unpacked, never
installed. The initramfs holds busybox, the real `ip`, perl, the modules that
a GRE and ESP router needs in dependency order, and an agent that runs
commands for the host. The cache is keyed by kernel release and by this file's
own content.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.netns import run

CACHE = Path(__file__).resolve().parents[2] / ".lab" / "cache"
META_PACKAGE = "linux-image-cloud-amd64"
MODULES = ["virtio_pci", "virtio_net", "ip_gre", "ip6_gre", "ipip", "8021q", "veth", "dummy", "sch_netem"]
# All that `ip xfrm` may ask for is loaded at the boot: the guest has no modprobe.
MODULES += ["esp4", "esp6", "xfrm_user", "xfrm_interface", "authenc", "authencesn", "echainiv", "seqiv", "gcm", "ctr",
            "cbc", "ecb", "hmac", "sha1_generic", "sha256_generic", "sha512_generic", "aes_generic", "aesni_intel",
            "ghash_generic", "ghash_clmulni_intel", "chacha20poly1305", "chacha_generic", "poly1305_generic", "crypto_null",
            "drbg"]  # the first IV of a generator is random
AGENT_PORT = 9

INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules); do insmod /lib/modules/$module; done
/sbin/ip link set lo up
/sbin/ip link set eth0 name mgmt; /sbin/ip link set eth1 name wan; /sbin/ip link set eth2 name lan
for setting in conf/all/accept_dad=0 conf/default/accept_dad=0 conf/default/accept_ra=0 conf/mgmt/disable_ipv6=1 \\
    conf/wan/accept_dad=0 conf/lan/accept_dad=0; do
    echo ${setting#*=} > /proc/sys/net/ipv6/${setting%=*}
done
echo 0 > /proc/sys/net/ipv4/icmp_ratelimit
echo 0 > /proc/sys/net/ipv6/icmp/ratelimit
/sbin/ip address add 169.254.1.2/30 dev mgmt; /sbin/ip link set mgmt up
/sbin/ip link set wan up; /sbin/ip link set lan up
nc -ll -p @PORT@ -e /agent &
echo guest ready
while :; do sleep 1000; done
"""

# The host sends shell text and closes its side; it gets the output and, on the last line, the status.
AGENT = """#!/bin/sh
text=$(cat)
sh -ec "$text" 2>&1 </dev/null
status=$?
echo; echo "status $status"
"""


@dataclass
class Image:
    """What qemu boots."""

    kernel: Path
    initrd: Path


def image():
    """The guest image, from the cache or built now."""
    CACHE.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    package = _kernel_package()
    kernel, initrd = CACHE / f"{package}.vmlinuz", CACHE / f"{package}-{recipe}.cpio.gz"
    if not (kernel.exists() and initrd.exists()):
        _build(package, kernel, initrd)
    return Image(kernel, initrd)


def _kernel_package():
    """The newest kernel package apt knows; a cached one if apt has no lists."""
    found = run(["apt-cache", "depends", META_PACKAGE], check=False).stdout.split()
    names = [word for word in found if word.startswith("linux-image-") and word != META_PACKAGE]
    if names:
        return names[0]
    cached = sorted(CACHE.glob("*.vmlinuz"))
    if cached:
        return cached[-1].stem
    raise RuntimeError(f"no package {META_PACKAGE}: run `apt-get update` on a Debian machine first")


def _build(package, kernel, initrd):
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        scratch = Path(scratch)
        os.chmod(scratch, 0o755)
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], cwd=scratch, timeout=300)
        run(f"dpkg -x {scratch}/*.deb {scratch}/unpacked", timeout=120)
        unpacked, root = scratch / "unpacked", scratch / "root"
        release = next((unpacked / "lib/modules").iterdir()).name
        _fill_root(root, unpacked, release)
        archive = scratch / "base.cpio.gz"
        run(f"cd {root}; find . | cpio --quiet -o -H newc | gzip -1 > {archive}", timeout=120)
        shutil.copy(unpacked / f"boot/vmlinuz-{release}", scratch / "vmlinuz")
        os.replace(scratch / "vmlinuz", kernel)
        os.replace(archive, initrd)


def _fill_root(root, unpacked, release):
    for directory in ("bin", "sbin", "proc", "sys", "dev", "tmp", "run", "lib/modules", "etc"):
        (root / directory).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", root / "bin/busybox")
    for applet in run(["busybox", "--list"]).stdout.split():
        if applet not in ("busybox", "ip", "sh", "ash"):
            (root / "bin" / applet).symlink_to("busybox")
    # dash, not busybox, is the shell: busybox's prefers its own small `ip` over the real one.
    _with_libraries(root, "/bin/dash", "bin/sh")
    _with_libraries(root, shutil.which("ip") or "/sbin/ip", "sbin/ip")
    _with_libraries(root, "/usr/bin/perl", "bin/perl")  # sets a socket option that nothing else here can
    names = _copy_modules(root / "lib/modules", unpacked / "lib/modules" / release, release, unpacked)
    (root / "modules").write_text("\n".join(names) + "\n")
    for name, text in (("init", INIT.replace("@PORT@", str(AGENT_PORT))), ("agent", AGENT)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)


def _with_libraries(root, program, place):
    """Copies a program and every shared library it names, each to its own path."""
    shutil.copy(os.path.realpath(program), root / place)
    for word in run(["ldd", program]).stdout.split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(word), target)


def _copy_modules(target, source, release, unpacked):
    """Copies the wanted modules and all they depend on; returns file names in load order."""
    subprocess.run(["busybox", "depmod", "-b", unpacked, release], check=True, stderr=subprocess.DEVNULL)
    needs = {}
    for line in (source / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    order = []

    def add(path):
        for need in needs[path]:
            add(need)
        if path not in order:
            order.append(path)

    for name in MODULES:
        if name in by_name:  # else built into the kernel
            add(by_name[name])
    for path in order:
        shutil.copy(source / path, target / Path(path).name)
    return [Path(path).name for path in order]
