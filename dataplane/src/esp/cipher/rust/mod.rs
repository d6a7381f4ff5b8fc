//! The backend that every machine has: the RustCrypto crates, one packet at a time.
//!
//! They find out by themselves whether the processor has AES, carry-less multiplication and SHA, and work
//! without them too: slowly, in constant time.

mod aead;
mod cbc;
mod hmac;

use ::aes::{Aes128Enc, Aes256Enc};
use chacha20poly1305::ChaCha20Poly1305;

use self::aead::{Aead, Gcm};
use self::cbc::EncryptThenMac;
use super::job::{OpenJob, SealJob, State};
use super::{Key, expand};
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::Encryption;

/// An expanded key.
#[derive(Clone)]
pub(super) struct RustKey(Expanded);

#[derive(Clone)]
enum Expanded {
    Gcm128(Slot<Aead<Gcm<Aes128Enc>>>),
    Gcm256(Slot<Aead<Gcm<Aes256Enc>>>),
    ChaCha(Slot<Aead<ChaCha20Poly1305>>),
    EncryptThenMac(EncryptThenMac),
}

impl RustKey {
    pub(super) fn new(keys: &KeyMaterial) -> Result<Self, OutOfMemory> {
        if let Some(integrity) = keys.suite().integrity() {
            let key = EncryptThenMac::new(integrity, keys)?;
            return Ok(Self(Expanded::EncryptThenMac(key)));
        }
        Ok(Self(match keys.suite().encryption() {
            Encryption::AesGcm128 => {
                Expanded::Gcm128(Slot::new(Aead::new(keys.salt(), expand(keys.encryption())))?)
            }
            Encryption::AesGcm256 => {
                Expanded::Gcm256(Slot::new(Aead::new(keys.salt(), expand(keys.encryption())))?)
            }
            _ => Expanded::ChaCha(Slot::new(Aead::new(keys.salt(), expand(keys.encryption())))?),
        }))
    }

    #[inline(always)]
    fn seal(&self, job: &mut SealJob<'_>) -> bool {
        match &self.0 {
            Expanded::Gcm128(key) => key.seal(job),
            Expanded::Gcm256(key) => key.seal(job),
            Expanded::ChaCha(key) => key.seal(job),
            Expanded::EncryptThenMac(key) => key.seal(job),
        }
    }

    #[inline(always)]
    fn open(&self, job: &mut OpenJob<'_>) -> bool {
        match &self.0 {
            Expanded::Gcm128(key) => key.open(job),
            Expanded::Gcm256(key) => key.open(job),
            Expanded::ChaCha(key) => key.open(job),
            Expanded::EncryptThenMac(key) => key.open(job),
        }
    }

    /// Salt, round keys, and the powers of H.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        match &self.0 {
            Expanded::Gcm128(key) => key.fetch::<6>(0),
            Expanded::Gcm256(key) => key.fetch::<7>(0),
            Expanded::ChaCha(key) => key.fetch::<1>(0),
            Expanded::EncryptThenMac(key) => key.fetch(),
        }
    }
}

#[cfg(test)]
impl RustKey {
    /// The AEAD below ESP; `None` for other suites.
    pub(super) fn encrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; 16]> {
        match &self.0 {
            Expanded::Gcm128(key) => key.encrypt(nonce, aad, text),
            Expanded::Gcm256(key) => key.encrypt(nonce, aad, text),
            Expanded::ChaCha(key) => key.encrypt(nonce, aad, text),
            Expanded::EncryptThenMac(_) => None,
        }
    }

    /// The reverse; whether the ICV is right.
    pub(super) fn decrypt(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8], icv: [u8; 16]) -> bool {
        match &self.0 {
            Expanded::Gcm128(key) => key.decrypt(nonce, aad, text, icv),
            Expanded::Gcm256(key) => key.decrypt(nonce, aad, text, icv),
            Expanded::ChaCha(key) => key.decrypt(nonce, aad, text, icv),
            Expanded::EncryptThenMac(_) => false,
        }
    }
}

/// Seals the checked jobs of this backend.
pub(super) fn seal(jobs: &mut [SealJob<'_>]) {
    for job in jobs.iter_mut().filter(|job| job.state == State::Checked) {
        if let Key::Rust(key) = &job.cipher.key {
            job.state = if key.seal(job) { State::Done } else { State::Refused };
        }
    }
}

/// Opens the checked jobs of this backend.
pub(super) fn open(jobs: &mut [OpenJob<'_>]) {
    for job in jobs.iter_mut().filter(|job| job.state == State::Checked) {
        if let Key::Rust(key) = &job.cipher.key {
            job.state = if key.open(job) { State::Done } else { State::Refused };
        }
    }
}

/// What the crates use of this processor.
pub(super) fn description() -> String {
    if ::aes::hardware_accelerated() {
        "aes-gcm 0.11, AES instructions"
    } else {
        "aes-gcm 0.11, no AES instructions"
    }
    .to_owned()
}
