//! The kernel's side of the gateway: the namespace of the twins, the twins themselves, and the mirror of what
//! the kernel knows.
//!
//! ```text
//!  configuration ─ plan ──> twin ── rtnetlink ──> interfaces, addresses, static routes ┐
//!                                                                   the kernel; FRR, BIRD, strongSwan there
//!  tables <─ compile <─ state <─ mirror <── events, dumps ── links, routes, neighbours ┘
//!                                │    ^
//!                        resolve ┘    └ which neighbours forwarding uses
//!
//!  workers <── FrameLink ──> pump <── frames ──> TAP of each twin
//! ```
//!
//! Architecture invariants: no thread of the async runtime ever changes its namespace; nothing is polled;
//! only what Penstock made is ever removed; what a slow consumer keeps waiting is bounded by what exists in
//! the kernel.

pub mod error;
pub mod mirror;
mod netlink;
pub mod netns;
pub mod plan;
pub mod pump;
pub mod resolve;
mod rib;
pub mod routes;
pub mod state;
pub mod sysctl;
pub mod tap;
pub mod twin;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use tokio::sync::mpsc;

pub use error::KernelError;
use mirror::{Mirror, MirrorOptions, MirrorStats};
use netns::Netns;
use plan::TwinPlan;
use resolve::NeighbourKey;
use state::KernelUpdate;
use twin::{Applied, Twins};

/// The namespace with its twins and its mirror.
#[derive(Debug)]
pub struct Kernel {
    // Dropped in this order: the namespace goes last.
    mirror: Mirror,
    twins: Twins,
    netns: Netns,
}

impl Kernel {
    /// Opens or makes the namespace `netns`, sets its sysctls and starts to mirror it. A namespace that this
    /// made is removed at the end unless `keep` is set. The first update holds all that is there.
    ///
    /// Must be called inside a tokio runtime with I/O and time; the mirror runs on it.
    pub fn start(netns: &str, keep: bool) -> Result<(Self, mpsc::Receiver<KernelUpdate>), KernelError> {
        let netns = Netns::open_or_create(netns, keep)?;
        let twins = Twins::start(&netns)?;
        let (mirror, updates) = Mirror::start(&netns, MirrorOptions::default())?;
        Ok((Self { mirror, twins, netns }, updates))
    }

    /// Makes the kernel's side equal to `plan`. Give the ports of the answer to the pump, also when there are
    /// problems.
    pub async fn apply(&mut self, plan: &TwinPlan) -> Applied {
        self.twins.apply(&self.netns, plan).await
    }

    /// Replaces the set of neighbours that forwarding uses: these are resolved and kept fresh.
    pub fn set_wanted(&self, wanted: HashSet<NeighbourKey>) {
        self.mirror.set_wanted(wanted);
    }

    /// Tells the kernel that the port behind the twin `name` has, or has lost, its link.
    pub fn set_carrier(&self, name: &str, up: bool) -> Result<(), KernelError> {
        self.twins.set_carrier(name, up)
    }

    /// The namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Counters of the mirror.
    pub fn stats(&self) -> MirrorStats {
        self.mirror.stats()
    }

    /// Closes the twins and removes the namespace if it is ours to remove. (Dropping does the same, but can
    /// only log what goes wrong.)
    pub fn close(self) -> Result<(), KernelError> {
        let Self { mirror, twins, netns } = self;
        drop(mirror);
        drop(twins);
        netns.close()
    }
}
