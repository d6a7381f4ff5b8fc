"""Penstock's plugin of charon, just built, without installing it.

charon loads plugins only from the directory it was compiled with. So the
gateway of a lab, and the charon that it starts, have a mount namespace of
their own in which that directory is a copy with our plugin in it.
"""

import os
import shutil
from pathlib import Path

from lab.image import PLUGINS
from lab.netns import run

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "libstrongswan-penstock.so"
# Types of messages (docs/charon-plugin.md).
HELLO, SYNC, GET_SPI, ADD_SA, UPDATE_SA, DEL_SA, QUERY_SA, FLUSH_SAS, ADD_POLICY, DEL_POLICY, FLUSH_POLICIES = range(1, 12)
EXPIRE, MAPPING = 32, 33
# Only the mount below PLUGINS' own stops to be shared: network namespaces that are made stay visible to all.
BIND = """
mount --make-private "$(findmnt --noheadings --output TARGET --target "$1")"
mount --bind "$0" "$1"
shift
exec "$@"
"""


def build():
    """Builds the plugin; returns the file. The headers that it needs are downloaded the first time."""
    run([REPOSITORY / "scripts/charon-plugin", "build"], timeout=300)
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "charon-plugin" / NAME


def copy_with(plugin, directory):
    """Makes a copy of charon's plugin directory with this plugin in it; returns it."""
    shutil.copytree(PLUGINS, directory)
    (directory / NAME).unlink(missing_ok=True)
    shutil.copy(plugin, directory / NAME)
    return directory


def seen_by_charon(directory):
    """The words in front of a command whose charon is to find the plugin; `directory` is the lab's."""
    copy = directory / "plugins"
    if not copy.exists():  # else a charon has these files mapped already
        copy_with(build(), copy)
    return ["unshare", "--mount", "--propagation", "unchanged", "--", "sh", "-ec", BIND, copy, PLUGINS]
