//! The fast backend: Intel's multi-buffer library.
//!
//! AES-GCM goes packet by packet, while the keys of the packets behind are fetched: one packet fills the
//! processor. The other suites go by batch: CBC and the hashes are chains, and only several packets side by
//! side fill it. Whose key a packet has makes no difference.
//!
//! AES-GCM decrypts while it authenticates; a packet that is not authentic is left scrambled and its job says so.

use arrayvec::ArrayVec;
use dpdk::ipsec_mb::{CbcKey, ChaChaKey, GcmKey, Hash, HmacKey, Job, Keys, Library, Manager};

use super::job::{Aad, AeadParts, OpenJob, SealJob, State};
use super::{Backend, CipherError, Key};
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::Slot;
use crate::esp::suite::{Encryption, Integrity};

/// Packets of a burst at most, by the contract of `Engine`.
const BURST: usize = 64;

/// How far ahead of the work keys are fetched: a small packet takes less time than a line from memory.
const AHEAD: usize = 3;

/// An expanded key.
#[derive(Clone)]
pub(super) enum MbKey {
    Gcm { salt: [u8; 4], key: Slot<GcmKey> },
    ChaCha(Slot<ChaChaKey>),
    Cbc(Slot<CbcKey>, Slot<HmacKey>),
    Null(Slot<HmacKey>),
}

impl MbKey {
    pub(super) fn new(keys: &KeyMaterial) -> Result<Self, CipherError> {
        let library = library()?;
        let cbc = || Slot::write(|place| CbcKey::write(place, &library, keys.encryption()).map_err(refused));
        let hmac = |integrity| {
            let hash = hash(integrity);
            Slot::write(|place| HmacKey::write(place, &library, hash, keys.integrity()).map_err(refused))
        };
        let suite = keys.suite();
        Ok(match (suite.encryption(), suite.integrity()) {
            (Encryption::Null, Some(integrity)) => Self::Null(hmac(integrity)?),
            (_, Some(integrity)) => Self::Cbc(cbc()?, hmac(integrity)?),
            (Encryption::ChaCha20Poly1305, None) => Self::ChaCha(Slot::write(|place| {
                ChaChaKey::write(place, keys.encryption(), keys.salt()).map_err(refused)
            })?),
            (_, None) => Self::Gcm {
                salt: keys.salt(),
                key: Slot::write(|place| GcmKey::write(place, &library, keys.encryption()).map_err(refused))?,
            },
        })
    }

    #[inline(always)]
    pub(super) fn fetch(&self) {
        match self {
            Self::Gcm { key, .. } => GcmKey::fetch(key),
            Self::ChaCha(key) => ChaChaKey::fetch(key),
            Self::Cbc(cbc, hmac) => {
                CbcKey::fetch(cbc);
                HmacKey::fetch(hmac);
            }
            Self::Null(hmac) => HmacKey::fetch(hmac),
        }
    }

    /// The key of a suite that goes by batch.
    #[inline(always)]
    fn batched(&self) -> Option<Keys<'_>> {
        match self {
            Self::Gcm { .. } => None,
            Self::ChaCha(key) => Some(Keys::ChaCha(key)),
            Self::Cbc(cbc, hmac) => Some(Keys::Cbc(cbc, hmac)),
            Self::Null(hmac) => Some(Keys::Null(hmac)),
        }
    }
}

/// A worker's part of the library.
pub(super) struct MbEngine {
    manager: Manager,
}

impl MbEngine {
    pub(super) fn new() -> Result<Self, CipherError> {
        let manager = Manager::new(&library()?).map_err(|_| CipherError::Unavailable(Backend::IpsecMb))?;
        Ok(Self { manager })
    }

