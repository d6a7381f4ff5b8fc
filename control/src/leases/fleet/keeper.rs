//! Takes slots for one node: claims them in the record, waits until they have begun, and sees whether they are still its own.
//!
//! It keeps nothing: a node that dies at any step leaves slots that nobody uses.

use std::convert::Infallible;
use std::time::Duration;

use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};

use super::super::rule::MOST_AT_ONCE;
use super::error::FleetLeaseError;
use super::record::Senders;
use super::rule::{self, Choice, Slot};
use super::{ClockDifference, PeerClocks, Seen, SharedRecord};

/// Longest sleep between two looks at the clock, which may be set meanwhile.
const NAP: Duration = Duration::from_secs(1);
/// A record that was read longer ago is read again before it is replaced.
const STALE: Duration = Duration::from_secs(1);
/// A clock that gained or lost so much while we waited was set.
const CLOCK_SET: Duration = Duration::from_millis(250);
/// How long many nodes that start at once may wait for one another.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);
/// Nodes that were too late for one another try again after up to this, and twice as long each time.
const BACK_OFF: Duration = Duration::from_millis(20);
/// So often twice as long.
const MOST_DOUBLINGS: u32 = 8;

/// The machine as the keeper sees it.
pub(super) trait Machine {
    /// Time since 1970, by the clock that is set.
    fn now(&self) -> Duration;
    /// Time by a clock that nobody sets.
    fn steady(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;
    /// Any number. `None`: the system has none.
    fn random(&self) -> Option<u64>;
}

/// What became of a try.
enum Tried {
    /// The slots from this one on are ours.
    Taken(Slot),
    /// Not yet: ask again after this time at the earliest.
    Later(Duration),
    /// The store was too slow for the slots.
    Slow,
}

/// Gives out the sender IDs of a node.
#[derive(Debug)]
pub(super) struct Keeper<M, R, P> {
    machine: M,
    record: R,
    peers: P,
}

impl<M: Machine, R: SharedRecord, P: PeerClocks> Keeper<M, R, P> {
    pub(super) fn new(machine: M, record: R, peers: P) -> Self {
        Self { machine, record, peers }
    }

    /// Takes a lease for each of `count` workers.
    ///
    /// # Errors
    /// When there are none to be had within [`LONGEST_WAIT`], or not safely.
    pub(super) async fn take_many(&self, count: usize) -> Result<Vec<Lease>, FleetLeaseError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > MOST_AT_ONCE {
            return Err(FleetLeaseError::TooMany(count));
        }
        let first = self.take(count).await?;
        Ok((0..count).map(|index| lease(first.later(index))).collect())
    }

    async fn take(&self, count: usize) -> Result<Slot, FleetLeaseError> {
        let began = self.machine.steady();
        let mut allowance = rule::ALLOWANCE;
        let mut doublings = 0;
        loop {
            let time = match self.try_take(count, allowance).await? {
                Tried::Taken(first) => return Ok(first),
                Tried::Later(time) => time,
                Tried::Slow => {
                    allowance = (allowance * 2).min(rule::MOST_ALLOWANCE);
                    Duration::ZERO
                }
            };
            let waited = self.machine.steady().saturating_sub(began);
            if waited > LONGEST_WAIT {
                return Err(FleetLeaseError::Waited(waited));
            }
            let most = BACK_OFF * (1 << doublings);
            doublings = (doublings + 1).min(MOST_DOUBLINGS);
            let more = self.random()? % (most.as_millis() as u64);
            self.machine.sleep(time + Duration::from_millis(more)).await;
        }
    }

