//! The rule above all rules, over whole histories of a fleet: no two workers have the same sender ID under one key.
//!
//! A history is a random sequence of what happens to nodes, clocks and the store, within what [`super::super`] says that it
//! rests on. Everybody who has a lease encrypts under all keys that live. Programs are interleaved at each call of the store.
//! Rules that are wrong on purpose show that the histories find what they are to find.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_dataplane::esp::iv::{Lease, SenderId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::Seen;
use super::super::error::FleetLeaseError;
use super::super::keeper::Keeper;
use super::super::rule::{ALLOWANCE, FLEET_LEASE_LIFE, FLEET_MAX_KEY_LIFE, SKEW, Slot};
use super::broken;
use super::sim::{Clock, Peers, Program, Store, step};
use crate::leases::tests::sim::TrueTime;

const NODES: usize = 4;
/// How far a clock may be wrong, microseconds: so two are never more than 2 s apart.
const WRONG: i64 = 1_000_000;
/// How long the store is not put back after it was.
const PUT_BACK_APART: Duration = Duration::from_secs(15);
/// How often programs go on while time passes.
const TICK: Duration = Duration::from_millis(10);

pub type Taken = Result<Vec<Lease>, FleetLeaseError>;

/// Something that takes leases on a made-up node.
pub trait Candidate {
    const LEASE_LIFE: Duration = FLEET_LEASE_LIFE;
    const KEY_LIFE: Duration = FLEET_MAX_KEY_LIFE;
    /// How much further clocks are wrong.
    const CLOCKS_WRONG: i64 = 1;

    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken>;
}

/// The right rule.
struct Right;

impl Candidate for Right {
    fn take(clock: Clock, peers: Peers, store: Store, count: usize) -> Program<Taken> {
        Box::pin(async move { Keeper::new(clock, store, peers).take_many(count).await })
    }
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A process starts; several on one node are clones of it.
    Start { node: usize, workers: usize },
    /// All nodes start at once.
    StartAll { workers: usize },
    /// A process that runs takes more leases.
    More { process: usize, count: usize },
    /// A process goes on, the others and time do not.
    Step { process: usize, steps: usize },
    /// Everything goes on.
    Run { time: Duration },
    /// Time passes, and nobody goes on.
    Stall { time: Duration },
    /// kill -9.
    Kill { process: usize },
    /// The store is saved.
    Snapshot,
    /// The store is as it was.
    PutBack { snapshot: usize },
    /// The store is empty.
    Lose,
    /// A clock is set.
    SetClock { node: usize, micros: i64 },
    /// A key is negotiated.
    NewKey,
    /// Hours pass.
    Rest { time: Duration },
    /// The time passes until the ID of a worker comes round, and a node starts that gets it.
    ComeRound { process: usize, node: usize, before: Duration },
}

fn events() -> impl Strategy<Value = Event> {
    let millis = |range: std::ops::Range<u64>| range.prop_map(Duration::from_millis);
    let workers = || prop_oneof![4 => 1..5usize, 2 => 5..40usize, 1 => Just(256usize)];
    prop_oneof![
        12 => (0..NODES, workers()).prop_map(|(node, workers)| Event::Start { node, workers }),
        2 => workers().prop_map(|workers| Event::StartAll { workers }),
        3 => (0..12usize, 1..4usize).prop_map(|(process, count)| Event::More { process, count }),
        10 => (0..12usize, 1..8usize).prop_map(|(process, steps)| Event::Step { process, steps }),
        12 => millis(0..3_000).prop_map(|time| Event::Run { time }),
        4 => millis(0..1_500).prop_map(|time| Event::Stall { time }),
        1 => millis(1_500..20_000).prop_map(|time| Event::Stall { time }),
        4 => (0..12usize).prop_map(|process| Event::Kill { process }),
        4 => Just(Event::Snapshot),
        5 => (0..4usize).prop_map(|snapshot| Event::PutBack { snapshot }),
        2 => Just(Event::Lose),
        4 => (0..NODES, -2 * WRONG..2 * WRONG).prop_map(|(node, micros)| Event::SetClock { node, micros }),
        2 => Just(Event::NewKey),
        1 => (1..30 * 3600u64).prop_map(|seconds| Event::Rest { time: Duration::from_secs(seconds) }),
        2 => (0..12usize, 0..NODES, millis(0..400))
            .prop_map(|(process, node, before)| Event::ComeRound { process, node, before }),
    ]
}

