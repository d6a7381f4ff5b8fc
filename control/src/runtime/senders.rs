//! The workers' right to encrypt: who gets which lease, and when.
//!
//! The store is opened only when there is something to encrypt: a gateway of GRE tunnels needs no state directory. The
//! disk is asked on a thread of its own. What the store refuses is said, and asked for again later: GRE goes on
//! meanwhile, and what would have to be encrypted is dropped where a worker has no lease yet.
//!
//! A lease is replaced long before it ends: when half of its IVs are used, and after a day. Its sender ID comes round
//! after 24 days, and nobody may count under it any more then.

use std::path::PathBuf;
use std::time::Duration;

use penstock_dataplane::esp::iv::Lease;
use penstock_dataplane::stats::WorkerStats;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::clock::Now;
use super::fleet::FleetSenders;
use crate::leases::Leases;
use crate::leases::fleet::{FLEET_LEASE_LIFE, FLEET_RENEW_AFTER};

/// IVs of a lease: 40 bits (RFC 6054 section 2).
const BUDGET: u64 = 1 << 40;
/// A worker with fewer left gets another lease.
const RENEW_BELOW: u64 = BUDGET / 2;
/// A worker whose lease is older gets another one.
const RENEW_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long to wait after the store has refused.
const RETRY: Duration = Duration::from_secs(10);

struct Answer {
    leases: Option<Leases>,
    workers: Vec<usize>,
    taken: Result<Vec<Lease>, String>,
}

/// The newest lease of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    /// As the worker's counter shows it: ID plus 1.
    shown: u64,
    at: Now,
}

/// Who has which lease.
pub(super) struct Senders {
    directory: PathBuf,
    leases: Option<Leases>,
    /// Who gives out leases in a fleet.
    fleet: Option<FleetSenders>,
    /// Of each worker.
    given: Vec<Option<Given>>,
    asked: Option<oneshot::Receiver<Answer>>,
    /// When the store refused, if it did so last.
    refused: Option<Now>,
    error: Option<String>,
}

impl Senders {
    pub(super) fn new(directory: PathBuf, workers: usize) -> Self {
        Self {
            directory,
            leases: None,
            fleet: None,
            given: vec![None; workers],
            asked: None,
            refused: None,
            error: None,
        }
    }

    /// Leases come from the fleet's store from now on.
    pub(super) fn use_fleet(&mut self, fleet: FleetSenders) {
        self.fleet = Some(fleet);
    }

    /// Workers whose leases have come to their end, and no new ones came: they may not encrypt any more. Told once.
    pub(super) fn take_ended(&mut self, now: Now) -> Vec<usize> {
        if self.fleet.is_none() {
            return Vec::new();
        }
        let has_ended = |given: &Given| now.since(given.at) >= FLEET_LEASE_LIFE;
        let ended: Vec<usize> = (0..self.given.len())
            .filter(|worker| self.given[*worker].as_ref().is_some_and(has_ended))
            .collect();
        for worker in &ended {
            self.given[*worker] = None;
        }
        ended
    }

    fn renew_after(&self) -> Duration {
        if self.fleet.is_some() { FLEET_RENEW_AFTER } else { RENEW_AFTER }
    }

    /// Why workers have no lease.
    pub(super) fn no_lease(&self) -> Option<&str> {
        if self.all_have_one() || !self.has_begun() {
            return None;
        }
        Some(self.error.as_deref().unwrap_or("sender IDs are on their way from the store"))
    }

    /// Why workers do not get a new lease, while all have the one before.
    pub(super) fn no_renewal(&self) -> Option<&str> {
        self.error.as_deref().filter(|_| self.all_have_one())
    }

    fn all_have_one(&self) -> bool {
        self.given.iter().all(Option::is_some)
    }

    /// The store was asked at least once.
    pub(super) fn has_begun(&self) -> bool {
        self.asked.is_some() || self.leases.is_some() || self.error.is_some()
    }

