//! The data path of one worker: a burst from layer 2 to the transmit queues.
//!
//! The order of the stages is the whole of [`Pipeline::run`]. Every packet that enters leaves by
//! exactly one of: a port's frames, the punt queue, the reassembly table, a counted drop.
//!
//! Architecture invariant: nothing here allocates, locks, calls the system, logs, or reads the clock
//! for a packet; tables do not change while a burst runs; every loop is bounded.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::budget::Budget;
use crate::burst::{Lanes, Meta, Next};
use crate::drop_reason::DropReason;
use crate::esp::{Esp, EspParts};
use crate::frame::{BURST, Buffer, Driver, Fragmentation, RxQueue, TxQueue};
use crate::handoff::Peers;
use crate::ids::{PortId, TunnelId};
use crate::ike::{IkeBudget, IkeGate};
use crate::probe::ProbeEnd;
use crate::punt::PuntSender;
use crate::rescue::RescueBudget;
use crate::spread::Spread;
use crate::stats::WorkerStats;
use crate::tables::{Adjacency, Limits, Snapshot};

/// Rounds of route and decapsulate: outer look-up, inner look-up, and one to find a loop.
const MAX_ROUNDS: usize = 3;
/// Packets made by the pipeline that wait to be routed: ICMP errors and fragments.
const MAX_PENDING: usize = BURST * 16;
/// Attempts to give frames to a full transmit queue.
const TX_ATTEMPTS: usize = 4;

/// Something a worker learned that concerns all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A router on the way to the tunnel's remote takes outer packets of at most `mtu` bytes.
    PathMtu {
        /// The tunnel.
        tunnel: TunnelId,
        /// Outer bytes.
        mtu: u32,
    },
    /// The NAT in front of a customer's router sends from another address or port: authentic packets came from there.
    PeerMoved {
        /// The tunnel.
        tunnel: TunnelId,
        /// The inbound association that showed it.
        spi: u32,
        /// The new address.
        address: IpAddr,
        /// The new UDP port.
        port: u16,
    },
    /// An outbound association has come to its soft limit of sequence numbers.
    SequenceSoftLimit {
        /// The tunnel.
        tunnel: TunnelId,
        /// The association.
        spi: u32,
    },
}

/// What stages need beside the burst itself.
pub(crate) struct Context<D: Driver> {
    pub stats: Arc<WorkerStats>,
    pub pool: D::Pool,
    pub fragmentation: D::Fragmentation,
    pub strangers: D::Fragmentation,
    pub punt: PuntSender<D::Buffer>,
    pub probes: ProbeEnd<D::Buffer>,
    pub events: Arc<crossbeam::queue::ArrayQueue<Event>>,
    pub icmp_budget: Budget,
    pub punt_budget: Budget,
    pub ike_budget: IkeBudget,
    pub rescue_budget: RescueBudget,
    pub pending: VecDeque<(D::Buffer, Meta, Next)>,
    /// Identification of outer IPv4 packets that may be fragmented.
    pub next_ip_id: u16,
    pub now: u64,
    hz: u64,
    limits: Limits,
}

impl<D: Driver> Context<D> {
    /// Queues a packet made here; false when the queue is full (the packet is freed, not counted).
    pub fn defer(&mut self, packet: D::Buffer, meta: Meta, next: Next) -> bool {
        let room = self.pending.len() < MAX_PENDING;
        if room {
            self.pending.push_back((packet, meta, next));
        }
        room
    }
}

/// What follows a stage at whose end most packets leave.
pub(crate) enum Onward<A> {
    /// Out, by this adjacency.
    Leave(A),
    /// Another lane.
    Lane(Next),
}

/// Transmit queue of a port, and the frames on their way to it.
struct Egress<D: Driver> {
    queue: D::Tx,
    frames: ArrayVec<D::Buffer, BURST>,
    /// Their length in all.
    bytes: usize,
}

impl<D: Driver> Egress<D> {
    /// Takes a frame; it comes back when there are as many as go at once.
    #[inline(always)]
    fn push(&mut self, frame: D::Buffer) -> Result<(), D::Buffer> {
        let bytes = frame.total_len();
        self.frames.try_push(frame).map_err(|full| full.element())?;
        self.bytes += bytes;
        Ok(())
    }
}

