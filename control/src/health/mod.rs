//! Whether tunnels carry packets: probes inside them, what their answers say, and what that costs the tunnels' routes.
//!
//! | module | decides |
//! |---|---|
//! | `rules` | every number |
//! | `ends` | which addresses a tunnel's probes have |
//! | `losses` | how many of the last five minutes' probes were answered |
//! | `judge` | what state a tunnel is in |
//! | `prober` | which probe is due, which was lost, which is tried again |
//! | `path_mtu` | what the largest packet is that passes a tunnel |
//! | `path_prober` | which size is due, and which was lost |
//! | `fleet` | what all nodes of a fleet together say |
//! | `changes_log` | how many changes are worth a line each |
//!
//! All of it is plain state: time is an argument, and nothing here sends, waits, locks or logs. Routes are never removed
//! for a tunnel's health; they only come after others.

mod changes_log;
mod ends;
mod fleet;
mod judge;
mod losses;
mod path_mtu;
mod path_prober;
mod prober;
pub mod rules;

#[cfg(test)]
mod tests;

pub use changes_log::ChangesLog;
pub use ends::{Ends, NoEnds, ends, target_inside};
pub use fleet::{FleetHealth, FleetView};
pub use judge::{Judge, Reason, State};
pub use path_mtu::{Event as PathEvent, Outcome, PathSearch, Sizes};
pub use path_prober::{PathChange, PathProber, PathStatus, PathWanted};
pub use prober::{Answer, Change, Order, Prober, Sent, Settings, Status, Wanted};
