//! The rule above all rules, over whole histories: no two packets under one key share an IV.
//!
//! A history is a random sequence of what happens to machines, disks, clocks and processes, within what
//! [`super::super`] says that it rests on. Everything that gets a lease seals packets under the same key as
//! everything else. Rules that are wrong on purpose show that the histories find what they are to find.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use penstock_dataplane::esp::iv::{Lease, Sender};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::error::LeaseError;
use super::super::keeper::Keeper;
use super::super::rule::{MAX_KEY_LIFE, longest_wait};
use super::broken;
use super::sim::{Contents, Fuse, Host, Image, Sealed, SharedHost, SimFiles, SimMachine, TrueTime, lock};

const HOSTS: usize = 3;
const DIRS: usize = 2;
/// How far a clock may be wrong, microseconds: so two are never three days apart.
const WRONG: i64 = 36 * 3600 * 1_000_000;
/// What a clock may lose over a restart when nothing else is known.
const MAY_LOSE: Duration = Duration::from_secs(2);
/// Keys move a minute after the last lease; clocks of two machines agree to a quarter of that.
const MOVE: Duration = Duration::from_secs(60);
const CLOCKS_DIFFER: Duration = Duration::from_secs(15);

/// Something that gives out leases on a made-up machine.
pub trait Candidate: Sized {
    fn start(machine: SimMachine, files: SimFiles) -> Result<Self, LeaseError>;
    fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError>;
}

impl Candidate for Keeper<SimMachine, SimFiles> {
    fn start(machine: SimMachine, files: SimFiles) -> Result<Self, LeaseError> {
        Self::open(machine, files)
    }

    fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        self.take_many(count)
    }
}

/// What happens next, on the machine that has the keys unless it says another.
#[derive(Clone, Debug)]
enum Event {
    /// A process starts, and may die at a step of it or before it uses what it got.
    Start { dir: usize, workers: usize, dies_after: Option<u64>, unused: bool },
    /// A process that runs takes more leases.
    More { process: usize, count: usize },
    /// All workers of all processes seal.
    Work,
    /// kill -9.
    Kill { process: usize },
    /// A process ends by itself.
    Stop { process: usize },
    /// The machine restarts, and what was not synced is lost or not.
    LosePower { down: Duration, luck: u64 },
    /// The whole disk is saved.
    Image,
    /// The whole disk is as it was; not the memory, not the clock.
    RollBack { image: usize },
    /// The store file is saved.
    Save { dir: usize },
    /// The store file is as it was, even while a process has it open.
    Restore { saved: usize },
    /// The store file is gone.
    Remove { dir: usize },
    /// Another machine starts with a copy of the disk.
    Clone { to: usize },
    /// The keys move, as the manual says.
    Move { to: usize },
    /// The clock is set.
    SetClock { micros: i64 },
    /// Time goes by.
    Pass { time: Duration },
}

fn events() -> impl Strategy<Value = Event> {
    let millis = |range: std::ops::Range<u64>| range.prop_map(Duration::from_millis);
    let hours = |range: std::ops::Range<u64>| range.prop_map(|h| Duration::from_secs(h * 3600));
    let workers = prop_oneof![4 => 1..5usize, 2 => 5..20usize, 1 => Just(64usize)];
    let dies_after = prop_oneof![2 => Just(None), 1 => (1..60u64).prop_map(Some)];
    prop_oneof![
        16 => (0..DIRS, workers, dies_after, prop::bool::weighted(0.1))
            .prop_map(|(dir, workers, dies_after, unused)| Event::Start { dir, workers, dies_after, unused }),
        3 => (0..8usize, 1..4usize).prop_map(|(process, count)| Event::More { process, count }),
        2 => Just(Event::Work),
        6 => (0..8usize).prop_map(|process| Event::Kill { process }),
        2 => (0..8usize).prop_map(|process| Event::Stop { process }),
        3 => (millis(3_000..60_000), any::<u64>()).prop_map(|(down, luck)| Event::LosePower { down, luck }),
        2 => Just(Event::Image),
        3 => (0..8usize).prop_map(|image| Event::RollBack { image }),
        2 => (0..DIRS).prop_map(|dir| Event::Save { dir }),
        3 => (0..8usize).prop_map(|saved| Event::Restore { saved }),
        1 => (0..DIRS).prop_map(|dir| Event::Remove { dir }),
        1 => (0..HOSTS).prop_map(|to| Event::Clone { to }),
        1 => (0..HOSTS).prop_map(|to| Event::Move { to }),
        2 => (-3_000_000..3_000_000i64).prop_map(|micros| Event::SetClock { micros }),
        1 => (-WRONG..WRONG).prop_map(|micros| Event::SetClock { micros }),
        6 => millis(0..3_000).prop_map(|time| Event::Pass { time }),
        2 => millis(3_000..300_000).prop_map(|time| Event::Pass { time }),
        1 => hours(1..24 * 25).prop_map(|time| Event::Pass { time }),
    ]
}

