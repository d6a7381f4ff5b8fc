"""The published Python client of the API that ours has the shape of, pointed at a gateway.

It lives in a virtual environment of its own, in the lab's cache, and runs in the gateway's namespace; each call is one
process. `MagicClient.call("gre_tunnels.create", account_id="acme", ...)` is what a program writes as
`client.magic_transit.gre_tunnels.create(account_id="acme", ...)`.
"""

import json
import subprocess
import sys
from pathlib import Path

from lab.image import CACHE

REQUIREMENTS = Path(__file__).with_name("magic-requirements.txt")
DRIVER = Path(__file__).with_name("magic_driver.py")
PIP_LIMIT_S = 600


class Refused(Exception):
    """The gateway said no: `status` and `body` are what the client has of it."""

    def __init__(self, status, body):
        super().__init__(f"{status}: {body}")
        self.status, self.body = status, body


def environment():
    """The interpreter of the virtual environment, which is made on first use."""
    wanted = REQUIREMENTS.read_text()
    place = CACHE / "magic-client"
    made = place / "requirements.txt"
    if not made.exists() or made.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True, timeout=PIP_LIMIT_S)
        subprocess.run([place / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS],
                       check=True, timeout=PIP_LIMIT_S)
        made.write_text(wanted)
    return place / "bin/python"


class MagicClient:
    """A client with a certificate; `space` is where it is."""

    def __init__(self, space, base_url, ca, certificate, key):
        self.space = space
        self.settings = {"base_url": base_url, "ca": str(ca), "certificate": str(certificate), "key": str(key)}

    def call(self, method, **arguments):
        """What the client answers, as plain data."""
        request = json.dumps(self.settings | {"method": method, "arguments": arguments})
        done = subprocess.run(self.space.command([environment(), DRIVER]), input=request, text=True, capture_output=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"the client's process failed: {done.stderr}")
        answer = json.loads(done.stdout)
        if "error" in answer:
            raise Refused(answer["status"], answer["error"])
        return answer["result"]
