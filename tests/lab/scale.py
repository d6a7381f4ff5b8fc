"""A fleet with many tunnels and nobody behind them: how long things take, and how much memory.

Nodes, store and the program `penstock-fleet-load` are real. That program fills
the store as a node that has negotiated all of it would, and is a node itself
for a while that negotiates one security association after the other. charon is
left out (`ike: external`, and there is none): it would have to be told of each
tunnel first.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from lab import plan
from lab.fleet import FleetLab
from lab.gateway import base_config, binary
from lab.netns import run
from lab.priority import prefer
from lab.wait import eventually

PROBE = 50  # the probe's place on the management network
LIMIT_S = 600
KIB_A_MIB = 1024


@dataclass
class Start:
    """What the start of a node with all tunnels took."""

    tunnels: int
    sas: int
    answers_s: float  # until it answers its socket: the configuration is read and compiled
    ready_s: float  # until it is ready: all SAs are on its workers, and these may encrypt
    rss_mib: float


class ScaleLab(FleetLab):
    """Nodes that all have `count` tunnels of a kind, to remotes behind one router that never answers."""

    def __init__(self, name, gateways, count, kind="ipsec"):
        super().__init__(name, gateways, store=True, in_guest=False)
        self.count, self.kind = count, kind

    def _start_router(self, tunnels, ike):
        """Instead of a router there is a host that has its address, and the probe's."""
        self.probe = self.add_host("probe", [f"{plan.ROUTER4}/24"])
        self.store.connect(self.probe, PROBE)

    def write_config(self, number):
        """Writes a node's configuration, and returns its file."""
        gateway = self.gateways[number]
        config = base_config(gateway.directory, gateway.twin.name, self.nodes[number])
        del config["tenants"]
        config["routes"] = [{"prefix": "10.0.0.0/8", "via": plan.ROUTER4}]
        config["fleet"] = self.fleet_config(number)
        if self.kind == "ipsec":
            config["ike"] = {"mode": "external", "run": str(gateway.directory / "ike"), "vici": str(gateway.directory / "none.vici"),
                             "plugin_socket": str(gateway.directory / "charon.sock")}
        text = yaml.safe_dump(config, sort_keys=False) + tenants_text(gateway.directory, self.count, self.kind)
        gateway.config_file.write_text(text)
        return gateway.config_file

    def fill(self):
        """A pair of SAs for each tunnel into the store; what it was."""
        self.write_config(1)
        return load(self.probe, self.gateways[1].config_file, "fill")

    def measure(self, count, nodes):
        """Negotiates so many SAs, one after the other; how long all nodes took."""
        words = ["--address", plan.ROUTER4, "--count", count, "--nodes", nodes]
        return load(self.probe, self.gateways[1].config_file, "probe", words)

    def start_measured(self, number):
        """Starts a node; what it took."""
        gateway = self.gateways[number]
        if not gateway.config_file.exists():
            self.write_config(number)
        began = time.monotonic()
        gateway.launch()
        prefer(gateway.process.pid)
        gateway.wait(LIMIT_S)
        answers = time.monotonic() - began
        if not eventually(lambda: gateway.ask("ready", "--quiet", check=False).returncode == 0, LIMIT_S):
            raise RuntimeError(f"node {number} is not ready after {LIMIT_S} s: {gateway.ask('ready', check=False).stdout}")
        ready = time.monotonic() - began
        return Start(self.count, gateway.show("fleet")["sas"]["foreign"], round(answers, 1), round(ready, 1), round(self.rss_mib(number), 1))

    def rss_mib(self, number):
        """What a node has in memory."""
        status = Path(f"/proc/{self.gateways[number].process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / KIB_A_MIB


def load(space, config, command, words=()):
    """Runs `penstock-fleet-load` with a node's configuration; what it says."""
    program = binary().with_name("penstock-fleet-load")
    return json.loads(run(space.command([program, "-c", config, command, *words]), timeout=LIMIT_S).stdout)


def tenants_text(directory, count, kind="ipsec"):
    """A tenant with so many tunnels, as YAML; by hand, because the library takes a minute for it."""
    secret = directory / "all.psk"
    secret.touch(0o600)
    secret.write_text("one key for all of them\n")
    more = f"type: ipsec, ike: {{psk_file: {secret}}}, " if kind == "ipsec" else ""
    lines = ["tenants:", "  load:", "    tunnels:"]
    lines += [f"      t{n}: {{{more}endpoint: anycast4, remote: {host('10', n)}}}" for n in range(count)]
    lines += ["    routes:"]
    lines += [f"      - {{prefix: {host('11', n)}/32, via: t{n}}}" for n in range(count)]
    return "\n".join(lines) + "\n"


def host(first, number):
    """An address for each number, from 1 on."""
    number += 1
    return f"{first}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def report(name, gateways, count, kind, probes):
    """Makes such a fleet, measures it, removes it; all results as one dictionary."""
    prefer()  # what else the machine does is not what is measured
    with ScaleLab(name, gateways, count, kind) as lab:
        lab.up([])
        result = {"nodes": gateways, "kind": kind}
        if kind == "ipsec":
            result["fill"] = lab.fill()
        result["starts"] = [asdict(lab.start_measured(number)) for number in lab.nodes]
        if kind == "ipsec":
            result["propagation"] = lab.measure(probes, gateways)
            result["rss_mib_after"] = [round(lab.rss_mib(number), 1) for number in lab.nodes]
        return result
