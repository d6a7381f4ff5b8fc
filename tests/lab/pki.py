"""Certificates for tests, made by strongSwan's `pki`: an authority, and what it issues."""

import subprocess
import tempfile
import time
from pathlib import Path

from lab.ike import Credentials
from lab.netns import CommandFailed

KEY_KINDS = {"rsa": ["rsa", "--size", "2048"], "ecdsa": ["ecdsa", "--size", "256"], "ecdsa384": ["ecdsa", "--size", "384"],
             "ed25519": ["ed25519"]}
DAY_S = 24 * 3600


class Authority:
    """A root certificate and its key."""

    def __init__(self, name="Lab CA", key_kind="ecdsa"):
        self.subject = f"O=Penstock lab, CN={name}"
        self.key = _new_key(key_kind)
        self.certificate = _pki(["--self", "--ca", "--type", "priv", "--dn", self.subject, "--outform", "pem",
                                 *_validity(-DAY_S, 30 * DAY_S)], self.key)

    def issue(self, common_name, key_kind="ecdsa", names=(), days=(-1, 30), subject=None):
        """A key and its certificate; `names` are subject alternative names, `days` its validity, counted from now."""
        subject = subject or f"O=Penstock lab, CN={common_name}"
        key = _new_key(key_kind)
        public = _pki(["--pub", "--type", "priv", "--outform", "pem"], key)
        with tempfile.TemporaryDirectory() as scratch:
            scratch = Path(scratch)
            for name, text in (("ca.pem", self.certificate), ("ca.key", self.key)):
                (scratch / name).write_text(text)
            certificate = _pki(["--issue", "--type", "pub", "--cacert", scratch / "ca.pem", "--cakey", scratch / "ca.key",
                                "--dn", subject, *(word for name in names for word in ("--san", name)),
                                "--outform", "pem", *_validity(*(day * DAY_S for day in days))], public)
        return Credentials(subject, key, key_kind, certificate)


def _new_key(kind):
    return _pki(["--gen", "--type", *KEY_KINDS[kind], "--outform", "pem"])


def _validity(first_s, last_s):
    form = "%y%m%d%H%M%SZ"
    now = time.time()
    first, last = (time.strftime(form, time.gmtime(now + offset)) for offset in (first_s, last_s))
    return ["--not-before", first, "--not-after", last, "--dateform", form]


def _pki(words, given=""):
    done = subprocess.run(["pki", *map(str, words)], input=given, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or not done.stdout:
        raise CommandFailed(f"pki {words[0]}: status {done.returncode}: {done.stderr.strip()}")
    return done.stdout
