//! Packets from one worker to another: a bounded queue for each worker, in which packets travel in bundles.
//!
//! A packet is handed on with what is known of it. That stays true on the way: control gives a number of a table to
//! something new only when all workers have seen the old thing go, and a worker takes what it was handed before it takes
//! new tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::burst::{Meta, Next};

/// Packets that travel together.
pub(crate) const BUNDLE: usize = 16;
/// Bundles that wait for a worker.
const WAITING: usize = 32;

/// Most packets that wait for one worker.
pub(crate) const MOST_WAITING: usize = BUNDLE * WAITING;

/// A packet, what is known of it, and what comes next.
pub(crate) struct Handed<B> {
    pub packet: B,
    pub meta: Meta,
    pub next: Next,
}

/// Packets from one worker, in their order.
pub(crate) struct Bundle<B> {
    pub from: u16,
    pub packets: ArrayVec<Handed<B>, BUNDLE>,
}

struct Inbox<B> {
    bundles: ArrayQueue<Bundle<B>>,
    /// Packets done with, by the worker they came from.
    done: Box<[CachePadded<AtomicU64>]>,
    /// How busy the owner is, 0 to [`BUSY`].
    load: CachePadded<AtomicU32>,
}

/// The load of a worker that does not keep up.
pub(crate) const BUSY: u32 = 256;

/// A worker's access to all others.
pub struct Peers<B> {
    me: usize,
    inboxes: Arc<[Inbox<B>]>,
    open: Vec<Bundle<B>>,
    given: Vec<u64>,
}

/// Access of so many workers to one another.
pub fn peers<B>(workers: usize) -> Vec<Peers<B>> {
    let inboxes: Arc<[Inbox<B>]> = (0..workers)
        .map(|_| Inbox {
            bundles: ArrayQueue::new(WAITING),
            done: (0..workers).map(|_| CachePadded::default()).collect(),
            load: CachePadded::default(),
        })
        .collect();
    (0..workers)
        .map(|me| Peers {
            me,
            inboxes: Arc::clone(&inboxes),
            open: (0..workers).map(|_| Bundle { from: me as u16, packets: ArrayVec::new() }).collect(),
            given: vec![0; workers],
        })
        .collect()
}

impl<B> Peers<B> {
    /// This worker's number.
    pub(crate) fn me(&self) -> usize {
        self.me
    }

    /// How many workers there are.
    pub(crate) fn count(&self) -> usize {
        self.inboxes.len()
    }

    /// Hands a packet to another worker, at the latest with the next [`Peers::flush`]. It comes back if that worker
    /// does not keep up, or if there is none.
    #[inline]
    pub(crate) fn give(&mut self, to: usize, handed: Handed<B>) -> Result<(), Handed<B>> {
        let Some(open) = self.open.get_mut(to) else { return Err(handed) };
        if open.packets.is_full() && !send(&self.inboxes, &mut self.given, self.me, to, open) {
            return Err(handed);
        }
        open.packets.try_push(handed).map_err(|full| full.element())
    }

    /// Sends what is to go. `lose` gets what cannot.
    #[inline(never)]
    pub(crate) fn flush(&mut self, mut lose: impl FnMut(Handed<B>)) {
        for (to, open) in self.open.iter_mut().enumerate() {
            if !open.packets.is_empty() && !send(&self.inboxes, &mut self.given, self.me, to, open) {
                open.packets.drain(..).for_each(&mut lose);
            }
        }
    }

    /// Bundles that wait for this worker now.
    #[inline(always)]
    pub(crate) fn waiting(&self) -> usize {
        let Some(mine) = self.inboxes.get(self.me) else { return 0 };
        // Mostly nobody hands anything on, and the length costs more.
        if mine.bundles.is_empty() { 0 } else { mine.bundles.len() }
    }

    /// The next bundle for this worker.
    pub(crate) fn take(&self) -> Option<Bundle<B>> {
        self.inboxes.get(self.me)?.bundles.pop()
    }

    /// Packets of a bundle have left; those who gave them may rely on it.
    pub(crate) fn acknowledge(&self, from: u16, packets: usize) {
        if let Some(done) = self.inboxes.get(self.me).and_then(|mine| mine.done.get(usize::from(from))) {
            done.fetch_add(packets as u64, Ordering::Release);
        }
    }

    /// Whether everything that was handed on has left.
    pub(crate) fn is_settled(&self) -> bool {
        self.inboxes.iter().zip(&self.given).all(|(inbox, given)| {
            inbox.done.get(self.me).is_none_or(|done| done.load(Ordering::Acquire) == *given)
        })
    }

    /// Says how busy this worker is.
    pub(crate) fn tell_load(&self, load: u32) {
        if let Some(mine) = self.inboxes.get(self.me) {
            mine.load.store(load, Ordering::Relaxed);
        }
    }

    /// How busy another worker says it is.
    pub(crate) fn load_of(&self, worker: usize) -> u32 {
        self.inboxes.get(worker).map_or(BUSY, |inbox| inbox.load.load(Ordering::Relaxed))
    }
}

fn send<B>(inboxes: &[Inbox<B>], given: &mut [u64], me: usize, to: usize, open: &mut Bundle<B>) -> bool {
    let (Some(inbox), Some(given)) = (inboxes.get(to), given.get_mut(to)) else { return false };
    if inbox.bundles.is_full() {
        return false;
    }
    let count = open.packets.len() as u64;
    let bundle = Bundle { from: me as u16, packets: std::mem::take(&mut open.packets) };
    match inbox.bundles.push(bundle) {
        Ok(()) => {
            *given += count;
            true
        }
        Err(bundle) => {
            open.packets = bundle.packets;
            false
        }
    }
}