/// A lease that somebody encrypts under.
struct Worker {
    /// No other one is the same.
    number: u64,
    lease: Lease,
    /// True time at which it was given.
    since: Duration,
}

struct Process {
    node: usize,
    /// What takes leases for it, if it does just now.
    program: Option<Program<Taken>>,
    workers: Vec<Worker>,
}

struct History<C> {
    time: TrueTime,
    store: Store,
    snapshots: Vec<Option<Seen>>,
    put_back: Option<Duration>,
    clocks: Vec<Clock>,
    processes: Vec<Process>,
    /// The keys that live: which, and since when.
    keys: Vec<(u64, Duration)>,
    /// Who has which ID under which key.
    used: HashMap<(u64, u32), (u64, String)>,
    leases: u64,
    refused: u64,
    candidate: std::marker::PhantomData<C>,
}

impl<C: Candidate> History<C> {
    fn new() -> Self {
        let (time, random) = (TrueTime::default(), Arc::new(AtomicU64::new(1)));
        Self {
            store: Store::default(),
            snapshots: Vec::new(),
            put_back: None,
            clocks: (0..NODES).map(|_| Clock::new(&time, &random)).collect(),
            processes: Vec::new(),
            keys: vec![(0, time.get())],
            used: HashMap::new(),
            leases: 0,
            refused: 0,
            candidate: std::marker::PhantomData,
            time,
        }
    }