/// What a pipeline is made of.
pub struct Parts<D: Driver> {
    /// Transmit queues by port; `None` where this worker has none.
    pub tx: Vec<Option<D::Tx>>,
    /// Where new packets come from.
    pub pool: D::Pool,
    /// Fragmentation, and reassembly of what comes from tunnels' remotes.
    pub fragmentation: D::Fragmentation,
    /// Reassembly of what comes from anybody else.
    pub strangers: D::Fragmentation,
    /// The queues to the kernel twins.
    pub punt: PuntSender<D::Buffer>,
    /// Health probes to send, and where their answers go.
    pub probes: ProbeEnd<D::Buffer>,
    /// What all workers together let pass of IKE.
    pub ike: IkeGate,
    /// What this worker learns.
    pub events: Arc<crossbeam::queue::ArrayQueue<Event>>,
    /// Counters, sized for the ports.
    pub stats: Arc<WorkerStats>,
    /// Security associations and what works with them.
    pub esp: EspParts,
    /// The way to the other workers.
    pub peers: Peers<D::Buffer>,
    /// Whether ESP packets may be handed to them when they have less to do.
    pub spread: bool,
    /// Frequency of [`Driver::now`], per second.
    pub hz: u64,
}

/// One worker's data path.
pub struct Pipeline<D: Driver> {
    pub(crate) slots: [Option<D::Buffer>; BURST],
    pub(crate) meta: [Meta; BURST],
    pub(crate) lanes: Lanes,
    pub(crate) cx: Context<D>,
    pub(crate) esp: Esp,
    pub(crate) spread: Spread<D::Buffer>,
    dead: ArrayVec<D::Buffer, BURST>,
    egress: Vec<Option<Egress<D>>>,
}

impl<D: Driver> Pipeline<D> {
    /// An idle pipeline.
    pub fn new(parts: Parts<D>) -> Self {
        let limits = Limits::default();
        let now = D::now();
        Self {
            slots: std::array::from_fn(|_| None),
            meta: [Meta::EMPTY; BURST],
            lanes: Lanes::new(),
            cx: Context {
                stats: parts.stats,
                pool: parts.pool,
                fragmentation: parts.fragmentation,
                strangers: parts.strangers,
                punt: parts.punt,
                probes: parts.probes,
                events: parts.events,
                icmp_budget: Budget::new(limits.icmp_rate, limits.icmp_burst, parts.hz, now),
                punt_budget: Budget::new(limits.punt_rate, limits.punt_burst, parts.hz, now),
                ike_budget: IkeBudget::new(parts.ike, limits.ike, parts.hz),
                rescue_budget: RescueBudget::new(&limits, parts.hz, now),
                pending: VecDeque::with_capacity(MAX_PENDING),
                next_ip_id: now as u16,
                now,
                hz: parts.hz,
                limits,
            },
            esp: Esp::new(parts.esp),
            spread: Spread::new(parts.peers, parts.spread),
            dead: ArrayVec::new(),
            egress: parts
                .tx
                .into_iter()
                .map(|queue| queue.map(|queue| Egress { queue, frames: ArrayVec::new(), bytes: 0 }))
                .collect(),
        }
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.cx.stats
    }

    /// Takes over new budgets when control changed them.
    pub fn adopt(&mut self, limits: Limits) {
        if limits != self.cx.limits {
            self.cx.icmp_budget = Budget::new(limits.icmp_rate, limits.icmp_burst, self.cx.hz, self.cx.now);
            self.cx.punt_budget = Budget::new(limits.punt_rate, limits.punt_burst, self.cx.hz, self.cx.now);
            self.cx.ike_budget.set_limits(limits.ike);
            self.cx.rescue_budget = RescueBudget::new(&limits, self.cx.hz, self.cx.now);
            self.cx.limits = limits;
        }
    }

    /// Takes over associations and leases; between bursts.
    #[inline(always)]
    pub fn adopt_associations(&mut self) {
        self.esp.adopt(&self.cx.stats);
    }

    /// Says how much of the lease is left, and how many bundles wait; now and then.
    pub fn tell(&self) {
        self.esp.tell(&self.cx.stats);
        self.cx.stats.handed_waiting.set(self.spread.peers.waiting() as u64);
    }

    /// Credits budgets and expires fragments; once a turn of the loop.
    #[inline(always)]
    pub fn tick(&mut self, now: u64) {
        self.cx.now = now;
        self.cx.icmp_budget.refill(now);
        self.cx.punt_budget.refill(now);
    }

    /// Frees fragments whose datagram did not complete in time.
    pub fn expire_fragments(&mut self) {
        self.cx.fragmentation.expire(self.cx.now);
        self.cx.strangers.expire(self.cx.now);
        self.count_lost_fragments(DropReason::ReassemblyTimeout);
    }

