"""A tunnel of every kind, side by side in one lab."""

from lab.plan import Tunnel

VLAN = 200
TUNNELS = [
    Tunnel(0),
    Tunnel(1, key=7),
    Tunnel(2, checksum=True),
    Tunnel(3, key=0xFFFFFFFF, checksum=True),
    Tunnel(4, outer=6),
    Tunnel(5, outer=6, key=9),
    Tunnel(6, outer=6, encap_limit=True),
    Tunnel(7, vlan=VLAN),
    Tunnel(8, outer_fragments=True),
]


def by_name(tunnel):
    """Test ids."""
    return tunnel.name
