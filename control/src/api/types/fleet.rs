//! `show fleet`: the store, the nodes, and what has come from whom. Keys and tokens are never part of it.

use serde::{Deserialize, Serialize};

/// The fleet as this node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Its name; absent: the configuration has no `fleet`.
    pub name: Option<String>,
    /// This node.
    pub node: String,
    /// This node's number, in all SPIs that it gives out.
    pub number: u16,
    /// Whether this node may be sent traffic.
    pub ready: bool,
    /// Why it may not, and what to do.
    pub not_ready: Vec<String>,
    /// The store.
    pub store: FleetStore,
    /// Every node of which there is a record, this one too, by name.
    pub nodes: Vec<FleetNode>,
    /// Security associations.
    pub sas: FleetSas,
    /// How long negotiations waited for the other nodes.
    pub barrier: FleetBarrier,
    /// Packets that were handed on to the node that they belong to.
    pub rescue: FleetRescue,
}

/// Whether a node may be sent traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// It may.
    pub ready: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// The store, as this node reaches it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetStore {
    /// `embedded` or `etcd`.
    pub engine: String,
    /// Which store it is; another one means that it was made anew.
    pub id: Option<String>,
    /// Whether it answers.
    pub connected: bool,
    /// Why it does not, and what to do.
    pub problem: Option<String>,
    /// Seconds since it answered last, while it does not.
    pub away_s: Option<u64>,
    /// The newest revision that was seen.
    pub revision: u64,
    /// The newest revision that all workers of this node have.
    pub applied: u64,
    /// Records that wait to be written.
    pub unwritten: u64,
    /// Times that everything was read again, with the last reason.
    pub listings: u64,
    /// Why everything was read again last.
    pub last_listing: Option<String>,
    /// Records that were refused: not sealed by this fleet, damaged, moved or old.
    pub refused: u64,
    /// The last of these, and why.
    pub last_refused: Option<String>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetNode {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// Where other nodes reach it.
    pub address: String,
    /// Its version.
    pub version: String,
    /// It is this node.
    pub here: bool,
    /// It may be sent traffic.
    pub ready: bool,
    /// The newest revision that it is known to have.
    pub applied: Option<u64>,
    /// Its clock compared with ours, milliseconds; positive: ahead.
    pub clock_ms: Option<i64>,
    /// By how much its clock is ahead of what most nodes agree on, milliseconds, if that is more than a second: nobody gets
    /// new sender IDs meanwhile.
    pub clock_off_ms: Option<i64>,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Associations that it owns, and that are here.
    pub sas: u64,
    /// Negotiations that stopped waiting for it.
    pub late: u64,
}

/// Security associations, both directions counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetSas {
    /// Negotiated here.
    pub own: u64,
    /// Negotiated by others, and received here.
    pub foreign: u64,
    /// Of nodes that are not there any more; they go on to the end of their lives.
    pub orphaned: u64,
    /// Of tunnels that this node does not have.
    pub homeless: u64,
}

/// Waiting for the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetBarrier {
    /// The longest that it waits, milliseconds.
    pub limit_ms: u64,
    /// Times that it was waited.
    pub waits: u64,
    /// Times that not all nodes answered in time.
    pub timeouts: u64,
    /// From a change until all nodes had it, the store included: half of them were not longer, microseconds.
    pub p50_us: Option<u64>,
    /// 99 of 100 were not longer, microseconds.
    pub p99_us: Option<u64>,
    /// The same, all of them.
    #[serde(default)]
    pub propagation: Durations,
}

/// How long something took, many times over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there were.
    pub count: u64,
    /// All of them together, microseconds.
    pub sum_us: u64,
    /// How many took longer than the bound before and not longer than this one, microseconds. What took longer than
    /// the last is only in `count`.
    pub buckets: Vec<(u64, u64)>,
}

/// One-hop rescue, packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetRescue {
    /// Handed on to their owners.
    pub sent: u64,
    /// Taken for others.
    pub received: u64,
    /// Came from a node but were not taken; the reasons are among the drops.
    pub refused: u64,
}
