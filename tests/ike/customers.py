"""The customers of the IKE tests, of every kind, side by side in one lab."""

from lab.ike import IkeTunnel
from lab.pki import Authority

STOCK = "198.18.0.3"  # a stock charon in the gateway's place, for the tests of the lab itself

PLAIN = IkeTunnel(0)
SIX = IkeTunnel(1, outer=6)
FQDN = IkeTunnel(2, nat=True, remote_any=True, identity="branch-2.example.net")
RFC822 = IkeTunnel(3, outer=6, nat=True, remote_any=True, identity="router@branch-3.example.net")
KEY_ID = IkeTunnel(4, route_based=False, identity="keyid:branch-4", window=64)


AUTHORITY = Authority()
_SHARED = {"gateway_credentials": AUTHORITY.issue("gateway.example.net", "ecdsa"), "authority": AUTHORITY.certificate}
BY_CERTIFICATE = [
    IkeTunnel(5, credentials=AUTHORITY.issue("branch-5", "rsa"), **_SHARED),
    # Known by a name of the certificate's (subjectAltName), not by its subject.
    IkeTunnel(6, outer=6, nat=True, remote_any=True, identity="branch-6.example.net",
              credentials=AUTHORITY.issue("branch-6", "ecdsa", names=("branch-6.example.net",)), **_SHARED),
]
ANY_CIPHER = IkeTunnel(7)
REKEYED = [IkeTunnel(8), IkeTunnel(10, outer=6, nat=True, remote_any=True, identity="branch-10.example.net")]
SECOND_GUEST = IkeTunnel(9, route_based=False)
# Room above the soft limit for two seconds of a slow machine; the other one has none.
BY_VOLUME = IkeTunnel(11, gateway={"esp_rekey_packets": 3000})
EXHAUSTED = IkeTunnel(12, gateway={"esp_rekey_packets": 200})
KINDS = [PLAIN, SIX, FQDN, RFC822, KEY_ID, *BY_CERTIFICATE]
ALL = [*KINDS, ANY_CIPHER, *REKEYED, SECOND_GUEST, BY_VOLUME, EXHAUSTED]


def by_name(tunnel):
    """Test ids."""
    words = [tunnel.name, f"v{tunnel.outer}", "nat" if tunnel.nat else "plain", "route" if tunnel.route_based else "policy"]
    words.append(tunnel.credentials.key_kind if tunnel.credentials else "psk")
    return "-".join(words)
