"""A tunnel of every kind, side by side in one lab."""

from lab.esp import NATT_PORT, SUITES, EspTunnel
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

# Window and extended sequence numbers, of both sides; 1024 is more than one burst's numbers of many workers.
MODES = ((0, False), (64, False), (64, True), (1024, True))


def every_suite(first):
    """Each suite over IPv4 and IPv6, plain and in UDP; with each of these four another window, rotated."""
    for row, suite in enumerate(SUITES.values()):
        for column, (outer, udp_port) in enumerate(((4, None), (6, None), (4, NATT_PORT), (6, NATT_PORT))):
            window, esn = MODES[(row + column) % len(MODES)]
            yield EspTunnel(first + 4 * row + column, outer, suite, udp_port, window, esn)


ESP_TUNNELS = list(every_suite(30))
ESP_FRAGMENTS = [EspTunnel(70, outer_fragments=True), EspTunnel(71, 6, SUITES["aes128-sha256"], outer_fragments=True)]
NAT = EspTunnel(73, udp_port=40500)
SELECT = EspTunnel(74, selectors={"local": ["192.0.2.0/24", "2001:db8:1::/64"],
                                  "remote": ["198.51.174.0/24", "2001:db8:5174::/64"]})
REKEYED = [EspTunnel(75, window=64), EspTunnel(76, 6, SUITES["aes128-sha256"], NATT_PORT, 64, True)]
WRAPPED = [EspTunnel(77, window=64, esn=True), EspTunnel(78, 6, SUITES["aes256-sha512"], window=64, esn=True)]
LIMITED = EspTunnel(79)
ALL = [*TUNNELS, *ESP_TUNNELS, *ESP_FRAGMENTS, NAT, SELECT, *REKEYED, *WRAPPED, LIMITED]


def by_name(tunnel):
    """Test ids."""
    return tunnel.name
