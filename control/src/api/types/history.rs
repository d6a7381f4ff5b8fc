//! The last hour, for plots.

use serde::{Deserialize, Serialize};

use super::{TunnelState, UpCount};

/// What the gateway remembers of its last hour. It is kept in memory and begins when the gateway does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct History {
    /// How far back it can reach, seconds.
    pub span_s: u64,
    /// Counters as they were, oldest first.
    pub samples: Vec<Sample>,
    /// Tunnels that changed their state, or are not up, by tenant and name.
    pub tunnels: Vec<TunnelHistory>,
}

/// The gateway's counters at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sample {
    /// Seconds ago.
    pub age_s: u64,
    /// Packets received by the workers, since the start.
    pub rx_packets: u64,
    /// Packets sent by the workers, since the start.
    pub tx_packets: u64,
    /// Packets dropped by the workers, since the start.
    pub dropped: u64,
    /// Tunnels that were up, of all tunnels.
    pub tunnels: UpCount,
}

/// How a tunnel was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TunnelHistory {
    /// Its owner.
    pub tenant: String,
    /// Its name.
    pub tunnel: String,
    /// Its states, oldest first.
    pub states: Vec<StateChange>,
}

/// A state that a tunnel came into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StateChange {
    /// Seconds ago, as far as it was seen.
    pub age_s: u64,
    /// The state.
    pub state: TunnelState,
    /// Why it is not up, in words.
    pub reason: Option<String>,
}
