//! AES-GCM (RFC 4106) and ChaCha20-Poly1305 (RFC 7634), over the `aead` crate's traits.

use aes::cipher::Array;
use aes::cipher::consts::{U12, U16};
use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::inout::InOutBuf;

use super::super::job::{Aad, AeadParts};
use super::super::job::{OpenJob, SealJob};

/// AES-GCM over an AES that can only encrypt: it needs no more, and the key is half as long.
pub(super) type Gcm<A> = AesGcm<A, U12, U16>;

/// An expanded key, and the salt that begins its nonces.
#[repr(C)]
pub(super) struct Aead<C> {
    salt: [u8; 4],
    cipher: C,
}

impl<C: AeadInOut<NonceSize = U12, TagSize = U16>> Aead<C> {
    pub(super) fn new(salt: [u8; 4], cipher: C) -> Self {
        Self { salt, cipher }
    }

    /// Encrypts in place, and gives the ICV.
    #[inline(always)]
    pub(super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], payload: &mut [u8]) -> Option<[u8; 16]> {
        let icv = self.cipher.encrypt_inout_detached(&Array(nonce), aad, InOutBuf::from(payload));
        icv.ok().map(|icv| icv.0)
    }

    /// Verifies, then decrypts in place. The crates compare in constant time.
    #[inline(always)]
    pub(super) fn decrypt(&self, nonce: [u8; 12], aad: &[u8], payload: &mut [u8], icv: [u8; 16]) -> bool {
        let buffer = InOutBuf::from(payload);
        self.cipher.decrypt_inout_detached(&Array(nonce), aad, buffer, &Array(icv)).is_ok()
    }

    pub(super) fn seal(&self, job: &mut SealJob<'_>) -> bool {
        let Some(parts) = AeadParts::split(job.esp) else { return false };
        let aad = Aad::new(parts.header, job.sequence_high);
        match self.encrypt(self.nonce(*parts.iv), aad.as_slice(), parts.payload) {
            Some(icv) => {
                *parts.icv = icv;
                true
            }
            None => false,
        }
    }

    pub(super) fn open(&self, job: &mut OpenJob<'_>) -> bool {
        let Some(parts) = AeadParts::split(job.esp) else { return false };
        let aad = Aad::new(parts.header, job.sequence_high);
        self.decrypt(self.nonce(*parts.iv), aad.as_slice(), parts.payload, *parts.icv)
    }

    #[inline(always)]
    fn nonce(&self, iv: [u8; 8]) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.salt);
        nonce[4..].copy_from_slice(&iv);
        nonce
    }
}
