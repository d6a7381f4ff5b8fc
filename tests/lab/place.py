"""Commands in a place of a lab, by hand."""

import os
import sys


def find(lab, name, places):
    """The place of this name; ends the program with the list of `places` if there is none."""
    try:
        return lab.place(name)
    except KeyError:
        sys.exit(f"no place {name!r} in the lab; there are {places}")


def is_remote(lab, place, name):
    """True for what may be inside a guest: commands there have no terminal."""
    return bool(getattr(place, "guest", None)) or name in lab.customers


def execute(lab, name, words, places):
    """Runs a command in a namespace, in the place of this process and with its terminal, or on a router; returns its status."""
    place = find(lab, name, places)
    if is_remote(lab, place, name):
        done = place.sh(" ".join(words), check=False, timeout=3600)
        print(done.stdout, end="")
        return done.returncode
    command = getattr(place, "space", place).command(words)
    os.execvp(command[0], command)
