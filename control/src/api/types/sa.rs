//! `show sas`: security associations. Keys are never part of it.

use serde::{Deserialize, Serialize};

/// One security association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SaRow {
    /// Owner of the tunnel.
    pub tenant: String,
    /// Name of the tunnel.
    pub tunnel: String,
    /// Which way.
    pub direction: SaDirection,
    /// What it is used for now.
    #[serde(default)]
    pub state: SaState,
    /// The number that its packets carry, `0x00001001`.
    pub spi: String,
    /// The algorithms, `aes128gcm16`.
    pub cipher: String,
    /// The other end, address and port, as negotiated. Absent where it was not.
    #[serde(default)]
    pub peer: Option<String>,
    /// Number of the node that gave out the SPI. Absent where it was not negotiated.
    #[serde(default)]
    pub node: Option<u16>,
    /// Seconds since it was negotiated. Absent where it was not.
    #[serde(default)]
    pub age_s: Option<u64>,
    /// What is left of its life. Absent where it was not negotiated.
    #[serde(default)]
    pub budget: Option<SaBudget>,
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
    /// Selectors of our side: prefixes or ranges, with protocol and ports where they are restricted.
    pub local: Vec<String>,
    /// The same of the customer's side.
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

/// What an association is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaState {
    /// It carries what there is to carry.
    #[default]
    Current,
    /// It comes into use when the peer or IKE says so.
    Pending,
    /// It was replaced or deleted, and goes in a moment.
    Retiring,
    /// A limit of its life was reached.
    Stopped,
    /// Whoever negotiated it is gone; it goes on to the end of its life.
    Orphan,
}

/// What is left of an association's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SaBudget {
    /// Seconds.
    pub seconds: SaLeft,
    /// Bytes.
    pub bytes: SaLeft,
    /// Packets.
    pub packets: SaLeft,
}

/// How much is left of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SaLeft {
    /// Until a rekey is asked for; absent: it is not, for this.
    pub rekey: Option<u64>,
    /// Until it is stopped; absent: it is not, for this.
    pub end: Option<u64>,
}

/// Which way an association's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaDirection {
    /// From the customer's router.
    Inbound,
    /// To the customer's router.
    Outbound,
}

/// Who numbers the packets of an outbound association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
