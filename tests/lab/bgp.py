"""BGP between the nodes of a fleet and the router in front of them, by BIRD on both sides.

A node has the files of docs/examples, with the lab's addresses in them: what
an operator is told is what is tested. The router puts all nodes that announce
an endpoint into one route of its kernel, as routers do (ECMP).
"""

import contextlib
import json
import os
import subprocess

from lab import plan
from lab.gateway import REPOSITORY, binary
from lab.guest import stop_process

EXAMPLES = REPOSITORY / "docs" / "examples"
ROUTER = """
router id {router4};
protocol device {{ }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}
template bgp node {{ hold time 9; error wait time 2, 10; passive on; }}
"""
NODE = """
protocol bgp node{number}v4 from node {{ local {router4} as 64512; neighbor {node4} as 64513; ipv4 {{ import all; export none; }}; }}
protocol bgp node{number}v6 from node {{ local {router6} as 64512; neighbor {node6} as 64513; ipv6 {{ import all; export none; }}; }}
"""


class Bird:
    """One BIRD in a namespace."""

    def __init__(self, space, directory, text):
        self.space, self.directory = space, directory
        self.config, self.control, self.pid_file = (directory / f"bird.{name}" for name in ("conf", "ctl", "pid"))
        directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'log "{directory}/bird.txt" all;\n{text}')

    def start(self):
        """Starts it."""
        self.space.sh(["bird", "-c", self.config, "-s", self.control, "-P", self.pid_file])
        return self

    def ask(self, words):
        """A command of birdc's."""
        return self.space.sh(["birdc", "-s", self.control, *words.split()]).stdout

    def stop(self):
        """Ends it."""
        if self.pid_file.exists():
            stop_process(int(self.pid_file.read_text()), str(self.directory))


class Bgp:
    """All of them. Use as a context manager; the nodes may start before or after."""

    def __init__(self, lab):
        self.lab = lab
        places = {"router4": plan.CORE4, "router6": plan.CORE6}
        text = ROUTER.format(**places)
        for number, node in lab.nodes.items():
            text += NODE.format(number=number, node4=node.core4, node6=node.core6, **places)
        self.router = Bird(lab.switch, lab.directory / "bird", text)
        self.birds = {number: Bird(lab.gateways[number].twin, lab.gateways[number].directory, self._node(node))
                      for number, node in lab.nodes.items()}
        self.running = None

    @staticmethod
    def _node(node):
        text = (EXAMPLES / "bird.conf").read_text()
        for there, here in (("192.0.2.254", plan.CORE4), ("192.0.2.1", node.core4), ("2001:db8:0:1::254", plan.CORE6),
                            ("2001:db8:0:1::1", node.core6), ("203.0.113.1", plan.ENDPOINT4), ("2001:db8:ffff::1", plan.ENDPOINT6)):
            assert there in text, there
            text = text.replace(there, here)
        return text

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.callback(self.router.stop)
            self.router.start()
            for number, bird in self.birds.items():
                stack.callback(bird.stop)
                bird.start()
                self._announce(number, bird, stack)
            self.running = stack.pop_all()
        return self

    def _announce(self, number, bird, stack):
        """The loop of docs/examples; its `penstock` is the one that is tested, asked at this node's socket."""
        gateway = self.lab.gateways[number]
        programs = gateway.directory / "bin"
        programs.mkdir()
        (programs / "penstock").write_text(f'#!/bin/sh\nexec {binary()} "$@" --socket {gateway.socket}\n')
        (programs / "penstock").chmod(0o755)
        loop = gateway.twin.spawn([EXAMPLES / "announce-endpoints", "-s", bird.control], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"})
        stack.callback(loop.wait)
        stack.callback(loop.terminate)

    def __exit__(self, *_):
        self.running.close()

    def ways(self, family=4):
        """Numbers of the nodes that the router's kernel sends packets to the endpoint to."""
        endpoint = plan.ENDPOINT4 if family == 4 else plan.ENDPOINT6
        routes = json.loads(self.lab.switch.sh(f"ip -{family} -j route show {endpoint}").stdout or "[]")
        hops = {hop.get("gateway") for route in routes for hop in route.get("nexthops", [route])}
        numbers = {node.core4 if family == 4 else node.core6: number for number, node in self.lab.nodes.items()}
        return {numbers[hop] for hop in hops if hop in numbers}
