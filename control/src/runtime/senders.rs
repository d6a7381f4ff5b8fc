//! The workers' right to encrypt: who gets which lease, and when.
//!
//! The store is opened only when there is something to encrypt: a gateway of GRE tunnels needs no state directory. The
//! disk is asked on a thread of its own. What the store refuses is said, and asked for again later: GRE goes on
//! meanwhile, and what would have to be encrypted is dropped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use penstock_dataplane::esp::iv::Lease;
use penstock_dataplane::stats::WorkerStats;
use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::leases::{LeaseError, Leases};

/// IVs of a lease: 40 bits (RFC 6054 section 2).
const BUDGET: u64 = 1 << 40;
/// A worker with fewer left gets another lease.
const RENEW_BELOW: u64 = BUDGET / 2;
/// How long to wait after the store has refused.
const RETRY: Duration = Duration::from_secs(10);

struct Answer {
    leases: Option<Leases>,
    workers: Vec<usize>,
    taken: Result<Vec<Lease>, LeaseError>,
}

/// Who has which lease.
pub(super) struct Senders {
    directory: PathBuf,
    leases: Option<Leases>,
    /// The newest lease of each worker, as its counter shows it: ID plus 1.
    given: Vec<u64>,
    asked: Option<oneshot::Receiver<Answer>>,
    not_before: Option<Instant>,
    error: Option<String>,
}

impl Senders {
    pub(super) fn new(directory: PathBuf, workers: usize) -> Self {
        Self { directory, leases: None, given: vec![0; workers], asked: None, not_before: None, error: None }
    }

    /// Why there are no leases.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The store was asked at least once.
    pub(super) fn has_begun(&self) -> bool {
        self.asked.is_some() || self.leases.is_some() || self.error.is_some()
    }

    /// A lease for every worker, before anything else happens.
    pub(super) async fn begin(&mut self) -> Vec<(usize, Lease)> {
        self.ask((0..self.given.len()).collect());
        match self.asked.take() {
            Some(asked) => self.take_answer(asked.await.ok()),
            None => Vec::new(),
        }
    }

    /// Leases that came. Asks for more where a budget is half used up. To be called now and then.
    pub(super) fn turn<'w>(
        &mut self,
        stats: impl Iterator<Item = &'w WorkerStats>,
        now: Instant,
    ) -> Vec<(usize, Lease)> {
        let came = match self.asked.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(answer)) => self.take_answer(Some(answer)),
            Some(Err(TryRecvError::Closed)) => self.take_answer(None),
            Some(Err(TryRecvError::Empty)) => return Vec::new(),
            None => Vec::new(),
        };
        if self.not_before.is_none_or(|time| now >= time) {
            let wanting = stats.zip(&self.given).enumerate().filter(|(_, (stats, given))| {
                // A lease that is still on its way to the worker counts as full.
                **given == 0 || (stats.sender_id.get() == **given && stats.ivs_left.get() < RENEW_BELOW)
            });
            let workers: Vec<usize> = wanting.map(|(worker, _)| worker).collect();
            if !workers.is_empty() {
                self.ask(workers);
            }
        }
        came
    }

    fn ask(&mut self, workers: Vec<usize>) {
        let (directory, leases) = (self.directory.clone(), self.leases.take());
        let (answer, asked) = oneshot::channel();
        self.asked = Some(asked);
        let ask = move || {
            let opened = leases.map_or_else(|| Leases::open(&directory), Ok);
            let answered = match opened {
                Ok(mut leases) => {
                    let taken = leases.take_many(workers.len());
                    Answer { leases: Some(leases), workers, taken }
                }
                Err(error) => Answer { leases: None, workers, taken: Err(error) },
            };
            // Whoever asked may have ended.
            let _ = answer.send(answered);
        };
        tokio::task::spawn_blocking(ask);
    }

    /// `None`: whoever was to answer is gone.
    fn take_answer(&mut self, answer: Option<Answer>) -> Vec<(usize, Lease)> {
        self.asked = None;
        let error = match answer {
            Some(Answer { leases, workers, taken: Ok(taken) }) => {
                self.leases = leases;
                (self.error, self.not_before) = (None, None);
                let came: Vec<_> = workers.into_iter().zip(taken).collect();
                for (worker, lease) in &came {
                    tracing::info!(worker, sender_id = %lease.id(), "a worker may encrypt");
                    self.given[*worker] = u64::from(lease.id().get()) + 1;
                }
                return came;
            }
            Some(Answer { leases, taken: Err(error), .. }) => {
                self.leases = leases;
                error.to_string()
            }
            None => "the store of sender IDs did not answer, which is a bug".to_owned(),
        };
        tracing::error!("workers may not encrypt: {error}");
        self.not_before = Some(Instant::now() + RETRY);
        self.error = Some(error);
        Vec::new()
    }
}
