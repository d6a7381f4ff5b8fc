//! The HMACs (RFC 2404, 4868), truncated.
//!
//! A key is the two hash states behind the inner and the outer pad: a packet starts from a copy of them,
//! which lies on the stack.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;

use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::Integrity;

/// A keyed HMAC.
#[derive(Clone)]
pub(super) enum KeyedHmac {
    Sha1(Slot<Hmac<Sha1>>),
    Sha256(Slot<Hmac<Sha256>>),
    Sha384(Slot<Hmac<Sha384>>),
    Sha512(Slot<Hmac<Sha512>>),
}

impl KeyedHmac {
    pub(super) fn new(integrity: Integrity, keys: &KeyMaterial) -> Result<Self, OutOfMemory> {
        let key = keys.integrity();
        Ok(match integrity {
            Integrity::HmacSha1 => Self::Sha1(Slot::new(keyed(key))?),
            Integrity::HmacSha256 => Self::Sha256(Slot::new(keyed(key))?),
            Integrity::HmacSha384 => Self::Sha384(Slot::new(keyed(key))?),
            Integrity::HmacSha512 => Self::Sha512(Slot::new(keyed(key))?),
        })
    }

    /// Writes the ICV over `packet` (from its ESP header to the end of its payload) and, with extended
    /// sequence numbers, the high half, which is not sent (RFC 4303 section 2.2.1).
    #[inline]
    pub(super) fn sign(&self, packet: &[u8], sequence_high: Option<u32>, icv: &mut [u8]) {
        match self {
            Self::Sha1(key) => sign(&**key, packet, sequence_high, icv),
            Self::Sha256(key) => sign(&**key, packet, sequence_high, icv),
            Self::Sha384(key) => sign(&**key, packet, sequence_high, icv),
            Self::Sha512(key) => sign(&**key, packet, sequence_high, icv),
        }
    }

    /// Whether `icv` is what [`Self::sign`] would write; takes the same time wherever they differ.
    #[inline]
    pub(super) fn verify(&self, packet: &[u8], sequence_high: Option<u32>, icv: &[u8]) -> bool {
        // The longest ICV is that of HMAC-SHA-512-256.
        let mut expected = [0; 32];
        let Some(expected) = expected.get_mut(..icv.len()) else { return false };
        self.sign(packet, sequence_high, expected);
        expected.ct_eq(icv).into()
    }

    #[inline(always)]
    pub(super) fn fetch(&self) {
        match self {
            Self::Sha1(key) => key.fetch::<2>(0),
            Self::Sha256(key) => key.fetch::<2>(0),
            Self::Sha384(key) => key.fetch::<3>(0),
            Self::Sha512(key) => key.fetch::<3>(0),
        }
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    // An HMAC takes keys of any length; the result only says so in types.
    M::new_from_slice(key).unwrap_or_else(|_| unreachable!())
}

#[inline(always)]
fn sign<M: Mac + Clone>(key: &M, packet: &[u8], sequence_high: Option<u32>, icv: &mut [u8]) {
    let mut mac = key.clone();
    mac.update(packet);
    if let Some(high) = sequence_high {
        mac.update(&high.to_be_bytes());
    }
    for (byte, full) in icv.iter_mut().zip(mac.finalize().into_bytes()) {
        *byte = full;
    }
}
