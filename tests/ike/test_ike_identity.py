"""Who is let in, and what the log says of who is not."""

import dataclasses

import pytest
from customers import AUTHORITY, BY_CERTIFICATE, FQDN, PLAIN
from lab.pki import Authority
from lab.wait import eventually
from steps import afresh, failed_with, failures, log_since, mark, pings, sas, shown

RSA = BY_CERTIFICATE[0]


def refused(gateway, place):
    """The customer's attempt fails, on both sides, and leaves nothing."""
    place.charon.terminate(check=False)
    said = place.charon.initiate(check=False)
    assert "AUTH_FAILED" in said or "AUTHENTICATION_FAILED" in said, said
    place.charon.terminate(check=False)
    assert sas(gateway, place.tunnel) == {}


def refused_as(gateway, place, *words):
    """The same, and the tunnel's row says why."""
    before = failures(gateway, place.tunnel)
    refused(gateway, place)
    assert eventually(lambda: failed_with(gateway, place.tunnel, words, before), 5), (
        shown(gateway, place.tunnel), gateway.log_tail())


def test_a_secret_that_differs(lab, gateway, customer):
    since = mark(gateway)
    refused_as(gateway, customer(dataclasses.replace(PLAIN, psk="not this one")), "wrong pre-shared key")
    assert f"acme/{PLAIN.name}" in log_since(gateway, since), "and so does the log"
    afresh(customer(PLAIN))
    assert pings(lab, PLAIN) == {}


def test_an_identity_that_nobody_has(lab, gateway, customer):
    since = mark(gateway)
    refused(gateway, customer(dataclasses.replace(FQDN, identity="stranger.example.net")))
    assert eventually(lambda: "stranger.example.net" in log_since(gateway, since), 5), log_since(gateway, since)


def test_a_certificate_that_has_expired(lab, gateway, customer):
    old = AUTHORITY.issue("branch-5", "rsa", days=(-10, -2))
    refused_as(gateway, customer(dataclasses.replace(RSA, credentials=old)), "certificate", "expired")


def test_a_certificate_of_an_authority_that_is_not_trusted(lab, gateway, customer):
    other = Authority("Somebody else's CA").issue("branch-5", "rsa")
    refused_as(gateway, customer(dataclasses.replace(RSA, credentials=other)), "certificate")


def test_a_certificate_of_another_customer(lab, gateway, customer):
    since = mark(gateway)
    refused(gateway, customer(dataclasses.replace(RSA, credentials=AUTHORITY.issue("branch-99", "ecdsa"))))
    assert eventually(lambda: "branch-99" in log_since(gateway, since), 5), log_since(gateway, since)


@pytest.mark.parametrize("kind", ("rsa", "ecdsa", "ecdsa384", "ed25519"))
def test_a_new_certificate_needs_nothing_of_the_gateway(lab, gateway, customer, kind):
    tunnel = dataclasses.replace(RSA, credentials=AUTHORITY.issue("branch-5", kind))
    afresh(customer(tunnel))
    assert pings(lab, tunnel) == {}


def test_a_secret_that_changes_is_taken_by_a_reload(lab, gateway, customer, config):
    new = dataclasses.replace(PLAIN, psk="another secret")
    gateway.write_credentials([new])
    gateway.reload(config)
    try:
        afresh(customer(new))
        assert pings(lab, PLAIN) == {}
    finally:
        gateway.write_credentials([PLAIN])
