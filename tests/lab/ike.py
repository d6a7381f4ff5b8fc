"""IKE in the lab: what a customer and the gateway are told of one tunnel, and each other's names in it.

The customer begins; the gateway only answers. `identity` is the customer's,
written as strongSwan and the gateway's configuration write it.
"""

import secrets
from dataclasses import dataclass, field

from lab.esp import SUITES
from lab.plan import Addresses

EVERYTHING = ("0.0.0.0/0", "::/0")
CLIENTS = ("192.0.2.0/24", "2001:db8:1::/64")


@dataclass(frozen=True)
class Credentials:
    """A private key and its certificate, in PEM, and the subject as a distinguished name."""

    subject: str
    key: str = field(repr=False)
    key_kind: str = "rsa"
    certificate: str = field(repr=False, default="")


@dataclass(frozen=True, eq=False)
class IkeTunnel(Addresses):
    """One tunnel that IKE brings up, between the gateway's anycast endpoint and a customer."""

    nat: bool = False  # behind a NAT of its own, whose outside has the outer address
    identity: str | None = None  # None: its outer address (behind a NAT, its inside one), or the certificate's subject
    remote_any: bool = False  # the gateway does not know its address
    proposals: str = "aes128gcm16-prfsha256-ecp256"
    esp_proposals: str = "aes128gcm16"
    route_based: bool = True
    window: int = 32  # the customer's replay window
    psk: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    credentials: Credentials | None = None  # instead of the PSK
    gateway_credentials: Credentials | None = None
    authority: str = field(default="", repr=False)  # the certificate that both trust
    child: dict = field(default_factory=dict)  # more of the customer's child, for example rekey_bytes
    connection: dict = field(default_factory=dict)  # more of the customer's connection
    gateway: dict = field(default_factory=dict)  # more of `ike:` on the gateway
    peer: str | None = None  # somebody on the switch instead of the gateway
    kind: str = "ike"

    @property
    def name(self):
        """Its name in the gateway's configuration and in test ids."""
        return f"ike{self.number}"

    @property
    def child_name(self):
        """What the gateway calls its connection and child in charon."""
        return f"acme/{self.name}"

    @property
    def device(self):
        """The customer's xfrm interface, where it is route-based."""
        return f"ike{self.number}"

    @property
    def endpoint(self):
        """The other side's outer address."""
        return self.peer or super().endpoint

    @property
    def wan(self):
        """The customer's own outer address: a private one behind a NAT."""
        if not self.nat:
            return self.remote
        return f"10.9.{self.number}.2" if self.outer == 4 else f"fd00:9:{self.number}::2"

    @property
    def nat_inside(self):
        """The NAT's address on the customer's side."""
        return f"10.9.{self.number}.1" if self.outer == 4 else f"fd00:9:{self.number}::1"

    @property
    def customer_id(self):
        """The identity that the customer shows."""
        return self.identity or (self.credentials.subject if self.credentials else self.wan)

    @property
    def gateway_id(self):
        """The identity that the gateway shows."""
        return self.gateway_credentials.subject if self.gateway_credentials else self.endpoint

    @property
    def selectors(self):
        """The customer's (local, remote)."""
        if self.route_based:
            return EVERYTHING, EVERYTHING
        return (self.prefix(4), self.prefix(6)), CLIENTS

    def inner_mtu(self, udp=None, link_mtu=1500):
        """What docs/ipsec.md promises for the first cipher of the proposal."""
        suite = next(suite for name, suite in SUITES.items() if self.esp_proposals.startswith(name))
        return suite.inner_mtu(self.outer, self.nat if udp is None else udp, link_mtu)

    def gateway_block(self, directory):
        """`ike:` of the gateway's tunnel; `directory` has the files that `gateway_files` names."""
        block = {}
        if self.gateway_credentials is None:
            block["psk_file"] = f"{directory}/{self.name}.psk"
        else:
            block |= {"certificate": f"{directory}/{self.name}.pem", "private_key": f"{directory}/{self.name}.key",
                      "ca": [f"{directory}/{self.name}.ca"]}
        if self.customer_id != self.remote or self.remote_any:
            block["remote_id"] = self.customer_id
        return block | self.gateway

    def gateway_files(self):
        """What the gateway must have in files, by name; all are for root's eyes only."""
        if self.gateway_credentials is None:
            return {f"{self.name}.psk": self.psk + "\n"}
        return {f"{self.name}.pem": self.gateway_credentials.certificate, f"{self.name}.key": self.gateway_credentials.key,
                f"{self.name}.ca": self.authority}

    def swanctl(self):
        """The customer's swanctl.conf, as a tree."""
        local_ts, remote_ts = self.selectors
        child = {"local_ts": ",".join(local_ts), "remote_ts": ",".join(remote_ts), "esp_proposals": self.esp_proposals,
                 "replay_window": self.window, "rekey_time": "0", "life_time": "0"}
        if self.route_based:
            child |= {"if_id_in": self.number + 1, "if_id_out": self.number + 1}
        auth = "psk" if self.credentials is None else "pubkey"
        local = {"auth": auth, "id": self.customer_id}
        if self.credentials:
            local["certs"] = "customer.pem"
        connection = {
            "version": 2, "local_addrs": self.wan, "remote_addrs": self.endpoint, "proposals": self.proposals,
            "rekey_time": "0", "over_time": "0", "dpd_delay": "0",
            "local": local, "remote": {"auth": auth, "id": self.gateway_id},
        } | self.connection | {"children": {"net": child | self.child}}
        tree = {"connections": {"penstock": connection}}
        if self.credentials is None:
            tree["secrets"] = {"ike": {"id-1": self.gateway_id, "id-2": self.customer_id, "secret": self.psk}}
        return tree

    def swanctl_files(self):
        """Files beside swanctl.conf, by path."""
        if self.credentials is None:
            return {}
        return {"x509/customer.pem": self.credentials.certificate, "private/customer.key": self.credentials.key,
                "x509ca/ca.pem": self.authority}
