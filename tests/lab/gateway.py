"""The gateway under test: its configuration, its process, its counters."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import yaml

from lab import plugin, priority, ring
from lab.netns import CommandFailed, run
from lab.plan import ALONE, ENDPOINT4, ENDPOINT6

REPOSITORY = Path(__file__).resolve().parents[2]
START_LIMIT_S = 40


def binary():
    """The penstock program: $PENSTOCK, else the newest build in the target directory."""
    if "PENSTOCK" in os.environ:
        return Path(os.environ["PENSTOCK"])
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    built = [path for path in (target / profile / "penstock" for profile in ("release", "suite", "debug")) if path.exists()]
    if not built:
        raise FileNotFoundError(f"no penstock program under {target}: run `cargo build --release` first")
    return max(built, key=lambda path: path.stat().st_mtime)


def base_config(directory, twin, node=ALONE):
    """Node, memory, cores, two ports and the endpoints; tenants are the caller's."""
    cpus = sorted(os.sched_getaffinity(0))
    return {
        "node": {"name": node.name, "number": node.number, "netns": twin, "socket": str(directory / "api.sock"),
                 "state": str(directory / "state"), "drain": "0s"},
        "memory": {"hugepages": False, "size_mib": 256},
        "cores": {"control": cpus[0], "workers": [cpus[-1]], "idle": "sleep"},
        "ports": {
            "edge0": port("edge0", 0, node.edge_mac, [f"{node.edge4}/24", f"{node.edge6}/64"]),
            "core0": port("core0", 1, node.core_mac, [f"{node.core4}/24", f"{node.core6}/64"]),
        },
        "endpoints": {"anycast4": ENDPOINT4, "anycast6": ENDPOINT6},
        "icmp": {"rate": 10000, "burst": 1000},
        "tenants": {},
    }


def ike_config(directory):
    """`ike:` of the gateway: a charon of its own, with its files in the lab's directory."""
    return {"mode": "managed", "run": str(directory / "ike")}


def port(link, number, mac, addresses):
    """A port on a link of the gateway's namespace.

    Not net_af_packet: there the kernel puts IPv4 fragments together before DPDK sees them (its sockets join a
    fanout group with PACKET_FANOUT_FLAG_DEFRAG). Here every frame arrives as it was sent.
    """
    return {"device": f"net_pcap{number},rx_iface_in={link},tx_iface={link}", "mac": mac, "addresses": addresses}


def tenant_config(tunnels, directory=None):
    """A tenant that owns these tunnels and the prefixes they lead to; IKE's need the lab's directory for their keys."""
    prefixes = [tunnel.prefix(family) for tunnel in tunnels for family in (4, 6)]
    routes = [{"prefix": tunnel.prefix(family), "via": tunnel.name} for tunnel in tunnels for family in (4, 6)]
    routes += [{"prefix": "0.0.0.0/0", "via": "internet"}, {"prefix": "::/0", "via": "internet"}]
    return {"prefixes": prefixes, "tunnels": {tunnel.name: tunnel_config(tunnel, directory) for tunnel in tunnels},
            "routes": routes}


def tunnel_config(tunnel, directory=None):
    """One tunnel as the configuration file has it."""
    config = {
        "type": "gre" if tunnel.kind == "gre" else "ipsec",
        "endpoint": f"anycast{tunnel.outer}",
        "remote": tunnel.remote,
        "address": [f"{tunnel.gateway_address(4)}/31", f"{tunnel.gateway_address(6)}/127"],
    }
    if tunnel.kind == "ike":
        config["ike"] = tunnel.gateway_block(directory / "credentials")
        if tunnel.remote_any:
            config["remote"] = "any"
    if tunnel.kind != "gre":
        return config
    if tunnel.key is not None:
        config["key"] = tunnel.key
    if tunnel.checksum:
        config["checksum"] = True
    return config


class Gateway:
    """A penstock process whose ports are in `space`; workers that are `punctual` wake when they want to, whatever else runs."""

    def __init__(self, space, twin, directory, punctual=False):
        self.punctual = punctual
        self.space = space
        self.twin = twin
        self.directory = Path(directory)
        self.config_file = self.directory / "penstock.yaml"
        self.static_sas = self.directory / "static-sas.yaml"
        self.log = self.directory / "penstock.txt"
        self.pid_file = self.directory / "penstock.pid"
        self.socket = self.directory / "api.sock"
        self.ike = self.directory / "ike"  # charon's and the journal's directory
        self.process = None

    @property
    def program(self):
        """The program that is tested."""
        return binary()

    def write(self, config, associations=None):
        """Puts the configuration, and the SAs if there are any, where run and reload read them."""
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))
        if associations is not None and associations.tunnels:
            new = self.static_sas.with_suffix(".new")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                yaml.safe_dump(associations.file(), file, sort_keys=False)
            new.replace(self.static_sas)

    def write_credentials(self, tunnels):
        """Puts the keys and certificates of these IKE tunnels where `tenant_config` says they are."""
        place = self.directory / "credentials"
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        for tunnel in tunnels:
            for name, text in tunnel.gateway_files().items():
                (place / name).touch(0o600)
                (place / name).write_text(text)

    def start(self, config, associations=None):
        """Starts penstock and waits until it answers."""
        self.write(config, associations)
        self.launch(own_charon="ike" in config)
        self.wait()

    def launch(self, own_charon=False):
        """Starts penstock with the configuration that is there."""
        command = ["env", f"LD_PRELOAD={ring.library()}", binary(), "run", "-c", self.config_file]
        if own_charon:
            command = [*plugin.seen_by_charon(self.directory), *command]
        if self.static_sas.exists():
            command += ["--static-sas", self.static_sas]
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = self.space.spawn(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid_file.write_text(str(self.process.pid))

    def wait(self, limit_s=START_LIMIT_S):
        """Waits until it answers."""
        limit = time.monotonic() + limit_s
        while time.monotonic() < limit:
            if self.process.poll() is not None:
                raise RuntimeError(f"penstock ended with status {self.process.returncode}:\n{self.log_tail()}")
            if self.socket.exists() and self.ask("show", "ports", check=False).returncode == 0:
                if self.punctual:
                    priority.make_punctual(self.threads("worker-"))
                return
            time.sleep(0.1)
        raise RuntimeError(f"penstock did not answer in {limit_s} s:\n{self.log_tail()}")

    def threads(self, prefix):
        """Numbers of its threads whose names begin so."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(task.name) for task in tasks if (task / "comm").read_text().startswith(prefix)]

    def log_tail(self):
        """The last lines it logged."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def ask(self, *words, check=True):
        """Runs the command-line client against this gateway."""
        return run([str(binary()), *words, "--socket", str(self.socket)], check=check)

    def show(self, what):
        """A `show` page as data."""
        return json.loads(self.ask("show", what, "--json").stdout)

    def reload(self, config, associations=None):
        """Applies a changed configuration, and changed SAs, to the running gateway."""
        self.write(config, associations)
        return self.ask("reload", "-c", str(self.config_file))

    def running(self):
        """True while the process lives."""
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Ends it politely and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise CommandFailed("penstock ignored SIGTERM for 15 s and was killed") from None
