"""The customers of the IKE tests, of every kind, side by side in one lab."""

from lab.ike import IkeTunnel
from lab.pki import Authority

STOCK = "198.18.0.3"  # a stock charon in the gateway's place, for the tests of the lab itself

PLAIN = IkeTunnel(0)
SIX = IkeTunnel(1, outer=6)
FQDN = IkeTunnel(2, nat=True, remote_any=True, identity="branch-2.example.net")
RFC822 = IkeTunnel(3, outer=6, nat=True, remote_any=True, identity="router@branch-3.example.net")
KEY_ID = IkeTunnel(4, route_based=False, identity="keyid:branch-4", window=64)


def by_certificates():
    """Customers that show certificates: RSA and ECDSA, plain and behind a NAT; names are their subjects."""
    authority = Authority()
    gateway = authority.issue("gateway.example.net", "ecdsa")
    shared = {"gateway_credentials": gateway, "authority": authority.certificate}
    return [IkeTunnel(5, credentials=authority.issue("branch-5", "rsa"), **shared),
            IkeTunnel(6, outer=6, nat=True, remote_any=True, credentials=authority.issue("branch-6", "ecdsa"), **shared)]


BY_CERTIFICATE = by_certificates()
ANY_CIPHER = IkeTunnel(7)
BRIEF = IkeTunnel(8, gateway={"esp_rekey_packets": 2000})
SECOND_GUEST = IkeTunnel(9, route_based=False)
KINDS = [PLAIN, SIX, FQDN, RFC822, KEY_ID, *BY_CERTIFICATE]
ALL = [*KINDS, ANY_CIPHER, BRIEF, SECOND_GUEST]


def by_name(tunnel):
    """Test ids."""
    words = [tunnel.name, f"v{tunnel.outer}", "nat" if tunnel.nat else "plain", "route" if tunnel.route_based else "policy"]
    words.append(tunnel.credentials.key_kind if tunnel.credentials else "psk")
    return "-".join(words)
