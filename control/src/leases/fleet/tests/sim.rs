//! A fleet that is made up: a store that forgets, nodes whose clocks differ, and programs that go on step by step, all at the
//! same time.

use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::keeper::Machine;
use super::super::{ClockDifference, PeerClocks, Seen, SharedRecord, StoreFailure};
use crate::leases::tests::sim::{TrueTime, lock};

/// The store, as everybody sees it.
#[derive(Clone, Default)]
pub struct Store(Arc<Mutex<Option<Seen>>>);

impl Store {
    pub fn snapshot(&self) -> Option<Seen> {
        lock(&self.0).clone()
    }

    pub fn put_back(&self, seen: Option<Seen>) {
        *lock(&self.0) = seen;
    }
}

impl SharedRecord for Store {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        others_go_on().await;
        let seen = self.snapshot();
        others_go_on().await;
        Ok(seen)
    }

    async fn compare_and_swap(&self, version: Option<u64>, value: Vec<u8>) -> Result<bool, StoreFailure> {
        others_go_on().await;
        let is_swapped = {
            let mut seen = lock(&self.0);
            let is_same = seen.as_ref().map(|seen| seen.version) == version;
            if is_same {
                *seen = Some(Seen { value: Ok(value), version: version.unwrap_or(0) + 1 });
            }
            is_same
        };
        others_go_on().await;
        Ok(is_swapped)
    }
}

/// Before it goes on, others may.
async fn others_go_on() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        let was = std::mem::replace(&mut waited, true);
        if was { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A node's clocks. Clones are the same ones.
#[derive(Clone)]
pub struct Clock {
    pub time: TrueTime,
    /// What the clock shows is true time and this, microseconds.
    pub offset: Arc<AtomicI64>,
    random: Arc<AtomicU64>,
}

impl Clock {
    pub fn new(time: &TrueTime, random: &Arc<AtomicU64>) -> Self {
        Self { time: time.clone(), offset: Arc::default(), random: Arc::clone(random) }
    }
}

impl Machine for Clock {
    fn now(&self) -> Duration {
        Duration::from_micros(
            (self.time.get().as_micros() as u64).saturating_add_signed(self.offset.load(Relaxed)),
        )
    }

    fn steady(&self) -> Duration {
        self.time.get()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        let end = self.steady() + time;
        std::future::poll_fn(move |_| if self.steady() >= end { Poll::Ready(()) } else { Poll::Pending })
    }

    fn random(&self) -> Option<u64> {
        // SplitMix64: nothing comes twice.
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    }
}

/// The other clocks, as one node sees them.
#[derive(Clone)]
pub struct Peers {
    pub ours: Clock,
    pub all: Vec<Clock>,
}

impl PeerClocks for Peers {
    fn differences(&self) -> Vec<ClockDifference> {
        let offset = |clock: &Clock| clock.offset.load(Relaxed);
        let nodes = (0..).zip(&self.all).filter(|(_, clock)| !Arc::ptr_eq(&clock.offset, &self.ours.offset));
        nodes
            .map(|(node, clock): (u32, _)| ClockDifference {
                node: format!("edge-{node}"),
                millis: (offset(clock) - offset(&self.ours)) / 1000,
            })
            .collect()
    }
}

/// A program that is somewhere in the middle.
pub type Program<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Lets it take a step.
pub fn step<T>(program: &mut Program<T>) -> Option<T> {
    match program.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    }
}