    /// Fragments that were taken for merging and then freed are drops after all.
    pub(crate) fn count_lost_fragments(&mut self, reason: DropReason) {
        let lost = self.cx.fragmentation.take_dropped() + self.cx.strangers.take_dropped();
        self.cx.stats.merged.sub(lost);
        self.cx.stats.drop_add(reason, lost);
    }

    /// Receives one burst and carries it all the way. Returns how many frames came.
    ///
    /// Each stage is a function of its own, called once a burst: then the processor's registers are all its own, too.
    #[inline]
    pub fn poll(&mut self, queue: &mut D::Rx, port: PortId, tables: &Snapshot) -> usize {
        // Every packet of the burst before has left its slot.
        let count = queue.receive(&mut self.slots);
        if count == 0 {
            return 0;
        }
        if let Some(counters) = self.cx.stats.port(port) {
            counters.rx_packets.add(count as u64);
            counters.rx_bursts.add(1);
            counters.rx_full_bursts.add(u64::from(count == BURST));
        }
        self.classify(count, port, tables);
        self.finish(tables);
        count
    }

    /// Everything that follows from what is in the lanes.
    #[inline(always)]
    pub(crate) fn finish(&mut self, tables: &Snapshot) {
        self.run(tables);
        while !self.cx.pending.is_empty() {
            self.load_pending();
            self.run(tables);
        }
        self.flush();
        self.flush_handed();
    }

    /// Takes note of the most packets that a turn found in one place; it may be more than this worker can do alone.
    #[inline(always)]
    pub(crate) fn note_load(&mut self, most: usize) {
        self.spread.note(most);
    }

    /// Puts a frame of the kernel twin, as it is, to what the port sends next; between bursts.
    pub fn inject(&mut self, port: PortId, frame: D::Buffer) {
        if let Some(counters) = self.cx.stats.port(port) {
            counters.injected.add(1);
        }
        // Every slot is free, but says what its last packet was.
        self.meta[0] = Meta::EMPTY;
        self.transmit(0, frame, port);
        self.reap();
    }

    /// The stages, in order.
    #[inline(always)]
    fn run(&mut self, tables: &Snapshot) {
        for _ in 0..MAX_ROUNDS {
            self.route(tables);
            if self.lanes.is_empty(Next::Endpoint) && self.lanes.is_empty(Next::TunnelAddress) {
                break;
            }
            self.terminate(tables);
            self.answer_ping(tables);
        }
        for lane in [Next::RouteV4, Next::RouteV6, Next::Endpoint, Next::TunnelAddress] {
            self.each(lane, |_, _, _| Err(DropReason::RouteLoop));
        }
        self.forward(tables);
        self.sort_out_esp(tables);
        self.encap(tables);
        self.seal(tables);
        self.rescue(tables);
        self.report_exceptions(tables);
        self.fragment_outer(tables);
        self.send(tables);
        self.punt_local(tables);
        self.retire_answers();
        self.reap();
    }

    /// Works on each packet of a lane. The survivors join the lane that `stage` names; the others die
    /// of its reason.
    #[inline(always)]
    pub(crate) fn each(
        &mut self,
        lane: Next,
        mut stage: impl FnMut(&mut D::Buffer, &mut Meta, &mut Context<D>) -> Result<Next, DropReason>,
    ) {
        let lane = self.lanes.take(lane);
        for i in lane {
            let Some(packet) = &mut self.slots[i] else { continue };
            match stage(packet, &mut self.meta[i], &mut self.cx) {
                Ok(next) => self.lanes.push(next, i),
                Err(reason) => self.kill(i, reason),
            }
        }
    }

