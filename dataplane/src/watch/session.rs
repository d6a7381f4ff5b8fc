//! What somebody wants to see, and the rings between the workers and whoever reads.
//!
//! Each worker has two: of empty journeys, which control fills with those it has read, and of those to be read. A worker
//! that finds no empty one to spare counts what is not caught, and goes on. Each ring has one writer and one reader, so
//! neither ever waits for the other; a worker takes its ends of them when it starts to watch, and puts them back.

use std::sync::Arc;

use crossbeam::atomic::AtomicCell;
use rtrb::{Consumer, Producer, PushError, RingBuffer};

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

/// A worker's ends of its rings.
pub(super) struct WorkerEnd {
    empty: Consumer<Box<Journey>>,
    caught: Producer<Box<Journey>>,
    /// Empty ones at hand; there is room for all.
    #[expect(clippy::vec_box, reason = "they go through rings by pointer: a journey has kilobytes")]
    spare: Vec<Box<Journey>>,
}

/// One worker's part of a session.
struct Part {
    /// Nothing while the worker has it.
    end: AtomicCell<Option<Box<WorkerEnd>>>,
    /// Packets that were looked at.
    seen: Counter,
    /// Packets that were wanted and found no room.
    missed: Counter,
}

// A worker takes its end and puts it back without a lock.
const _: () = assert!(AtomicCell::<Option<Box<WorkerEnd>>>::is_lock_free());

/// Something that is watched, until it is taken out of the tables.
pub struct Session {
    id: u64,
    spec: WatchSpec,
    parts: Box<[Part]>,
}

/// The other end of all workers' rings: whoever reads.
pub struct SessionReader {
    rings: Box<[ReaderEnd]>,
}

struct ReaderEnd {
    empty: Producer<Box<Journey>>,
    caught: Consumer<Box<Journey>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Session {
    /// A session for so many workers, with all the memory that it will need, and what reads it.
    pub fn new(id: u64, spec: WatchSpec, workers: usize) -> (Arc<Self>, SessionReader) {
        let room = |wanted: bool| if wanted { spec.snaplen } else { 0 };
        // A burst is looked at before anybody knows which of its packets are wanted.
        let places = spec.waiting + 2 * BURST;
        let journey = || Box::new(Journey::with_room(room(spec.outer), room(spec.inner)));
        let part = |_| {
            let (to_worker, empty) = RingBuffer::new(places);
            let (caught, from_worker) = RingBuffer::new(places);
            let spare = std::iter::repeat_with(journey).take(places).collect();
            let end = AtomicCell::new(Some(Box::new(WorkerEnd { empty, caught, spare })));
            let part = Part { end, seen: Counter::default(), missed: Counter::default() };
            (part, ReaderEnd { empty: to_worker, caught: from_worker })
        };
        let (parts, rings): (Vec<_>, Vec<_>) = (0..workers).map(part).unzip();
        let session = Self { id, spec, parts: parts.into_boxed_slice() };
        (Arc::new(session), SessionReader { rings: rings.into_boxed_slice() })
    }

    /// Tells it from other sessions.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is wanted.
    pub fn spec(&self) -> &WatchSpec {
        &self.spec
    }

    /// Packets that the workers looked at.
    pub fn seen(&self) -> u64 {
        self.parts.iter().map(|part| part.seen.get()).sum()
    }

    /// Packets that were wanted but not caught, because nobody read fast enough.
    pub fn missed(&self) -> u64 {
        self.parts.iter().map(|part| part.missed.get()).sum()
    }

    /// A worker's ends of its rings; nothing while it has them, or where there is no such worker. On the worker.
    pub(super) fn take_end(&self, worker: usize) -> Option<Box<WorkerEnd>> {
        self.parts.get(worker)?.end.take()
    }

    /// The worker is done with its ends. On the worker.
    pub(super) fn put_end(&self, worker: usize, end: Box<WorkerEnd>) {
        if let Some(part) = self.parts.get(worker) {
            part.end.store(Some(end));
        }
    }

    /// An empty journey, and the number of the packet. On the worker.
    pub(super) fn open(&self, worker: usize, end: &mut WorkerEnd) -> Option<(Box<Journey>, u64)> {
        let part = self.parts.get(worker)?;
        part.seen.add(1);
        let number = part.seen.get();
        let journey = end.spare.pop().or_else(|| end.empty.pop().ok());
        if journey.is_none() {
            part.missed.add(1);
        }
        journey.map(|journey| (journey, number))
    }

    /// The packet has ended. On the worker.
    pub(super) fn close(&self, worker: usize, end: &mut WorkerEnd, journey: Box<Journey>) {
        let Some(part) = self.parts.get(worker) else { return };
        if !self.wants(&journey) {
            return end.keep(journey);
        }
        // What is left must suffice for all packets in hand.
        if end.spare.len() < BURST && end.spare.len() + end.empty.slots() < BURST {
            part.missed.add(1);
            return end.keep(journey);
        }
        if let Err(PushError::Full(journey)) = end.caught.push(journey) {
            part.missed.add(1);
            end.keep(journey);
        }
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

impl WorkerEnd {
    /// An empty journey for the next packet. All fit in.
    pub(super) fn keep(&mut self, journey: Box<Journey>) {
        self.spare.push(journey);
    }
}

impl SessionReader {
    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.rings.len()
    }

    /// The next packet that a worker caught, in the order of their ends.
    pub fn take(&mut self, worker: usize) -> Option<Box<Journey>> {
        self.rings.get_mut(worker)?.caught.pop().ok()
    }

    /// Gives a packet's memory back to its worker.
    pub fn give_back(&mut self, journey: Box<Journey>) {
        if let Some(ring) = self.rings.get_mut(usize::from(journey.worker)) {
            // All journeys of a worker fit into its ring.
            drop(ring.empty.push(journey));
        }
    }
}
