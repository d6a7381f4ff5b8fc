"""`penstock capture` and `trace`, running beside a test, and what tshark finds in their files."""

import json
import re
import signal
import subprocess

from lab.gateway import binary
from lab.wait import eventually

FIELDS = ("frame.interface_name", "frame.comment", "frame.len", "frame.cap_len", "frame.time_epoch", "frame.protocols",
          "ip.src", "ip.dst", "data.data")


class Watching:
    """A `capture` or a `trace` that runs. Use as a context manager; at its end it is told to stop, if it has not."""

    def __init__(self, lab, *words):
        self.lab, self.words = lab, words
        self.process, self.output, self.said = None, "", ""

    def __enter__(self):
        command = [str(binary()), *self.words, "--socket", str(self.lab.gateway.socket)]
        before = self.generation()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert eventually(lambda: self.generation() > before and self.settled(), 10), "it does not begin"
        return self

    def generation(self):
        """Of the tables; what is watched travels with them."""
        return self.lab.gateway.show("status")["generation"]

    def settled(self):
        """All workers have the newest."""
        workers = self.lab.gateway.show("status")["workers"]
        return workers["up"] == workers["total"]

    def wait(self, limit_s=30):
        """Until it ends by itself."""
        self.output, self.said = self.process.communicate(timeout=limit_s)
        assert self.process.returncode == 0, self.said

    def __exit__(self, kind, *_):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
            self.output, self.said = self.process.communicate(timeout=30)
        assert kind is not None or self.process.returncode == 0, self.said

    @property
    def caught(self):
        """How many it says it caught, and how many it missed."""
        found = re.search(r"(\d+) caught; (none|\d+)", self.said)
        assert found, self.said
        return int(found[1]), 0 if found[2] == "none" else int(found[2])

    @property
    def rows(self):
        """Of a trace with --json."""
        return [json.loads(line) for line in self.output.splitlines()]


def tshark(file, *words):
    """The packets of a file, as dictionaries."""
    command = ["tshark", "-n", "-r", str(file), "-T", "fields", "-E", "separator=\t", "-E", "occurrence=f", *words]
    for field in FIELDS:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [dict(zip(FIELDS, line.split("\t"), strict=True)) for line in done.stdout.splitlines()]


def words_of(packet):
    """A comment's words: `tunnel=acme/dc1` and so on."""
    return dict(word.split("=", 1) for word in packet["frame.comment"].split() if "=" in word)
