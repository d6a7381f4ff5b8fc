//! `show cores` and `show drops`.

use serde::{Deserialize, Serialize};

/// One core that Penstock uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreRow {
    /// CPU number as in the configuration and in `lscpu`.
    pub core: u32,
    /// What runs there.
    pub role: CoreRole,
    /// NUMA node of the core.
    pub numa: Option<u32>,
    /// Queues that it polls, as `port/queue`.
    pub queues: Vec<String>,
    /// Generation of the tables that it works with. Only workers have one.
    pub generation: Option<u64>,
    /// Newest generation that control has published.
    pub current_generation: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets dropped, over all reasons.
    pub dropped: u64,
    /// Packets given to the kernel's twin.
    pub punted: u64,
    /// Packets of the kernel's twin that were sent.
    pub injected: u64,
    /// Packets that other cores handed to it.
    #[serde(default)]
    pub handed_in: u64,
    /// Packets that it handed to other cores.
    #[serde(default)]
    pub handed_out: u64,
    /// Bundles of other cores' packets, of at most 16, that waited for it when it last looked.
    #[serde(default)]
    pub handoff_waiting: u64,
    /// Bursts that it received: polls of a queue that found packets.
    #[serde(default)]
    pub rx_bursts: u64,
    /// Bursts of as many packets as a poll takes: more may have waited.
    #[serde(default)]
    pub rx_full_bursts: u64,
    /// Packets that waited in its receive queues when it last looked, of those devices that can tell.
    #[serde(default)]
    pub rx_waiting: u64,
    /// Turns of its loop.
    #[serde(default)]
    pub turns: u64,
    /// Turns that found something to do.
    #[serde(default)]
    pub busy_turns: u64,
    /// TSC cycles of the turns that found something to do.
    #[serde(default)]
    pub busy_cycles: u64,
    /// TSC cycles of a second.
    #[serde(default)]
    pub cycles_hz: u64,
    /// TSC cycles a packet, over busy loops; absent before the first packet. A packet that came from another core counts
    /// as well.
    pub cycles_per_packet: Option<f64>,
    /// What it does while nothing comes. Only workers have one.
    #[serde(default)]
    pub idle_policy: Option<IdlePolicy>,
    /// Share of time without packets, 0 to 1.
    pub idle_share: Option<f64>,
    /// Longest loop since the start, microseconds. A stall shows here.
    pub max_loop_us: Option<f64>,
    /// Packets made here: ICMP errors, health probes, and pieces of fragmented packets beyond the first.
    #[serde(default)]
    pub generated: u64,
    /// Fragments that became part of another packet, or wait for the rest of theirs.
    #[serde(default)]
    pub merged: u64,
    /// Answers to health probes.
    #[serde(default)]
    pub probe_answers: u64,
    /// ICMP errors sent.
    #[serde(default)]
    pub icmp_sent: u64,
    /// ICMP errors not sent because the budget (`icmp.rate`) was used up or no packet buffer was free.
    #[serde(default)]
    pub icmp_suppressed: u64,
    /// What came to it less what became of it. 0 at rest; what is in its hands, under load.
    #[serde(default)]
    pub unaccounted: i64,
    /// The pool that its queues fill from.
    pub pool: Option<PoolUse>,
}

/// What a worker does while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdlePolicy {
    /// It looks again at once.
    Poll,
    /// The processor waits for moments.
    Pause,
    /// The core is the kernel's for moments.
    Sleep,
}

/// What a core does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CoreRole {
    /// Configuration, kernel mirror, API.
    Control,
    /// Packets.
    #[default]
    Worker,
}

/// Packet buffers of one pool. Cores of one NUMA node share a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolUse {
    /// Name of the pool.
    pub name: String,
    /// Buffers in rings, queues and caches.
    pub in_use: u32,
    /// Buffers in all.
    pub size: u32,
}

/// One reason why packets went nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    /// Stable name.
    pub reason: String,
    /// Packets, over all cores.
    pub packets: u64,
    /// Packets by core; cores with none are left out.
    pub per_core: Vec<CoreCount>,
    /// What it means and what to do about it.
    pub help: String,
}

/// A core's share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreCount {
    /// CPU number.
    pub core: u32,
    /// Packets.
    pub packets: u64,
}
