//! Sender IDs where many nodes encrypt with the same keys: from one record in the fleet's store.
//!
//! No node gives anything out by itself, and none trusts the store to be as new as it should be.
//!
//! 1. An ID is a slot of 1/128 s. A node takes slots that are newer than all in the record, and begin more than 2 s
//!    ([`rule`]) from the moment at which they are its own by compare-and-swap. Its claim stands in the record then.
//! 2. It waits until they have begun by its clock, looks whether the record still has its claim, and only then uses them
//!    ([`keeper`]).
//!
//! So a slot that is in use has begun by some clock, and what is taken after that begins later than by any clock: also when
//! the store has forgotten everything meanwhile. A slot that has not begun may be taken again when the store forgets who
//! took it; but then the first one finds its claim gone, and takes others.
//!
//! It rests on this, and on nothing else:
//! - The clocks of nodes that take slots are never more than 2 s apart, nor is one set back by more. Each node compares them,
//!   and refuses at 1 s. What the whole fleet's clocks gain or lose together within a day and a half is less than two hours.
//! - No key lives longer than [`FLEET_MAX_KEY_LIFE`], and nobody encrypts under a lease for longer than
//!   [`FLEET_LEASE_LIFE`]; who brings keys, and who has leases, sees to it.
//! - Reads of the store show all that was written before, and it is not put back twice within 15 s.
//! - One store has the keys: a copy of the whole fleet at work elsewhere is not noticed.
//! - The machines' memory is not rolled back.

mod error;
mod keeper;
mod record;
mod rule;
mod system;

use std::error::Error;

use penstock_dataplane::esp::iv::Lease;

pub use error::FleetLeaseError;
use keeper::Keeper;
pub use rule::{CLOCKS_DIFFER, FLEET_LEASE_LIFE, FLEET_MAX_KEY_LIFE, FLEET_RENEW_AFTER};
use system::System;

/// What the store says when it cannot be asked.
pub type StoreFailure = Box<dyn Error + Send + Sync>;

/// A value in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The bytes; or why they are not to be believed, in words for the operator.
    pub value: Result<Vec<u8>, String>,
    /// How often it was put since it was created.
    pub version: u64,
}

/// The one record that all nodes share: the key `senders`. Its values are texts that this module makes and reads; that
/// nobody else makes any is the implementation's business.
///
/// Both calls answer or fail within a second or so, and a swap that has failed does not happen long after.
pub trait SharedRecord {
    /// The newest value; a stale one will not do.
    fn read(&self) -> impl Future<Output = Result<Option<Seen>, StoreFailure>> + Send;

    /// Puts a value if the one that is there has this version (none: if there is none). False: it is another one.
    fn compare_and_swap(
        &self,
        version: Option<u64>,
        value: Vec<u8>,
    ) -> impl Future<Output = Result<bool, StoreFailure>> + Send;
}

/// By how much another node's clock differs from ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockDifference {
    /// The node's name.
    pub node: String,
    /// Its clock minus ours, milliseconds.
    pub millis: i64,
}

/// The clocks of all other nodes that live.
pub trait PeerClocks {
    /// As they are now.
    fn differences(&self) -> Vec<ClockDifference>;
}

impl<F: Fn() -> Vec<ClockDifference>> PeerClocks for F {
    fn differences(&self) -> Vec<ClockDifference> {
        self()
    }
}

/// Gives out sender IDs to one node of a fleet.
#[derive(Debug)]
pub struct FleetLeases<R, P>(Keeper<System, R, P>);

impl<R: SharedRecord, P: PeerClocks> FleetLeases<R, P> {
    /// From this record, as long as our clock is like these.
    pub fn new(record: R, peers: P) -> Self {
        Self(Keeper::new(System::new(), record, peers))
    }

    /// Takes a lease for each of `count` workers. They may be used for [`FLEET_LEASE_LIFE`] from now on, and no longer.
    /// This takes 2.3 s and 1/128 s for each lease, and minutes when hundreds of nodes start at once.
    ///
    /// # Errors
    /// When they cannot be had safely. None is used then.
    pub async fn take_many(&self, count: usize) -> Result<Vec<Lease>, FleetLeaseError> {
        self.0.take_many(count).await
    }
}

#[cfg(test)]
mod tests;
