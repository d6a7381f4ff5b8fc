//! Security associations, by tunnel and direction: of several the one that is in use.
//!
//! No label says which SPI it is. Each rekey would make new series, and what an operator has to know is how old what
//! is in use is, and how much is left of it. `penstock show sas` has each one.

use std::collections::HashMap;
use std::fmt;

use super::table::{Metric, Row, Value, gauge, some};
use crate::api::{SaBudget, SaDirection, SaLeft, SaRow, SaState, TunnelRow};

/// One way of an IPsec tunnel.
#[derive(Debug)]
pub(super) struct Direction {
    tenant: String,
    tunnel: String,
    direction: SaDirection,
    /// Associations that are installed, with those that go.
    installed: u64,
    current: Option<SaRow>,
}

impl Row for Direction {
    const LABELS: &'static [&'static str] = &["tenant", "tunnel", "direction"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.tenant)?;
        with(&self.tunnel)?;
        with(match self.direction {
            SaDirection::Inbound => "inbound",
            SaDirection::Outbound => "outbound",
        })
    }
}

/// Both ways of every IPsec tunnel of the configuration, whether there is an association or not.
pub(super) fn directions(tunnels: &[TunnelRow], sas: &[SaRow]) -> Vec<Direction> {
    let mut by_tunnel: HashMap<(&str, &str), Vec<&SaRow>> = HashMap::new();
    for sa in sas {
        by_tunnel.entry((&sa.tenant, &sa.tunnel)).or_default().push(sa);
    }
    let none = Vec::new();
    let ipsec = tunnels.iter().filter(|tunnel| tunnel.kind == "ipsec");
    let both = ipsec.flat_map(|tunnel| {
        let of_tunnel = by_tunnel.get(&(&*tunnel.tenant, &*tunnel.name)).unwrap_or(&none);
        [SaDirection::Inbound, SaDirection::Outbound].map(|direction| one(tunnel, direction, of_tunnel))
    });
    both.collect()
}

fn one(tunnel: &TunnelRow, direction: SaDirection, all: &[&SaRow]) -> Direction {
    let these = || all.iter().filter(|sa| sa.direction == direction);
    // Inbound several may be current, in a fleet: the youngest is what the peer was given last.
    let current = these()
        .filter(|sa| matches!(sa.state, SaState::Current | SaState::Orphan))
        .min_by_key(|sa| (sa.state != SaState::Current, sa.age_s));
    Direction {
        tenant: tunnel.tenant.clone(),
        tunnel: tunnel.name.clone(),
        direction,
        installed: these().count() as u64,
        current: current.map(|sa| (*sa).clone()),
    }
}

impl Direction {
    fn end(&self, of: fn(&SaBudget) -> SaLeft) -> Option<Value> {
        let budget = self.current.as_ref()?.budget.as_ref()?;
        of(budget).end.map(Value::Whole)
    }
}

pub(super) const DIRECTIONS: &[Metric<Direction>] = &[
    gauge("tunnel_sas", "Security associations installed, with those that come and go at a rekey", |d| {
        some(d.installed)
    }),
    gauge("tunnel_sa_age_seconds", "Age of the association in use, where it was negotiated", |d| {
        d.current.as_ref().and_then(|sa| sa.age_s).map(Value::Whole)
    }),
    gauge(
        "tunnel_sa_remaining_seconds",
        "Time until the association in use is stopped, unless it is rekeyed",
        |d| d.end(|budget| budget.seconds),
    ),
    gauge(
        "tunnel_sa_remaining_bytes",
        "Bytes until the association in use is stopped, where they are limited",
        |d| d.end(|budget| budget.bytes),
    ),
    gauge(
        "tunnel_sa_remaining_packets",
        "Packets until the association in use is stopped, where they are limited",
        |d| d.end(|budget| budget.packets),
    ),
    gauge(
        "tunnel_sa_remaining_sequence_numbers",
        "Sequence numbers until the association in use is stopped",
        |d| d.current.as_ref().and_then(|sa| sa.sequence_left).map(Value::Whole),
    ),
    gauge("tunnel_sa_sequence_remaining_ratio", "Share of the sequence numbers that is left, 0 to 1", |d| {
        let sa = d.current.as_ref()?;
        let left = sa.sequence_left? as f64;
        Some(Value::Real(left / (sa.sequence as f64 + left).max(1.0)))
    }),
];
