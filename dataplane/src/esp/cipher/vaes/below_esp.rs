//! For tests: keys for vectors that are not the widest, and the AEAD with associated data of any length, over the code of a packet.

use core::arch::x86_64::_mm_setzero_si128;

use super::vector::Block;
use super::*;

impl VaesKey {
    /// The same key, in 256-bit vectors only.
    pub(in super::super) fn narrow(keys: &KeyMaterial) -> Self {
        assert!(Width::widest().is_some());
        // SAFETY: the processor has AVX2, AES, VAES and VPCLMULQDQ, as was just asked.
        let key = unsafe { GcmKey::new(keys.encryption(), keys.salt(), Width::Bits256) };
        Self(Slot::allocate(key))
    }

    /// Encrypts in place under a nonce that begins with the key's salt, and gives the ICV.
    pub(in super::super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        // SAFETY: there is a VaesKey.
        unsafe { crypt_below::<false>(&self.0, nonce, aad, text) }
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
        unsafe { crypt_below::<true>(&self.0, nonce, aad, text) == icv }
    }
}

#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn crypt_below<const OPEN: bool>(key: &GcmKey, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Block {
    assert_eq!(nonce[..4], key.salt);
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
    let mut longer = [&*text, &[0; ICV_LEN]].concat();
    let iv = nonce[4..].try_into().unwrap();
    let mut icv = [0; ICV_LEN];
    store16(&mut icv, crypt::<OPEN>(key, iv, hash, aad.len() as i64 * 8, &mut longer));
    text.copy_from_slice(&longer[..text.len()]);
    icv
}
