"""The customer's router: a Linux kernel with GRE and ESP, in a namespace or in a guest.

Both kinds take the same shell text, so a test cannot tell them apart. With
`ike` it is also where customers live that have a charon of their own
(lab.customer): both its links are then bridges with room for theirs.
"""

import re
import subprocess

from lab import xfrm
from lab.guest import Guest
from lab.netns import CommandFailed, Namespace, veth
from lab.plan import CLIENT4, CLIENT6, CORE4, CORE6, ENDPOINT4, ENDPOINT6, ROUTER4, ROUTER6, VLAN_CORE4, VLAN_CORE6


PROBES = (
    "ip link add probe4 type gre local 192.0.2.1 remote 192.0.2.2",
    "ip link add probe6 type ip6gre local 2001:db8::1 remote 2001:db8::2",
    "ip link add probe type xfrm dev lo if_id 1",
    *(f"ip xfrm state add src {source} dst {target} proto esp spi 0x1000 mode tunnel "
      f"aead 'rfc4106(gcm(aes))' 0x{'00' * 20} 128"
      for source, target in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2"))),
)
IKE_GUEST_MIB = 512  # some twenty charons
BATCH = 200  # lines of `ip -batch` at once: a guest takes them as one argument


def kernel_has_tunnels(scratch):
    """True if this kernel can really make GRE and ESP tunnels of both outer families (tried in a scratch namespace)."""
    space = Namespace(scratch).create()
    try:
        return all(space.sh(command, check=False).returncode == 0 for command in PROBES)
    finally:
        space.delete()


class Router:
    """A kernel peer with two links: `wan` on the lab's switch, `lan` to the server."""

    def __init__(self, lab_name, name, directory, in_guest, ike=False):
        self.space = Namespace(f"{lab_name}-{name}")
        self.guest = None
        if in_guest:
            self.guest = Guest(self.space, directory / name, *((True, IKE_GUEST_MIB) if ike else ()))
        self.lab_name, self.name, self.ike = lab_name, name, ike
        self.directory = directory / name

    def start(self, wan, server):
        """Makes the peer; `wan` is the switch's namespace, `server` the one behind it."""
        self.space.create(forwarding=True)
        if self.guest:
            self.guest.boot(wan, self.name, server, "eth0")
            self.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
        else:
            veth(wan, self.name, self.space, "wan")
            veth(self.space, "lan", server, "eth0")
        wan.sh(f"ip link set {self.name} master switch")
        if self.ike:
            self._make_room()

    def _make_room(self):
        """Puts a bridge in the place of each link, so that customers' links can join."""
        self.sh("".join(
            f"/sbin/ip link set {link} down; /sbin/ip link set {link} name {link}0\n"
            f"/sbin/ip link add {link} type bridge forward_delay 0 mcast_snooping 0\n"
            # Else it changes with the ports that join.
            f"/sbin/ip link set {link} address $(cat /sys/class/net/{link}0/address)\n"
            f"/sbin/ip link set {link}0 master {link} up; /sbin/ip link set {link} up\n" for link in ("wan", "lan")))

    def sh(self, text, check=True, timeout=60):
        """Runs shell text on the router."""
        return (self.guest or self.space).sh(text, check=check, timeout=timeout)

    def connect_unix(self, path, timeout=60):
        """A socket that is connected to a unix socket on the router."""
        return (self.guest or self.space).connect_unix(path, timeout)

    def batch(self, lines):
        """Lines for `ip`, each without that word: one process for many is what a slow guest needs.

        A line that begins with -6 comes after those that do not.
        """
        for family in ("", "-6"):
            some = [line.removeprefix("-6 ") for line in lines if line.startswith("-6 ") == bool(family)]
            for start in range(0, len(some), BATCH):
                self._batch(family, some[start:start + BATCH])

    def _batch(self, family, lines):
        done = self.sh(f"/sbin/ip {family} -batch - <<'END'\n" + "\n".join(lines) + "\nEND\n", check=False)
        if done.returncode != 0:  # "Command failed -:7"
            number = re.search(r"-:(\d+)", done.stdout)
            line = re.sub("0x[0-9a-f]{32,}", "0x(key)", lines[int(number[1]) - 1] if number else "a batch of lines")
            raise CommandFailed(f"on {self.name}: ip {family} {line}: {done.stdout.strip()}")

    def configure(self, tunnels, wan4=ROUTER4, wan6=ROUTER6, associations=None):
        """Addresses, the way to the gateway's endpoints, and one device per tunnel; ESP needs its keys."""
        self.batch([
            f"address add {wan4}/24 dev wan",
            f"address add {wan6}/64 dev wan nodad",
            f"route add {ENDPOINT4}/32 via {CORE4}",
            f"route add {ENDPOINT6}/128 via {CORE6}",
        ])
        self.listen_for_udp_encapsulation({tunnel.udp_port for tunnel in tunnels if tunnel.kind == "esp"} - {None})
        for tunnel in tunnels:
            if tunnel.vlan is not None:
                self._vlan(tunnel)
        self.batch([line for tunnel in tunnels for line in self._tunnel_lines(tunnel, associations)])
        if tunnels:  # what the router says itself (ICMP errors) goes home by the first tunnel
            self.batch([f"route add {CLIENT4}/32 dev {tunnels[0].device}",
                        f"route add {CLIENT6}/128 dev {tunnels[0].device}"])

    def listen_for_udp_encapsulation(self, ports):
        """Opens the sockets without which the kernel takes no ESP out of UDP; for the lab's life."""
        if not ports:
            return
        command = f"{xfrm.LISTEN} {' '.join(map(str, sorted(ports)))}"
        if self.guest:
            self.sh(f"{command} >/dev/null 2>&1 &")
        else:
            pid_file = self.directory / f"udp-encapsulation-{min(ports)}.pid"
            self.directory.mkdir(parents=True, exist_ok=True)
            process = self.space.spawn(f"exec {command} {pid_file}", stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            pid_file.write_text(str(process.pid))

    @staticmethod
    def _tunnel_lines(tunnel, associations):
        table = 100 + tunnel.number
        devices = xfrm.device_lines(tunnel, associations) if tunnel.kind == "esp" else Router._gre_lines(tunnel)
        return Router._outer_address_lines(tunnel) + devices + [
            f"link set {tunnel.device} up mtu {tunnel.router_mtu}",
            f"address add {tunnel.router_address(4)}/31 dev {tunnel.device}",
            f"address add {tunnel.router_address(6)}/127 dev {tunnel.device} nodad",
            f"address add {tunnel.lan_router(4)}/24 dev lan",
            f"address add {tunnel.lan_router(6)}/64 dev lan nodad",
            # Replies leave by the tunnel whose prefix they come from.
            f"route add 0.0.0.0/0 dev {tunnel.device} table {table}",
            f"route add ::/0 dev {tunnel.device} table {table}",
            f"rule add from {tunnel.prefix(4)} iif lan table {table}",
            f"-6 rule add from {tunnel.prefix(6)} iif lan table {table}",
            f"rule add from {tunnel.router_address(4)} table {table}",
            f"-6 rule add from {tunnel.router_address(6)} table {table}",
        ]

    @staticmethod
    def _gre_lines(tunnel):
        kind = "gre" if tunnel.outer == 4 else "ip6gre"
        options = f" key {tunnel.key}" if tunnel.key is not None else ""
        options += " csum" if tunnel.checksum else ""
        options += "" if tunnel.outer == 4 or tunnel.encap_limit else " encaplimit none"
        options += " nopmtudisc ignore-df" if tunnel.outer_fragments else ""
        return [f"link add {tunnel.device} type {kind} local {tunnel.remote} remote {tunnel.endpoint} ttl 64{options}"]

    def restore(self, tunnel):
        """Sets a tunnel's device up again after `ip link set ... down`, with what the kernel forgot meanwhile."""
        device, table = tunnel.device, 100 + tunnel.number
        self.sh(f"ip link set {device} up\n"
                f"ip address replace {tunnel.router_address(6)}/127 dev {device} nodad\n"
                f"ip route replace default dev {device} table {table}\n"
                f"ip -6 route replace default dev {device} table {table}\n"
                f"ip route replace {CLIENT4}/32 dev {device}; ip route replace {CLIENT6}/128 dev {device}")

    def _vlan(self, tunnel):
        link = f"wan.{tunnel.vlan}"
        self.sh(f"ip link show {link} >/dev/null 2>&1 || ip link add link wan name {link} type vlan id {tunnel.vlan}\n"
                f"ip link set {link} up")

    @staticmethod
    def _outer_address_lines(tunnel):
        address = f"{tunnel.remote}/24" if tunnel.outer == 4 else f"{tunnel.remote}/64"
        nodad = "" if tunnel.outer == 4 else " nodad"
        if tunnel.vlan is None:
            return [f"address add {address} dev wan{nodad}"]
        link, table = f"wan.{tunnel.vlan}", 200 + tunnel.number
        gateway = VLAN_CORE4 if tunnel.outer == 4 else VLAN_CORE6
        return [f"address add {address} dev {link}{nodad}",
                f"route add {tunnel.endpoint} via {gateway} dev {link} table {table}",
                f"{'' if tunnel.outer == 4 else '-6 '}rule add from {tunnel.remote} table {table}"]
