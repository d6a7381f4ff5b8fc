//! The fleet as this node knows it. Of other nodes only sums: each says itself how it is, and a series for each pair
//! of nodes would be millions.

use std::fmt;

use super::table::{Distribution, Metric, Row, Value, counter, gauge, some};
use crate::api::{Durations, Fleet, FleetNode, FleetSas};

const MICROS: f64 = 1e6;

impl Row for Fleet {
    const LABELS: &'static [&'static str] = &[];

    fn labels(&self, _with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        Ok(())
    }
}

fn nodes(fleet: &Fleet, which: impl Fn(&FleetNode) -> bool) -> Option<Value> {
    some(fleet.nodes.iter().filter(|node| which(node)).count() as u64)
}

pub(super) const FLEET: &[Metric<Fleet>] = &[
    gauge("fleet_nodes", "Nodes of which there is a record, this one too", |f| nodes(f, |_| true)),
    gauge("fleet_nodes_ready", "Nodes that may be sent traffic", |f| nodes(f, |node| node.ready)),
    gauge(
        "fleet_clock_offset_seconds",
        "The largest difference between another node's clock and ours",
        |f| {
            let offsets = f.nodes.iter().filter_map(|node| node.clock_ms);
            offsets.map(i64::unsigned_abs).max().map(|ms| Value::Real(ms as f64 / 1e3))
        },
    ),
    gauge("fleet_store_connected", "1 while the store answers", |f| some(f.store.connected)),
    gauge("fleet_store_away_seconds", "Time since the store answered last, while it does not", |f| {
        some(f.store.away_s.unwrap_or_default())
    }),
    gauge("fleet_store_revision", "Newest revision of the store that was seen", |f| some(f.store.revision)),
    gauge("fleet_applied_revision", "Newest revision that all workers of this node have", |f| {
        some(f.store.applied)
    }),
    gauge(
        "fleet_lag_revisions",
        "Revisions that were seen and that not all workers of this node have yet",
        |f| some(f.store.revision.saturating_sub(f.store.applied)),
    ),
    gauge("fleet_unwritten_records", "Records that wait to be written to the store", |f| {
        some(f.store.unwritten)
    }),
    counter("fleet_listings", "Times that everything was read from the store again", |f| {
        some(f.store.listings)
    }),
    counter(
        "fleet_refused_records",
        "Records refused: not sealed by this fleet, damaged, moved or old",
        |f| some(f.store.refused),
    ),
    counter("fleet_barrier_waits", "Times that a negotiation waited for the other nodes", |f| {
        some(f.barrier.waits)
    }),
    counter("fleet_barrier_timeouts", "Times that not all nodes answered in time", |f| {
        some(f.barrier.timeouts)
    }),
    counter("fleet_rescue_sent_packets", "Packets handed on to the node that they belong to", |f| {
        some(f.rescue.sent)
    }),
    counter("fleet_rescue_received_packets", "Packets that other nodes handed to this one", |f| {
        some(f.rescue.received)
    }),
    counter("fleet_rescue_refused_packets", "Packets of other nodes that were not taken", |f| {
        some(f.rescue.refused)
    }),
];

/// Associations, by whose they are.
#[derive(Debug)]
pub(super) struct Sas {
    owner: &'static str,
    count: u64,
}

impl Row for Sas {
    const LABELS: &'static [&'static str] = &["owner"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(self.owner)
    }
}

pub(super) fn sas(sas: &FleetSas) -> [Sas; 4] {
    [("own", sas.own), ("foreign", sas.foreign), ("orphaned", sas.orphaned), ("homeless", sas.homeless)]
        .map(|(owner, count)| Sas { owner, count })
}

pub(super) const SAS: &[Metric<Sas>] = &[gauge(
    "fleet_sas",
    "Associations negotiated here (own) and by other nodes (foreign); of these, whose node is gone (orphaned), and \
     whose tunnel this node does not have (homeless)",
    |s| some(s.count),
)];

/// From a change until all nodes had it, as a histogram.
#[derive(Debug)]
pub(super) struct Propagation {
    sum_s: f64,
    count: u64,
    buckets: Vec<(f64, u64)>,
}

impl Propagation {
    pub(super) fn of(all: &Durations) -> Self {
        let within = all.buckets.iter().map(|(_, count)| count).sum();
        let bounded = all.buckets.iter().map(|(longest, count)| (*longest as f64 / MICROS, *count));
        let beyond = (f64::INFINITY, all.count.saturating_sub(within));
        Self {
            sum_s: all.sum_us as f64 / MICROS,
            count: all.count,
            buckets: bounded.chain([beyond]).collect(),
        }
    }

    pub(super) fn read(&self) -> Distribution<'_> {
        (self.sum_s, self.count, &self.buckets)
    }
}

/// Name and help.
pub(super) const PROPAGATION: (&str, &str) = (
    "fleet_propagation_seconds",
    "Time from a change of this node until all nodes had it, the store included",
);
