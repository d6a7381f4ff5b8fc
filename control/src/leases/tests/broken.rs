//! Rules that are wrong: each lacks one part of the right one.

use std::time::Duration;

use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};

use super::super::error::LeaseError;
use super::super::identity::{BootId, Identity};
use super::super::keeper::{Files, Keeper, Machine};
use super::super::rule::Slot;
use super::super::store::{Record, Store};
use super::nonces::Candidate;
use super::sim::{SimFiles, SimMachine};

fn failed(e: redb::Error) -> LeaseError {
    LeaseError::Write { file: "sim".into(), reason: e.to_string() }
}

/// Counts in the store, durably: what everybody would write first. A rolled-back disk breaks it.
pub struct PlainCounter(Store);

impl Candidate for PlainCounter {
    fn start(machine: SimMachine, files: SimFiles) -> Result<Self, LeaseError> {
        if let Some(backend) = files.existing()? {
            return Store::open(backend).map(Self).map_err(failed);
        }
        let record = Record { newest: Slot(0), boot: machine.boot, machine: machine.identity };
        let store = Store::create(files.create()?, record).map_err(failed)?;
        files.publish()?;
        Ok(Self(store))
    }

    fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        (0..count).map(|_| Lease::take(self)).collect()
    }
}

impl LeaseStore for PlainCounter {
    type Error = LeaseError;

    fn next_sender(&mut self) -> Result<SenderId, LeaseError> {
        let mut record = self.0.record().clone();
        record.newest.0 += 1;
        self.0.write(record.clone()).map_err(failed)?;
        Ok(record.newest.id())
    }
}

/// The right rule on a machine that lies.
pub struct Lying<const WHAT: u8>(Keeper<Liar<WHAT>, SimFiles>);

const ANCHOR: u8 = 1;
const STORE: u8 = 2;

/// Nothing in memory outlives a process.
pub type NoAnchor = Lying<ANCHOR>;
/// Every start finds an empty directory.
pub type NoStore = Lying<STORE>;

pub struct Liar<const WHAT: u8> {
    machine: SimMachine,
    boot: BootId,
}

impl<const WHAT: u8> Candidate for Lying<WHAT> {
    fn start(machine: SimMachine, files: SimFiles) -> Result<Self, LeaseError> {
        if WHAT == STORE {
            super::sim::lock(&machine.host).restore(files.dir, None);
        }
        let boot = match WHAT {
            ANCHOR => BootId(format!("{:?}", machine.time.get())), // so that the store shows nothing either
            _ => machine.boot.clone(),
        };
        Keeper::open(Liar { machine, boot }, files).map(Self)
    }

    fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        self.0.take_many(count)
    }
}

impl<const WHAT: u8> Machine for Liar<WHAT> {
    type Lock = ();

    fn now(&self) -> Duration {
        self.machine.now()
    }

    fn sleep(&self, time: Duration) {
        self.machine.sleep(time);
    }

    fn started(&self) -> Option<Duration> {
        self.machine.started()
    }

    fn identity(&self) -> &Identity {
        self.machine.identity()
    }

    fn boot(&self) -> &BootId {
        &self.boot
    }

    fn lock(&self) -> Result<(), LeaseError> {
        self.machine.lock()
    }

    fn anchor(&self, lock: &()) -> Result<Option<String>, LeaseError> {
        Ok(self.machine.anchor(lock)?.filter(|_| WHAT != ANCHOR))
    }

    fn set_anchor(&self, lock: &(), text: &str) -> Result<(), LeaseError> {
        self.machine.set_anchor(lock, text)
    }
}

/// All machines say that they are the same.
pub struct NoIdentity(Keeper<SimMachine, SimFiles>);

impl Candidate for NoIdentity {
    fn start(mut machine: SimMachine, files: SimFiles) -> Result<Self, LeaseError> {
        machine.identity = Identity::new([("machine-id", "image")]);
        Keeper::open(machine, files).map(Self)
    }

    fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        self.0.take_many(count)
    }
}
