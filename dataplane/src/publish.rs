//! Tables from control to the workers and back.
//!
//! Control pushes a whole snapshot into each worker's bounded queue; a worker takes the newest between
//! bursts and hands the old one back, so memory is always freed on control's thread. A worker that
//! lags finds only newer snapshots: the queue drops the oldest, never the newest.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::stats::WorkerStats;
use crate::tables::Snapshot;
use crate::watch::Session;

/// Snapshots on their way to a worker.
const UPDATES: usize = 8;
/// Snapshots on their way back. A worker takes no update while this is full.
const RETIRED: usize = 64;

struct Mailbox {
    updates: ArrayQueue<Arc<Snapshot>>,
    retired: ArrayQueue<Arc<Snapshot>>,
}

/// Control's end: publishes to all workers.
pub struct Publisher {
    workers: Vec<(Arc<Mailbox>, Arc<WorkerStats>)>,
    generation: u64,
    watched: Vec<Arc<Session>>,
    latest: Arc<Snapshot>,
}

/// A worker's end.
pub struct Subscriber {
    mailbox: Arc<Mailbox>,
}

impl Publisher {
    /// A publisher for workers with these counters, and each worker's end, in the same order.
    pub fn new(workers: impl IntoIterator<Item = Arc<WorkerStats>>) -> (Self, Vec<Subscriber>) {
        let workers: Vec<_> = workers
            .into_iter()
            .map(|stats| {
                let mailbox =
                    Mailbox { updates: ArrayQueue::new(UPDATES), retired: ArrayQueue::new(RETIRED) };
                (Arc::new(mailbox), stats)
            })
            .collect();
        let subscribers =
            workers.iter().map(|(mailbox, _)| Subscriber { mailbox: Arc::clone(mailbox) }).collect();
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
        for (mailbox, _) in &self.workers {
            // The returned snapshot, if any, was never taken by the worker.
            drop(mailbox.updates.force_push(Arc::clone(&tables)));
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
        self.workers.iter().map(|(m, _)| std::iter::from_fn(|| m.retired.pop()).map(drop).count()).sum()
    }

    /// The generation that was published last.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The generation that each worker uses.
    pub fn applied(&self) -> impl Iterator<Item = u64> {
        self.workers.iter().map(|(_, stats)| stats.generation.get())
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
        !self.mailbox.updates.is_empty()
    }

    /// Replaces `tables` by the newest snapshot, if there is one. True when it did. `adopt` sees the new ones before
    /// the old ones, and what they hold, may be freed.
    #[inline(never)]
    pub(crate) fn take(&self, tables: &mut Arc<Snapshot>, mut adopt: impl FnMut(&Snapshot)) -> bool {
        let mut taken = false;
        while !self.mailbox.retired.is_full() {
            let Some(newer) = self.mailbox.updates.pop() else { break };
            let old = std::mem::replace(tables, newer);
            adopt(tables);
            // This worker is the only one that pushes, and saw room.
            let _ = self.mailbox.retired.push(old);
            taken = true;
        }
        taken
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
        let (mut publisher, subscriber) = one_worker();
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
        assert_eq!(publisher.reap(), UPDATES);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_worker_never_frees_even_when_control_is_away() {
        let (mut publisher, subscriber) = one_worker();
        let mut tables = Arc::new(Snapshot::default());
        let mailbox = Arc::clone(&subscriber.mailbox);
        for generation in 0..1000 {
            let snapshot = Arc::new(Snapshot { generation, ..Snapshot::default() });
            drop(mailbox.updates.force_push(snapshot));
            subscriber.take(&mut tables, |_| {});
        }
        assert_eq!(mailbox.retired.len(), RETIRED);
        publisher.reap();
        assert!(subscriber.take(&mut tables, |_| {}));
        assert_eq!(tables.generation, 999);
    }
}
