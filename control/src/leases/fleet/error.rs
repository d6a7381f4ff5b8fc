//! Why a node of a fleet has no sender ID, in words that say what to do.

use std::time::Duration;

use super::StoreFailure;

/// A failure to take leases. Nothing is encrypted under new ones then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetLeaseError {
    /// The store does not answer.
    #[error("no sender ID: the fleet's store: {0}")]
    Store(#[source] StoreFailure),
    /// The record is not ours.
    #[error(
        "the record `senders` in the fleet's store cannot be read ({0}). Update this node if others are newer; else look who \
         wrote it and delete it: what was taken is not taken again"
    )]
    Unreadable(String),
    /// Some other node's clock is another one.
    #[error(
        "the clock of the node {node} is {} {direction} ours, and sender IDs follow the clock: none is taken while clocks \
         differ by more than {limit:?}. {others} of {all} other nodes differ so much. Set the clock of whichever is wrong (NTP), \
         or stop that node",
        by.as_secs_f64(),
        limit = super::rule::CLOCKS_DIFFER
    )]
    ClocksDiffer {
        /// The one that differs most.
        node: String,
        /// How far.
        by: Duration,
        /// `s ahead of` or `s behind`.
        direction: &'static str,
        /// Nodes that differ so much.
        others: usize,
        /// All other nodes.
        all: usize,
    },
    /// Slots in the record are of a time to come.
    #[error(
        "the clock is behind: a sender ID was taken that begins {0:?} from now. Set the clock, or wait until it has caught up. \
         If it is right and that of another node was ahead: wait, or stop all nodes, delete the records `senders` and `sas/` in \
         the store, and start them again"
    )]
    ClockBehind(Duration),
    /// The clock shows a time before this program was written.
    #[error("the clock of this machine is not set, and sender IDs follow the clock: set it (timedatectl)")]
    ClockUnset,
    /// Others took what was waited for.
    #[error(
        "no sender ID after {0:?}: the fleet gives out 128 a second. Do too many nodes start at once, or is the store slow or put \
         back again and again?"
    )]
    Waited(Duration),
    /// More than can be taken at once.
    #[error("{0} sender IDs at once are too many: use at most {max} workers", max = super::super::rule::MOST_AT_ONCE)]
    TooMany(usize),
    /// Claims could not be told apart.
    #[error("no sender ID: the system has no random numbers: /dev/urandom has to be there")]
    NoRandom,
}
