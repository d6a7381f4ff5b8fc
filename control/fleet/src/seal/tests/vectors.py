"""Computes the vectors of `tests.rs` without our code: HChaCha20 from the draft, the rest from python3-cryptography."""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305


def rotate(value, bits):
    """To the left, 32 bits."""
    return (value << bits | value >> 32 - bits) & 0xFFFFFFFF


def hchacha20(key, nonce):
    """draft-irtf-cfrg-xchacha-03, section 2.2."""
    x = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for a, b, c, d in [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                           (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]:
            for one, two, three, bits in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)]:
                x[one] = (x[one] + x[two]) & 0xFFFFFFFF
                x[three] = rotate(x[three] ^ x[one], bits)
    return struct.pack("<8I", *x[:4], *x[12:])


def xchacha20poly1305(key, nonce, plaintext, associated):
    """Section 2.3 of the draft."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], plaintext, associated)


# Section 2.2.1 of the draft.
assert hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927")).hex() == (
    "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc")

KEY = bytes(range(0x80, 0xA0))
NONCE = bytes(range(0x40, 0x58))
NAME, VERSION = b"sas/7/acme/dc1/i-0040abcd", 3
key_id = hashlib.sha256(b"penstock fleet key id" + KEY).digest()[:8]
associated = b"penstock fleet record\0" + NAME + struct.pack("!Q", VERSION)
print("key id ", key_id.hex())
print("sealed ", (b"PSF\1" + key_id + NONCE + xchacha20poly1305(KEY, NONCE, b"a record", associated)).hex())
for kind in (b"data", b"control"):
    print(f"{kind.decode():7}", hmac.digest(KEY, b"penstock fleet token\0" + kind, "sha256").hex())