struct Process<C> {
    host: usize,
    dir: usize,
    fuse: Fuse,
    slept: Arc<AtomicU64>,
    candidate: C,
    workers: Vec<Sender>,
}

/// What a machine must take into account, and what it has to know it from. Times are those of its clock.
struct Books {
    /// When the last lease was taken that counts for it.
    last_lease: Duration,
    /// The same, if it was taken here since the machine started: memory knows.
    since_boot: Option<Duration>,
    /// The last lease that each store can know.
    stores: Vec<Duration>,
    images: Vec<(Image, Vec<Duration>)>,
    saved: Vec<(usize, Option<Contents>, Duration)>,
}

struct History<C> {
    time: TrueTime,
    hosts: Vec<SharedHost>,
    books: Vec<Books>,
    owner: usize,
    processes: Vec<Process<C>>,
    key: u64,
    key_since: Duration,
    sealed: Sealed,
    leases: u64,
    refused: u64,
}

impl<C: Candidate> History<C> {
    fn new() -> Self {
        let time = TrueTime::default();
        let hosts = ["a", "b", "c"].map(|name| Arc::new(std::sync::Mutex::new(Host::new(name, &time, DIRS))));
        let books = || Books {
            last_lease: Duration::ZERO,
            since_boot: None,
            stores: vec![Duration::ZERO; DIRS],
            images: Vec::new(),
            saved: Vec::new(),
        };
        Self {
            hosts: hosts.into(),
            books: (0..HOSTS).map(|_| books()).collect(),
            owner: 0,
            processes: Vec::new(),
            key: 0,
            key_since: time.get(),
            sealed: Sealed::default(),
            leases: 0,
            refused: 0,
            time,
        }
    }

    fn happens(&mut self, event: &Event) -> Result<(), String> {
        if self.time.get() - self.key_since >= MAX_KEY_LIFE {
            self.key += 1;
            self.key_since = self.time.get();
        }
        match event {
            Event::Start { dir, workers, dies_after, unused } => {
                self.start(self.owner, *dir, *workers, *dies_after, *unused)?;
            }
            Event::More { process, count } => self.more(*process, *count)?,
            Event::Work => (0..self.processes.len()).try_for_each(|process| self.work(process))?,
            Event::Kill { process } => self.end(*process, false),
            Event::Stop { process } => self.end(*process, true),
            Event::LosePower { down, luck } => self.lose_power(*down, *luck),
            Event::Image => {
                let books = &mut self.books[self.owner];
                books.images.push((lock(&self.hosts[self.owner]).image(), books.stores.clone()));
            }
            Event::RollBack { image } => self.roll_back(*image),
            Event::Save { dir } => {
                let contents = lock(&self.hosts[self.owner]).image().swap_remove(*dir);
                let books = &mut self.books[self.owner];
                books.saved.push((*dir, contents, books.stores[*dir]));
            }
            Event::Restore { saved } => {
                let books = &self.books[self.owner];
                if let Some((dir, contents, knows)) = books.saved.get(*saved).cloned() {
                    self.restore(dir, contents, knows);
                }
            }
            Event::Remove { dir } => self.restore(*dir, None, Duration::ZERO),
            Event::Clone { to } => self.clone_disk(*to)?,
            Event::Move { to } => self.move_keys(*to),
            Event::SetClock { micros } => self.set_clock(*micros),
            Event::Pass { time } => self.time.pass(*time),
        }
        Ok(())
    }

    fn start(
        &mut self,
        host: usize,
        dir: usize,
        workers: usize,
        dies_after: Option<u64>,
        unused: bool,
    ) -> Result<(), String> {
        if self.processes.iter().any(|process| process.host == host && process.dir == dir) {
            return Ok(()); // the directory is locked
        }
        let fuse = Fuse::new(dies_after);
        let slept = Arc::new(AtomicU64::new(0));
        let (machine, files) = {
            let shared = Arc::clone(&self.hosts[host]);
            let (identity, boot) = {
                let machine = lock(&shared);
                (machine.identity.clone(), machine.boot.clone())
            };
            let (time, slept) = (self.time.clone(), Arc::clone(&slept));
            let files = SimFiles {
                host: Arc::clone(&shared),
                dir,
                fuse: fuse.clone(),
                path: format!("{host}/{dir}").into(),
            };
            (SimMachine { host: shared, time, fuse: fuse.clone(), slept, identity, boot }, files)
        };
        let started = C::start(machine, files);
        let candidate = match started {
            Ok(candidate) => candidate,
            Err(_) if fuse.is_blown() => return Ok(()),
            Err(LeaseError::OtherMachine { .. }) if host != self.owner => return Ok(()),
            Err(LeaseError::OtherMachine { .. }) => {
                // What the message says: the other one has stopped for a minute.
                self.restore(dir, None, Duration::ZERO);
                return Ok(());
            }
            Err(e) => return Err(format!("a start on machine {host} failed: {e}")),
        };
        self.processes.push(Process { host, dir, fuse, slept, candidate, workers: Vec::new() });
        self.take(self.processes.len() - 1, workers, unused)
    }

