//! Tunnels. Every one of the configuration is there, up or down.

use std::fmt;

use super::table::{Metric, Row, Value, counter, gauge, info, some};
use crate::api::{HealthState, PathProbes, TunnelRow, TunnelState};

impl Row for TunnelRow {
    const LABELS: &'static [&'static str] = &["tenant", "tunnel"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.tenant)?;
        with(&self.name)
    }
}

pub(super) const TUNNELS: &[Metric<TunnelRow>] = &[
    gauge(
        "tunnel_up",
        "1 while packets can leave through the tunnel: next hop known, keepalives and probes answered, associations there",
        |t| some(t.state == TunnelState::Up),
    ),
    gauge(
        "tunnel_unresolved",
        "1 while the next hop has not answered ARP or ND and packets go through the kernel",
        |t| some(t.state == TunnelState::Unresolved),
    ),
    gauge("tunnel_mtu_bytes", "Largest inner packet that goes through in one piece now", |t| some(t.mtu)),
    gauge(
        "tunnel_path_mtu_bytes",
        "Largest outer packet, where the path was found to take less than configured",
        |t| t.path_mtu.map(|path| Value::from(path.outer)),
    ),
    gauge(
        "tunnel_mss_ipv4_bytes",
        "What the MSS of SYNs over IPv4 is lowered to; absent: not lowered",
        |t| t.mss_v4.map(Value::from),
    ),
    gauge(
        "tunnel_mss_ipv6_bytes",
        "What the MSS of SYNs over IPv6 is lowered to; absent: not lowered",
        |t| t.mss_v6.map(Value::from),
    ),
    counter("tunnel_encap_packets", "Packets put into the tunnel", |t| some(t.encap.packets)),
    counter("tunnel_encap_bytes", "Bytes of the inner packets put into the tunnel", |t| some(t.encap.bytes)),
    counter("tunnel_decap_packets", "Packets taken out of the tunnel", |t| some(t.decap.packets)),
    counter("tunnel_decap_bytes", "Bytes of the inner packets taken out of the tunnel", |t| {
        some(t.decap.bytes)
    }),
    counter("tunnel_dropped_packets", "Packets that came out of the tunnel and were dropped", |t| {
        some(t.drops)
    }),
    counter("tunnel_clamped_syns", "SYNs whose MSS was lowered", |t| some(t.clamped_syns)),
    counter("tunnel_keepalives_sent", "GRE keepalives sent, where they are configured", |t| {
        t.keepalive.map(|keepalive| Value::Whole(keepalive.sent))
    }),
    counter("tunnel_keepalives_received", "Our GRE keepalives that came back", |t| {
        t.keepalive.map(|keepalive| Value::Whole(keepalive.received))
    }),
    counter("tunnel_keepalives_answered", "GRE keepalives of the peer that were answered", |t| {
        (t.kind == "gre").then_some(Value::Whole(t.keepalives_answered))
    }),
    gauge(
        "tunnel_degraded",
        "1 while health probes find that the tunnel loses packets, and its routes come after others",
        |t| t.health.as_ref().map(|health| Value::from(health.state == HealthState::Degraded)),
    ),
    counter("tunnel_probes_sent", "Health probes sent, where they are configured", |t| {
        t.health.as_ref().map(|health| Value::Whole(health.sent))
    }),
    counter("tunnel_probes_answered", "Health probes answered in time and by the right way", |t| {
        t.health.as_ref().map(|health| Value::Whole(health.answered))
    }),
    counter("tunnel_probes_astray", "Health probes answered late or by another way", |t| {
        t.health.as_ref().map(|health| Value::Whole(health.astray))
    }),
    gauge("tunnel_probe_round_trip_seconds", "How long the last answer to a health probe took", |t| {
        let health = t.health.as_ref()?;
        health.round_trip_us.map(|micros| Value::Real(micros as f64 / 1e6))
    }),
    counter("tunnel_path_mtu_probes_sent", "Probes of the path MTU sent, where they are configured", |t| {
        path_probes(t).map(|probes| Value::Whole(probes.sent))
    }),
    counter(
        "tunnel_path_mtu_probes_lost",
        "Probes of the path MTU lost while a small one was answered",
        |t| path_probes(t).map(|probes| Value::Whole(probes.lost)),
    ),
    counter(
        "tunnel_path_mtu_black_holes",
        "How often packets that passed before were lost for their size, and nobody said so",
        |t| path_probes(t).map(|probes| Value::Whole(probes.black_holes)),
    ),
];

fn path_probes(tunnel: &TunnelRow) -> Option<&PathProbes> {
    tunnel.health.as_ref()?.path_mtu.as_ref()
}

/// What a tunnel is, which changes with the configuration only.
#[derive(Debug)]
pub(super) struct Info([String; 6]);

impl Info {
    pub(super) fn of(tunnel: &TunnelRow) -> Self {
        let remote = tunnel.remote.map_or_else(|| "any".to_owned(), |remote| remote.to_string());
        Self([
            tunnel.tenant.clone(),
            tunnel.name.clone(),
            tunnel.kind.clone(),
            tunnel.endpoint.clone(),
            tunnel.local.to_string(),
            remote,
        ])
    }
}

impl Row for Info {
    const LABELS: &'static [&'static str] = &["tenant", "tunnel", "type", "endpoint", "local", "remote"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        self.0.iter().try_for_each(|value| with(value))
    }
}

pub(super) const INFO: &[Metric<Info>] = &[info("tunnel", "What the tunnel is, as configured")];
