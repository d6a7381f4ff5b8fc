//! Security associations from control to the workers and back.
//!
//! Each worker has a bounded queue of changes, which it takes between bursts, a few a turn, in the order they were
//! made; one change holds up nothing but itself. What a worker lets go of travels back and is freed by control. Every
//! change has a number, and control can tell which workers have it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rtrb::{Consumer, Producer, PushError, RingBuffer};

use super::iv::{Lease, Sender};
use super::key_memory::Slot;
use super::sa::{Inbound, InboundSpec, Numbering, Outbound, OutboundSpec, SaCounters};
use super::table::SaTable;
use crate::ids::TunnelId;
use crate::stats::WorkerStats;

/// Changes on their way to a worker; more wait with control.
const CHANGES: usize = 1024;
/// What is on its way back. A worker takes no change while this is full.
const RETIRED: usize = 1024;
/// Changes that a worker takes in one turn.
const CHANGES_A_TURN: usize = 32;

enum Change {
    SetInbound(u32, Slot<Inbound>),
    RemoveInbound(u32),
    SetOutbound(Slot<Outbound>),
    ClearOutbound(TunnelId),
    Send(Sender),
    SendNothing,
    /// Another worker's change had this number.
    Nothing,
}

/// Only held until control frees it.
enum Retired {
    Inbound { _sa: Slot<Inbound> },
    Outbound { _sa: Slot<Outbound> },
    Sender { _used_up: Sender },
}

struct ToWorker {
    changes: Producer<(u64, Change)>,
    retired: Consumer<Retired>,
    stats: Arc<WorkerStats>,
    backlog: VecDeque<(u64, Change)>,
}

/// A worker's end.
pub struct SaReceiver {
    changes: Consumer<(u64, Change)>,
    retired: Producer<Retired>,
}

/// An installed association, for control: its counters on each worker.
#[derive(Clone)]
pub struct SaHandle {
    installed: Installed,
    /// Of an inbound one: its slot, and the change that put it there.
    slot: Option<(u32, u64)>,
    shared: Option<Arc<AtomicU64>>,
}

/// What each worker has, in the order of the workers.
#[derive(Clone)]
enum Installed {
    Inbound(Vec<Slot<Inbound>>),
    Outbound(Vec<Slot<Outbound>>),
}

impl SaHandle {
    /// The counters, in the order of the workers.
    pub fn counters(&self) -> impl Iterator<Item = &SaCounters> {
        let (inbound, outbound): (&[_], &[_]) = match &self.installed {
            Installed::Inbound(all) => (all, &[]),
            Installed::Outbound(all) => (&[], all),
        };
        inbound.iter().map(|sa| &sa.counters).chain(outbound.iter().map(|sa| &sa.counters))
    }

    /// Sum over the workers.
    pub fn total(&self, counter: impl Fn(&SaCounters) -> &crate::stats::Counter) -> u64 {
        self.counters().map(|of_worker| counter(of_worker).get()).sum()
    }

    /// The largest number that was given out or received.
    pub fn newest_sequence(&self) -> u64 {
        let of_counters = || self.counters().map(|of_worker| of_worker.sequence.get()).max().unwrap_or(0);
        match (&self.shared, &self.installed) {
            (Some(shared), _) => shared.load(std::sync::atomic::Ordering::Relaxed),
            (None, Installed::Inbound(all)) => {
                let window = all.first().and_then(|sa| sa.replay.as_ref());
                window.map_or_else(of_counters, |window| window.newest())
            }
            (None, Installed::Outbound(_)) => of_counters(),
        }
    }

    /// Ends its life: from now on workers drop all of its packets as [`crate::drop_reason::DropReason::EspLifetime`].
    /// Takes effect at once, without a change that travels, and stays so; it remains installed until it is removed or
    /// replaced.
    pub fn stop(&self) {
        match &self.installed {
            Installed::Inbound(all) => all.iter().for_each(|sa| sa.stop()),
            Installed::Outbound(all) => all.iter().for_each(|sa| sa.stop()),
        }
    }
}

