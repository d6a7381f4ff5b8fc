//! `show sas`: security associations. Keys are never part of it.

use serde::{Deserialize, Serialize};

/// One security association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaRow {
    /// Owner of the tunnel.
    pub tenant: String,
    /// Name of the tunnel.
    pub tunnel: String,
    /// Which way.
    pub direction: SaDirection,
    /// The number that its packets carry, `0x00001001`.
    pub spi: String,
    /// The algorithms, `aes128gcm16`.
    pub cipher: String,
    /// The library that encrypts, `ipsec-mb`.
    pub backend: String,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Packets that the replay window spans; absent: replays are accepted. Inbound only.
    pub replay_window: Option<u32>,
    /// Who numbers the packets. Outbound only.
    pub numbering: Option<SaNumbering>,
    /// The core that sends everything, when `numbering` is `pinned`.
    pub pinned_core: Option<u32>,
    /// The largest number given out, or received.
    pub sequence: u64,
    /// Numbers left until it stops; with `per_core` on the core that has the fewest. Outbound only.
    pub sequence_left: Option<u64>,
    /// The number from which on a rekey is asked for. Outbound only.
    pub soft_limit: Option<u64>,
    /// Prefixes on our side.
    pub local: Vec<String>,
    /// Prefixes on the customer's side.
    pub remote: Vec<String>,
    /// Packets sealed, or opened and found good.
    pub packets: u64,
    /// Bytes of their inner packets.
    pub bytes: u64,
    /// Packets refused: not authentic, seen before, outside the selectors, beyond the last number.
    pub drops: u64,
    /// Seconds since the last packet; absent: there was none.
    pub last_used_s: Option<u64>,
    /// By core.
    pub per_core: Vec<SaCore>,
}

/// Which way an association's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaDirection {
    /// From the customer's router.
    Inbound,
    /// To the customer's router.
    Outbound,
}

/// Who numbers the packets of an outbound association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaNumbering {
    /// Each core its own: the peer does not check for replays.
    PerCore,
    /// All cores from one counter.
    Shared,
    /// One core sends everything: the peer's window is small.
    Pinned,
}

/// A core's share of an association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaCore {
    /// CPU number.
    pub core: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes of their inner packets.
    pub bytes: u64,
    /// Packets refused.
    pub drops: u64,
}
