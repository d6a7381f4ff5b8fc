//! What somebody wants to see, and the rings between the workers and whoever reads.
//!
//! Each worker has two: of empty journeys, which control fills at the start and again with those it has read, and of
//! those to be read. A worker that finds no empty one to spare counts what is not caught, and goes on.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::journey::{End, Journey};
use crate::drop_reason::DropReason;
use crate::frame::BURST;
use crate::ids::TunnelId;
use crate::stats::Counter;

/// Sessions at the same time.
pub const MAX_SESSIONS: usize = 4;

/// Which ends are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Drops {
    /// Any end.
    #[default]
    Any,
    /// Packets that are dropped, whatever for.
    All,
    /// Packets that are dropped for this reason.
    Only(DropReason),
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSpec {
    /// Bytes to keep of each packet at each place.
    pub snaplen: usize,
    /// Keep frames as they come and leave.
    pub outer: bool,
    /// Keep packets as they come out of tunnels and go into them.
    pub inner: bool,
    /// Only packets that have to do with this tunnel.
    pub tunnel: Option<TunnelId>,
    /// Only packets that end so.
    pub drops: Drops,
    /// Packets of each worker that may wait to be read.
    pub waiting: usize,
}

/// One worker's part of a session.
struct Ring {
    empty: ArrayQueue<Box<Journey>>,
    caught: ArrayQueue<Box<Journey>>,
    /// Packets that were looked at.
    seen: Counter,
    /// Packets that were wanted and found no room.
    missed: Counter,
}

/// Something that is watched, until it is taken out of the tables.
pub struct Session {
    id: u64,
    spec: WatchSpec,
    rings: Box<[Ring]>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Session {
    /// A session for so many workers, with all the memory that it will need.
    pub fn new(id: u64, spec: WatchSpec, workers: usize) -> Arc<Self> {
        let room = |wanted: bool| if wanted { spec.snaplen } else { 0 };
        // A burst is looked at before anybody knows which of its packets are wanted.
        let places = spec.waiting + 2 * BURST;
        let ring = |_| {
            let empty = ArrayQueue::new(places);
            for _ in 0..places {
                let journey = Box::new(Journey::with_room(room(spec.outer), room(spec.inner)));
                // There are as many places as journeys.
                drop(empty.push(journey));
            }
            Ring {
                empty,
                caught: ArrayQueue::new(places),
                seen: Counter::default(),
                missed: Counter::default(),
            }
        };
        Arc::new(Self { id, spec, rings: (0..workers).map(ring).collect() })
    }

    /// Tells it from other sessions.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is wanted.
    pub fn spec(&self) -> &WatchSpec {
        &self.spec
    }

    /// How many workers it is for.
    pub fn workers(&self) -> usize {
        self.rings.len()
    }

    /// The next packet that a worker caught, in the order of their ends.
    pub fn take(&self, worker: usize) -> Option<Box<Journey>> {
        self.rings.get(worker)?.caught.pop()
    }

    /// Gives a packet's memory back to its worker.
    pub fn give_back(&self, journey: Box<Journey>) {
        if let Some(ring) = self.rings.get(usize::from(journey.worker)) {
            // All journeys of a ring fit into it.
            drop(ring.empty.push(journey));
        }
    }

    /// Packets that the workers looked at.
    pub fn seen(&self) -> u64 {
        self.rings.iter().map(|ring| ring.seen.get()).sum()
    }

    /// Packets that were wanted but not caught, because nobody read fast enough.
    pub fn missed(&self) -> u64 {
        self.rings.iter().map(|ring| ring.missed.get()).sum()
    }

    /// An empty journey, and the number of the packet. On the worker.
    pub(super) fn open(&self, worker: usize) -> Option<(Box<Journey>, u64)> {
        let ring = self.rings.get(worker)?;
        ring.seen.add(1);
        let number = ring.seen.get();
        let journey = ring.empty.pop();
        if journey.is_none() {
            ring.missed.add(1);
        }
        journey.map(|journey| (journey, number))
    }

    /// The packet has ended. On the worker.
    pub(super) fn close(&self, worker: usize, journey: Box<Journey>) {
        let Some(ring) = self.rings.get(worker) else { return };
        if !self.wants(&journey) {
            drop(ring.empty.push(journey));
            return;
        }
        // What is left must suffice for all packets in hand.
        if ring.empty.len() < BURST {
            ring.missed.add(1);
            drop(ring.empty.push(journey));
            return;
        }
        drop(ring.caught.push(journey));
    }

    fn wants(&self, journey: &Journey) -> bool {
        let is_dropped = match (self.spec.drops, journey.end) {
            (Drops::Any, _) | (Drops::All, End::Dropped(_)) => true,
            (Drops::Only(wanted), End::Dropped(reason)) => wanted == reason,
            _ => false,
        };
        is_dropped && self.spec.tunnel.is_none_or(|tunnel| journey.concerns(tunnel))
    }
}
