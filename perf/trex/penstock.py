"""The bench's cases as a TRex profile (stateless mode).

  start -f perf/trex/penstock.py -p 0 -m 100% -t --case gre-encap --size 64 --tunnels 1000 --gateway-mac MAC

`--case gre-decap` and `gre-transit` go out of port 1 (`-p 1`). Frames and addresses: frames.py.
"""

import argparse
import os
import sys

from trex_stl_lib.api import STLPktBuilder, STLStream, STLTXCont

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import frames  # noqa: E402  (beside this file, wherever TRex runs it from)


class Penstock:
    """One stream for each flow, all at the same rate."""

    def get_streams(self, direction=0, tunables=(), **_):
        """Called by TRex once for each port."""
        parser = argparse.ArgumentParser(prog="penstock.py", description=__doc__)
        parser.add_argument("--case", choices=frames.CASES, default="gre-encap")
        parser.add_argument("--size", type=int, default=64, help="bytes of the inner IP packet")
        parser.add_argument("--tunnels", type=int, default=1)
        parser.add_argument("--flows", type=int, default=512)
        parser.add_argument("--gateway-mac", default="02:00:00:00:00:01", help="MAC address of the gateway's port")
        options = parser.parse_args(list(tunables))
        if not 1 <= options.tunnels <= frames.MAX_TUNNELS:
            parser.error(f"--tunnels must be 1 to {frames.MAX_TUNNELS}")
        built = frames.frames(options.case, options.size, options.tunnels, options.flows, options.gateway_mac)
        share = 100 / options.flows
        return [STLStream(packet=STLPktBuilder(pkt=frame), mode=STLTXCont(percentage=share)) for frame in built]


def register():
    """What TRex looks for."""
    return Penstock()
