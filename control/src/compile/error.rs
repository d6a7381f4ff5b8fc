//! What can go wrong while tables are made. The rest of the tables is made all the same, and the old one stays.

use penstock_dataplane::ids::VrfId;
use penstock_dataplane::tables::TunnelError;
use penstock_dataplane::tables::fib::FibError;

use crate::config::Name;

/// One table or tunnel that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// A routing table.
    #[error("routing table {vrf} was not changed: {source}")]
    Table {
        /// Which one; 0 is the underlay's.
        vrf: VrfId,
        /// Why.
        source: FibError,
    },
    /// The source filter of a tenant or tunnel.
    #[error("the source filter of {owner} was not changed: {source}")]
    Filter {
        /// Whose.
        owner: String,
        /// Why.
        source: FibError,
    },
    /// A tunnel.
    #[error("tunnel {tunnel} of tenant {tenant} was not changed: {source}")]
    Tunnel {
        /// Its tenant.
        tenant: Name,
        /// Its name.
        tunnel: Name,
        /// Why.
        source: TunnelError,
    },
    /// All numbers of a kind are in use or still known to a worker.
    #[error(
        "no number is free for {what}: remove something, or repeat the change when all workers have settled"
    )]
    NoSlot {
        /// What it is for.
        what: String,
    },
}
