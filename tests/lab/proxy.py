"""An `etcd grpc-proxy` as a site has it: nodes ask it, and it asks etcd once for all of them."""

import subprocess

from lab.etcd import CLIENT_PORT, SEEN_BY_PROGRAMS, Member
from lab.netns import CommandFailed
from lab.priority import prefer
from lab.wait import eventually

START_LIMIT_S = 30


class Proxy(Member):
    """The proxy's process, in the store's namespace; it has an address of its own there."""

    def __init__(self, store):
        super().__init__(store, "proxy", "169.254.2.110")

    def up(self):
        """Starts it, and waits until it answers."""
        self.store.space.sh(f"ip address add {self.address}/24 dev mgmt")
        # As docs/fleet.md says: etcd would take the common name for the user, instead of the one that a node shows.
        self.store.issue("proxy-client", subject="O=Penstock lab, OU=proxy")
        self.store.issue("proxy-server", names=[self.address])
        self.start()
        if not eventually(lambda: self.store.ctl("get /penstock/", check=False, members=[self]).returncode == 0
                          or self.process.poll() is not None, START_LIMIT_S) or self.process.poll() is not None:
            raise CommandFailed(f"the proxy does not answer: {self.log_tail()}")
        return self

    def start(self):
        """Starts it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        client, server = self.store.files("proxy-client"), self.store.files("proxy-server")
        words = {
            "endpoints": ",".join(self.store.endpoints), "cacert": client["cacert"], "cert": client["cert"], "key": client["key"],
            "listen-addr": f"{self.address}:{CLIENT_PORT}", "advertise-client-url": f"{self.address}:{CLIENT_PORT}",
            "cert-file": server["cert"], "key-file": server["key"], "trusted-ca-file": server["cacert"],
            "data-dir": self.directory / "data",
        }
        command = ["etcd", "grpc-proxy", "start", *(f"--{name}={value}" for name, value in words.items())]
        with open(self.directory / "etcd.txt", "a", encoding="utf-8") as log:
            self.process = self.store.space.spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=SEEN_BY_PROGRAMS)
        prefer(self.process.pid)
        self.pid_file.write_text(str(self.process.pid))