    fn happens(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Start { node, workers } => self.start(*node, *workers),
            Event::StartAll { workers } => (0..NODES).for_each(|node| self.start(node, *workers)),
            Event::More { process, count } => {
                if let Some(index) = self.pick(*process) {
                    self.ask(index, *count);
                }
            }
            Event::Step { process, steps } => {
                if let Some(index) = self.pick(*process) {
                    (0..*steps).try_for_each(|_| self.step(index))?;
                }
            }
            Event::Run { time } => self.run(*time)?,
            Event::Stall { time } => self.time.pass(*time),
            Event::Kill { process } => {
                if let Some(index) = self.pick(*process) {
                    self.processes.swap_remove(index);
                }
            }
            Event::Snapshot => self.snapshots.insert(0, self.store.snapshot()),
            Event::PutBack { snapshot } => {
                if let Some(seen) = self.snapshots.get(*snapshot).cloned() {
                    self.put_back(seen);
                }
            }
            Event::Lose => self.put_back(None),
            Event::SetClock { node, micros } => {
                let offset = &self.clocks[*node].offset;
                let most = WRONG * C::CLOCKS_WRONG;
                offset.store((offset.load(Relaxed) + micros * C::CLOCKS_WRONG).clamp(-most, most), Relaxed);
            }
            Event::NewKey => self.new_key(),
            Event::Rest { time } => self.time.pass(*time),
            Event::ComeRound { process, node, before } => self.come_round(*process, *node, *before)?,
        }
        self.work()
    }

    fn pick(&self, process: usize) -> Option<usize> {
        self.processes.len().checked_sub(1).map(|last| process.min(last))
    }

    fn start(&mut self, node: usize, workers: usize) {
        if self.processes.len() < 12 {
            self.processes.push(Process { node, program: None, workers: Vec::new() });
            self.ask(self.processes.len() - 1, workers);
        }
    }

    fn ask(&mut self, index: usize, count: usize) {
        let process = &mut self.processes[index];
        if process.program.is_none() {
            let clock = self.clocks[process.node].clone();
            let peers = Peers { ours: clock.clone(), all: self.clocks.clone() };
            process.program = Some(C::take(clock, peers, self.store.clone(), count));
        }
    }

    fn step(&mut self, index: usize) -> Result<(), String> {
        let process = &mut self.processes[index];
        let Some(taken) = process.program.as_mut().and_then(step) else { return Ok(()) };
        process.program = None;
        match taken {
            Ok(leases) => {
                for lease in leases {
                    self.leases += 1;
                    process.workers.push(Worker { number: self.leases, lease, since: self.time.get() });
                }
                self.work()
            }
            Err(
                FleetLeaseError::ClocksDiffer { .. }
                | FleetLeaseError::ClockBehind(_)
                | FleetLeaseError::Waited(_),
            ) => {
                self.refused += 1;
                Ok(())
            }
            Err(e) => Err(format!("no lease: {e}")),
        }
    }

    fn run(&mut self, time: Duration) -> Result<(), String> {
        let end = self.time.get() + time;
        while self.time.get() < end {
            (0..self.processes.len()).try_for_each(|index| self.step(index))?;
            self.time.pass(TICK);
        }
        Ok(())
    }

    fn put_back(&mut self, seen: Option<Seen>) {
        let now = self.time.get();
        if self.put_back.is_none_or(|last| now - last >= PUT_BACK_APART) {
            self.store.put_back(seen);
            self.put_back = Some(now);
        }
    }

    fn new_key(&mut self) {
        self.keys.push((self.keys.last().map_or(0, |(key, _)| key + 1), self.time.get()));
        if self.keys.len() > 3 {
            self.keys.remove(0);
        }
    }

    /// A key that is as old as it can be, and one that is new, when the ID of a worker can be taken again.
    fn come_round(&mut self, process: usize, node: usize, before: Duration) -> Result<(), String> {
        let Some(index) = self.pick(process) else { return Ok(()) };
        let Some(worker) = self.processes[index].workers.first() else { return Ok(()) };
        let (now, id) = (self.time.get(), u64::from(worker.lease.id().get()));
        let newest = Slot::at(now).0;
        let ahead = id.wrapping_sub(newest) % u64::from(SenderId::COUNT);
        let begins = Slot(newest + ahead).begins().saturating_sub(SKEW + ALLOWANCE + before);
        self.time.pass(begins.saturating_sub(now + C::KEY_LIFE - Duration::from_secs(60)));
        self.new_key();
        self.work()?;
        self.time.pass(begins.saturating_sub(self.time.get()));
        self.new_key();
        self.work()?;
        self.start(node, 128);
        self.run(SKEW * 2)
    }

    /// Everybody encrypts under every key.
    fn work(&mut self) -> Result<(), String> {
        let now = self.time.get();
        self.keys.retain(|(_, since)| now - *since < C::KEY_LIFE);
        if self.keys.is_empty() {
            self.keys.push((now.as_micros() as u64, now));
        }
        for process in &mut self.processes {
            process.workers.retain(|worker| now - worker.since < C::LEASE_LIFE);
            for worker in &process.workers {
                for (key, _) in &self.keys {
                    let id = worker.lease.id().get();
                    let who = || format!("worker {} on node {} at {now:?}", worker.number, process.node);
                    let (number, first) =
                        self.used.entry((*key, id)).or_insert_with(|| (worker.number, who()));
                    if *number != worker.number {
                        return Err(format!("sender ID {id} under key {key}: {first} and {}", who()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Lets many histories happen; returns how many leases they gave, and how many they refused.
fn run_many<C: Candidate>(cases: u32) -> Result<(u64, u64), String> {
    let (leases, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let histories = prop::collection::vec(events(), 5..100);
    let outcome = TestRunner::new(config).run(&histories, |events| {
        let mut history = History::<C>::new();
        for event in &events {
            history.happens(event).map_err(TestCaseError::fail)?;
        }
        leases.fetch_add(history.leases, Relaxed);
        refused.fetch_add(history.refused, Relaxed);
        Ok(())
    });
    outcome.map(|()| (leases.into_inner(), refused.into_inner())).map_err(|e| e.to_string())
}

#[test]
fn no_sender_id_is_used_twice() {
    let cases = std::env::var("PENSTOCK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let (leases, refused) = run_many::<Right>(cases).unwrap_or_else(|e| panic!("{e}"));
    println!("{cases} histories: {leases} leases, {refused} refused");
    assert!(leases > 50 * u64::from(cases), "histories in which nothing happens show nothing");
    assert!(refused > 0, "clocks were never too far apart");
}

/// That wrong rules are found out, each in a few thousand histories at most.
fn is_caught<C: Candidate>() {
    let found = run_many::<C>(5000).expect_err("the wrong rule was not found out");
    assert!(found.contains("under key"), "{found}");
}

#[test]
fn a_counter_in_the_store_is_caught() {
    is_caught::<broken::PlainCounter>();
}

#[test]
fn time_without_a_store_is_caught() {
    is_caught::<broken::NoStore>();
}

#[test]
fn a_claim_that_nobody_looks_for_is_caught() {
    is_caught::<broken::NoLastLook>();
}

#[test]
fn slots_that_have_not_begun_are_caught() {
    is_caught::<broken::NoWait>();
}

#[test]
fn clocks_that_differ_are_caught() {
    is_caught::<broken::ClocksApart>();
}

#[test]
fn leases_that_do_not_end_are_caught() {
    is_caught::<broken::LeasesForEver>();
}

#[test]
fn keys_that_live_too_long_are_caught() {
    is_caught::<broken::OldKeys>();
}