    /// Seals the checked jobs of this backend.
    pub(super) fn seal(&mut self, jobs: &mut [SealJob<'_>]) {
        let mut has_batched = false;
        jobs.iter().take(AHEAD).for_each(|job| job.cipher.fetch());
        for n in 0..jobs.len() {
            if let Some(later) = jobs.get(n + AHEAD) {
                later.cipher.fetch();
            }
            let Some(SealJob { cipher, esp, sequence_high, state, .. }) = jobs.get_mut(n) else { break };
            match &cipher.key {
                Key::IpsecMb(MbKey::Gcm { salt, key }) if *state == State::Checked => {
                    *state = done(seal_gcm(&self.manager, *salt, key, esp, *sequence_high));
                }
                Key::IpsecMb(_) => has_batched = true,
                _ => {}
            }
        }
        if has_batched {
            self.run(jobs.iter_mut().filter_map(|SealJob { cipher, esp, sequence_high, state, .. }| {
                let keys = batched(&cipher.key).filter(|_| *state == State::Checked)?;
                Some((Job::seal(keys, esp, *sequence_high), state))
            }));
        }
    }

    /// Opens the checked jobs of this backend.
    pub(super) fn open(&mut self, jobs: &mut [OpenJob<'_>]) {
        let mut has_batched = false;
        jobs.iter().take(AHEAD).for_each(|job| job.cipher.fetch());
        for n in 0..jobs.len() {
            if let Some(later) = jobs.get(n + AHEAD) {
                later.cipher.fetch();
            }
            let Some(OpenJob { cipher, esp, sequence_high, state }) = jobs.get_mut(n) else { break };
            match &cipher.key {
                Key::IpsecMb(MbKey::Gcm { salt, key }) if *state == State::Checked => {
                    *state = done(open_gcm(&self.manager, *salt, key, esp, *sequence_high));
                }
                Key::IpsecMb(_) => has_batched = true,
                _ => {}
            }
        }
        if has_batched {
            self.run(jobs.iter_mut().filter_map(|OpenJob { cipher, esp, sequence_high, state }| {
                let keys = batched(&cipher.key).filter(|_| *state == State::Checked)?;
                Some((Job::open(keys, esp, *sequence_high), state))
            }));
        }
    }

    /// Works on a burst's packets of the other suites together.
    fn run<'j>(&mut self, mut jobs: impl Iterator<Item = (Job<'j>, &'j mut State)>) {
        loop {
            let (mut batch, mut states): (ArrayVec<_, BURST>, ArrayVec<_, BURST>) =
                jobs.by_ref().take(BURST).unzip();
            if batch.is_empty() {
                return;
            }
            self.manager.run(&mut batch);
            for (job, state) in batch.iter().zip(&mut states) {
                **state = done(job.is_done());
            }
        }
    }
}

#[inline(always)]
fn seal_gcm(
    manager: &Manager,
    salt: [u8; 4],
    key: &GcmKey,
    esp: &mut [u8],
    sequence_high: Option<u32>,
) -> bool {
    let Some(parts) = AeadParts::split(esp) else { return false };
    let aad = Aad::new(parts.header, sequence_high);
    manager.gcm_seal(key, &nonce(salt, *parts.iv), aad.as_slice(), parts.payload, parts.icv);
    true
}

#[inline(always)]
fn open_gcm(
    manager: &Manager,
    salt: [u8; 4],
    key: &GcmKey,
    esp: &mut [u8],
    sequence_high: Option<u32>,
) -> bool {
    let Some(parts) = AeadParts::split(esp) else { return false };
    let aad = Aad::new(parts.header, sequence_high);
    manager.gcm_open(key, &nonce(salt, *parts.iv), aad.as_slice(), parts.payload, parts.icv)
}

/// RFC 4106 section 4: salt and IV.
#[inline(always)]
fn nonce(salt: [u8; 4], iv: [u8; 8]) -> [u8; 12] {
    let ([s0, s1, s2, s3], [i0, i1, i2, i3, i4, i5, i6, i7]) = (salt, iv);
    [s0, s1, s2, s3, i0, i1, i2, i3, i4, i5, i6, i7]
}

#[inline(always)]
fn batched(key: &Key) -> Option<Keys<'_>> {
    match key {
        Key::IpsecMb(key) => key.batched(),
        _ => None,
    }
}

#[inline(always)]
fn done(is_done: bool) -> State {
    if is_done { State::Done } else { State::Refused }
}

fn hash(integrity: Integrity) -> Hash {
    match integrity {
        Integrity::HmacSha1 => Hash::Sha1,
        Integrity::HmacSha256 => Hash::Sha256,
        Integrity::HmacSha384 => Hash::Sha384,
        Integrity::HmacSha512 => Hash::Sha512,
    }
}

fn library() -> Result<Library, CipherError> {
    Library::load().map_err(|_| CipherError::Unavailable(Backend::IpsecMb))
}

/// `KeyMaterial::new` has checked the lengths, so that only a library without the function refuses a key.
fn refused(_: dpdk::ipsec_mb::KeyError) -> CipherError {
    CipherError::Unavailable(Backend::IpsecMb)
}

/// Version and instructions, or why it does not work here.
pub(super) fn description() -> Result<String, String> {
    let library = Library::load().map_err(|error| error.to_string())?;
    Ok(format!("intel-ipsec-mb {}, {}", library.version(), library.architecture()))
}

#[cfg(test)]
impl MbEngine {
    /// The AEAD below ESP; `None` where the library is given no such associated data.
    pub(super) fn encrypt(
        &mut self,
        key: &MbKey,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
    ) -> Option<[u8; 16]> {
        let mut icv = [0; 16];
        match key {
            MbKey::Gcm { key, .. } => self.manager.gcm_seal(key, &nonce, aad, text, &mut icv),
            _ => {
                let (mut esp, high) = around(nonce, aad, text, icv)?;
                let mut job = [Job::seal(key.batched()?, &mut esp, high)];
                self.manager.run(&mut job);
                if !job[0].is_done() {
                    return None;
                }
                icv = *esp.last_chunk()?;
                text.copy_from_slice(&esp[16..esp.len() - 16]);
            }
        }
        Some(icv)
    }

    /// The reverse; whether the ICV is right.
    pub(super) fn decrypt(
        &mut self,
        key: &MbKey,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        icv: [u8; 16],
    ) -> Option<bool> {
        if let MbKey::Gcm { key, .. } = key {
            return Some(self.manager.gcm_open(key, &nonce, aad, text, &icv));
        }
        let (mut esp, high) = around(nonce, aad, text, icv)?;
        let mut job = [Job::open(key.batched()?, &mut esp, high)];
        self.manager.run(&mut job);
        let is_authentic = job[0].is_done();
        text.copy_from_slice(&esp[16..esp.len() - 16]);
        Some(is_authentic)
    }
}

/// A packet with this associated data, if there is one.
#[cfg(test)]
fn around(nonce: [u8; 12], aad: &[u8], text: &[u8], icv: [u8; 16]) -> Option<(Vec<u8>, Option<u32>)> {
    let (header, high) = match aad.len() {
        8 => (aad.to_vec(), None),
        12 => ([&aad[..4], &aad[8..]].concat(), Some(u32::from_be_bytes(aad[4..8].try_into().ok()?))),
        _ => return None,
    };
    (!text.is_empty()).then(|| ([&header[..], &nonce[4..], text, &icv].concat(), high))
}
