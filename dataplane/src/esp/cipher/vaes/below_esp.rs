//! For tests: the AEAD with associated data of any length, over the same steps as a burst.

use core::arch::x86_64::{_mm_set_epi64x, _mm_setzero_si128, _mm_shuffle_epi8, _mm_xor_si128};

use super::vector::{Block, reversed};
use super::*;

impl VaesKey {
    /// Encrypts in place under a nonce that begins with the key's salt, and gives the ICV.
    pub(in super::super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        // SAFETY: there is a VaesKey.
        unsafe { crypt::<false>(&self.0, nonce, aad, text) }
    }

    /// Decrypts in place; whether the ICV is right.
    pub(in super::super) fn decrypt(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        icv: [u8; 16],
    ) -> bool {
        // SAFETY: there is a VaesKey.
        unsafe { crypt::<true>(&self.0, nonce, aad, text) == icv }
    }
}

#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn crypt<const OPEN: bool>(key: &GcmKey, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
    assert_eq!(nonce[..4], key.salt);
    let mut esp = [&[0; 8][..], &nonce[4..], text, &[0; 16]].concat();
    let mut parts = Parts::split(&mut esp).unwrap();
    let h = load16(&key.powers_from(1)[0]);
    let mut hash = _mm_setzero_si128();
    for (at, bytes) in aad.chunks(BLOCK_LEN).enumerate() {
        let mut block = [0; BLOCK_LEN];
        block[..bytes.len()].copy_from_slice(bytes);
        if at > 0 {
            hash = ghash::multiply(hash, h);
        }
        hash = _mm_xor_si128(hash, _mm_shuffle_epi8(load16(&block), reversed()));
    }
    let lengths = _mm_set_epi64x(aad.len() as i64 * 8, text.len() as i64 * 8);
    let hash = parts.chunks::<OPEN>(key, hash);
    let first = parts.first(hash);
    let sum_of_last = |parts: &mut Parts<'_>| {
        let (text, len) = parts.last();
        last_sum(key, text, len, first, lengths)
    };
    let received = OPEN.then(|| sum_of_last(&mut parts));
    let pad = parts.count_last(key);
    let sum = received.unwrap_or_else(|| sum_of_last(&mut parts));
    let mut icv = [0; ICV_LEN];
    store16(&mut icv, icvs(&[Begun { hash, sum, pad }])[0]);
    let len = text.len();
    text.copy_from_slice(&esp[16..16 + len]);
    icv
}
