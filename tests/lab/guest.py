"""A small qemu guest: a Linux router whose kernel has GRE and ESP, whatever the host's kernel lacks.

Three network cards: `mgmt` (commands, in the guest's own namespace on the
host), `wan` (a port of the lab's switch), `lan` (straight into the server's
namespace). TCG by default: /dev/kvm opens on many machines where guests then
hang; LAB_ACCEL=kvm overrides.
"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from zlib import crc32

from lab.image import AGENT_PORT, RELAY_PORT, image
from lab.netns import CommandFailed
from lab.priority import prefer

BOOT_LIMIT_S = 120
LIFE_LIMIT_S = 6 * 3600
READY_LINE = "guest ready"
# No offloads: checksums and segments on the wire must be what the guest's kernel really wrote.
NO_OFFLOADS = ",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,host_tso4=off,host_tso6=off"


class Guest:
    """One running guest; `space` is the namespace that holds its management link."""

    def __init__(self, space, directory, ike=False, memory_mib=192):
        self.space, self.ike, self.memory_mib = space, ike, memory_mib
        self.directory = Path(directory)
        self.console = self.directory / "console.txt"
        self.pid_file = self.directory / "qemu.pid"

    def boot(self, wan_space, wan_name, lan_space, lan_name):
        """Starts qemu and waits until the guest takes commands."""
        self.directory.mkdir(parents=True, exist_ok=True)
        picture = image(self.ike)
        initrd = self._initrd(picture)
        taps = [self.space.tap("mgmt"), wan_space.tap(wan_name), lan_space.tap(lan_name)]
        self.space.sh("ip address add 169.254.1.1/30 dev mgmt")
        accelerator = ["-accel", "kvm", "-cpu", "host"] if os.environ.get("LAB_ACCEL") == "kvm" else [
            "-accel", "tcg", "-cpu", "max"]
        command = [
            "timeout", "-k", "5", str(LIFE_LIMIT_S),
            "qemu-system-x86_64", "-M", "q35", *accelerator, "-m", f"{self.memory_mib}M", "-nodefaults", "-no-user-config",
            "-nographic", "-serial", f"file:{self.console}", "-no-reboot",
            "-kernel", str(picture.kernel), "-initrd", str(initrd),
            "-append", "console=ttyS0 quiet reboot=t panic=-1 net.ifnames=0 mitigations=off cryptomgr.notests",
        ]
        serial = os.getpid() & 0xFFFF
        for index, descriptor in enumerate(taps):
            mac = f"52:54:{serial >> 8:02x}:{serial & 255:02x}:{crc32(self.space.name.encode()) & 255:02x}:{index:02x}"
            command += ["-netdev", f"tap,id=n{index},fd={descriptor}",
                        "-device", f"virtio-net-pci,netdev=n{index},mac={mac},addr=0x{index + 4:x},romfile={NO_OFFLOADS}"]
        with open(self.directory / "qemu.txt", "w", encoding="utf-8") as output:
            process = subprocess.Popen(command, pass_fds=taps, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True)
        for descriptor in taps:
            os.close(descriptor)
        prefer(process.pid)
        self.pid_file.write_text(str(process.pid))
        self._wait_ready(process)

    def _initrd(self, picture):
        if len(picture.layers) == 1:
            return picture.layers[0]
        joined = self.directory / "initrd"
        joined.write_bytes(b"".join(layer.read_bytes() for layer in picture.layers))
        return joined

    def _wait_ready(self, process):
        limit = time.monotonic() + BOOT_LIMIT_S
        while time.monotonic() < limit:
            if self.console.exists() and READY_LINE in self.console.read_text(errors="replace"):
                self.sh("true")
                return
            if process.poll() is not None:
                raise RuntimeError("qemu ended early: " + (self.directory / "qemu.txt").read_text())
            time.sleep(0.05)
        said = self.console.read_text(errors="replace")[-2000:] if self.console.exists() else "nothing"
        raise RuntimeError(f"the guest was not ready in {BOOT_LIMIT_S} s; its console says: {said}")

    def sh(self, text, check=True, timeout=60):
        """Runs shell text in the guest; returns a CompletedProcess like Namespace.sh."""
        if not isinstance(text, str):
            text = " ".join(map(str, text))
        output = self._ask(text, timeout)
        body, _, status = output.rpartition("\nstatus ")
        if not status.strip().isdigit():
            raise CommandFailed(f"in the guest: {text}\n  no status came back: {output!r}")
        code = int(status)
        if check and code != 0:
            raise CommandFailed(f"in the guest: {text}\n  exit status {code}: {body.strip()}")
        return subprocess.CompletedProcess(text, code, body)

    def _ask(self, text, timeout):
        with self._connect(AGENT_PORT, timeout) as link:
            link.sendall(text.encode())
            link.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: link.recv(65536), b"")).decode(errors="replace")

    def connect_unix(self, path, timeout=60):
        """A socket that is connected to a unix socket in the guest."""
        link = self._connect(RELAY_PORT, timeout)
        link.sendall(f"{path}\n".encode())
        return link

    def _connect(self, port, timeout):
        limit = time.monotonic() + 10
        while True:  # the agent may need a moment after the boot
            with self.space.entered():
                link = socket.socket()
            link.settimeout(timeout)
            try:
                link.connect(("169.254.1.2", port))
                return link
            except OSError:
                link.close()
                if time.monotonic() > limit:
                    raise
                time.sleep(0.1)


def stop_process(pid, word, patience_s=10):
    """Sends TERM, then KILL, to a process we started; its command line or environment must hold `word` (pids are reused)."""
    def ours():
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
        try:
            return any(word.encode() in Path(f"/proc/{pid}/{what}").read_bytes() for what in ("cmdline", "environ"))
        except OSError:
            return False

    for number, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5)):
        if not ours():
            return True
        os.kill(pid, number)
        limit = time.monotonic() + wait_s
        while ours() and time.monotonic() < limit:
            time.sleep(0.05)
    return not ours()
