"""The customer's router as an ESP peer: what `ip` is told, line by line (`ip -batch`).

Each tunnel is an xfrm interface of its own, so that one router holds many side
by side and routes into them as into GRE devices. Keys are set by hand.
"""

from lab.esp import NARROW_PATH_MTU, NATT_PORT
from lab.plan import CORE4, CORE6

# UDP_ENCAP (100) of IPPROTO_UDP (17) set to UDP_ENCAP_ESPINUDP (2): from then on the kernel takes ESP out of these
# sockets' packets; what has the non-ESP marker would be for an IKE daemon. Perl, for every Debian has it.
LISTEN = (
    "perl -e 'for $port (grep /^[0-9]+$/, @ARGV) { for $six (0, 1) { socket($s, $six ? 10 : 2, 2, 17) or die; "
    'setsockopt($s, 41, 26, pack("i", 1)) if $six; '
    'bind($s, $six ? pack("S n N x16 N", 10, $port, 0, 0) : pack("S n x12", 2, $port)) or die; '
    'setsockopt($s, 17, 100, pack("i", 2)) or die; push @open, $s; undef $s } } sleep 60 while 1\''
)


def device_lines(tunnel, associations):
    """The interface of a tunnel, its SAs and its policies."""
    ours, theirs, number = tunnel.remote, tunnel.endpoint, tunnel.number
    lines = [f"link add {tunnel.device} type xfrm dev wan if_id {number}",
             state_line(associations.outbound[tunnel.name], toward="router")]
    lines += [state_line(sa, toward="gateway") for sa in associations.inbound[tunnel.name]]
    for everything in ("0.0.0.0/0", "::/0"):
        for direction in ("out", "in", "fwd"):
            ends = f"src {ours} dst {theirs}" if direction == "out" else f"src {theirs} dst {ours}"
            lines.append(f"xfrm policy add src {everything} dst {everything} dir {direction} if_id {number} "
                         f"tmpl {ends} proto esp reqid {number} mode tunnel")
    return lines + (_narrow_path_lines(tunnel) if tunnel.outer_fragments else [])


def state_line(sa, toward, udp_port=None, source=None, more=""):
    """Adds an SA; `toward` says which way its packets go. `udp_port` and `source` are other than the tunnel's
    where a NAT has moved the router."""
    tunnel = sa.tunnel
    router, port = source or tunnel.remote, udp_port or tunnel.udp_port
    ends, ports = (router, tunnel.endpoint), (port, NATT_PORT)
    if toward == "router":
        ends, ports = ends[::-1], ports[::-1]
    # af-unspec: inner packets of either family. nopmtudisc: no DF outside, so that the kernel may fragment.
    flags = ["af-unspec"] + ["esn"] * sa.tunnel.esn + ["nopmtudisc"] * tunnel.outer_fragments
    words = [f"xfrm state add src {ends[0]} dst {ends[1]} proto esp spi {sa.spi:#x} reqid {tunnel.number} mode tunnel",
             f"if_id {tunnel.number} flag {' '.join(flags)}", tunnel.suite.kernel_words(sa.key, sa.auth_key)]
    if tunnel.udp_port is not None:
        words.append(f"encap espinudp {ports[0]} {ports[1]} {'0.0.0.0' if tunnel.outer == 4 else '::'}")
    if tunnel.window:
        words.append(f"replay-window {tunnel.window}")
    return " ".join([*words, more]).strip()


def forget_line(sa, toward, source=None):
    """Removes an SA."""
    tunnel = sa.tunnel
    ends = (source or tunnel.remote, tunnel.endpoint)
    if toward == "router":
        ends = ends[::-1]
    return f"xfrm state delete src {ends[0]} dst {ends[1]} proto esp spi {sa.spi:#x}"


def _narrow_path_lines(tunnel):
    table, gateway = 1000 + tunnel.number, CORE4 if tunnel.outer == 4 else CORE6
    return [f"route add {tunnel.endpoint} via {gateway} dev wan mtu {NARROW_PATH_MTU} table {table}",
            f"{'' if tunnel.outer == 4 else '-6 '}rule add from {tunnel.remote} table {table}"]
