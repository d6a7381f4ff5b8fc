//! Sender IDs for the workers' IVs: 24 bits that no other worker of any start ever has while a key lives.
//!
//! [`Leases`] gives out each ID once, whatever happens: a crash or a lost power supply at any step, a killed
//! process, an old or no store file, a whole disk rolled back, restarts without end, two processes, a clock
//! that is set. What cannot be proven safe is refused, with what to do.
//!
//! 1. An ID is a slot of time that has begun, and newer than all that were given out before ([`rule`]).
//! 2. Which is the newest is known from the store, an embedded database in the state directory, and from the
//!    anchor, a file in memory (/run). Both are written before the ID is given out ([`keeper`]).
//! 3. The store may be an old one, and after a restart of the machine there is no anchor. But then everything
//!    that was given out was given out before that restart, and only slots that began after it are taken.
//! 4. A copy of the disk at work on another machine is found out by the machine's identity ([`identity`]).
//!
//! It rests on this, and on nothing else:
//! - The clock may be set back at will while the store and the machine's memory last: IDs are then refused
//!   until it has caught up. When the store was rolled back *and* the machine restarted, the clock may have lost
//!   2 s and the time of the restart.
//! - The clock is never ahead by 3 days, and no key is used for longer than [`MAX_KEY_LIFE`]; who brings keys sees to it.
//! - The machine's memory is not rolled back (virtual machines: no snapshots with memory), and /run is not
//!   emptied while process 1 runs.
//! - One machine at a time has the keys. They may move when the old one has stopped for a minute. Copies of a disk
//!   can only be told apart where the hardware has an identity.

mod error;
pub mod fleet;
mod identity;
mod keeper;
mod rule;
mod store;
mod system;

use std::path::Path;

use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};

pub use error::LeaseError;
pub(crate) use identity::BootId;
use keeper::{Keeper, Machine};
pub use rule::MAX_KEY_LIFE;
pub(crate) use system::is_in_memory;
use system::{StateDir, System};

/// The embedded store of leases, for one node.
#[derive(Debug)]
pub struct Leases(Keeper<System, StateDir>);

impl Leases {
    /// Opens the store in the state directory `dir`, or makes both. One process at a time can have it.
    ///
    /// # Errors
    /// When the store cannot be read, is in use, or belongs to another machine.
    pub fn open(dir: &Path) -> Result<Self, LeaseError> {
        Self::open_with_anchor(dir, System::anchor_dir())
    }

    fn open_with_anchor(dir: &Path, anchor_dir: &Path) -> Result<Self, LeaseError> {
        let machine = System::new(anchor_dir)?;
        if !machine.identity().has_hardware() {
            tracing::warn!(
                "this machine has no hardware identity that could be read: a copy of its disk at work elsewhere with \
                 the same keys would not be noticed"
            );
        }
        Ok(Self(Keeper::open(machine, StateDir::lock(dir)?)?))
    }

    /// Takes a lease for each of `count` workers. This writes to the disk, and after many starts in a row it
    /// sleeps, 1/8 s for each lease at most and 12 s when the clock is behind.
    ///
    /// # Errors
    /// When the leases cannot be had safely. None is taken then.
    pub fn take_many(&mut self, count: usize) -> Result<Vec<Lease>, LeaseError> {
        self.0.take_many(count)
    }
}

impl LeaseStore for Leases {
    type Error = LeaseError;

    fn next_sender(&mut self) -> Result<SenderId, LeaseError> {
        self.0.next_sender()
    }
}

#[cfg(test)]
pub(crate) mod tests;
