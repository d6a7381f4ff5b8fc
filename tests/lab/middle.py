"""A router on the way between the gateway and the customer's router that loses what is too large, and says nothing of it.

It has one leg, on the lab's switch: both sides' routes to each other lead to it while it is there.
"""

from lab.plan import CORE4, CORE6, ENDPOINT4, ENDPOINT6

MIDDLE4, MIDDLE6 = "198.18.0.60", "2001:db8:2::60"
MAC = "02:00:00:00:03:60"  # always the same: neighbours remember it from one test to the next
# What it says itself is lost as well, but for neighbour discovery.
SILENT = """
table inet middle {
    chain too_large { type filter hook forward priority 0; }
    chain silent {
        type filter hook output priority 0
        ip protocol icmp drop
        icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, nd-redirect } drop
    }
}
"""


class Middle:
    """Use as a context manager; the outer packets of `tunnels`, and all that their router sends to the endpoints, pass it."""

    def __init__(self, lab, tunnels):
        self.lab, self.router = lab, lab.routers["router"]
        self.remotes = [tunnel.remote for tunnel in tunnels]
        self.space = None

    def __enter__(self):
        self.space = self.lab.add_host("middle", (f"{MIDDLE4}/24", f"{MIDDLE6}/64"))
        self.space.sh(f"ip link set eth0 address {MAC}")
        self.space.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n"
                      "sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0\n"
                      f"nft -f - <<'END'\n{SILENT}END\n")
        self.lab.twin.sh("\n".join(f"ip route add {self._host(remote)}" for remote in self.remotes))
        self._lead_router(MIDDLE4, MIDDLE6)
        self.space.sh(f"ip route add {ENDPOINT4}/32 via {CORE4}; ip route add {ENDPOINT6}/128 via {CORE6}")
        return self

    def __exit__(self, *_):
        self._lead_router(CORE4, CORE6)
        self.lab.twin.sh("\n".join(f"ip route del {self._host(remote)}" for remote in self.remotes))
        self.space.delete()

    def _lead_router(self, via4, via6):
        self.router.sh(f"/sbin/ip route replace {ENDPOINT4}/32 via {via4}\n"
                       f"/sbin/ip -6 route replace {ENDPOINT6}/128 via {via6}")

    @staticmethod
    def _host(remote):
        return f"{remote}/32 via {MIDDLE4}" if "." in remote else f"{remote}/128 via {MIDDLE6}"

    def limit(self, size=None):
        """Packets larger than so many bytes are lost from now on; None: none is."""
        rule = "" if size is None else f"nft add rule inet middle too_large meta length '>' {size} counter drop"
        self.space.sh(f"nft flush chain inet middle too_large\n{rule}")

    def tell(self, remote, size):
        """The way to a tunnel's remote takes packets of so many bytes from now on, and that is said."""
        self.space.sh(f"nft flush chain inet middle silent; ip route add {remote}/32 dev eth0 mtu lock {size}")

    def lost(self):
        """Packets that were too large since the limit was set."""
        words = self.space.sh("nft list chain inet middle too_large").stdout.split()
        return int(words[words.index("packets") + 1])
