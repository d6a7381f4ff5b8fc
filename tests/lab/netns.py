"""Network namespaces and the links between them.

Interfaces are always created inside a namespace, never in the host's own, so
their names can be short ("edge0") and cannot collide with the operator's.
Commands enter only the network namespace, not a mount namespace: what they
mount (the gateway creates namespaces too) stays visible to everyone.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from pathlib import Path

RUN_NETNS = Path("/run/netns")
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000

_libc = ctypes.CDLL(None, use_errno=True)


class CommandFailed(Exception):
    """A command in the lab ended with an exit status other than zero."""


def run(command, check=True, timeout=60, **options):
    """Runs a command (list, or string for sh) and returns its CompletedProcess with text output."""
    if isinstance(command, str):
        command = ["sh", "-ec", command]
    done = subprocess.run(
        command, text=True, stdin=options.pop("stdin", subprocess.DEVNULL),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **options,
    )
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}\n  exit status {done.returncode}: {done.stdout.strip()}")
    return done


class Namespace:
    """A named network namespace."""

    def __init__(self, name):
        self.name = name
        self.path = RUN_NETNS / name

    def create(self, forwarding=False, ipv6=True):
        """Makes it, with loopback up; duplicate address detection off so that addresses work at once."""
        run(["ip", "netns", "add", self.name])
        settings = {
            "net.ipv6.conf.default.accept_dad": 0,
            "net.ipv6.conf.all.accept_dad": 0,
            "net.ipv6.conf.default.accept_ra": 0,
            "net.ipv6.conf.default.disable_ipv6": 0 if ipv6 else 1,
            "net.ipv6.conf.all.disable_ipv6": 0 if ipv6 else 1,
            "net.ipv4.ip_forward": int(forwarding),
            "net.ipv6.conf.all.forwarding": int(forwarding),
            "net.ipv4.icmp_ratelimit": 0,
            "net.ipv6.icmp.ratelimit": 0,
            "net.ipv4.conf.default.rp_filter": 0,
            "net.ipv4.conf.all.rp_filter": 0,
        }
        script = "".join(f"sysctl -qw {key}={value}\n" for key, value in settings.items())
        self.sh(script + "ip link set lo up\n")
        return self

    def delete(self):
        """Removes it; links into it vanish with it. No error if it is not there."""
        if self.path.exists():
            run(["ip", "netns", "delete", self.name], check=False)

    def command(self, command):
        """The argument list that runs a command here."""
        if isinstance(command, str):
            command = ["sh", "-ec", command]
        return ["nsenter", f"--net={self.path}", "--", *map(str, command)]

    def sh(self, command, check=True, timeout=60, **options):
        """Runs a command (list or shell text) here and returns its output."""
        return run(self.command(command), check=check, timeout=timeout, **options)

    @staticmethod
    def connect_unix(path, timeout=60):
        """A socket that is connected to a unix socket: these are not a network's."""
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(timeout)
        link.connect(str(path))
        return link

    def spawn(self, command, **options):
        """Starts a long-running command here, in a session of its own."""
        return subprocess.Popen(self.command(command), start_new_session=True, **options)

    @contextlib.contextmanager
    def entered(self):
        """Moves this thread into the namespace; sockets opened inside stay there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        target = os.open(self.path, os.O_RDONLY)
        try:
            _setns(target)
            yield
        finally:
            _setns(home)
            os.close(home)
            os.close(target)

    def tap(self, name):
        """Opens a TAP interface of this name here and returns its descriptor (it lives as long as that)."""
        with self.entered():
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            request = struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
            fcntl.ioctl(descriptor, TUNSETIFF, request)
        self.sh(f"ip link set {name} up")
        return descriptor


def _setns(descriptor):
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns: are you root?")


def veth(left, left_name, right, right_name, mtu=1500):
    """A cable between two namespaces, without offloads: what crosses it are real packets."""
    run(["ip", "-n", left.name, "link", "add", left_name, "mtu", str(mtu), "type", "veth",
         "peer", "name", right_name, "mtu", str(mtu), "netns", right.name])
    for space, name in ((left, left_name), (right, right_name)):
        space.sh(f"ethtool -K {name} tx off gso off tso off gro off >/dev/null; ip link set {name} up")


def bridge(space, name, mtu=1500):
    """A switch; links with `master` are its ports."""
    space.sh(f"ip link add {name} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0; ip link set {name} up")
