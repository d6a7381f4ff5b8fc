//! Tables from control to the workers and back.
//!
//! Control puts a whole snapshot into each worker's mailbox; a worker takes it between bursts and hands the
//! old one back, so memory is always freed on control's thread. A mailbox holds one snapshot, the newest: what a
//! worker that lags has not taken, it never sees. Neither ever waits for the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam::atomic::AtomicCell;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::stats::WorkerStats;
use crate::tables::Snapshot;
use crate::watch::Session;

/// Snapshots on their way back. A worker takes no update while this is full.
const RETIRED: usize = 64;

#[derive(Default)]
struct Mailbox {
    /// The newest tables, until the worker takes them.
    newest: AtomicCell<Option<Arc<Snapshot>>>,
    /// Whether the worker shall look: set after tables have come, and taken back before they are taken.
    news: AtomicBool,
}

// Tables are put in and taken out without a lock.
const _: () = assert!(AtomicCell::<Option<Arc<Snapshot>>>::is_lock_free());

impl Mailbox {
    /// Puts tables in. Those that come back the worker has never taken.
    fn put(&self, tables: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        let untaken = self.newest.swap(Some(tables));
        self.news.store(true, Ordering::Release);
        untaken
    }
}

struct ToWorker {
    mailbox: Arc<Mailbox>,
    retired: Consumer<Arc<Snapshot>>,
    stats: Arc<WorkerStats>,
}

/// Control's end: publishes to all workers.
pub struct Publisher {
    workers: Vec<ToWorker>,
    generation: u64,
    watched: Vec<Arc<Session>>,
    latest: Arc<Snapshot>,
}

/// A worker's end.
pub struct Subscriber {
    mailbox: Arc<Mailbox>,
    retired: Producer<Arc<Snapshot>>,
}

impl Publisher {
    /// A publisher for workers with these counters, and each worker's end, in the same order.
    pub fn new(workers: impl IntoIterator<Item = Arc<WorkerStats>>) -> (Self, Vec<Subscriber>) {
        let ends = |stats| {
            let mailbox = Arc::new(Mailbox::default());
            let (to_control, retired) = RingBuffer::new(RETIRED);
            let subscriber = Subscriber { mailbox: Arc::clone(&mailbox), retired: to_control };
            (ToWorker { mailbox, retired, stats }, subscriber)
        };
        let (workers, subscribers) = workers.into_iter().map(ends).unzip();
        (Self { workers, generation: 0, watched: Vec::new(), latest: Arc::default() }, subscribers)
    }

    /// Gives a copy of the tables to every worker and returns its generation. Also frees what workers
    /// have retired.
    pub fn publish(&mut self, tables: &Snapshot) -> u64 {
        self.generation += 1;
        let mut tables = tables.clone();
        tables.generation = self.generation;
        tables.watched.clone_from(&self.watched);
        let tables = Arc::new(tables);
        self.latest = Arc::clone(&tables);
        for worker in &self.workers {
            drop(worker.mailbox.put(Arc::clone(&tables)));
        }
        self.reap();
        self.generation
    }

    /// What the workers watch from the next tables on: at most [`crate::watch::MAX_SESSIONS`].
    pub fn watch(&mut self, sessions: Vec<Arc<Session>>) {
        self.watched = sessions;
    }

    /// The tables that were published last.
    pub fn latest(&self) -> &Arc<Snapshot> {
        &self.latest
    }

    /// Frees the tables that workers have retired; returns how many.
    pub fn reap(&mut self) -> usize {
        let freed = |worker: &mut ToWorker| std::iter::from_fn(|| worker.retired.pop().ok()).count();
        self.workers.iter_mut().map(freed).sum()
    }

    /// The generation that was published last.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation that each worker uses.
    pub fn applied(&self) -> impl Iterator<Item = u64> {
        self.workers.iter().map(|worker| worker.stats.generation.get())
    }

    /// Whether all workers use the newest tables.
    pub fn is_settled(&self) -> bool {
        self.applied().all(|generation| generation == self.generation)
    }
}

impl Subscriber {
    /// Whether there is a newer snapshot.
    #[inline(always)]
    pub(crate) fn has_news(&self) -> bool {
        self.mailbox.news.load(Ordering::Relaxed)
    }

    /// Replaces `tables` by the newest snapshot, if there is one. True when it did. `adopt` sees the new ones before
    /// the old ones, and what they hold, may be freed.
    #[inline(never)]
    pub(crate) fn take(&mut self, tables: &mut Arc<Snapshot>, adopt: impl FnOnce(&Snapshot)) -> bool {
        if self.retired.is_full() {
            return false;
        }
        // In this order: tables that come after they were looked for are news. And by an exchange: whoever takes the
        // news back has to see the tables that they were of.
        self.mailbox.news.swap(false, Ordering::AcqRel);
        let Some(newer) = self.mailbox.newest.take() else { return false };
        let old = std::mem::replace(tables, newer);
        adopt(tables);
        // This worker is the only one that pushes, and saw room.
        let _ = self.retired.push(old);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_worker() -> (Publisher, Subscriber) {
        let (publisher, mut subscribers) = Publisher::new([Arc::new(WorkerStats::new(1, 1))]);
        (publisher, subscribers.remove(0))
    }

    #[test]
    fn a_worker_gets_the_newest_and_control_frees_the_rest() {
        let (mut publisher, mut subscriber) = one_worker();
        let first = Arc::new(Snapshot::default());
        let watch = Arc::downgrade(&first);
        let mut tables = first;
        for _ in 0..100 {
            publisher.publish(&Snapshot::default());
        }
        assert!(subscriber.has_news() && subscriber.take(&mut tables, |_| {}));
        assert_eq!(tables.generation, 100);
        assert!(!subscriber.has_news() && !subscriber.take(&mut tables, |_| {}));
        assert!(watch.upgrade().is_some(), "the worker must not free tables");
        assert_eq!(publisher.reap(), 1);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_worker_never_frees_even_when_control_is_away() {
        let (mut publisher, mut subscriber) = one_worker();
        let mut tables = Arc::new(Snapshot::default());
        for generation in 0..1000 {
            let snapshot = Arc::new(Snapshot { generation, ..Snapshot::default() });
            drop(subscriber.mailbox.put(snapshot));
            subscriber.take(&mut tables, |_| {});
        }
        assert!(subscriber.has_news(), "what it could not take is still to be taken");
        assert_eq!(publisher.reap(), RETIRED);
        assert!(subscriber.take(&mut tables, |_| {}));
        assert_eq!(tables.generation, 999);
    }
}
