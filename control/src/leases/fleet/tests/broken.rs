//! Rules that are wrong: each lacks one part of the right one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::super::keeper::{Keeper, Machine, lease};
use super::super::record::Senders;
use super::super::{ClockDifference, Seen, SharedRecord, StoreFailure};
use super::nonces::{Candidate, Taken};
use super::sim::{Clock, Peers, Program, Store};
use crate::leases::tests::sim::lock;

fn nobody() -> Vec<ClockDifference> {
    Vec::new()
}

/// Counts in the store: what everybody would write first. A store that was put back breaks it.
pub struct PlainCounter;

impl Candidate for PlainCounter {
    fn take(clock: Clock, _: Peers, store: Store, count: usize) -> Program<Taken> {
        Box::pin(async move {
            loop {
                let seen = store.read().await.unwrap();
                let senders = seen.as_ref().map_or_else(Senders::empty, |seen| {
                    Senders::decode(seen.value.as_ref().unwrap()).unwrap()
                });
                let first = senders.newest().later(1);
                let new = senders.with(0, first.later(count - 1), clock.now()).unwrap().encode().unwrap();
                if store.compare_and_swap(seen.map(|seen| seen.version), new).await.unwrap() {
                    return Ok((0..count).map(|index| lease(first.later(index))).collect());
                }
            }
        })
    }
}

/// Nobody looks whether the claim is still there.
pub struct NoLastLook;

impl Candidate for NoLastLook {
    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        let record = Believed { store, claimed: Mutex::default(), asks: true };
        Box::pin(async move { Keeper::new(clock, record, peers).take_many(count).await })
    }
}

/// Nobody looks at the store at all: the clock must do.
pub struct NoStore;

impl Candidate for NoStore {
    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        let record = Believed { store, claimed: Mutex::default(), asks: false };
        Box::pin(async move { Keeper::new(clock, record, peers).take_many(count).await })
    }
}

/// A record that always has what was put into it last.
struct Believed {
    store: Store,
    claimed: Mutex<Option<Seen>>,
    asks: bool,
}

impl SharedRecord for Believed {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        let claimed = lock(&self.claimed).take();
        match claimed {
            None if self.asks => self.store.read().await,
            claimed => Ok(claimed),
        }
    }

    async fn compare_and_swap(&self, version: Option<u64>, value: Vec<u8>) -> Result<bool, StoreFailure> {
        let is_swapped = !self.asks || self.store.compare_and_swap(version, value.clone()).await?;
        *lock(&self.claimed) = is_swapped.then_some(Seen { value: Ok(value), version: 0 });
        Ok(is_swapped)
    }
}

/// Slots are used before they begin.
pub struct NoWait;

impl Candidate for NoWait {
    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        let hasty = Hasty { clock, skipped: AtomicU64::new(0) };
        Box::pin(async move { Keeper::new(hasty, store, peers).take_many(count).await })
    }
}

/// A machine that skips what it should wait for.
struct Hasty {
    clock: Clock,
    /// Microseconds.
    skipped: AtomicU64,
}

impl Hasty {
    fn skipped(&self) -> Duration {
        Duration::from_micros(self.skipped.load(Relaxed))
    }
}

impl Machine for Hasty {
    fn now(&self) -> Duration {
        self.clock.now() + self.skipped()
    }

    fn steady(&self) -> Duration {
        self.clock.steady() + self.skipped()
    }

    async fn sleep(&self, time: Duration) {
        self.skipped.fetch_add(time.as_micros() as u64 + 1, Relaxed);
    }

    fn random(&self) -> Option<u64> {
        self.clock.random()
    }
}

/// Clocks are ten times as far apart, and nobody compares them.
pub struct ClocksApart;

impl Candidate for ClocksApart {
    const CLOCKS_WRONG: i64 = 10;

    fn take(clock: Clock, _: Peers, store: Store, count: usize) -> Program<Taken> {
        Box::pin(async move { Keeper::new(clock, store, nobody).take_many(count).await })
    }
}

/// Leases do not end.
pub struct LeasesForEver;

impl Candidate for LeasesForEver {
    const LEASE_LIFE: Duration = Duration::MAX;

    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        Box::pin(async move { Keeper::new(clock, store, peers).take_many(count).await })
    }
}

/// Keys live for twice as long as they may.
pub struct OldKeys;

impl Candidate for OldKeys {
    const KEY_LIFE: Duration = Duration::from_secs(48 * 3600);

    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        Box::pin(async move { Keeper::new(clock, store, peers).take_many(count).await })
    }
}
