//! The rows of `show tunnels`: how each tunnel is, and why.

use std::time::Instant;

use penstock_dataplane::ids::TunnelId;

use super::super::keepalive::Verdict;
use super::super::state::State;
use crate::api::{
    FleetHealth, Health, HealthState, Keepalive, KeepaliveState, PathMtu, PathMtuSource, PathProbes, Traffic,
    TunnelRow, TunnelState,
};
use crate::compile::{self, PATH_MTU_AGE, TunnelView, WayKind};
use crate::config::Remote;
use crate::health;

/// Why what goes into a tunnel may not arrive.
pub(in crate::runtime) fn tunnel_problem(state: &State, id: TunnelId) -> Option<String> {
    let tunnel = state.compiler.tunnels().find(|tunnel| tunnel.id == id)?;
    let (state, reason) = judge(state, &tunnel);
    let state = match state {
        TunnelState::Up => return None,
        TunnelState::Unresolved => "unresolved",
        TunnelState::Down => "down",
    };
    let reason = reason.unwrap_or_default();
    Some(format!("tunnel {}/{} is {state}: {reason}", tunnel.tenant, tunnel.name))
}

/// A tunnel's state, and in words why it is not up.
pub(super) fn judge(state: &State, tunnel: &TunnelView<'_>) -> (TunnelState, Option<String>) {
    let by_tables = judge_by_tables(state, tunnel);
    // What is seen to be missing says more than probes that are lost for it.
    if by_tables.0 != TunnelState::Down
        && let Some(status) = state.health.prober.status(Instant::now(), tunnel.id)
        && status.state == health::State::Down
    {
        return (TunnelState::Down, Some(status.reason.to_string()));
    }
    by_tables
}

fn judge_by_tables(state: &State, tunnel: &TunnelView<'_>) -> (TunnelState, Option<String>) {
    let watch = state.keepalives.watch(tunnel.tenant, tunnel.name);
    let usable = |kind| tunnel.underlay.iter().any(|way| way.kind == kind);
    if watch.is_some_and(|watch| watch.verdict == Verdict::Down) {
        (TunnelState::Down, Some("keepalives do not come back".to_owned()))
    } else if let Some(reason) = no_association(state, tunnel) {
        (TunnelState::Down, Some(reason.to_owned()))
    } else if usable(WayKind::Adjacency) {
        (TunnelState::Up, None)
    } else if usable(WayKind::Unresolved) || usable(WayKind::Link) {
        (TunnelState::Unresolved, Some("the next hop has not answered ARP or ND yet".to_owned()))
    } else {
        (
            TunnelState::Down,
            Some(match tunnel.remote {
                Some(remote) => format!("no route to {remote}"),
                None => "nobody has negotiated yet".to_owned(),
            }),
        )
    }
}