/// The associations that a worker has room for are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no room for more than {0} inbound security associations")]
pub struct FeedFull(pub usize);

/// Control's end: changes go to all workers.
pub struct SaFeed {
    workers: Vec<ToWorker>,
    generation: u64,
    capacity: usize,
    /// Slots that all workers have emptied.
    free: Vec<u32>,
    /// What is in each slot used so far: the change that put it there, or 0.
    slots: Vec<u64>,
    /// Slots that are free once all workers have this generation.
    emptied: VecDeque<(u64, u32)>,
}

impl SaFeed {
    /// A feed for workers with these counters, and each worker's end, in the same order. A worker takes up to
    /// `capacity` inbound associations.
    pub fn new(
        workers: impl IntoIterator<Item = Arc<WorkerStats>>,
        capacity: usize,
    ) -> (Self, Vec<SaReceiver>) {
        let ends = |stats| {
            let (changes, to_worker) = RingBuffer::new(CHANGES);
            let (from_worker, retired) = RingBuffer::new(RETIRED);
            let receiver = SaReceiver { changes: to_worker, retired: from_worker };
            (ToWorker { changes, retired, stats, backlog: VecDeque::new() }, receiver)
        };
        let (workers, receivers) = workers.into_iter().map(ends).unzip();
        let (free, slots, emptied) = (Vec::new(), Vec::new(), VecDeque::new());
        let feed = Self { workers, generation: 0, capacity, free, slots, emptied };
        (feed, receivers)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Has all workers accept packets under an SPI. One with the same endpoint and SPI must be removed first.
    ///
    /// # Errors
    /// When there is no room.
    pub fn add_inbound(&mut self, spec: &InboundSpec) -> Result<SaHandle, FeedFull> {
        self.reuse_slots();
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.capacity => {
                self.slots.push(0);
                self.slots.len() as u32 - 1
            }
            None => return Err(FeedFull(self.capacity)),
        };
        let newest = Arc::default();
        let installed: Vec<_> =
            self.workers.iter().map(|_| Slot::allocate(Inbound::new(spec, Arc::clone(&newest)))).collect();
        self.generation += 1;
        if let Some(in_slot) = self.slots.get_mut(slot as usize) {
            *in_slot = self.generation;
        }
        for (worker, sa) in self.workers.iter_mut().zip(&installed) {
            worker.backlog.push_back((self.generation, Change::SetInbound(slot, sa.clone())));
        }
        self.turn();
        Ok(SaHandle {
            installed: Installed::Inbound(installed),
            slot: Some((slot, self.generation)),
            shared: None,
        })
    }

    /// Has all workers forget an inbound association. One that was removed before is not removed again.
    pub fn remove_inbound(&mut self, handle: &SaHandle) {
        let Some((slot, added)) = handle.slot else { return };
        match self.slots.get_mut(slot as usize) {
            Some(in_slot) if *in_slot == added => *in_slot = 0,
            _ => return,
        }
        self.change_all(|| Change::RemoveInbound(slot));
        self.emptied.push_back((self.generation, slot));
    }

    /// Has all workers seal a tunnel's packets under an association, in place of the one before.
    pub fn set_outbound(&mut self, spec: &OutboundSpec) -> SaHandle {
        let installed: Vec<_> = self.workers.iter().map(|_| Slot::allocate(Outbound::new(spec))).collect();
        self.generation += 1;
        for (worker, sa) in self.workers.iter_mut().zip(&installed) {
            worker.backlog.push_back((self.generation, Change::SetOutbound(sa.clone())));
        }
        self.turn();
        let shared = match &spec.numbering {
            Numbering::Shared(counter) => Some(Arc::clone(counter)),
            Numbering::PerCore | Numbering::Pinned { .. } => None,
        };
        SaHandle { installed: Installed::Outbound(installed), slot: None, shared }
    }

