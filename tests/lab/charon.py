"""A stock charon of Debian's in a namespace: configured by swanctl as a customer's administrator would, told what to do by vici.

(A process for each command is slow in an emulated guest.)
"""

import re
import time

from lab.image import CHARON, CHARON_PLUGINS, SWANCTL
from lab.netns import CommandFailed
from lab.vici import Events, ask

START_LIMIT_S = 20
NEGOTIATION_LIMIT_S = 20


def strongswan_conf(directory, plugins=CHARON_PLUGINS, **settings):
    """The text of strongswan.conf; everything that charon writes or opens is in `directory`."""
    daemon = {
        "load": " ".join(plugins), "threads": 8, "install_routes": "no", "retry_initiate_interval": 0,
        "filelog": {"file": {"path": f"{directory}/charon.txt", "default": 1, "ike": 2, "flush_line": "yes", "time_format": "%T"}},
        "syslog": {"daemon": {"default": -1}, "auth": {"default": -1}},
        "journal": {"default": -1},
        "plugins": {"vici": {"socket": f"unix://{directory}/charon.vici"}},
    }
    daemon |= settings
    client = {"load": "random nonce openssl pem pkcs1 pkcs8 x509 pubkey", "socket": f"unix://{directory}/charon.vici"}
    return tree_text({"charon": daemon, "swanctl": client})


def tree_text(tree, indent=""):
    """A tree of sections and settings in strongSwan's syntax."""
    lines = []
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key} {{", tree_text(value, indent + "  ").rstrip("\n"), f"{indent}}}"]
        else:
            text = str(value)
            # Quoted: identities have characters that mean something here.
            lines.append(f"{indent}{key} = " + (text if re.fullmatch(r"[\w.,:/-]+", text) else f'"{text}"'))
    return "\n".join(lines) + "\n"


class Charon:
    """One daemon. `place` runs shell text where it lives: a Namespace, or one inside a guest."""

    def __init__(self, place, directory, plugins=CHARON_PLUGINS, **settings):
        self.place, self.directory = place, directory
        self.plugins, self.settings = plugins, settings

    def configure(self, tree, files):
        """Writes strongswan.conf, swanctl.conf and the files beside it."""
        etc = f"{self.directory}/swanctl"
        written = {f"{self.directory}/strongswan.conf": strongswan_conf(self.directory, self.plugins, **self.settings),
                   f"{etc}/swanctl.conf": tree_text(tree)} | {f"{etc}/{path}": text for path, text in files.items()}
        lines = ["umask 077", f"rm -rf {etc}", f"mkdir -p {etc}/x509 {etc}/x509ca {etc}/private"]
        for path, text in written.items():
            lines += [f"cat > {path} <<'END'", text.rstrip("\n"), "END"]
        self.place.sh("\n".join(lines))

    @property
    def environment(self):
        """What tells the programs where their files are."""
        return f"STRONGSWAN_CONF={self.directory}/strongswan.conf SWANCTL_DIR={self.directory}/swanctl"

    def start(self):
        """Starts the daemon, waits for its socket and loads everything."""
        self.place.sh(f"rm -f {self.directory}/charon.vici\n"
                      f"{self.environment} {CHARON} >{self.directory}/output.txt 2>&1 &\n"
                      f"echo $! > {self.directory}/charon.pid\n"
                      f"for turn in $(seq {START_LIMIT_S * 10}); do [ -S {self.directory}/charon.vici ] && exit 0; sleep 0.1; done\n"
                      f"cat {self.directory}/output.txt; exit 1", timeout=START_LIMIT_S + 10)
        self.load()

    def load(self):
        """Loads connections and credentials, new or changed."""
        return self.swanctl("--load-all --clear --noprompt")

    def swanctl(self, words, check=True, timeout=60):
        """One command of swanctl's; returns its output."""
        done = self.place.sh(f"{self.environment} {SWANCTL} {words}", check=False, timeout=timeout)
        if check and done.returncode != 0:
            raise CommandFailed(f"swanctl {words}: status {done.returncode}: {done.stdout.strip()}\n{self.log_tail()}")
        return done.stdout

    def tell(self, command, message, check=True, timeout=60):
        """A command that charon does or not; returns (done, its log of it)."""
        link = self.place.connect_unix(f"{self.directory}/charon.vici", timeout)
        answer, seen = ask(link, command, message, "control-log")
        said = "\n".join([*(line["msg"] for line in seen), answer.get("errmsg", "")]).strip()
        if check and answer.get("success") != "yes":
            raise CommandFailed(f"{command} {message}: {said}\n{self.log_tail()}")
        return answer.get("success") == "yes", said

    def initiate(self, child="net", check=True, limit_s=NEGOTIATION_LIMIT_S):
        """Begins, and waits for the end; returns what charon says of it."""
        return self.tell("initiate", {"child": child, "timeout": limit_s * 1000}, check, limit_s + 10)[1]

    def rekey_child(self, child="net", check=True):
        """A new child SA; it returns when charon has begun."""
        return self.tell("rekey", {"child": child}, check)

    def rekey_ike(self, connection="penstock", check=True):
        """A new IKE SA."""
        return self.tell("rekey", {"ike": connection}, check)

    def terminate(self, connection="penstock", check=True, force=False):
        """Ends the IKE SA and its children; `force` does not wait for the peer."""
        words = {"ike": connection, "timeout": 10_000} | ({"force": "yes"} if force else {})
        return self.tell("terminate", words, check)

    def sas(self):
        """The IKE SAs, each as charon shows it, children under `child-sas`."""
        link = self.place.connect_unix(f"{self.directory}/charon.vici")
        _, seen = ask(link, "list-sas", events="list-sa")
        return [sa for message in seen for sa in message.values()]

    def events(self, *names):
        """A context manager that gives events of these names as they come."""
        return Events(self.place.connect_unix(f"{self.directory}/charon.vici"), *names)

    def children(self, state="INSTALLED"):
        """The child SAs in this state, oldest first."""
        found = [child for sa in self.sas() for child in sa.get("child-sas", {}).values() if child["state"] == state]
        return sorted(found, key=lambda child: int(child["uniqueid"]))

    def connections(self):
        """What is configured, by name."""
        link = self.place.connect_unix(f"{self.directory}/charon.vici")
        _, seen = ask(link, "list-conns", events="list-conn")
        return {name: connection for message in seen for name, connection in message.items()}

    def log(self):
        """All that it logged."""
        return self.place.sh(f"cat {self.directory}/charon.txt", check=False).stdout

    def log_tail(self, lines=30):
        """Its last lines."""
        return self.place.sh(f"tail -n {lines} {self.directory}/charon.txt {self.directory}/output.txt", check=False).stdout

    def running(self):
        """True while the process lives; one that nobody has buried yet has no command line."""
        return self.place.sh(f"grep -q charon /proc/$(cat {self.directory}/charon.pid)/cmdline", check=False).returncode == 0

    def kill(self, signal="KILL"):
        """Sends a signal."""
        self.place.sh(f"kill -{signal} $(cat {self.directory}/charon.pid)", check=False)

    def stop(self):
        """Ends it politely: its peers are told."""
        self.kill("TERM")
        limit = time.monotonic() + 10
        while self.running() and time.monotonic() < limit:
            time.sleep(0.1)
        self.kill()
