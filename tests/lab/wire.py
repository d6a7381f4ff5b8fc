"""A lab without peers: the test itself is both neighbours of the gateway, frame by frame.

`west` is the clients' side (edge0), `east` the tunnels' side (core0). The
kernels of both namespaces answer ARP and ND, so that the gateway resolves its
neighbours as usual, and are otherwise silent.
"""

import select
import time

from lab.gateway import Gateway
from lab.netns import Namespace, veth
from lab.plan import CORE_MAC, EDGE_MAC
from lab.state import directory_of, remove
from lab.traffic import Capture, send_frames

WEST_MAC, EAST_MAC = "02:00:00:00:01:02", "02:00:00:00:02:02"
MACS = {"west": WEST_MAC, "east": EAST_MAC}
SILENCE = """table inet silence {
    chain input {
        type filter hook input priority 0; policy drop;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
    chain output {
        type filter hook output priority 0; policy drop;
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}"""


class WireLab:
    """Two silent neighbours around one gateway."""

    def __init__(self, name):
        self.name = name
        self.directory = directory_of(name)
        self.ports = Namespace(f"{name}-ports")
        self.twin = Namespace(f"{name}-twin")
        self.spaces = {"west": Namespace(f"{name}-west"), "east": Namespace(f"{name}-east")}
        self.gateway = Gateway(self.ports, self.twin, self.directory)
        self.captures = {}

    def up(self, addresses, mtu=1500):
        """Makes both sides; `addresses` maps a side to what its kernel answers ARP and ND for."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ports.create(ipv6=False)
        for (side, space), port in zip(self.spaces.items(), ("edge0", "core0"), strict=True):
            space.create()
            veth(space, "eth0", self.ports, port, mtu=mtu)
            space.sh(f"ip link set eth0 address {MACS[side]}")
            space.sh(["nft", SILENCE])
            for address in addresses[side]:
                space.sh(f"ip address add {address} dev eth0" + (" nodad" if ":" in address else ""))
            self.captures[side] = Capture(space, "eth0", incoming_only=True)
        return self

    def send(self, side, frames):
        """Puts frames on one side's link."""
        send_frames(self.spaces[side], "eth0", frames)

    def collect(self, count=0, limit_s=1.0, quiet_s=0.05):
        """Frames that the gateway has sent since the last call, per side: at least `count` in all if they come in time.

        It returns when both sides have been quiet for `quiet_s`; 0 takes what is there.
        """
        limit = time.monotonic() + limit_s
        for capture in self.captures.values():
            capture.frames = []
        while True:
            readable, _, _ = select.select([capture.socket for capture in self.captures.values()], [], [], quiet_s)
            for capture in self.captures.values():
                capture.drain()
                capture.frames = [frame for frame in capture.frames if not is_neighbour_talk(frame)]
            enough = sum(len(capture.frames) for capture in self.captures.values()) >= count
            if (enough and not readable) or time.monotonic() > limit:
                return {side: capture.frames for side, capture in self.captures.items()}

    def down(self):
        """Removes this lab and nothing else."""
        for capture in self.captures.values():
            capture.socket.close()
        remove(self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()


def is_neighbour_talk(frame):
    """ARP, ND, MLD and the like: the kernel twins' own business."""
    kind = frame[12:14]
    if kind == b"\x08\x06":
        return True
    if kind != b"\x86\xdd" or len(frame) < 55:
        return False
    return frame[20] == 0 or (frame[20] == 58 and frame[54] in range(130, 138))
