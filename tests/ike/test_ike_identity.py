"""Who is let in, and what the log says of who is not."""

import dataclasses

import pytest
from customers import AUTHORITY, BY_CERTIFICATE, FQDN, PLAIN
from lab.pki import Authority
from lab.wait import eventually
from steps import afresh, log_since, mark, pings, sas

RSA = BY_CERTIFICATE[0]


def refused(gateway, place, *words):
    """The customer's attempt fails and the gateway's log has a line with these words in it."""
    place.charon.terminate(check=False)
    since = mark(gateway)
    said = place.charon.initiate(check=False)
    assert "AUTH_FAILED" in said or "AUTHENTICATION_FAILED" in said, said
    place.charon.terminate(check=False)

    def line():
        return [line for line in log_since(gateway, since).splitlines() if all(word in line for word in words)]

    assert eventually(line, 5), log_since(gateway, since)
    assert sas(gateway, place.tunnel) == {}


def test_a_secret_that_differs(lab, gateway, customer):
    refused(gateway, customer(dataclasses.replace(PLAIN, psk="not this one")), PLAIN.name)
    afresh(customer(PLAIN))
    assert pings(lab, PLAIN) == {}


def test_an_identity_that_nobody_has(lab, gateway, customer):
    refused(gateway, customer(dataclasses.replace(FQDN, identity="stranger.example.net")), "stranger.example.net")


def test_a_certificate_that_has_expired(lab, gateway, customer):
    old = AUTHORITY.issue("branch-5", "rsa", days=(-10, -2))
    refused(gateway, customer(dataclasses.replace(RSA, credentials=old)), RSA.name)


def test_a_certificate_of_an_authority_that_is_not_trusted(lab, gateway, customer):
    other = Authority("Somebody else's CA").issue("branch-5", "rsa")
    refused(gateway, customer(dataclasses.replace(RSA, credentials=other)), RSA.name)


def test_a_certificate_of_another_customer(lab, gateway, customer):
    other = AUTHORITY.issue("branch-99", "ecdsa")
    refused(gateway, customer(dataclasses.replace(RSA, credentials=other)), "branch-99")


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
