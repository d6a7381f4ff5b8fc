//! Takes slots: asks the store and the anchor what was taken, applies the rule, and makes both know before
//! anybody may use what was taken.

use std::path::Path;
use std::time::Duration;

use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};
use redb::StorageBackend;

use super::error::LeaseError;
use super::identity::{BootId, Identity};
use super::rule::{self, Choice, Slot, ThisBoot};
use super::store::{Record, Store};

/// Longest sleep between two looks at the clock, which may be set meanwhile.
const NAP: Duration = Duration::from_secs(1);

/// The machine as the keeper sees it: a clock, an identity, and an anchor.
///
/// The anchor is a text in memory that all processes of the machine share. It outlives them, is gone when the
/// machine restarts, and no disk that is rolled back brings an old one back.
pub(super) trait Machine {
    /// Held while the anchor is read and written; one process at a time has it.
    type Lock;

    /// Time since 1970.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
    /// When process 1 started, since 1970; no anchor is older.
    fn started(&self) -> Option<Duration>;
    /// Which machine it is.
    fn identity(&self) -> &Identity;
    /// Which run of it.
    fn boot(&self) -> &BootId;
    /// Locks the anchor.
    fn lock(&self) -> Result<Self::Lock, LeaseError>;
    /// The anchor's text.
    fn anchor(&self, lock: &Self::Lock) -> Result<Option<String>, LeaseError>;
    /// Replaces it as a whole.
    fn set_anchor(&self, lock: &Self::Lock, text: &str) -> Result<(), LeaseError>;
}

/// The state directory as the keeper sees it, which no other process has.
pub(super) trait Files {
    /// A file in it.
    type Backend: StorageBackend;

    /// The store, when there is one.
    fn existing(&self) -> Result<Option<Self::Backend>, LeaseError>;
    /// An empty file beside it.
    fn create(&self) -> Result<Self::Backend, LeaseError>;
    /// Makes that file the store, to last.
    fn publish(&self) -> Result<(), LeaseError>;
    /// The store's path.
    fn path(&self) -> &Path;
}

/// Gives out the sender IDs of a machine.
#[derive(Debug)]
pub(super) struct Keeper<M, F> {
    machine: M,
    store: Store,
    files: F,
}

impl<M: Machine, F: Files> Keeper<M, F> {
    /// Opens the store, or makes it when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or belongs to another machine.
    pub(super) fn open(machine: M, files: F) -> Result<Self, LeaseError> {
        let file = files.path();
        let unreadable = |e: redb::Error| LeaseError::Unreadable { file: file.into(), reason: e.to_string() };
        let store = match files.existing()? {
            Some(backend) => Store::open(backend).map_err(unreadable)?,
            None => {
                let machine = machine.identity().clone();
                let nothing = Record { newest: Slot(0), boot: BootId(String::new()), machine };
                let store = Store::create(files.create()?, nothing).map_err(cannot_write(file))?;
                files.publish()?;
                store
            }
        };
        if let Some(differs) = machine.identity().differs_from(&store.record().machine) {
            return Err(LeaseError::OtherMachine { file: file.into(), differs });
        }
        Ok(Self { machine, store, files })
    }

    /// Takes a lease for each of `count` workers.
    ///
    /// # Errors
    /// When there are none to be had within [`rule::longest_wait`], or they cannot be recorded.
    pub(super) fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > rule::MOST_AT_ONCE {
            return Err(LeaseError::TooMany(count));
        }
        let first = self.take(count)?;
        let mut granted = Granted { next: first, end: Slot(first.0 + count as u64) };
        (0..count).map(|_| Lease::take(&mut granted)).collect()
    }

    /// Takes `count` slots and returns the first. They are on the disk and in the anchor.
    fn take(&mut self, count: usize) -> Result<Slot, LeaseError> {
        let mut waited = Duration::ZERO;
        loop {
            let time = match self.try_take(count)? {
                Ok(first) => {
                    if waited > Duration::ZERO {
                        tracing::info!("waited {waited:?} for sender IDs: there were many starts lately");
                    }
                    return Ok(first);
                }
                Err(time) => time,
            };
            if waited > rule::longest_wait(count) {
                return Err(LeaseError::Waited(waited));
            }
            let nap = time.clamp(Duration::from_millis(1), NAP);
            self.machine.sleep(nap);
            waited += nap;
        }
    }

    /// The first of the slots, or how long there are none.
    fn try_take(&mut self, count: usize) -> Result<Result<Slot, Duration>, LeaseError> {
        let lock = self.machine.lock()?;
        let this_boot = self.this_boot(&lock)?;
        let now = self.machine.now();
        let newest = rule::newest_taken(self.store.record().newest, this_boot, now);
        if !matches!(this_boot, ThisBoot::Known(_)) {
            // What follows from the time at which the anchor was missing must not move with the time.
            self.machine.set_anchor(&lock, &self.anchor_text(newest))?;
        }
        match rule::choose(newest, now, count) {
            Choice::Take(first) => {
                let last = Slot(first.0 + (count as u64).saturating_sub(1));
                let (boot, machine) = (self.machine.boot().clone(), self.machine.identity().clone());
                let record = Record { newest: last, boot, machine };
                self.store.write(record).map_err(cannot_write(self.files.path()))?;
                self.machine.set_anchor(&lock, &self.anchor_text(last))?;
                Ok(Ok(first))
            }
            Choice::Wait(time) => Ok(Err(time)),
            Choice::ClockBehind(by) => Err(LeaseError::ClockBehind { by, file: self.files.path().into() }),
            Choice::ClockUnset => Err(LeaseError::ClockUnset),
        }
    }

    /// What the anchor says, or its absence.
    fn this_boot(&self, lock: &M::Lock) -> Result<ThisBoot, LeaseError> {
        let boot = self.machine.boot();
        let untouched = match self.machine.started() {
            // This store was used in this run of the machine, so there was an anchor.
            Some(started) if self.store.record().boot != *boot => ThisBoot::Untouched(started),
            _ => ThisBoot::Lost,
        };
        let Some(text) = self.machine.anchor(lock)? else { return Ok(untouched) };
        let parsed = text.trim().split_once(' ').and_then(|(boot, slot)| Some((boot, slot.parse().ok()?)));
        Ok(match parsed {
            Some((named, slot)) if named == boot.0 => ThisBoot::Known(Slot(slot)),
            Some(_) => untouched,
            None => ThisBoot::Lost,
        })
    }

    fn anchor_text(&self, newest: Slot) -> String {
        format!("{} {}\n", self.machine.boot().0, newest.0)
    }
}

impl<M: Machine, F: Files> LeaseStore for Keeper<M, F> {
    type Error = LeaseError;

    fn next_sender(&mut self) -> Result<SenderId, LeaseError> {
        self.take(1).map(Slot::id)
    }
}

/// Slots that were taken, each for one lease.
struct Granted {
    next: Slot,
    end: Slot,
}

impl LeaseStore for Granted {
    type Error = LeaseError;

    fn next_sender(&mut self) -> Result<SenderId, LeaseError> {
        if self.next == self.end {
            return Err(LeaseError::TooMany(1));
        }
        let id = self.next.id();
        self.next.0 += 1;
        Ok(id)
    }
}

fn cannot_write(file: &Path) -> impl Fn(redb::Error) -> LeaseError {
    move |e| LeaseError::Write { file: file.into(), reason: e.to_string() }
}
