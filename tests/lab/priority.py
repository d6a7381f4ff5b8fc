"""Who goes first on a busy machine: what carries a lab's packets, before builds and other tests.

Linux gives each session an equal share of the processor, and compares the nice
values of processes only within one (autogroup, sched(7)). An emulated router
with a tenth of a core takes a tenth of a second for a ping.
"""

import contextlib
import os
from pathlib import Path

FIRST, AS_USUAL = -10, 0


def prefer(pid="self", nice=FIRST):
    """This process, and the session that it is in, come first; without the right to it nothing changes."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0 if pid == "self" else pid, nice)
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    except OSError:
        return


def make_punctual(threads):
    """These wake when they want to, whatever else the machine does: for those that sleep most of the time."""
    for thread in threads:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(1))