    /// Has all workers send nothing by a tunnel any more.
    pub fn clear_outbound(&mut self, tunnel: TunnelId) {
        self.change_all(|| Change::ClearOutbound(tunnel));
    }

    /// Gives a worker the right to encrypt. A lease that it had before is given up.
    pub fn lease(&mut self, worker: usize, lease: Lease) {
        self.tell_one(worker, Change::Send(Sender::new(lease)));
    }

    /// Takes the right to encrypt from a worker: its lease must not be used any more.
    pub fn end_lease(&mut self, worker: usize) {
        self.tell_one(worker, Change::SendNothing);
    }

    fn tell_one(&mut self, worker: usize, change: Change) {
        let mut change = Some(change);
        self.generation += 1;
        for (number, to) in self.workers.iter_mut().enumerate() {
            let change = if number == worker { change.take() } else { None };
            to.backlog.push_back((self.generation, change.unwrap_or(Change::Nothing)));
        }
        self.turn();
    }

    /// Hands on what had to wait and frees what workers let go of. To be called now and then.
    pub fn turn(&mut self) {
        for worker in &mut self.workers {
            while let Some(change) = worker.backlog.pop_front() {
                if let Err(PushError::Full(change)) = worker.changes.push(change) {
                    worker.backlog.push_front(change);
                    break;
                }
            }
            while worker.retired.pop().is_ok() {}
        }
    }

    /// The number of the last change.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether all workers have this change and those before it.
    pub fn is_applied(&self, generation: u64) -> bool {
        // A worker that has a later change has this one too: a queue keeps its order.
        self.workers.iter().all(|worker| worker.stats.sa_generation.get() >= generation)
    }

    fn change_all(&mut self, change: impl Fn() -> Change) {
        self.generation += 1;
        for worker in &mut self.workers {
            worker.backlog.push_back((self.generation, change()));
        }
        self.turn();
    }

    fn reuse_slots(&mut self) {
        while let Some((generation, slot)) = self.emptied.front().copied()
            && self.is_applied(generation)
        {
            self.emptied.pop_front();
            self.free.push(slot);
        }
    }
}

impl SaReceiver {
    /// Nothing ever comes.
    pub(crate) fn unconnected() -> Self {
        Self { changes: RingBuffer::new(1).1, retired: RingBuffer::new(1).0 }
    }

    /// Takes a few changes. True when there was one.
    #[inline(always)]
    pub(crate) fn take(
        &mut self,
        table: &mut SaTable,
        sender: &mut Option<Sender>,
        stats: &WorkerStats,
    ) -> bool {
        !self.changes.is_empty() && self.take_some(table, sender, stats)
    }

    #[inline(never)]
    fn take_some(&mut self, table: &mut SaTable, sender: &mut Option<Sender>, stats: &WorkerStats) -> bool {
        for _ in 0..CHANGES_A_TURN {
            if self.retired.is_full() {
                break;
            }
            let Ok((generation, change)) = self.changes.pop() else { break };
            let retired = match change {
                Change::SetInbound(slot, sa) => {
                    table.set_inbound(slot, sa).map(|_sa| Retired::Inbound { _sa })
                }
                Change::RemoveInbound(slot) => table.remove_inbound(slot).map(|_sa| Retired::Inbound { _sa }),
                Change::SetOutbound(sa) => table.set_outbound(sa).map(|_sa| Retired::Outbound { _sa }),
                Change::ClearOutbound(tunnel) => {
                    table.clear_outbound(tunnel).map(|_sa| Retired::Outbound { _sa })
                }
                Change::SendNothing => sender.take().map(|_used_up| Retired::Sender { _used_up }),
                Change::Send(lease) => sender.replace(lease).map(|_used_up| Retired::Sender { _used_up }),
                Change::Nothing => None,
            };
            if let Some(retired) = retired {
                // This worker is the only one that pushes, and saw room.
                let _ = self.retired.push(retired);
            }
            stats.sa_generation.set(generation);
        }
        true
    }
}

#[cfg(test)]
mod tests;
