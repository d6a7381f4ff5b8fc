//! What the API says, row by row.
//!
//! Every list travels as a [`Page`]. Counters are exact and only ever grow while the daemon runs; units are the
//! last word of a field's name. A field that does not apply is `null`, never a magic number. New fields may be
//! added in any version; clients ignore what they do not know.

mod core;
mod crypto;
mod fleet;
mod history;
mod ike;
mod objects;
mod port;
mod reload;
mod route;
mod sa;
mod status;
mod tunnel;

pub use self::crypto::{Crypto, CryptoBackend, Sender};
pub use core::{CoreCount, CoreRole, CoreRow, DropRow, IdlePolicy, PoolUse};
pub use fleet::{Durations, Fleet, FleetBarrier, FleetNode, FleetRescue, FleetSas, FleetStore, Readiness};
pub use history::{History, Sample, StateChange, TunnelHistory};
pub use ike::{Charon, CharonState, Ike, IkeChild, IkeEvents, IkeFailure, IkeRow, IkeState, IkeStatus};
pub use objects::{ApplyReport, ApplyRequest, DeleteRequest, TenantObject};
pub use port::{Link, PortCounters, PortRow};
pub use reload::{Change, ChangeKind, ConfigText, ReloadReport, ReloadRequest, RunningConfig};
pub use route::{HopKind, HopRow, NeighborRow, NeighborState, RouteRow, RouteSource};
pub use sa::{SaBudget, SaCore, SaDirection, SaLeft, SaNumbering, SaRow, SaState};
pub use status::{LastReload, Status, UpCount};
pub use tunnel::{
    FleetHealth, Health, HealthState, Keepalive, KeepaliveState, PathMtu, PathMtuSource, PathProbes, Traffic,
    TunnelRow, TunnelState,
};

use serde::{Deserialize, Serialize};

/// The rows that were asked for, and how many there are in all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// Rows that match the filter, including those beyond the limit.
    pub total: u64,
    /// The first of them, up to the limit.
    pub rows: Vec<T>,
}

impl<T> Page<T> {
    /// All rows.
    pub fn all(rows: Vec<T>) -> Self {
        Self { total: rows.len() as u64, rows }
    }

    /// Counts every row of `matching` but keeps only the first `limit` (0: all), so that a table of a million
    /// routes costs memory only for what is shown. Rows are made on demand: pass an iterator that has already
    /// filtered, and that builds its rows late.
    pub fn take<S>(matching: impl Iterator<Item = S>, limit: usize, mut row: impl FnMut(S) -> T) -> Self {
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut page = Self { total: 0, rows: Vec::new() };
        for item in matching {
            page.total += 1;
            if page.rows.len() < limit {
                page.rows.push(row(item));
            }
        }
        page
    }
}
