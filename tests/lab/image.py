"""The guest's kernel and initramfs, built once and cached.

Debian's cloud kernel is downloaded as a package and unpacked, never
installed. The initramfs holds busybox, the real `ip`, perl, the modules that
a GRE and ESP router needs in dependency order, and an agent that runs
commands for the host. A second layer on top, for guests whose customers speak
IKE, holds the host's own strongSwan, nft and their modules. The cache is
keyed by kernel release, by this file's own content and, for the layer, by
strongSwan's version.
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
# A bridge between the customers of one guest, and NATs in front of them.
IKE_MODULES = ["bridge", "nf_tables", "nf_conntrack", "nf_nat", "nft_chain_nat", "nft_masq", "nft_nat", "nft_ct"]
# Private keys, certificates, DH, ciphers and hashes are all OpenSSL's; kernel ESP does the packets.
CHARON_PLUGINS = ("random", "nonce", "openssl", "kdf", "pem", "pkcs1", "pkcs8", "x509", "pubkey", "constraints", "revocation",
                  "kernel-netlink", "socket-default", "vici", "counters")
CHARON, SWANCTL, PLUGINS = "/usr/sbin/charon-systemd", "/usr/sbin/swanctl", "/usr/lib/ipsec/plugins"
AGENT_PORT, RELAY_PORT = 9, 10

INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in $(cat /modules*); do insmod /lib/modules/$module; done
echo 2 > /proc/sys/net/core/fb_tunnels_only_for_init_net # no gre0, tunl0 and so on in each namespace
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
nc -ll -p @AGENT_PORT@ -e /agent &
nc -ll -p @RELAY_PORT@ -e /relay &
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

# From the management link to a unix socket; the host sends its path and a line end first.
RELAY = r"""#!/bin/perl
while (sysread(STDIN, $byte, 1) && $byte ne "\n") { $path .= $byte }
socket($unix, 1, 1, 0) or die;
connect($unix, pack("S a*", 1, "$path\0")) or die;
if (my $child = fork) {
    while (sysread($unix, $data, 65536)) { syswrite(STDOUT, $data) }
    kill 9, $child;
} else {
    while (sysread(STDIN, $data, 65536)) { syswrite($unix, $data) }
    shutdown($unix, 2);
}
"""


@dataclass
class Image:
    """What qemu boots; the layers of the initramfs are unpacked one over the other."""

    kernel: Path
    layers: list


def image(ike=False):
    """The guest image, from the cache or built now; with `ike` its customers can have charon."""
    CACHE.mkdir(parents=True, exist_ok=True)
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    package = _kernel_package()
    kernel, base = CACHE / f"{package}.vmlinuz", CACHE / f"{package}-{recipe}.cpio.gz"
    layer = CACHE / f"{package}-{recipe}-ike-{_strongswan_version()}.cpio.gz" if ike else None
    if not kernel.exists() or not base.exists() or not (layer is None or layer.exists()):
        _build(package, kernel, base, layer)
    return Image(kernel, [base, layer] if ike else [base])


def _strongswan_version():
    done = run(["dpkg-query", "-W", "-f", "${Version}", "charon-systemd"], check=False)
    if done.returncode != 0:
        raise RuntimeError("the customers' charon is the one of this machine: run `scripts/install-deps lab`")
    return done.stdout.strip().replace("/", "_")


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


def _build(package, kernel, base, layer):
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        scratch = Path(scratch)
        os.chmod(scratch, 0o755)
        run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package], cwd=scratch, timeout=300)
        run(f"dpkg -x {scratch}/*.deb {scratch}/unpacked", timeout=120)
        modules = _Modules(scratch / "unpacked")
        _fill_root(scratch / "base", modules)
        _pack(scratch / "base", base)
        if layer is not None:
            _fill_ike_layer(scratch / "ike", modules)
            _pack(scratch / "ike", layer)
        shutil.copy(scratch / f"unpacked/boot/vmlinuz-{modules.release}", scratch / "vmlinuz")
        os.replace(scratch / "vmlinuz", kernel)


def _pack(root, target):
    new = target.with_suffix(".new")
    run(f"cd {root}; find . | cpio --quiet -o -H newc | gzip -1 > {new}", timeout=120)
    os.replace(new, target)


def _fill_root(root, modules):
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
    modules.copy(MODULES, root, "modules")
    init = INIT.replace("@AGENT_PORT@", str(AGENT_PORT)).replace("@RELAY_PORT@", str(RELAY_PORT))
    for name, text in (("init", init), ("agent", AGENT), ("relay", RELAY)):
        (root / name).write_text(text)
        (root / name).chmod(0o755)


def _fill_ike_layer(root, modules):
    (root / PLUGINS.lstrip("/")).mkdir(parents=True)
    (root / "lib/modules").mkdir(parents=True)
    for program in (CHARON, SWANCTL, shutil.which("nft") or "/usr/sbin/nft"):
        _with_libraries(root, program, program.lstrip("/"))
    for plugin in CHARON_PLUGINS:
        path = f"{PLUGINS}/libstrongswan-{plugin}.so"
        if Path(path).exists():  # else built into the library
            _with_libraries(root, path, path.lstrip("/"))
    # Opened by name when a thread ends; no program names it.
    _with_libraries(root, _library("libgcc_s.so.1"), _library("libgcc_s.so.1").lstrip("/"))
    modules.copy(IKE_MODULES, root, "modules.ike")


def _library(name):
    for line in run(["/sbin/ldconfig", "-p"]).stdout.splitlines():
        if line.split()[:1] == [name]:
            return line.split()[-1]
    raise RuntimeError(f"this machine has no {name}")


def _with_libraries(root, program, place):
    """Copies a program and every shared library it names, each to its own path."""
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.path.realpath(program), root / place)
    for word in run(["ldd", program]).stdout.split():
        if word.startswith("/"):
            target = root / word.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(os.path.realpath(word), target)


class _Modules:
    """The modules of an unpacked kernel package."""

    def __init__(self, unpacked):
        self.release = next((unpacked / "lib/modules").iterdir()).name
        self.source = unpacked / "lib/modules" / self.release
        subprocess.run(["busybox", "depmod", "-b", unpacked, self.release], check=True, stderr=subprocess.DEVNULL)
        self.needs, self.copied = {}, []
        for line in (self.source / "modules.dep").read_text().splitlines():
            path, _, rest = line.partition(":")
            self.needs[path] = rest.split()
        self.by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in self.needs}

    def copy(self, names, root, list_name):
        """Copies these and all they depend on that no layer has yet; lists them in load order."""
        order = []
        for name in names:
            if name in self.by_name:  # else built into the kernel
                self._add(self.by_name[name], order)
        for path in order:
            shutil.copy(self.source / path, root / "lib/modules" / Path(path).name)
        (root / list_name).write_text("".join(f"{Path(path).name}\n" for path in order))
        self.copied += order

    def _add(self, path, order):
        for need in self.needs[path]:
            self._add(need, order)
        if path not in order and path not in self.copied:
            order.append(path)
