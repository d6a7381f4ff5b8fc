//! `show crypto`: what encrypts, and who may.

use serde::{Deserialize, Serialize};

/// What encrypts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Crypto {
    /// What the configuration says: `auto` or a library.
    pub configured: String,
    /// Every library, the fastest first.
    pub backends: Vec<CryptoBackend>,
    /// The workers' right to make IVs.
    pub senders: Vec<Sender>,
    /// Why workers have no sender ID, in words.
    pub no_lease: Option<String>,
    /// Why workers do not get new ones, while all have old ones.
    #[serde(default)]
    pub no_renewal: Option<String>,
    /// Security associations whose keys come from a file.
    pub static_sas: u64,
    /// What to know about them.
    pub warning: Option<String>,
}

/// A library.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CryptoBackend {
    /// Its name.
    pub name: String,
    /// It works on this machine.
    pub available: bool,
    /// The suites that it is used for; none: it is not in use.
    #[serde(default)]
    pub suites: Vec<String>,
    /// Its version and the instructions that it uses, or why it does not work.
    pub detail: String,
}

/// A worker's right to make IVs (RFC 6054).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sender {
    /// CPU number of the worker.
    pub core: u32,
    /// The first 24 bits of its IVs; absent: it may not encrypt.
    pub sender_id: Option<u32>,
    /// IVs that it may still make; a new sender ID comes at half of 2^40, or after a day.
    pub ivs_left: Option<u64>,
}
