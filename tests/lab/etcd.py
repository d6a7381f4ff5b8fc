"""A real etcd for a lab: one member or three, TLS with client certificates, a user and its role.

The members have addresses of their own in a namespace of the lab, on a bridge
that the gateways' control processes are connected to as well. What a lab does
to a store (stop, kill, compact, restore) are methods.
"""

import base64
import json
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

from lab.guest import stop_process
from lab.netns import CommandFailed, bridge, veth
from lab.pki import Authority
from lab.priority import prefer

USER, ROLE = "penstock", "fleet"
START_LIMIT_S = 30
CLIENT_PORT, PEER_PORT = 2379, 2380
SEEN_BY_PROGRAMS = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "ETCDCTL_API": "3"}


class Member:
    """One etcd process."""

    def __init__(self, store, name, address):
        self.store, self.name, self.address = store, name, address
        self.directory = store.directory / self.name
        self.pid_file = self.directory / "etcd.pid"
        self.process = None

    @property
    def url(self):
        """Where clients reach it."""
        return f"https://{self.address}:{CLIENT_PORT}"

    @property
    def peer_url(self):
        """Where the other members reach it."""
        return f"https://{self.address}:{PEER_PORT}"

    def start(self):
        """Starts it; the store waits for all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        files = self.store.files("server")
        words = {
            "name": self.name, "data-dir": self.directory / "data",
            "listen-client-urls": self.url, "advertise-client-urls": self.url,
            "listen-peer-urls": self.peer_url, "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": self.store.cluster, "initial-cluster-state": "new", "initial-cluster-token": "lab",
            "cert-file": files["cert"], "key-file": files["key"], "trusted-ca-file": files["cacert"], "client-cert-auth": "true",
            "peer-cert-file": files["cert"], "peer-key-file": files["key"], "peer-trusted-ca-file": files["cacert"],
            "peer-client-cert-auth": "true", "logger": "zap",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in words.items())]
        with open(self.directory / "etcd.txt", "a", encoding="utf-8") as log:
            self.process = self.store.space.spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=SEEN_BY_PROGRAMS)
        prefer(self.process.pid)
        self.pid_file.write_text(str(self.process.pid))

    @property
    def pid(self):
        """Its number."""
        return int(self.pid_file.read_text())

    def signal(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)

    def pause(self):
        """Stops it in its tracks: its connections stay, nobody answers."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        """Lets it go on."""
        self.signal(signal.SIGCONT)

    def kill(self):
        """Kills it without a word, and waits until it is gone."""
        self.signal(signal.SIGKILL)
        self._bury()

    def stop(self):
        """Ends it politely."""
        stop_process(self.pid, str(self.directory))
        self._bury()

    def _bury(self):
        if self.process is not None:
            self.process.wait(10)
        limit = time.monotonic() + 10
        while Path(f"/proc/{self.pid}/exe").exists() and time.monotonic() < limit:
            time.sleep(0.02)

    def log_tail(self):
        """The last lines it logged."""
        log = self.directory / "etcd.txt"
        return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else ""


class Etcd:
    """A store; `space` is a namespace that it makes, `directory` has all of its files."""

    def __init__(self, space, directory, members=1):
        self.space, self.directory = space, Path(directory)
        self.members = [Member(self, f"store{number}", f"169.254.2.{100 + number}") for number in range(1, members + 1)]
        self.proxy = None  # nodes ask it instead of the members

    @property
    def cluster(self):
        """All members, as each is told at its first start."""
        return ",".join(f"{each.name}={each.peer_url}" for each in self.members)

    @property
    def endpoints(self):
        """Where clients reach it."""
        return [each.url for each in self.members]

    def up(self):
        """Makes the network, certificates and members, and takes everybody's rights but the user's."""
        self.space.create(ipv6=False)
        bridge(self.space, "mgmt")
        self.space.sh("\n".join(f"ip address add {each.address}/24 dev mgmt" for each in self.members))
        self._issue()
        self.start()
        for words in (f"user add root:{self._password('root')}", "user grant-role root root",
                      f"role add {ROLE}", f"role grant-permission {ROLE} --prefix=true readwrite /penstock/",
                      f"user add {USER}:{self._password(USER)}", f"user grant-role {USER} {ROLE}", "auth enable"):
            self.ctl(words, user=None)
        return self

    def connect(self, space, number):
        """A link from another namespace, with the address that belongs to this number."""
        veth(self.space, f"node{number}", space, "mgmt")
        self.space.sh(f"ip link set node{number} master mgmt")
        space.sh(f"ip address add 169.254.2.{number}/24 dev mgmt")

    def _issue(self):
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._authority = Authority("Lab store CA")
        self._write("ca.pem", self._authority.certificate)
        self.issue("server", [each.address for each in self.members])
        self.issue(USER)
        for user in ("root", USER):
            self._write(f"{user}.password", secrets.token_hex(12) + "\n")

    def issue(self, who, names=(), subject=None):
        """A certificate of the store's authority; see `files`."""
        issued = self._authority.issue(who, "ecdsa", names, subject=subject)
        self._write(f"{who}.pem", issued.certificate)
        self._write(f"{who}.key", issued.key)

    def _write(self, name, text):
        path = self.directory / name
        path.touch(0o600)
        path.write_text(text)

    def _password(self, user):
        return (self.directory / f"{user}.password").read_text().strip()

    def files(self, who):
        """The paths of certificate, key and authority of `server`, of the user, or of whoever was issued one."""
        return {"cert": self.directory / f"{who}.pem", "key": self.directory / f"{who}.key", "cacert": self.directory / "ca.pem"}

    def client_config(self):
        """`store:` of a gateway's configuration."""
        files = self.files(USER)
        asked = [self.proxy.url] if self.proxy else self.endpoints
        return {"etcd": {"endpoints": asked, "ca": str(files["cacert"]), "certificate": str(files["cert"]),
                         "private_key": str(files["key"]), "user": USER, "password_file": str(self.directory / f"{USER}.password")}}

    def start(self):
        """Starts all members and waits until they answer."""
        for each in self.members:
            each.start()
        self.wait()

    def wait(self):
        """Waits until every member says that it is well."""
        limit = time.monotonic() + START_LIMIT_S
        while (done := self.ctl("endpoint health", user=None, check=False)).returncode != 0:
            if time.monotonic() > limit:
                raise RuntimeError(f"etcd is not well after {START_LIMIT_S} s: {done.stdout}\n{self.members[0].log_tail()}")
            time.sleep(0.1)

    def ctl(self, words, user="root", check=True, given=None, timeout=60, members=None):
        """One command of etcdctl's, as this user, to these members (all)."""
        files = self.files(USER)
        command = ["etcdctl", f"--endpoints={','.join(each.url for each in members or self.members)}", *(f"--{name}={path}" for name, path in files.items())]
        command += [f"--user={user}:{self._password(user)}"] if user else []
        command += words.split() if isinstance(words, str) else [*map(str, words)]
        done = subprocess.run(self.space.command(command), input=given, stdin=None if given is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, check=False, env=SEEN_BY_PROGRAMS)
        done.stdout = done.stdout.decode(errors="replace")
        if check and done.returncode != 0:
            shown = " ".join(word for word in command[1:] if not word.startswith("--user") and ":" not in word)
            raise CommandFailed(f"etcdctl {shown}: status {done.returncode}: {done.stdout.strip()}")
        return done

    def pause(self):
        """All members stop in their tracks."""
        for each in self.members:
            each.pause()

    def resume(self):
        """And go on."""
        for each in self.members:
            each.resume()

    def kill(self):
        """All members die without a word."""
        for each in self.members:
            each.kill()

    def restart(self):
        """kill -9, and a new start."""
        self.kill()
        self.start()

    @property
    def revision(self):
        """The newest."""
        return json.loads(self.ctl("endpoint status -w json").stdout)[0]["Status"]["header"]["revision"]

    def compact(self, revision=None):
        """Forgets what was before this revision (the newest): who watches from an earlier one must read everything again."""
        self.ctl(f"compact --physical {self.revision if revision is None else revision}")

    def snapshot(self, path):
        """A backup."""
        self.ctl(["snapshot", "save", path], timeout=120, members=self.members[:1])

    def restore(self, path):
        """All members end, and start again from a backup: what was written since is gone, and revisions begin anew from there."""
        for each in self.members:
            each.stop()
            self.space.sh(["rm", "-rf", each.directory / "data"])
            self.space.sh(["env", "ETCDCTL_API=3", "etcdctl", "snapshot", "restore", path, "--name", each.name,
                           "--data-dir", each.directory / "data", "--initial-cluster", self.cluster,
                           "--initial-cluster-token", "lab", "--initial-advertise-peer-urls", each.peer_url])
        self.start()

    def keys(self, prefix="/penstock/"):
        """The names of all keys below."""
        return [line for line in self.ctl(["get", "--prefix", "--keys-only", prefix]).stdout.splitlines() if line]

    def get(self, key):
        """A value, as bytes; None if there is none."""
        found = json.loads(self.ctl(["get", "-w", "json", key]).stdout).get("kvs")
        return base64.b64decode(found[0].get("value", "")) if found else None

    def put(self, key, value):
        """Writes bytes behind everybody's back."""
        self.ctl(["put", key, *([] if value else [""])], given=value)

    def delete(self, key):
        """Removes a key."""
        self.ctl(["del", key])

    def stop(self):
        """Ends it politely, stopped or not."""
        for each in [*self.members, *([self.proxy] if self.proxy else [])]:
            if each.pid_file.exists():
                try:
                    each.resume()
                except ProcessLookupError:
                    continue
                each.stop()
