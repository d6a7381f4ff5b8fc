"""A stock charon of Debian's in a namespace, told what to do by swanctl as a customer's administrator would."""

import re
import time

from lab.image import CHARON, CHARON_PLUGINS, SWANCTL
from lab.netns import CommandFailed

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


def parse_pretty(text):
    """What `swanctl --raw --pretty` prints, as a list of messages."""
    messages, stack = [], []
    for line in map(str.strip, text.splitlines()):
        if line.endswith(" {") and " = " not in line:
            section, name = {}, line[:-2]
            if stack:
                stack[-1][name] = section
            else:
                messages.append(section)
            stack.append(section)
        elif line.endswith(" = ["):
            items = []
            stack[-1][line[:-4]] = items
            stack.append(items)
        elif line in ("}", "]"):
            if stack:
                stack.pop()
        elif stack and isinstance(stack[-1], list):
            stack[-1].append(line.rstrip(","))
        elif stack and " = " in line:
            key, _, value = line.partition(" = ")
            stack[-1][key] = value
    return messages


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

    def initiate(self, child="net", check=True, limit_s=NEGOTIATION_LIMIT_S):
        """Begins, and waits for the end."""
        return self.swanctl(f"--initiate --child {child} --timeout {limit_s}", check, limit_s + 10)

    def rekey_child(self, child="net", check=True):
        """A new child SA; it returns when charon has begun."""
        return self.swanctl(f"--rekey --child {child}", check)

    def rekey_ike(self, connection="penstock", check=True):
        """A new IKE SA."""
        return self.swanctl(f"--rekey --ike {connection}", check)

    def terminate(self, connection="penstock", check=True, force=False):
        """Ends the IKE SA and its children; `force` does not wait for the peer."""
        return self.swanctl(f"--terminate --ike {connection} --timeout 10" + " --force" * force, check)

    def sas(self):
        """The IKE SAs, each as charon shows it, children under `child-sas`."""
        messages = parse_pretty(self.swanctl("--list-sas --raw --pretty"))
        return [sa for message in messages for sa in message.values() if isinstance(sa, dict) and "uniqueid" in sa]

    def children(self, state="INSTALLED"):
        """The child SAs in this state, oldest first."""
        found = [child for sa in self.sas() for child in sa.get("child-sas", {}).values() if child["state"] == state]
        return sorted(found, key=lambda child: int(child["uniqueid"]))

    def counters(self):
        """charon's own counts of messages, by name."""
        words = parse_pretty(self.swanctl("--counters --raw --pretty"))
        return {name: int(count) for message in words for name, count in message.items() if str(count).isdigit()}

    def log(self):
        """All that it logged."""
        return self.place.sh(f"cat {self.directory}/charon.txt", check=False).stdout

    def log_tail(self, lines=30):
        """Its last lines."""
        return self.place.sh(f"tail -n {lines} {self.directory}/charon.txt {self.directory}/output.txt", check=False).stdout

    def running(self):
        """True while the process lives."""
        return self.place.sh(f"kill -0 $(cat {self.directory}/charon.pid)", check=False).returncode == 0

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