    /// The newest process of those with this number or less.
    fn pick(&self, process: usize) -> Option<usize> {
        self.processes.len().checked_sub(1).map(|last| process.min(last))
    }

    fn more(&mut self, process: usize, count: usize) -> Result<(), String> {
        self.pick(process).map_or(Ok(()), |process| self.take(process, count, false))
    }

    fn take(&mut self, index: usize, count: usize, unused: bool) -> Result<(), String> {
        let process = &mut self.processes[index];
        process.slept.store(0, Relaxed);
        let taken = process.candidate.take_many(count);
        let slept = Duration::from_micros(process.slept.load(Relaxed));
        if slept > longest_wait(count) + Duration::from_secs(1) {
            return Err(format!("{count} leases were waited for {slept:?}"));
        }
        match taken {
            Ok(leases) => {
                let (host, dir) = (process.host, process.dir);
                process.workers.extend(leases.into_iter().map(Sender::new));
                self.leases += count as u64;
                let now = lock(&self.hosts[host]).clock(self.time.get());
                let books = &mut self.books[host];
                books.last_lease = books.last_lease.max(now);
                books.stores[dir] = books.last_lease;
                books.since_boot = Some(books.last_lease);
                if unused {
                    self.end(index, false);
                    return Ok(());
                }
                self.work(index)?;
            }
            Err(_) if process.fuse.is_blown() => {}
            Err(LeaseError::ClockBehind { .. } | LeaseError::Waited(_)) => self.refused += 1,
            Err(e) => return Err(format!("no lease: {e}")),
        }
        if self.processes[index].fuse.is_blown() {
            self.end(index, false);
        }
        Ok(())
    }

    fn work(&mut self, index: usize) -> Result<(), String> {
        let (key, time) = (self.key, self.time.get());
        let process = &mut self.processes[index];
        for (worker, sender) in process.workers.iter_mut().enumerate() {
            let who = || format!("worker {worker} of {}/{} at {time:?}", process.host, process.dir);
            if let Some(iv) = sender.next_iv() {
                self.sealed.seal(key, iv.to_be_bytes(), who)?;
            }
        }
        Ok(())
    }

    fn end(&mut self, process: usize, cleanly: bool) {
        if let Some(index) = self.pick(process) {
            let process = self.processes.swap_remove(index);
            if !cleanly {
                process.fuse.blow();
            }
        }
    }

    /// All processes of a machine die.
    fn end_all(&mut self, host: usize) {
        while let Some(index) = self.processes.iter().position(|process| process.host == host) {
            self.end(index, false);
        }
    }

    /// Whether the machine can know of the last lease: the assumptions, in one line each.
    fn can_know(&self, host: usize, stores: &[Duration], clock_step: i64) -> bool {
        let books = &self.books[host];
        let machine = lock(&self.hosts[host]);
        let step = |time: Duration| {
            Duration::from_micros((time.as_micros() as u64).saturating_add_signed(clock_step))
        };
        let boot = step(machine.clock(machine.started)) + MAY_LOSE;
        let moved = step(machine.clock(self.time.get())).saturating_sub(MOVE - CLOCKS_DIFFER);
        let known = books.since_boot.unwrap_or(boot).max(moved);
        stores.iter().all(|store| (*store).max(known) >= books.last_lease)
    }