/// Why an IPsec tunnel has nothing to send under.
fn no_association(state: &State, tunnel: &TunnelView<'_>) -> Option<&'static str> {
    if !tunnel.config.is_ipsec() {
        return None;
    }
    let name = (tunnel.tenant.clone(), tunnel.name.clone());
    let cannot_encrypt = || {
        let no_lease = state.dataplane.workers.iter().any(|worker| worker.stats.sender_id.get() == 0);
        no_lease.then_some("workers may not encrypt, see show crypto")
    };
    if tunnel.config.ike().is_some() {
        return state.negotiated.why_down(&name).or_else(cannot_encrypt);
    }
    let there = state.associations.tunnel(&name);
    if state.associations.is_stopped(&name) {
        Some("its outbound key is too old, see show status")
    } else if there.is_none() {
        Some("no security association")
    } else if there.is_some_and(|there| there.outbound.is_none()) {
        Some("no outbound security association")
    } else {
        cannot_encrypt()
    }
}

pub(super) fn tunnel_row(state: &State, tunnel: &TunnelView<'_>) -> TunnelRow {
    let (tunnel_state, reason) = judge(state, tunnel);
    let totals = state.totals(tunnel.id);
    let underlay: Vec<_> = tunnel.underlay.iter().map(|way| way.via.clone()).collect();
    let watch = state.keepalives.watch(tunnel.tenant, tunnel.name);
    TunnelRow {
        tenant: tunnel.tenant.to_string(),
        name: tunnel.name.to_string(),
        kind: tunnel.config.kind.name().to_owned(),
        endpoint: tunnel.config.endpoint.to_string(),
        local: tunnel.local,
        remote: tunnel.config.remote.address(),
        key: tunnel.config.gre().and_then(|gre| gre.key),
        ciphers: tunnel.esp.suites.iter().map(ToString::to_string).collect(),
        udp_ports: tunnel.esp.udp.map(|udp| (udp.local, tunnel.peer.map_or(udp.remote, |peer| peer.port))),
        moved_to: tunnel.remote.filter(|remote| Remote::At(*remote) != tunnel.config.remote),
        state: tunnel_state,
        reason,
        underlay: (!underlay.is_empty()).then(|| underlay.join(", ")),
        mtu: tunnel.mtu,
        path_mtu: tunnel.path_mtu.map(path_mtu),
        mss_v4: tunnel.mss.0,
        mss_v6: tunnel.mss.1,
        encap: Traffic { packets: totals.encap_packets, bytes: totals.encap_bytes },
        decap: Traffic { packets: totals.decap_packets, bytes: totals.decap_bytes },
        drops: totals.dropped,
        clamped_syns: totals.clamped,
        keepalives_answered: totals.keepalives_answered,
        keepalive: watch.map(|watch| Keepalive {
            state: match watch.verdict {
                Verdict::Waiting => KeepaliveState::Waiting,
                Verdict::Up => KeepaliveState::Up,
                Verdict::Down => KeepaliveState::Down,
            },
            sent: watch.sent,
            received: totals.keepalives_received,
            last_received_s: watch.last_answer.map(|at| at.elapsed().as_secs()),
        }),
        health: health_of(state, tunnel.id),
    }
}

fn health_of(state: &State, tunnel: TunnelId) -> Option<Health> {
    let now = Instant::now();
    let status = state.health.prober.status(now, tunnel)?;
    let fleet = state.fleet.as_ref().and_then(|_| {
        let view = state.health.fleet.view(now, state.health.tag(tunnel)?, status.state);
        Some(FleetHealth {
            state: health_state(view.state),
            nodes: view.nodes as u64,
            degraded: view.degraded as u64,
            down: view.down as u64,
        })
    });
    Some(Health {
        state: health_state(status.state),
        since_s: status.since.elapsed().as_secs(),
        reason: status.reason.to_string(),
        penalty: status.state.penalty(),
        target: status.ends.target,
        source: status.ends.ours,
        ended_5m: status.ended,
        lost_5m: status.lost,
        sent: status.sent,
        answered: status.answered,
        astray: status.astray,
        round_trip_us: status.round_trip.map(|trip| u64::try_from(trip.as_micros()).unwrap_or(u64::MAX)),
        path_mtu: state.health.paths.status(tunnel).map(|status| PathProbes {
            largest: status.found,
            searching: status.is_searching,
            sent: status.sent,
            lost: status.lost,
            black_holes: status.black_holes,
        }),
        fleet,
    })
}

fn health_state(state: health::State) -> HealthState {
    match state {
        health::State::Unknown => HealthState::Unknown,
        health::State::Healthy => HealthState::Healthy,
        health::State::Degraded => HealthState::Degraded,
        health::State::Down => HealthState::Down,
    }
}

fn path_mtu(known: compile::PathMtu) -> PathMtu {
    let (source, age, expires) = match known.source {
        compile::PathMtuSource::Icmp { expires } => {
            let left = expires.saturating_duration_since(Instant::now());
            (PathMtuSource::Icmp, PATH_MTU_AGE.saturating_sub(left), Some(left))
        }
        compile::PathMtuSource::Probed { since } => (PathMtuSource::Probed, since.elapsed(), None),
    };
    let expires_s = expires.map(|left| left.as_secs());
    PathMtu { outer: known.outer, source, age_s: age.as_secs(), expires_s }
}
