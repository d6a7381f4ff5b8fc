"""Writes the golden captures: `python3 tests/golden/make.py`. The test replays the files, not these functions.

One pcapng for each module of cases. Each packet's comment says, as JSON, its
case, whether it is sent or expected, on which side, and the drops of its case.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import cases_esp  # noqa: E402
import cases_gre  # noqa: E402
import cases_mtu  # noqa: E402
from scapy.layers.l2 import Ether  # noqa: E402
from scapy.utils import PcapNgReader, PcapNgWriter  # noqa: E402
from world import Case  # noqa: E402

SECTIONS = {"gre": cases_gre, "mtu": cases_mtu, "esp": cases_esp}


def write(section, path):
    """Writes one section's capture."""
    writer = PcapNgWriter(str(path))
    for case in SECTIONS[section].cases():
        for step, frames in (("send", case.send), ("expect", case.expect)):
            for side, packet in frames:
                frame = Ether(bytes(packet))
                frame.time = 0
                frame.comment = json.dumps({"case": case.name, "step": step, "side": side, "drops": case.drops})
                writer.write(frame)
    writer.close()


def read(path):
    """The cases of a capture, frames as bytes."""
    found = {}
    for packet in PcapNgReader(str(path)):
        note = json.loads(packet.comment)
        case = found.setdefault(note["case"], Case(note["case"], [], [], note["drops"]))
        getattr(case, note["step"]).append((note["side"], bytes(packet)))
    return list(found.values())


if __name__ == "__main__":
    for each in SECTIONS:
        write(each, HERE / f"{each}.pcapng")
        print(f"{each}.pcapng: {len(read(HERE / f'{each}.pcapng'))} cases")
