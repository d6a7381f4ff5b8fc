//! Who waits, and for how long; and who is refused.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::super::error::FleetLeaseError;
use super::super::keeper::{Keeper, LONGEST_WAIT};
use super::super::record::Senders;
use super::super::rule::{SKEW, Slot};
use super::super::{ClockDifference, FleetLeases, Seen, SharedRecord, StoreFailure};
use super::nonces::Taken;
use super::sim::{Clock, Peers, Program, Store, step};
use crate::leases::tests::sim::{TrueTime, lock};

const TICK: Duration = Duration::from_millis(5);

struct Bench {
    time: TrueTime,
    store: Store,
    clocks: Vec<Clock>,
}

impl Bench {
    fn new(nodes: usize) -> Self {
        let (time, random) = (TrueTime::default(), Arc::new(AtomicU64::new(7)));
        let clocks = (0..nodes).map(|_| Clock::new(&time, &random)).collect();
        Self { time, store: Store::default(), clocks }
    }

    fn start(&self, node: usize, workers: usize) -> Program<Taken> {
        // Thousands of nodes need not all compare all clocks here.
        let all = if self.clocks.len() < 10 { self.clocks.clone() } else { Vec::new() };
        let peers = Peers { ours: self.clocks[node].clone(), all };
        let keeper = Keeper::new(self.clocks[node].clone(), self.store.clone(), peers);
        Box::pin(async move { keeper.take_many(workers).await })
    }

    /// Lets programs run to their ends; returns what they took, and when.
    fn run(&self, programs: Vec<Program<Taken>>) -> Vec<(Taken, Duration)> {
        let (began, mut left) = (self.time.get(), programs);
        let mut ended = Vec::new();
        while !left.is_empty() {
            left.retain_mut(|program| match step(program) {
                Some(taken) => {
                    ended.push((taken, self.time.get() - began));
                    false
                }
                None => true,
            });
            self.time.pass(TICK);
        }
        ended
    }

    fn run_one(&self, node: usize, workers: usize) -> (Taken, Duration) {
        self.run(vec![self.start(node, workers)]).swap_remove(0)
    }

    fn set_clock(&self, node: usize, millis: i64) {
        self.clocks[node].offset.fetch_add(millis * 1000, Relaxed);
    }
}

#[test]
fn a_start_waits_for_two_seconds_and_its_slots() {
    let bench = Bench::new(1);
    for (workers, most) in [(1, 2.35), (16, 2.5), (256, 4.35), (1, 2.35)] {
        let (taken, waited) = bench.run_one(0, workers);
        assert_eq!(taken.unwrap().len(), workers);
        assert!(waited > SKEW && waited.as_secs_f64() < most, "{workers} workers waited {waited:?}");
    }
}

#[test]
fn nobody_and_too_many_do_not_wait() {
    let bench = Bench::new(1);
    assert!(matches!(bench.run_one(0, 0), (Ok(leases), Duration::ZERO) if leases.is_empty()));
    assert!(matches!(bench.run_one(0, 257), (Err(FleetLeaseError::TooMany(257)), Duration::ZERO)));
    assert_eq!(bench.store.snapshot(), None);
}

#[test]
fn a_fleet_that_starts_at_once_takes_128_a_second() {
    let bench = Bench::new(300);
    let ended = bench.run((0..300).map(|node| bench.start(node, 16)).collect());
    let mut ids = HashSet::new();
    for (taken, _) in &ended {
        assert!(taken.as_ref().unwrap().iter().all(|lease| ids.insert(lease.id())));
    }
    let all = ended.iter().map(|(_, waited)| *waited).max().unwrap();
    // 37.5 s of slots, the time that each waits, and what is lost by looking too late.
    assert!(all > Duration::from_secs(37) && all < Duration::from_secs(55), "{all:?}");
}

#[test]
fn who_waits_too_long_is_told() {
    let bench = Bench::new(1);
    let mut program = bench.start(0, 256);
    // Somebody takes all that there is, again and again.
    let began = bench.time.get();
    let error = loop {
        let now = bench.time.get();
        let taken = Senders::empty().with(1, Slot::at(now + Duration::from_secs(10)), now).unwrap();
        bench.store.put_back(Some(Seen { value: Ok(taken.encode().unwrap()), version: 1 }));
        if let Some(taken) = step(&mut program) {
            break taken.unwrap_err();
        }
        bench.time.pass(Duration::from_millis(500));
    };
    assert!(matches!(error, FleetLeaseError::Waited(time) if time >= LONGEST_WAIT), "{error}");
    assert!(bench.time.get() - began < LONGEST_WAIT + Duration::from_secs(30));
}

#[test]
fn a_store_that_is_put_back_meanwhile_is_noticed() {
    let bench = Bench::new(2);
    let mut one = bench.start(0, 4);
    let before = bench.store.snapshot();
    while bench.store.snapshot() == before {
        assert!(step(&mut one).is_none());
    }
    bench.time.pass(Duration::from_secs(1));
    bench.store.put_back(before);
    let ended = bench.run(vec![one, bench.start(1, 4)]);
    let ids: HashSet<_> =
        ended.iter().flat_map(|(taken, _)| taken.as_ref().unwrap()).map(|lease| lease.id()).collect();
    assert_eq!(ids.len(), 8);
    assert!(ended.iter().all(|(_, waited)| *waited < Duration::from_secs(5)));
}

