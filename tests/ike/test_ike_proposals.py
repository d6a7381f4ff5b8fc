"""Ciphers and groups: each of the proposal list works, and what is not in common fails with a line that helps."""

import dataclasses

import pytest
from customers import ANY_CIPHER
from lab.wait import eventually
from steps import afresh, failed_with, failures, log_since, mark, pings, sas, shown

# What the customer proposes for ESP, and the gateway's name of the cipher.
ESP = {
    "aes128gcm16": "aes128gcm16",
    "aes256gcm16": "aes256gcm16",
    "chacha20poly1305": "chacha20poly1305",
    "aes128-sha256": "aes128-sha256",
    "aes256-sha256": "aes256-sha256",
    "aes128-sha384": "aes128-sha384",
    "aes256-sha512": "aes256-sha512",
}
GROUPS = {"modp2048": "MODP_2048", "ecp256": "ECP_256", "ecp384": "ECP_384", "curve25519": "CURVE_25519"}  # 14 19 20 31
IKE = ("aes128gcm16-prfsha256-ecp256", "aes256gcm16-prfsha384-ecp384", "aes128-sha256-modp2048", "aes256-sha256-curve25519",
       "aes256-sha512-modp2048", "chacha20poly1305-prfsha256-curve25519")


def variant(**changes):
    return dataclasses.replace(ANY_CIPHER, **changes)


@pytest.mark.parametrize("proposal", ESP)
def test_each_cipher_carries_packets(lab, gateway, customer, proposal):
    tunnel = variant(esp_proposals=proposal)
    afresh(customer(tunnel))
    assert {row["cipher"] for row in sas(gateway, tunnel).values()} == {ESP[proposal]}
    for family in (4, 6):
        assert pings(lab, tunnel, family) == {}


@pytest.mark.parametrize("group", GROUPS)
def test_a_rekey_with_each_group_carries_packets(lab, gateway, customer, group):
    """PFS: the first child has the IKE SA's secret; the next ones a group of their own."""
    tunnel = variant(esp_proposals=f"aes256gcm16-{group}")
    place = customer(tunnel)
    first = afresh(place)
    place.charon.rekey_child()
    assert eventually(lambda: [child for child in place.charon.children() if child["spi-in"] != first["spi-in"]
                               and child.get("dh-group") == GROUPS[group]], 10), place.charon.log_tail()
    assert pings(lab, tunnel) == {}


@pytest.mark.parametrize("proposal", IKE)
def test_each_kind_of_ike_proposal_is_taken(lab, gateway, customer, proposal):
    tunnel = variant(proposals=proposal)
    afresh(customer(tunnel))
    assert pings(lab, tunnel) == {}


@pytest.mark.parametrize("changes, words", (
    ({"proposals": "aes128-sha1-modp1024"}, ("no proposal in common for the IKE SA", "MODP_1024", "we accept")),
    ({"esp_proposals": "3des-md5"}, ("no proposal in common for ESP", "3DES", "we accept")),
), ids=("ike", "esp"))
def test_nothing_in_common_is_told(lab, gateway, customer, changes, words):
    place = customer(variant(**changes))
    place.charon.terminate(check=False)
    since, before = mark(gateway), failures(gateway, ANY_CIPHER)
    said = place.charon.initiate(check=False)
    assert "NO_PROPOSAL_CHOSEN" in said or "NO_PROP" in said, said
    assert eventually(lambda: failed_with(gateway, ANY_CIPHER, words, before), 5), (
        shown(gateway, ANY_CIPHER), gateway.log_tail())
    assert ANY_CIPHER.child_name in log_since(gateway, since)
    place.charon.terminate(check=False)
    assert sas(gateway, ANY_CIPHER) == {}


@pytest.mark.parametrize("changes", ({"child": {"mode": "transport"}}, {"child": {"ipcomp": "yes"}},
                                     {"esp_proposals": "aes128gcm16-esn"}), ids=("transport", "compression", "esn"))
def test_what_we_do_not_offer_is_not_agreed_to(lab, gateway, customer, changes):
    """The peer asks; we answer with tunnel mode, without compression, or with no proposal."""
    tunnel = variant(**changes)
    place = customer(tunnel)
    place.charon.terminate(check=False)
    since = mark(gateway)
    place.charon.initiate(check=False)
    for child in place.charon.children():
        assert child["mode"] == "TUNNEL" and child.get("esn", "no") != "yes" and "cpi-in" not in child
        if "0.0.0.0/0" in child["local-ts"]:  # who wants transport mode wants it for its own address only
            assert pings(lab, tunnel) == {}
    if not place.charon.children():
        assert ANY_CIPHER.name in log_since(gateway, since)
    place.charon.terminate(check=False)
