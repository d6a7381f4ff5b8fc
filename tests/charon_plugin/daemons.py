"""Stock charon-systemd daemons, each with the plugin, in namespaces of their own.

Plugins load only from charon's compiled-in directory; a private mount
namespace puts a copy with our plugin there, so nothing is installed.
"""

import os
import re
import subprocess

from fake_control import FakeControl
from lab.image import PLUGINS
from lab.netns import Namespace, run
from lab.wait import eventually

TIMEOUT_S = 3  # the plugin's bound

STRONGSWAN = """
charon {{
    load = random nonce openssl kdf penstock! kernel-netlink socket-default vici
    delete_rekeyed_delay = 1
    filelog {{
        log {{
            path = {directory}/charon.log
            default = 1
            flush_line = yes
        }}
    }}
    plugins {{
        penstock {{
            socket = {directory}/control.sock
            timeout = {timeout}
        }}
        vici {{
            socket = unix://{directory}/vici
        }}
    }}
}}
charon-systemd {{
    journal {{
        default = -1
    }}
}}
swanctl {{
    load = random nonce openssl
}}
"""

SWANCTL = """
connections {{
    peer {{
        version = 2
        local_addrs = {local}
        remote_addrs = {remote}
        proposals = aes128gcm16-prfsha256-ecp256
        encap = {encap}
        mobike = no
        local {{
            auth = psk
            id = {name}
        }}
        remote {{
            auth = psk
            id = {peer}
        }}
        children {{
            {children}
        }}
    }}
}}
secrets {{
    ike {{
        id-a = a
        id-b = b
        secret = "a secret of this test"
    }}
}}
"""


class Daemon:
    """One charon with its fake control."""

    def __init__(self, directory, name, peer, local, remote, spi_base):
        self.directory = directory
        self.name, self.peer, self.local, self.remote = name, peer, local, remote
        self.space = Namespace(f"plugin{os.getpid()}{name}")
        self.control = FakeControl(directory / "control.sock", spi_base)
        self.process = None
        directory.mkdir()
        (directory / "strongswan.conf").write_text(STRONGSWAN.format(directory=directory, timeout=TIMEOUT_S))

    def configure(self, children, encap="no"):
        """Writes swanctl.conf and has it loaded."""
        text = SWANCTL.format(local=self.local, remote=self.remote, name=self.name, peer=self.peer, encap=encap,
                              children="\n".join(f"{name} {{\n{body}\n}}" for name, body in children.items()))
        (self.directory / "swanctl.conf").write_text(text)
        self.swanctl("--load-all", "--noprompt")

    def start(self, plugins, environment=()):
        """Starts charon with this plugin directory; its vici socket answers when this returns."""
        script = f"mount --make-rprivate / && mount --bind {plugins} {PLUGINS} && exec /usr/sbin/charon-systemd"
        self.process = self.space.spawn(
            ["unshare", "--mount", "sh", "-ec", script], stdin=subprocess.DEVNULL,
            stdout=open(self.directory / "output", "w"), stderr=subprocess.STDOUT,
            env={**os.environ, **dict(environment), "STRONGSWAN_CONF": str(self.directory / "strongswan.conf")})
        assert eventually(lambda: (self.directory / "vici").exists() or self.process.poll() is not None, 20)
        return self

    def stop(self):
        """Ends charon politely; its exit status."""
        self.process.terminate()
        return self.process.wait(20)

    def running(self):
        return self.process.poll() is None

    def swanctl(self, *words, check=True):
        return run(["swanctl", *words, "--uri", f"unix://{self.directory}/vici"], check=check, timeout=30,
                   env={**os.environ, "STRONGSWAN_CONF": str(self.directory / "strongswan.conf"),
                        "SWANCTL_DIR": str(self.directory)})

    def initiate(self, child, check=True):
        return self.swanctl("--initiate", "--child", child, "--timeout", "10", "--loglevel", "-1", check=check)

    def terminate(self):
        """Ends all IKE SAs, and waits for it."""
        self.swanctl("--terminate", "--ike", "peer", "--timeout", "5", "--loglevel", "-1", check=False)

    def spis(self):
        """The SPIs (inbound, outbound) of the CHILD_SAs that charon has up."""
        said = self.swanctl("--list-sas").stdout
        blocks = re.findall(r"INSTALLED.*?\n(.*?)(?=^  \S|\Z)", said, re.DOTALL | re.MULTILINE)
        return {(int(re.search(r"in\s+([0-9a-f]{8})", block)[1], 16), int(re.search(r"out\s+([0-9a-f]{8})", block)[1], 16))
                for block in blocks}

    def log(self):
        return (self.directory / "charon.log").read_text(errors="replace")
