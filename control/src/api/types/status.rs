//! `show status`: the whole gateway on one screen.

use serde::{Deserialize, Serialize};

use super::IkeStatus;

/// The gateway at a glance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// Name of this node.
    pub node: String,
    /// Version of the running daemon.
    pub version: String,
    /// Version of DPDK.
    pub dpdk: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// File of the running configuration.
    pub config_source: String,
    /// Network namespace of the twins.
    pub netns: String,
    /// Newest generation of the tables.
    pub generation: u64,
    /// Workers that have it, of all workers.
    pub workers: UpCount,
    /// Ports whose link is up, of all ports.
    pub ports: UpCount,
    /// Tunnels that are up, of all tunnels.
    pub tunnels: UpCount,
    /// Tenants.
    pub tenants: u64,
    /// Prefixes over all tables.
    pub routes: u64,
    /// Neighbours.
    pub neighbors: u64,
    /// Packets received by the workers.
    pub rx_packets: u64,
    /// Packets sent by the workers.
    pub tx_packets: u64,
    /// Packets dropped by the workers.
    pub dropped: u64,
    /// Frames that the kernel's twins took.
    #[serde(default)]
    pub twin_punted: u64,
    /// Frames of the kernel's twins that went to the workers.
    #[serde(default)]
    pub twin_injected: u64,
    /// Frames lost between workers and twins, either way: a full queue, a twin that is down.
    #[serde(default)]
    pub twin_lost: u64,
    /// IPsec security associations whose keys come from a file.
    #[serde(default)]
    pub static_sas: u64,
    /// Outbound ones that were stopped, because their keys have been in use for as long as is safe.
    #[serde(default)]
    pub stopped_sas: u64,
    /// Why workers may not encrypt, where they may not.
    #[serde(default)]
    pub no_lease: Option<String>,
    /// Why workers do not get new sender IDs, while they have old ones.
    #[serde(default)]
    pub no_renewal: Option<String>,
    /// Negotiation; absent: no tunnel has `ike`.
    #[serde(default)]
    pub ike: Option<IkeStatus>,
    /// The last reload, if there was one.
    pub last_reload: Option<LastReload>,
    /// What an operator should look at, most urgent first. The server fills it in from the other tables.
    #[serde(default)]
    pub attention: Vec<String>,
}

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UpCount {
    /// In the good state.
    pub up: u64,
    /// In all.
    pub total: u64,
}

/// How the last reload went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LastReload {
    /// Seconds ago.
    pub age_s: u64,
    /// Changes that were applied.
    pub changes: u64,
    /// Why it was refused; absent: it worked.
    pub error: Option<String>,
}
