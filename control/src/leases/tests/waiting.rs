//! Who waits, and for how long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::error::LeaseError;
use super::super::keeper::Keeper;
use super::sim::{Fuse, Host, SharedHost, SimFiles, SimMachine, TrueTime, lock};

struct Bench {
    time: TrueTime,
    host: SharedHost,
}

impl Bench {
    /// A machine that has just started.
    fn new() -> Self {
        let time = TrueTime::default();
        Self { host: Arc::new(Mutex::new(Host::new("a", &time, 1))), time }
    }

    fn after(seconds: u64) -> Self {
        let bench = Self::new();
        bench.pass(seconds);
        bench
    }

    fn pass(&self, seconds: u64) {
        self.time.pass(Duration::from_secs(seconds));
    }

    /// Starts a process with so many workers; returns how long it waited.
    fn start(&self, workers: usize) -> Result<Duration, LeaseError> {
        let slept = Arc::new(AtomicU64::new(0));
        let (identity, boot) = {
            let machine = lock(&self.host);
            (machine.identity.clone(), machine.boot.clone())
        };
        let (host, time, fuse) = (Arc::clone(&self.host), self.time.clone(), Fuse::new(None));
        let files =
            SimFiles { host: Arc::clone(&host), dir: 0, fuse: fuse.clone(), path: "leases.redb".into() };
        let machine = SimMachine { host, time, fuse, slept: Arc::clone(&slept), identity, boot };
        Keeper::open(machine, files)?.take_many(workers)?;
        Ok(Duration::from_micros(slept.load(Relaxed)))
    }

    fn set_clock(&self, seconds: i64) {
        lock(&self.host).clock_offset += seconds * 1_000_000;
    }

    fn restart(&self) {
        lock(&self.host).lose_power(&self.time, Duration::from_secs(30), &mut || true);
    }
}

#[test]
fn ordinary_starts_do_not_wait() {
    // The first one ever, on a machine that runs.
    assert_eq!(Bench::after(3600).start(64).unwrap(), Duration::ZERO);
    // At the start of the machine, whose store may be an old one: what programs need before they are here.
    assert_eq!(Bench::after(3).start(8).unwrap(), Duration::ZERO);
    assert_eq!(Bench::after(4).start(16).unwrap(), Duration::ZERO);
    assert_eq!(Bench::after(10).start(64).unwrap(), Duration::ZERO);
    // Again and again, five times at once with 64 workers.
    let bench = Bench::after(3600);
    for _ in 0..5 {
        assert_eq!(bench.start(64).unwrap(), Duration::ZERO);
    }
    // And after every rest that is long enough.
    for _ in 0..20 {
        bench.pass(8);
        assert_eq!(bench.start(64).unwrap(), Duration::ZERO);
    }
    bench.restart();
    bench.pass(10);
    assert_eq!(bench.start(64).unwrap(), Duration::ZERO);
}

#[test]
fn endless_restarts_wait_an_eighth_of_a_second_a_worker() {
    let bench = Bench::after(3600);
    let mut waited: Vec<_> = (0..50).map(|_| bench.start(16).unwrap()).collect();
    assert_eq!(waited.iter().position(|wait| !wait.is_zero()), Some(20));
    waited.drain(..20);
    assert!(waited.iter().all(|wait| *wait <= Duration::from_secs(2)), "{waited:?}");
    assert!(bench.start(64).unwrap() <= Duration::from_secs(8));
}

#[test]
fn a_start_at_the_first_moment_waits_seconds() {
    assert!(Bench::after(0).start(16).unwrap() <= Duration::from_secs(5));
    assert!(Bench::after(0).start(64).unwrap() <= Duration::from_secs(11));
}

#[test]
fn a_clock_that_is_behind_by_seconds_is_waited_for() {
    let bench = Bench::after(3600);
    for _ in 0..5 {
        bench.start(64).unwrap();
    }
    bench.set_clock(-5);
    let waited = bench.start(4).unwrap();
    assert!((4..7).contains(&waited.as_secs()), "{waited:?}");
    bench.pass(60);
    bench.start(4).unwrap();
    bench.set_clock(-90);
    assert!(
        matches!(bench.start(4), Err(LeaseError::ClockBehind { by, .. }) if by > Duration::from_secs(30))
    );
    bench.pass(90);
    assert_eq!(bench.start(4).unwrap(), Duration::ZERO);
}

#[test]
fn a_clock_that_was_never_set_gives_nothing() {
    let bench = Bench::after(3600);
    bench.set_clock(-56 * 365 * 86_400);
    assert!(matches!(bench.start(1), Err(LeaseError::ClockUnset)));
}