#[test]
fn a_slow_store_makes_nobody_unsafe() {
    let bench = Bench::new(1);
    let mut one = bench.start(0, 1);
    let began = bench.time.get();
    // Each call of the store takes 800 ms.
    let taken = loop {
        if let Some(taken) = step(&mut one) {
            break taken;
        }
        bench.time.pass(Duration::from_millis(400));
    };
    assert_eq!(taken.unwrap().len(), 1);
    assert!(bench.time.get() - began < Duration::from_secs(30));
}

#[test]
fn clocks_that_differ_are_refused_with_their_names() {
    let bench = Bench::new(3);
    bench.set_clock(1, 900);
    assert!(bench.run_one(0, 1).0.is_ok());
    bench.set_clock(1, 200);
    bench.set_clock(2, -1200);
    let error = bench.run_one(0, 1).0.unwrap_err();
    let expected = "the clock of the node edge-2 is 1.2 s behind ours";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(error.to_string().contains("2 of 2 other nodes"), "{error}");
    // And when it happens in the middle.
    bench.set_clock(1, -1100);
    bench.set_clock(2, 1200);
    let mut program = bench.start(0, 1);
    assert!((0..6).all(|_| step(&mut program).is_none()));
    bench.set_clock(1, 1500);
    let ended = bench.run(vec![program]);
    assert!(matches!(ended[0].0, Err(FleetLeaseError::ClocksDiffer { .. })));
}

#[test]
fn a_clock_that_is_set_meanwhile_is_waited_for_again() {
    let bench = Bench::new(1);
    let mut program = bench.start(0, 1);
    while bench.store.snapshot().is_none() {
        assert!(step(&mut program).is_none());
    }
    bench.set_clock(0, 3000);
    let (taken, waited) = bench.run(vec![program]).swap_remove(0);
    let id = taken.unwrap()[0].id();
    assert!(waited > SKEW, "{waited:?}");
    // Not those that it had, which have not begun by any other clock.
    let newest = Senders::decode(&bench.store.snapshot().unwrap().value.unwrap()).unwrap().newest();
    assert_eq!(bench.store.snapshot().unwrap().version, 2);
    assert_eq!(newest.id(), id);
}

#[test]
fn a_clock_that_is_behind_is_told() {
    let bench = Bench::new(1);
    bench.set_clock(0, 60_000);
    bench.run_one(0, 1).0.unwrap();
    bench.set_clock(0, -60_000);
    assert!(
        matches!(bench.run_one(0, 1).0, Err(FleetLeaseError::ClockBehind(by)) if (59..=60).contains(&by.as_secs()))
    );
    bench.time.pass(Duration::from_secs(60));
    assert!(bench.run_one(0, 1).0.is_ok());
    bench.set_clock(0, -56 * 365 * 86_400_000);
    assert!(matches!(bench.run_one(0, 1).0, Err(FleetLeaseError::ClockUnset)));
}

#[test]
fn a_record_that_is_not_ours_is_left_alone() {
    let bench = Bench::new(1);
    let theirs = Some(Seen { value: Ok(b"{\"schema\":2}".to_vec()), version: 9 });
    bench.store.put_back(theirs.clone());
    assert!(matches!(bench.run_one(0, 1).0, Err(FleetLeaseError::Unreadable(_))));
    assert_eq!(bench.store.snapshot(), theirs);
}

/// A store that answers at once.
struct Plain(std::sync::Mutex<Option<Seen>>);

impl SharedRecord for Plain {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        Ok(lock(&self.0).clone())
    }

    async fn compare_and_swap(&self, version: Option<u64>, value: Vec<u8>) -> Result<bool, StoreFailure> {
        *lock(&self.0) = Some(Seen { value: Ok(value), version: version.unwrap_or(0) + 1 });
        Ok(true)
    }
}

/// A store that is away.
struct Away;

impl SharedRecord for Away {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        Err("it is away".into())
    }

    async fn compare_and_swap(&self, _: Option<u64>, _: Vec<u8>) -> Result<bool, StoreFailure> {
        Err("it is away".into())
    }
}

#[tokio::test]
async fn the_machine_has_the_clocks_that_it_needs() {
    let began = std::time::Instant::now();
    let leases = FleetLeases::new(Plain(std::sync::Mutex::new(None)), Vec::<ClockDifference>::new);
    assert_eq!(leases.take_many(2).await.unwrap().len(), 2);
    assert!((2.0..10.0).contains(&began.elapsed().as_secs_f64()));
}

#[tokio::test]
async fn a_store_that_is_away_is_told() {
    let leases = FleetLeases::new(Away, Vec::<ClockDifference>::new);
    let error = leases.take_many(2).await.unwrap_err();
    assert_eq!(error.to_string(), "no sender ID: the fleet's store: it is away");
}
