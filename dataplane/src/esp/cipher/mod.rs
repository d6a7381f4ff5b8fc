//! Keys at work: sealing and opening bursts of ESP packets in place.
//!
//! A [`Cipher`] is one expanded key, immutable and shared by all workers; an [`Engine`] is a worker's own
//! tool that works with any of them. What a backend does with a burst (interleave packets, reorder) is its
//! business; results stay with their jobs. Sequence numbers, replay, padding and headers are not known
//! here: see the stages. Nothing here allocates, locks, or fails otherwise than by a job's state, once
//! `Cipher::new` and `Engine::new` are through.
//!
//! Architecture invariant: nothing that was decrypted is used before its MAC is checked; comparison takes the
//! same time whatever the bytes.

mod backend;
mod engine;
#[cfg_attr(not(ipsec_mb), path = "no_ipsec_mb.rs")]
mod ipsec_mb;
mod job;
mod peek;
mod rust;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vaes;

pub use backend::{Availability, Backend, UnknownBackend};
pub use engine::Engine;
pub use job::{OpenJob, SealJob};

use super::key::KeyMaterial;
use super::key_memory::OutOfMemory;
use super::suite::Suite;

/// A key cannot be made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// The keys were checked against another suite.
    #[error("these keys belong to {keys}, not to {suite}")]
    OtherSuite {
        /// The suite asked for.
        suite: Suite,
        /// The suite of the keys.
        keys: Suite,
    },
    /// This machine or this build does not have the backend.
    #[error("the crypto backend {0} does not work here: see `penstock show crypto`")]
    Unavailable(Backend),
    /// The system gives no more memory.
    #[error("no memory for keys")]
    OutOfMemory,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

impl From<OutOfMemory> for CipherError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

/// One key of one suite, expanded. Wiped when the last clone is dropped, kept out of core dumps.
///
/// It cannot be printed:
/// ```compile_fail
/// fn show(cipher: penstock_dataplane::esp::cipher::Cipher) -> String {
///     format!("{cipher:?}")
/// }
/// ```
#[derive(Clone)]
pub struct Cipher {
    suite: Suite,
    key: Key,
    peek: peek::Peek,
}

/// The key as its backend wants it: pointers into the memory for keys.
#[derive(Clone)]
enum Key {
    Rust(rust::RustKey),
    IpsecMb(ipsec_mb::MbKey),
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::VaesKey),
}

impl Cipher {
    /// Expands `keys`, which takes microseconds and may take memory from the system: control's work.
    ///
    /// # Errors
    /// When the keys are another suite's, the backend does not work here, or there is no memory.
    pub fn new(suite: Suite, keys: &KeyMaterial, backend: Backend) -> Result<Self, CipherError> {
        if keys.suite() != suite {
            return Err(CipherError::OtherSuite { suite, keys: keys.suite() });
        }
        let key = match backend {
            Backend::RustCrypto => Key::Rust(rust::RustKey::new(keys)?),
            Backend::IpsecMb => Key::IpsecMb(ipsec_mb::MbKey::new(keys)?),
            #[cfg(target_arch = "x86_64")]
            Backend::Vaes if vaes::Width::widest().is_some() => match vaes::VaesKey::new(keys)? {
                Some(key) => Key::Vaes(key),
                None => Key::Rust(rust::RustKey::new(keys)?),
            },
            Backend::Vaes => return Err(CipherError::Unavailable(backend)),
        };
        Ok(Self { suite, key, peek: peek::Peek::new(keys)? })
    }

    /// Its algorithms.
    #[inline(always)]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// What works with it.
    #[inline(always)]
    pub fn backend(&self) -> Backend {
        match self.key {
            Key::Rust(_) => Backend::RustCrypto,
            Key::IpsecMb(_) => Backend::IpsecMb,
            #[cfg(target_arch = "x86_64")]
            Key::Vaes(_) => Backend::Vaes,
        }
    }

    /// Asks the processor for the lines of the key that a small packet needs.
    #[inline(always)]
    pub fn fetch(&self) {
        match &self.key {
            Key::Rust(key) => key.fetch(),
            Key::IpsecMb(key) => key.fetch(),
            #[cfg(target_arch = "x86_64")]
            Key::Vaes(key) => key.fetch(),
        }
    }

    /// Decrypts the first bytes of the payload of `esp` (a packet from its ESP header to its ICV) without
    /// authentication: only to choose a core by the inner flow. Empty when `esp` has no payload.
    pub fn peek<'b>(&self, esp: &[u8], out: &'b mut [u8; 64]) -> &'b [u8] {
        self.peek.look(self.suite, esp, out)
    }
}

/// A cipher of the crates under `key`.
fn expand<C: aes::cipher::KeyInit>(key: &[u8]) -> C {
    // `KeyMaterial::new` has checked the length against the suite.
    C::new_from_slice(key).unwrap_or_else(|_| unreachable!())
}
