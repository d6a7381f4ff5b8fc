//! The gateway as a whole.

use std::fmt;

use super::table::{Metric, Row, Value, counter, gauge, info, some};
use crate::api::{CoreRow, Status};

/// What runs.
#[derive(Debug)]
pub(super) struct Build {
    version: String,
    dpdk: String,
    node: String,
}

impl Build {
    pub(super) fn of(status: &Status) -> Self {
        Self { version: status.version.clone(), dpdk: status.dpdk.clone(), node: status.node.clone() }
    }
}

impl Row for Build {
    const LABELS: &'static [&'static str] = &["version", "dpdk", "node"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.version)?;
        with(&self.dpdk)?;
        with(&self.node)
    }
}

pub(super) const BUILD: &[Metric<Build>] =
    &[info("build", "Version of Penstock and of DPDK, and the name of the node")];

/// `show status`, and what follows from other tables.
#[derive(Debug)]
pub(super) struct Whole {
    status: Status,
    ready: bool,
    /// What came to be, less what became of it.
    unaccounted: i64,
}

impl Whole {
    pub(super) fn of(status: Status, ready: bool, workers: &[CoreRow]) -> Self {
        Self { status, ready, unaccounted: workers.iter().map(|core| core.unaccounted).sum() }
    }
}

impl Row for Whole {
    const LABELS: &'static [&'static str] = &[];

    fn labels(&self, _with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        Ok(())
    }
}

pub(super) const WHOLE: &[Metric<Whole>] = &[
    gauge("uptime_seconds", "Time since the start", |w| some(w.status.uptime_s)),
    gauge("ready", "1 while this node may be sent traffic, as penstock ready says", |w| some(w.ready)),
    gauge("tables_generation", "Newest generation of the tables that control has published", |w| {
        some(w.status.generation)
    }),
    gauge("config_last_reload_successful", "1 unless the last reload was refused", |w| {
        some(w.status.last_reload.as_ref().is_none_or(|reload| reload.error.is_none()))
    }),
    gauge("tenants", "Tenants of the configuration", |w| some(w.status.tenants)),
    gauge("tunnels", "Tunnels of the configuration", |w| some(w.status.tunnels.total)),
    gauge("tunnels_up", "Tunnels that are up", |w| some(w.status.tunnels.up)),
    gauge("routes", "Prefixes over all tables", |w| some(w.status.routes)),
    gauge("neighbors", "Neighbours that the kernel knows", |w| some(w.status.neighbors)),
    gauge("static_sas", "IPsec associations whose keys come from a file: for tests only", |w| {
        some(w.status.static_sas)
    }),
    gauge("stopped_sas", "Outbound associations that were stopped, as their keys were too old", |w| {
        some(w.status.stopped_sas)
    }),
    gauge("lease_missing", "1 while workers may not encrypt for want of sender IDs", |w| {
        some(w.status.no_lease.is_some())
    }),
    gauge("lease_renewal_failing", "1 while workers get no new sender IDs", |w| {
        some(w.status.no_renewal.is_some())
    }),
    counter("twin_punted_frames", "Frames that the kernel's twins took", |w| some(w.status.twin_punted)),
    counter("twin_injected_frames", "Frames of the kernel's twins that went to the workers", |w| {
        some(w.status.twin_injected)
    }),
    counter("twin_lost_frames", "Frames lost between workers and twins, either way", |w| {
        some(w.status.twin_lost)
    }),
    gauge(
        "unaccounted_packets",
        "What came to the workers less what became of it: 0 at rest, and about a burst for each worker under load. \
         Anything that stays is a bug",
        |w| Some(Value::Real(w.unaccounted as f64)),
    ),
];
