//! Negotiation: how charon is, and what it told of.

use std::fmt;

use super::table::{Metric, Row, counter, gauge, some};
use crate::api::{CharonState, IkeEvents, IkeStatus};

impl Row for IkeStatus {
    const LABELS: &'static [&'static str] = &[];

    fn labels(&self, _with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        Ok(())
    }
}

pub(super) const IKE: &[Metric<IkeStatus>] = &[
    gauge("ike_running", "1 while charon answers", |i| some(i.state == CharonState::Running)),
    counter("ike_restarts", "Times that charon had to be started again", |i| some(i.restarts)),
    gauge("ike_tunnels", "Tunnels that are negotiated", |i| some(i.tunnels.total)),
    gauge("ike_tunnels_up", "Tunnels that charon here has associations for", |i| some(i.tunnels.up)),
    gauge("ike_tunnels_failing", "Tunnels that do not stand and whose last negotiation failed", |i| {
        some(i.failing.len() as u64)
    }),
    gauge("ike_refused", "What charon did not take of the configuration", |i| some(i.refused.len() as u64)),
];

/// How often something happened.
#[derive(Debug)]
pub(super) struct Event {
    name: &'static str,
    count: u64,
}

impl Row for Event {
    const LABELS: &'static [&'static str] = &["event"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(self.name)
    }
}

pub(super) fn events(counted: &IkeEvents) -> Vec<Event> {
    let all = [
        ("established", counted.established),
        ("rekeyed", counted.rekeyed),
        ("ended", counted.ended),
        ("child_established", counted.children_established),
        ("child_rekeyed", counted.children_rekeyed),
        ("child_ended", counted.children_ended),
        ("peer_moved", counted.moved),
        ("failed", counted.failed),
    ];
    all.into_iter().map(|(name, count)| Event { name, count }).collect()
}

pub(super) const EVENTS: &[Metric<Event>] = &[counter(
    "ike_events",
    "What charon told of: IKE SAs and their pairs of associations (child) that came, were rekeyed or ended, peers that \
     moved, negotiations that failed",
    |e| some(e.count),
)];