    /// As `each`, for stages at whose end most packets leave: these are sent while they are at hand.
    #[inline(always)]
    pub(crate) fn each_leaving<'a>(
        &mut self,
        lane: Next,
        tables: &'a Snapshot,
        mut stage: impl FnMut(
            &mut D::Buffer,
            &mut Meta,
            &mut Context<D>,
        ) -> Result<Onward<&'a Adjacency>, DropReason>,
    ) {
        let lane = self.lanes.take(lane);
        for i in lane {
            let Some(mut packet) = self.slots[i].take() else { continue };
            match stage(&mut packet, &mut self.meta[i], &mut self.cx) {
                Ok(Onward::Leave(adjacency)) => self.leave(i, packet, adjacency, tables),
                Ok(Onward::Lane(next)) => {
                    self.put(i, packet);
                    self.lanes.push(next, i);
                }
                Err(reason) => self.kill_taken(i, packet, reason),
            }
        }
    }

    /// As `each`, for stages that take the packet out of its slot.
    #[inline(always)]
    pub(crate) fn each_taken(&mut self, lane: Next, mut stage: impl FnMut(&mut Self, usize, D::Buffer)) {
        let lane = self.lanes.take(lane);
        for i in lane {
            if let Some(packet) = self.slots[i].take() {
                stage(self, i, packet);
            }
        }
    }

    /// The packet in a slot.
    #[inline(always)]
    pub(crate) fn slot(&mut self, i: usize) -> Option<&mut D::Buffer> {
        self.slots[i % BURST].as_mut()
    }

    /// Takes the packet out of a slot.
    #[inline(always)]
    pub(crate) fn take(&mut self, i: usize) -> Option<D::Buffer> {
        self.slots[i % BURST].take()
    }

    /// Puts a packet (back) into a slot whose packet was taken.
    #[inline(always)]
    pub(crate) fn put(&mut self, i: usize, packet: D::Buffer) {
        self.slots[i % BURST] = Some(packet);
    }

    /// Drops the packet in a slot and counts why.
    #[inline(never)]
    pub(crate) fn kill(&mut self, i: usize, reason: DropReason) {
        self.cx.stats.drop_add(reason, 1);
        if let Some(counters) = self.meta[i % BURST].tunnel_in().and_then(|id| self.cx.stats.tunnel(id)) {
            counters.dropped.add(1);
        }
        if let Some(packet) = self.slots[i % BURST].take() {
            // Never full: as many places as slots. The alternative to the check is a panic path.
            let _ = self.dead.try_push(packet);
        }
    }

    /// Frees a packet, which was taken out of its slot, whose end is counted elsewhere.
    #[inline(always)]
    pub(crate) fn retire(&mut self, packet: D::Buffer) {
        // As in `kill`.
        let _ = self.dead.try_push(packet);
    }

    /// As `kill`, for a packet that was taken out of its slot.
    #[inline(never)]
    pub(crate) fn kill_taken(&mut self, i: usize, packet: D::Buffer, reason: DropReason) {
        self.put(i, packet);
        self.kill(i, reason);
    }

    /// Moves a packet, which was taken out of slot `i`, to its port's frames.
    #[inline(always)]
    pub(crate) fn transmit(&mut self, i: usize, packet: D::Buffer, port: PortId) {
        let Some(Some(egress)) = self.egress.get_mut(port.index()) else {
            return self.kill_taken(i, packet, DropReason::TxPortMissing);
        };
        if let Err(packet) = egress.push(packet) {
            self.transmit_next(i, packet, port);
        }
    }

    /// As `transmit`, once those before are on their way: frames of the kernel may come before a whole burst.
    #[cold]
    fn transmit_next(&mut self, i: usize, packet: D::Buffer, port: PortId) {
        self.flush();
        let egress = self.egress.get_mut(port.index()).and_then(Option::as_mut);
        let refused = match egress {
            Some(egress) => egress.push(packet).err(),
            None => Some(packet),
        };
        if let Some(packet) = refused {
            self.kill_taken(i, packet, DropReason::TxQueueFull);
        }
    }

    fn load_pending(&mut self) {
        for i in 0..BURST {
            let Some((packet, meta, next)) = self.cx.pending.pop_front() else { break };
            self.slots[i] = Some(packet);
            self.meta[i] = meta;
            self.lanes.push(next, i);
        }
        // The frames of the burst before may fill the ports' arrays.
        self.flush();
    }

    #[inline(always)]
    fn reap(&mut self) {
        if !self.dead.is_empty() {
            D::free(&mut self.dead);
        }
    }

    /// Gives the ports what is on its way to them.
    #[inline(always)]
    pub(crate) fn flush(&mut self) {
        for (port, egress) in self.egress.iter_mut().enumerate() {
            let Some(egress) = egress else { continue };
            if egress.frames.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut egress.bytes);
            let mut sent = egress.queue.send(&mut egress.frames);
            let mut lost = 0;
            if !egress.frames.is_empty() {
                for _ in 1..TX_ATTEMPTS {
                    sent += egress.queue.send(&mut egress.frames);
                }
                lost = egress.frames.iter().map(Buffer::total_len).sum();
                self.cx.stats.drop_add(DropReason::TxQueueFull, egress.frames.len() as u64);
                D::free(&mut egress.frames);
            }
            if let Some(counters) = self.cx.stats.port(PortId(port as u16)) {
                counters.tx_packets.add(sent as u64);
                counters.tx_bytes.add((bytes - lost) as u64);
            }
        }
    }
}