    /// One claim, from the first look at the record to the last.
    async fn try_take(&self, count: usize, allowance: Duration) -> Result<Tried, FleetLeaseError> {
        self.compare_clocks()?;
        // 1. What was taken. The clock is read after the record: whoever uses a slot that this record does not know of
        //    began to before that, or will find its claim gone.
        let asked = self.machine.steady();
        let (senders, version) = self.read().await?;
        let (now, steady) = (self.machine.now(), self.machine.steady());
        let first = match rule::choose(senders.newest(), now, count, allowance) {
            Choice::Take(first) => first,
            Choice::Wait(time) => return Ok(Tried::Later(time)),
            Choice::ClockBehind(by) => return Err(FleetLeaseError::ClockBehind(by)),
            Choice::ClockUnset => return Err(FleetLeaseError::ClockUnset),
        };
        let last = first.later(count.saturating_sub(1));
        // 2. The claim. One from long ago must not bring a record back that the store has forgotten.
        let id = self.random()?;
        let Some(claimed) = senders.with(id, last, now) else { return Ok(Tried::Later(NAP)) };
        let value = claimed.encode().map_err(|e| FleetLeaseError::Unreadable(e.to_string()))?;
        if self.machine.steady().saturating_sub(asked) > STALE {
            return Ok(Tried::Slow);
        }
        if !self.record.compare_and_swap(version, value).await.map_err(FleetLeaseError::Store)? {
            return Ok(Tried::Later(Duration::ZERO));
        }
        if !rule::is_ahead(first, self.machine.now()) {
            return Ok(Tried::Slow);
        }
        // 3. The slots begin.
        let clock_was_set = || {
            let by_clock = self.machine.now().saturating_sub(now);
            let by_steady = self.machine.steady().saturating_sub(steady);
            by_clock.abs_diff(by_steady) > CLOCK_SET
        };
        loop {
            let left = last.begins().saturating_sub(self.machine.now());
            if clock_was_set() {
                tracing::warn!("the clock was set while we waited for sender IDs: others are taken");
                return Ok(Tried::Later(Duration::ZERO));
            }
            if left.is_zero() {
                break;
            }
            self.machine.sleep(left.min(NAP)).await;
        }
        // 4. Are they still ours?
        let (senders, _) = self.read().await?;
        if !senders.has(id) {
            tracing::warn!(
                "the fleet's store has forgotten which sender IDs were taken: was it put back? Others are taken"
            );
            return Ok(Tried::Later(Duration::ZERO));
        }
        if clock_was_set() || self.machine.now() > last.begins() + rule::USE_WITHIN {
            return Ok(Tried::Slow);
        }
        self.compare_clocks()?;
        Ok(Tried::Taken(first))
    }

    async fn read(&self) -> Result<(Senders, Option<u64>), FleetLeaseError> {
        match self.record.read().await.map_err(FleetLeaseError::Store)? {
            None => Ok((Senders::empty(), None)),
            Some(Seen { value, version }) => {
                let senders = value.and_then(|text| Senders::decode(&text));
                Ok((senders.map_err(FleetLeaseError::Unreadable)?, Some(version)))
            }
        }
    }

    fn random(&self) -> Result<u64, FleetLeaseError> {
        self.machine.random().ok_or(FleetLeaseError::NoRandom)
    }

    /// Whether all nodes' clocks are like ours.
    fn compare_clocks(&self) -> Result<(), FleetLeaseError> {
        let differences = self.peers.differences();
        let by = |peer: &ClockDifference| Duration::from_millis(peer.millis.unsigned_abs());
        let far: Vec<_> = differences.iter().filter(|peer| by(peer) > rule::CLOCKS_DIFFER).collect();
        let Some(most) = far.iter().max_by_key(|peer| by(peer)) else { return Ok(()) };
        Err(FleetLeaseError::ClocksDiffer {
            node: most.node.clone(),
            by: by(most),
            direction: if most.millis > 0 { "s ahead of" } else { "s behind" },
            others: far.len(),
            all: differences.len(),
        })
    }
}

/// A slot that is ours, for one lease.
struct Granted(Slot);

impl LeaseStore for Granted {
    type Error = Infallible;

    fn next_sender(&mut self) -> Result<SenderId, Infallible> {
        Ok(self.0.id())
    }
}

pub(super) fn lease(slot: Slot) -> Lease {
    let Ok(lease) = Lease::take(&mut Granted(slot));
    lease
}
