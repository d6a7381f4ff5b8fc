"""Room in front of the gateway's ports: `ring.c`, compiled once and preloaded into the gateway."""

import hashlib
import os
from pathlib import Path

from lab.image import CACHE
from lab.netns import run

SOURCE = Path(__file__).with_name("ring.c")


def library():
    """The compiled file."""
    target = CACHE / f"ring-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]}.so"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        new = target.with_suffix(f".{os.getpid()}")
        run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-o", new, SOURCE, "-l:libpcap.so.0.8"])
        os.replace(new, target)
    return target