    /// Asks for a lease for every worker; they come with a later turn.
    pub(super) fn ask_all(&mut self) {
        self.ask((0..self.given.len()).collect());
    }

    /// A lease for every worker, before anything else happens.
    pub(super) async fn begin(&mut self, now: Now) -> Vec<(usize, Lease)> {
        self.ask((0..self.given.len()).collect());
        match self.asked.take() {
            Some(asked) => self.take_answer(asked.await.ok(), now),
            None => Vec::new(),
        }
    }

    /// Leases that came. Asks for more where one is half used up or a day old. To be called now and then.
    pub(super) fn turn<'w>(
        &mut self,
        stats: impl Iterator<Item = &'w WorkerStats>,
        now: Now,
    ) -> Vec<(usize, Lease)> {
        let came = match self.asked.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(answer)) => self.take_answer(Some(answer), now),
            Some(Err(TryRecvError::Closed)) => self.take_answer(None, now),
            Some(Err(TryRecvError::Empty)) => return Vec::new(),
            None => Vec::new(),
        };
        if self.refused.is_none_or(|at| now.since(at) >= RETRY) {
            let wanting = stats.zip(&self.given).enumerate();
            let workers: Vec<usize> = wanting
                .filter(|(_, (stats, given))| wants(**given, stats, now, self.renew_after()))
                .map(|(worker, _)| worker)
                .collect();
            if !workers.is_empty() {
                self.ask(workers);
            }
        }
        came
    }

    fn ask(&mut self, workers: Vec<usize>) {
        let (answer, asked) = oneshot::channel();
        self.asked = Some(asked);
        if let Some(fleet) = self.fleet.clone() {
            tokio::spawn(async move {
                let taken = fleet.take_many(workers.len()).await.map_err(|error| error.to_string());
                // Whoever asked may have ended.
                let _ = answer.send(Answer { leases: None, workers, taken });
            });
            return;
        }
        let (directory, leases) = (self.directory.clone(), self.leases.take());
        let ask = move || {
            let opened = leases.map_or_else(|| Leases::open(&directory), Ok);
            let answered = match opened {
                Ok(mut leases) => {
                    let taken = leases.take_many(workers.len()).map_err(|error| error.to_string());
                    Answer { leases: Some(leases), workers, taken }
                }
                Err(error) => Answer { leases: None, workers, taken: Err(error.to_string()) },
            };
            // Whoever asked may have ended.
            let _ = answer.send(answered);
        };
        tokio::task::spawn_blocking(ask);
    }

    /// `None`: whoever was to answer is gone.
    fn take_answer(&mut self, answer: Option<Answer>, now: Now) -> Vec<(usize, Lease)> {
        self.asked = None;
        let error = match answer {
            Some(Answer { leases, workers, taken: Ok(taken) }) => {
                self.leases = leases;
                (self.error, self.refused) = (None, None);
                let came: Vec<_> = workers.into_iter().zip(taken).collect();
                for (worker, lease) in &came {
                    tracing::info!(worker, sender_id = %lease.id(), "a worker may encrypt");
                    self.given[*worker] = Some(Given { shown: u64::from(lease.id().get()) + 1, at: now });
                }
                return came;
            }
            Some(Answer { leases, taken: Err(error), .. }) => {
                self.leases = leases;
                error
            }
            None => "the store of sender IDs did not answer, which is a bug".to_owned(),
        };
        if self.all_have_one() {
            tracing::warn!("workers keep the sender IDs that they have: {error}");
        } else {
            tracing::error!("workers may not encrypt: {error}");
        }
        self.refused = Some(now);
        self.error = Some(error);
        Vec::new()
    }
}

