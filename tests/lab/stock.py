"""A stock charon that carries its packets itself, in user space, where the host's kernel has no ESP.

Debian's `kernel-libipsec` seals and opens ESP in UDP behind a TUN device. With
it the lab can be tried without a gateway, and a hundred customers can be one
process without a guest.
"""

from lab.charon import Charon
from lab.image import CHARON_PLUGINS

# kernel-netlink stays for addresses and routes; SAs and policies are taken by the first that can.
PLUGINS = tuple(name for name in CHARON_PLUGINS if name != "kernel-netlink") + ("kernel-libipsec", "kernel-netlink")


class StockCharon(Charon):
    """In a Namespace of the host. Its TUN device is `ipsec0`; routes into it are the caller's."""

    def __init__(self, space, directory, **settings):
        directory.mkdir(parents=True, exist_ok=True)
        # A plugin that carries packets keeps four threads for itself.
        super().__init__(space, str(directory), PLUGINS, **{"threads": 16, "install_routes": "no"} | settings)

    def start(self):
        """Starts it and sets the device up."""
        super().start()
        self.place.sh("ip link set ipsec0 up mtu 1400")
