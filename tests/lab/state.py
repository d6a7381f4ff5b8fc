"""Where a lab keeps its files, and how all that carries its name is removed."""

import re
import shutil
from pathlib import Path

from lab.guest import stop_process
from lab.netns import RUN_NETNS, Namespace

STATE = Path("/run/penstock-lab")


def directory_of(name):
    """The lab's directory. Names have no dash, so that `NAME-` begins the namespaces of one lab only."""
    if not re.fullmatch(r"[a-z0-9]{1,16}", name):
        raise ValueError(f"{name!r} cannot be a lab's name: use up to 16 lower-case letters and digits")
    return STATE / name


def names():
    """The labs that are up."""
    return sorted(path.name for path in STATE.iterdir() if path.is_dir()) if STATE.exists() else []


def remove(name):
    """Ends the lab's processes and removes its namespaces and files; works on a half-made or abandoned one too."""
    directory = directory_of(name)
    for pid_file, word in (*((each, str(directory)) for each in directory.glob("**/penstock.pid")),
                           *((each, str(directory)) for each in directory.glob("**/etcd.pid")),
                           *((each, str(each.parent)) for each in directory.glob("*/qemu.pid")),
                           *((each, str(each)) for each in directory.glob("*/udp-encapsulation-*.pid")),
                           *((each, str(directory)) for each in directory.glob("**/charon.pid"))):
        if pid_file.exists():
            stop_process(int(pid_file.read_text().split()[0]), word)
    for path in RUN_NETNS.glob(f"{name}-*"):
        Namespace(path.name).delete()
    shutil.rmtree(directory, ignore_errors=True)