/// Whether a worker needs a lease, for want of one or in place of the one that it was given last.
fn wants(given: Option<Given>, stats: &WorkerStats, now: Now, renew_after: Duration) -> bool {
    given.is_none_or(|given| {
        // One that is still on its way to the worker counts as full.
        let low = stats.sender_id.get() == given.shown && stats.ivs_left.get() < RENEW_BELOW;
        low || now.since(given.at) >= renew_after
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use penstock_dataplane::esp::iv::{LeaseStore, SenderId};

    use super::*;
    use crate::leases::MAX_KEY_LIFE;

    /// Counts; good for the life of one test.
    struct Counting(u64);

    impl LeaseStore for Counting {
        type Error = Infallible;

        fn next_sender(&mut self) -> Result<SenderId, Infallible> {
            self.0 += 1;
            Ok(SenderId::from_low_bits(self.0))
        }
    }

    fn answer(store: &mut Counting, workers: &[usize]) -> Option<Answer> {
        let taken = workers.iter().map(|_| Lease::take(store).unwrap()).collect();
        Some(Answer { leases: None, workers: workers.to_vec(), taken: Ok(taken) })
    }

    fn refusal() -> Option<Answer> {
        Some(Answer { leases: None, workers: vec![0], taken: Err("the clock is not set".into()) })
    }

    #[test]
    fn a_lease_is_replaced_at_half_of_its_ivs() {
        let (stats, now) = (WorkerStats::new(1, 1), Now::read());
        assert!(wants(None, &stats, now, RENEW_AFTER));
        let given = Some(Given { shown: 8, at: now });
        assert!(!wants(given, &stats, now, RENEW_AFTER), "still on its way");
        stats.sender_id.set(8);
        stats.ivs_left.set(RENEW_BELOW);
        assert!(!wants(given, &stats, now, RENEW_AFTER));
        stats.ivs_left.set(RENEW_BELOW - 1);
        assert!(wants(given, &stats, now, RENEW_AFTER));
    }

    #[test]
    fn a_lease_is_replaced_every_day() {
        let (stats, start, second) = (WorkerStats::new(1, 1), Now::read(), Duration::from_secs(1));
        stats.sender_id.set(8);
        stats.ivs_left.set(BUDGET);
        let given = Some(Given { shown: 8, at: start });
        assert!(!wants(given, &stats, start + (RENEW_AFTER - second), RENEW_AFTER));
        assert!(wants(given, &stats, start + RENEW_AFTER, RENEW_AFTER));
        let woken = Now { steady: start.steady, ..start + RENEW_AFTER };
        assert!(wants(given, &stats, woken, RENEW_AFTER), "the machine was suspended");
        assert!(RENEW_AFTER * 20 < MAX_KEY_LIFE, "there is time to try again");
    }

    #[test]
    fn a_new_lease_is_a_day_old_a_day_later() {
        let (mut senders, mut store) = (Senders::new(PathBuf::new(), 2), Counting(0));
        let (stats, start) = (WorkerStats::new(1, 1), Now::read());
        stats.ivs_left.set(BUDGET);
        let came = senders.take_answer(answer(&mut store, &[0, 1]), start);
        assert_eq!(came.len(), 2);
        let renewed = start + RENEW_AFTER;
        senders.take_answer(answer(&mut store, &[1]), renewed);
        assert!(wants(senders.given[0], &stats, renewed, RENEW_AFTER));
        assert!(!wants(senders.given[1], &stats, renewed, RENEW_AFTER));
    }

    #[test]
    fn a_refusal_is_told_by_who_has_a_lease_already() {
        let (mut senders, now) = (Senders::new(PathBuf::new(), 1), Now::read());
        senders.take_answer(refusal(), now);
        assert!(senders.no_lease().is_some() && senders.no_renewal().is_none());
        senders.take_answer(answer(&mut Counting(0), &[0]), now);
        assert!(senders.no_lease().is_none() && senders.no_renewal().is_none());
        senders.take_answer(refusal(), now);
        assert!(senders.no_lease().is_none() && senders.no_renewal().is_some());
    }
}