    fn lose_power(&mut self, down: Duration, seed: u64) {
        let owner = self.owner;
        self.end_all(owner);
        let mut state = seed;
        let mut luck = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 63 == 1
        };
        lock(&self.hosts[owner]).lose_power(&self.time, down, &mut luck);
        self.books[owner].since_boot = None;
        if !self.can_know(owner, &self.books[owner].stores, 0) {
            let mut host = lock(&self.hosts[owner]);
            let lost = (self.books[owner].last_lease - MAY_LOSE).saturating_sub(host.clock(host.started));
            host.clock_offset += lost.as_micros() as i64;
        }
    }

    fn roll_back(&mut self, image: usize) {
        let owner = self.owner;
        let Some((image, stores)) = self.books[owner].images.get(image).cloned() else { return };
        if self.can_know(owner, &stores, 0) {
            self.end_all(owner);
            lock(&self.hosts[owner]).restore_all(&image);
            self.books[owner].stores = stores;
        }
    }

    fn restore(&mut self, dir: usize, contents: Option<Contents>, knows: Duration) {
        let mut stores = self.books[self.owner].stores.clone();
        stores[dir] = knows;
        if self.can_know(self.owner, &stores, 0) {
            lock(&self.hosts[self.owner]).restore(dir, contents);
            self.books[self.owner].stores = stores;
        }
    }

    fn clone_disk(&mut self, to: usize) -> Result<(), String> {
        if to == self.owner {
            return Ok(());
        }
        self.end_all(to);
        let image = lock(&self.hosts[self.owner]).image();
        let machine = {
            let mut host = lock(&self.hosts[to]);
            host.restore_all(&image);
            host.identity.clone()
        };
        for (dir, store) in image.iter().enumerate() {
            // A store that came from there, and that no process has opened since the keys moved, is at home again: nothing
            // tells that machine that it does not have the keys any more, and it is not to be started with them.
            if store.as_ref().is_some_and(|store| !store.is_store_of(&machine)) {
                self.start(to, dir, 4, None, false)?;
            }
        }
        Ok(())
    }

    fn move_keys(&mut self, to: usize) {
        let from = self.owner;
        if to == from {
            return;
        }
        (0..HOSTS).for_each(|host| self.end_all(host));
        self.time.pass(MOVE);
        let foreign = self.books[from].last_lease;
        {
            let mut host = lock(&self.hosts[to]);
            let behind = (foreign + MOVE - CLOCKS_DIFFER).saturating_sub(host.clock(self.time.get()));
            host.clock_offset += behind.as_micros() as i64;
        }
        let books = &mut self.books[to];
        if foreign > books.last_lease {
            books.last_lease = foreign;
            books.since_boot = None;
        }
        self.owner = to;
    }

    fn set_clock(&mut self, micros: i64) {
        let offset = lock(&self.hosts[self.owner]).clock_offset;
        let micros = (offset + micros).clamp(-WRONG, WRONG) - offset;
        if self.can_know(self.owner, &self.books[self.owner].stores, micros) {
            lock(&self.hosts[self.owner]).clock_offset += micros;
        }
    }
}

/// Lets a history happen; returns how many leases it gave, and how many it refused.
fn run<C: Candidate>(events: &[Event]) -> Result<(u64, u64), String> {
    let mut history = History::<C>::new();
    for event in events {
        history.happens(event)?;
    }
    history.processes.iter().for_each(|process| process.fuse.blow());
    Ok((history.leases, history.refused))
}

/// Lets many histories happen.
fn run_many<C: Candidate>(cases: u32) -> Result<(u64, u64), String> {
    let (leases, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 3000, ..Config::default() };
    let histories = prop::collection::vec(events(), 5..120);
    let outcome = TestRunner::new(config).run(&histories, |events| {
        let (given, not) = run::<C>(&events).map_err(TestCaseError::fail)?;
        leases.fetch_add(given, Relaxed);
        refused.fetch_add(not, Relaxed);
        Ok(())
    });
    outcome.map(|()| (leases.into_inner(), refused.into_inner())).map_err(|e| e.to_string())
}

#[test]
fn no_iv_is_used_twice() {
    let cases = std::env::var("PENSTOCK_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let (leases, refused) = run_many::<Keeper<SimMachine, SimFiles>>(cases).unwrap_or_else(|e| panic!("{e}"));
    println!("{cases} histories: {leases} leases, {refused} refused");
    assert!(leases > 50 * u64::from(cases), "histories in which nothing happens show nothing");
}

/// That wrong rules are found out, each in a few thousand histories at most.
fn is_caught<C: Candidate>() {
    let found = run_many::<C>(5000).expect_err("the wrong rule was not found out");
    assert!(found.contains("under key"), "{found}");
}

#[test]
fn a_counter_in_a_file_is_caught() {
    is_caught::<broken::PlainCounter>();
}

#[test]
fn time_without_an_anchor_is_caught() {
    is_caught::<broken::NoAnchor>();
}

#[test]
fn time_without_an_identity_is_caught() {
    is_caught::<broken::NoIdentity>();
}

#[test]
fn time_without_a_store_is_caught() {
    is_caught::<broken::NoStore>();
}
