//! Counters of one worker. Written by that worker alone, read by control at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::drop_reason::DropReason;
use crate::ids::{PortId, TunnelId};
use crate::tables::fleet::NUMBERS;

/// A counter with a single writer: adding is a plain load and store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter that stands at `n`.
    pub(crate) const fn new(n: u64) -> Self {
        Self(AtomicU64::new(n))
    }

    /// Adds. Only the owning worker may.
    #[inline(always)]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Subtracts. Only the owning worker may.
    #[inline(always)]
    pub fn sub(&self, n: u64) {
        self.add(n.wrapping_neg());
    }

    /// Sets. Only the owning worker may.
    #[inline(always)]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The current value.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One tunnel on one worker; a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TunnelCounters {
    /// Packets put into the tunnel.
    pub encap_packets: Counter,
    /// Their inner bytes.
    pub encap_bytes: Counter,
    /// Packets taken out of the tunnel.
    pub decap_packets: Counter,
    /// Their inner bytes.
    pub decap_bytes: Counter,
    /// SYNs whose MSS was lowered.
    pub clamped: Counter,
    /// Packets that came out of this tunnel and were dropped.
    pub dropped: Counter,
    /// Keepalive requests of the peer that were answered.
    pub keepalives_answered: Counter,
    /// Replies to our keepalives.
    pub keepalives_received: Counter,
}

impl TunnelCounters {
    /// Has the processor load the line, without waiting for it.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        std::hint::black_box(self.encap_packets.get());
    }
}

/// One port on one worker; a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct PortCounters {
    /// Frames received.
    pub rx_packets: Counter,
    /// Bursts that they came in: polls that found something.
    pub rx_bursts: Counter,
    /// Bursts of as many as a poll takes: more may have waited.
    pub rx_full_bursts: Counter,
    /// Frames that waited in the worker's queues when it last looked, where the device can tell.
    pub rx_waiting: Counter,
    /// Frames given to the port.
    pub tx_packets: Counter,
    /// Bytes given to the port.
    pub tx_bytes: Counter,
    /// Frames of the kernel twin given to the port.
    pub injected: Counter,
    /// Frames handed to the kernel twin.
    pub punted: Counter,
}

/// One other node of the fleet on one worker.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Packets handed to it, as it is their owner.
    pub rescued_out: Counter,
    /// Packets that it handed to us.
    pub rescued_in: Counter,
}

/// Everything one worker counts.
///
/// Conservation, at rest: received + injected + generated + handed in = sent + punted + merged + probe answers + handed out + Σ drops.
#[derive(Debug)]
pub struct WorkerStats {
    /// Per port.
    pub ports: Box<[PortCounters]>,
    drops: [Counter; DropReason::COUNT],
    tunnels: Box<[TunnelCounters]>,
    nodes: Box<[NodeCounters]>,
    /// Packets made here: ICMP errors, health probes, and the pieces of fragmented packets beyond the first.
    pub generated: Counter,
    /// Fragments that became part of another packet, or wait for the rest of theirs.
    pub merged: Counter,
    /// Answers to health probes that control was told of.
    pub probe_answers: Counter,
    /// Packets that other workers handed to this one.
    pub handed_in: Counter,
    /// Packets that this worker handed to others.
    pub handed_out: Counter,
    /// Bundles of other workers' packets that waited for this one when it last looked.
    pub handed_waiting: Counter,
    /// ICMP errors not sent because the budget was used up or no packet buffer was free.
    pub icmp_suppressed: Counter,
    /// ICMP errors sent.
    pub icmp_sent: Counter,
    /// Turns of the loop.
    pub loops: Counter,
    /// Turns that found work.
    pub busy_loops: Counter,
    /// Cycles spent in turns that found work.
    pub busy_cycles: Counter,
    /// The longest turn, cycles.
    pub longest_turn: Counter,
    /// Generation of the tables in use.
    pub generation: Counter,
    /// The last change of security associations that was taken.
    pub sa_generation: Counter,
    /// The sender ID plus 1; 0 without a lease.
    pub sender_id: Counter,
    /// Initialization vectors that the lease has left, as of late.
    pub ivs_left: Counter,
}

impl WorkerStats {
    /// Zeroed counters for so many ports and tunnel slots.
    pub fn new(ports: usize, tunnels: usize) -> Self {
        Self {
            ports: (0..ports).map(|_| PortCounters::default()).collect(),
            drops: std::array::from_fn(|_| Counter::default()),
            tunnels: (0..tunnels).map(|_| TunnelCounters::default()).collect(),
            nodes: (0..NUMBERS).map(|_| NodeCounters::default()).collect(),
            generated: Counter::default(),
            merged: Counter::default(),
            probe_answers: Counter::default(),
            handed_in: Counter::default(),
            handed_out: Counter::default(),
            handed_waiting: Counter::default(),
            icmp_suppressed: Counter::default(),
            icmp_sent: Counter::default(),
            loops: Counter::default(),
            busy_loops: Counter::default(),
            busy_cycles: Counter::default(),
            longest_turn: Counter::default(),
            generation: Counter::default(),
            sa_generation: Counter::default(),
            sender_id: Counter::default(),
            ivs_left: Counter::default(),
        }
    }

    /// Counts dropped packets.
    #[inline(always)]
    pub(crate) fn drop_add(&self, reason: DropReason, packets: u64) {
        self.drops[reason as usize].add(packets);
    }

    /// Packets dropped for this reason.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].get()
    }

    /// Packets dropped for any reason.
    pub fn drops_total(&self) -> u64 {
        self.drops.iter().map(Counter::get).sum()
    }

    /// A tunnel's counters; `None` past the slots that were asked for.
    #[inline(always)]
    pub fn tunnel(&self, id: TunnelId) -> Option<&TunnelCounters> {
        self.tunnels.get(id.index())
    }

    /// The counters of a node of the fleet, by its number; `None` past the largest.
    pub fn node(&self, number: u16) -> Option<&NodeCounters> {
        self.nodes.get(usize::from(number))
    }

    /// Packets handed to other nodes.
    pub fn rescued_out(&self) -> u64 {
        self.nodes.iter().map(|node| node.rescued_out.get()).sum()
    }

    /// Packets that other nodes handed to this one.
    pub fn rescued_in(&self) -> u64 {
        self.nodes.iter().map(|node| node.rescued_in.get()).sum()
    }

    /// A port's counters.
    #[inline(always)]
    pub fn port(&self, id: PortId) -> Option<&PortCounters> {
        self.ports.get(id.index())
    }

    /// Both sides of the conservation equation: what came to be, and what it became.
    pub fn balance(&self) -> (u64, u64) {
        let sum = |f: fn(&PortCounters) -> &Counter| self.ports.iter().map(|p| f(p).get()).sum::<u64>();
        let came =
            sum(|p| &p.rx_packets) + sum(|p| &p.injected) + self.generated.get() + self.handed_in.get();
        let went = sum(|p| &p.tx_packets) + sum(|p| &p.punted) + self.merged.get() + self.handed_out.get();
        (came, went + self.probe_answers.get() + self.drops_total())
    }
}
