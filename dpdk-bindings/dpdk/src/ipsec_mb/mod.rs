//! Intel's multi-buffer crypto library for IPsec, made safe.
//!
//! * [`Library::load`] opens the library at run time; without it the caller falls back to another cipher.
//! * Keys ([`GcmKey`], [`CbcKey`], [`HmacKey`], [`ChaChaKey`]) are expanded once, off the data path, and
//!   shared by all threads read-only. They cannot be printed and are wiped when they go.
//! * A [`Manager`] belongs to one thread. It seals and opens AES-GCM packet by packet, and a batch of
//!   [`Job`]s of the other suites at once, each packet with keys of its own.
//!
//! Invariants: no buffer is known to the library after a call returns; nothing here allocates, locks or
//! logs per packet; whether a packet is authentic is decided in constant time.
//!
//! The module is there only where the machine that built it had the library's header (`cfg(ipsec_mb)`).

mod batch;
mod chacha;
mod compare;
mod error;
mod fetch;
mod gcm;
mod instance;
mod job;
mod keys;
mod library;
mod manager;
mod place;
#[cfg(test)]
mod tests;

pub use error::{KeyError, LoadError};
pub use gcm::GcmKey;
pub use job::{Job, Keys};
pub use keys::{CbcKey, ChaChaKey, Hash, HmacKey};
pub use library::Library;
pub use manager::Manager;
