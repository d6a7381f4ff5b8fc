//! `show tunnels`.

use penstock_control::api::{
    FleetHealth, Health, HealthState, Keepalive, KeepaliveState, Page, PathMtu, PathMtuSource, PathProbes,
    Traffic, TunnelRow, TunnelState,
};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, block, count, duration, maybe};

pub fn text(page: &Page<TunnelRow>, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Text("TENANT"),
        Text("TUNNEL"),
        Text("TYPE"),
        Text("STATE"),
        Text("HEALTH"),
        Text("REMOTE"),
        Number("MTU"),
        Text("MSS"),
        Text("CIPHER"),
        Number("ENCAP"),
        Number("BYTES"),
        Number("DECAP"),
        Number("BYTES"),
        Number("DROPS"),
        Number("SYNS"),
        Text("NOTE"),
    ]);
    for tunnel in &page.rows {
        table.row(vec![
            tunnel.tenant.clone(),
            tunnel.name.clone(),
            tunnel.kind.clone(),
            state(tunnel.state).to_owned(),
            maybe(tunnel.health.as_ref().map(health)),
            remote(tunnel),
            tunnel.mtu.to_string(),
            mss(tunnel),
            cipher(tunnel),
            count(tunnel.encap.packets),
            count(tunnel.encap.bytes),
            count(tunnel.decap.packets),
            count(tunnel.decap.bytes),
            count(tunnel.drops),
            count(tunnel.clamped_syns),
            note(tunnel),
        ]);
    }
    table.text(width) + &footer(page, "tunnels")
}

pub fn detail(page: &Page<TunnelRow>) -> String {
    let blocks: Vec<String> = page.rows.iter().map(one).collect();
    blocks.join("\n") + &footer(page, "tunnels")
}

fn one(tunnel: &TunnelRow) -> String {
    let traffic = |traffic: Traffic| format!("{} packets, {} bytes", traffic.packets, traffic.bytes);
    block(&[
        ("tunnel", format!("{} of {}", tunnel.name, tunnel.tenant)),
        ("type", tunnel.kind.clone()),
        ("state", join(state(tunnel.state), tunnel.reason.as_deref())),
        ("endpoint", format!("{} ({})", tunnel.endpoint, tunnel.local)),
        ("remote", remote(tunnel)),
        ("underlay", maybe(tunnel.underlay.as_ref())),
        (if tunnel.remote.is_some() { "moved to" } else { "found at" }, maybe(tunnel.moved_to)),
        ("key", maybe(tunnel.key)),
        ("ciphers", cipher(tunnel)),
        ("UDP ports", maybe(tunnel.udp_ports.map(|(ours, theirs)| format!("{ours}, peer {theirs}")))),
        ("MTU", join(&tunnel.mtu.to_string(), tunnel.path_mtu.map(path_mtu).as_deref())),
        ("MSS", mss(tunnel)),
        ("encapsulated", traffic(tunnel.encap)),
        ("decapsulated", traffic(tunnel.decap)),
        ("dropped", tunnel.drops.to_string()),
        ("clamped SYNs", tunnel.clamped_syns.to_string()),
        ("health", maybe(tunnel.health.as_ref().map(health_in_full))),
        ("fleet's health", maybe(tunnel.health.as_ref().and_then(|health| health.fleet).map(fleet_health))),
        ("probes", maybe(tunnel.health.as_ref().map(probes))),
        ("path MTU", maybe(tunnel.health.as_ref().and_then(|health| health.path_mtu).map(path_probes))),
        ("keepalives", maybe(tunnel.keepalive.map(keepalive))),
        ("peer's keepalives", format!("{} answered", tunnel.keepalives_answered)),
    ])
}

/// A state as a word.
pub fn state(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Up => "up",
        TunnelState::Unresolved => "unresolved",
        TunnelState::Down => "down",
    }
}

fn remote(tunnel: &TunnelRow) -> String {
    tunnel.remote.map_or_else(|| "any".to_owned(), |remote| remote.to_string())
}

fn mss(tunnel: &TunnelRow) -> String {
    match (tunnel.mss_v4, tunnel.mss_v6) {
        (None, None) => "off".to_owned(),
        (v4, v6) => format!("{}/{}", maybe(v4), maybe(v6)),
    }
}

/// Of both directions, where they differ.
fn cipher(tunnel: &TunnelRow) -> String {
    if tunnel.ciphers.is_empty() { maybe(None::<u32>) } else { tunnel.ciphers.join("+") }
}

/// What is unusual about a tunnel, in a few words.
fn note(tunnel: &TunnelRow) -> String {
    let keepalives_lost = tunnel.keepalive.is_some_and(|keepalive| keepalive.state == KeepaliveState::Down);
    let degraded = tunnel.health.as_ref().filter(|health| health.state == HealthState::Degraded);
    [
        tunnel.reason.clone(),
        degraded.map(|health| health.reason.clone()),
        tunnel.moved_to.map(|address| match tunnel.remote {
            Some(_) => format!("moved to {address}"),
            None => format!("at {address}"),
        }),
        tunnel.path_mtu.map(|path| match path.source {
            PathMtuSource::Icmp => format!("path MTU {}", path.outer),
            PathMtuSource::Probed => format!("path MTU {} probed", path.outer),
        }),
        keepalives_lost.then(|| "keepalives lost".to_owned()).filter(|_| tunnel.reason.is_none()),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}

pub(crate) fn health_state(state: HealthState) -> &'static str {
    match state {
        HealthState::Unknown => "unknown",
        HealthState::Healthy => "healthy",
        HealthState::Degraded => "degraded",
        HealthState::Down => "down",
    }
}

/// With the loss of the last five minutes, if there is any.
fn health(health: &Health) -> String {
    let own = match loss(health) {
        Some(loss) => format!("{} {loss}", health_state(health.state)),
        None => health_state(health.state).to_owned(),
    };
    // Where others see it otherwise it is not the tunnel, or not only.
    match health.fleet.filter(|fleet| fleet.state != health.state) {
        Some(fleet) => format!("{own} (fleet: {})", health_state(fleet.state)),
        None => own,
    }
}

fn loss(health: &Health) -> Option<String> {
    let share = health.lost_5m as f64 / health.ended_5m.max(1) as f64;
    (health.lost_5m > 0).then(|| format!("{:.1}%", share * 100.0))
}

fn health_in_full(health: &Health) -> String {
    let penalty = match health.penalty {
        0 => String::new(),
        penalty => format!("; its routes' priority is {penalty} more"),
    };
    format!("{} for {} ({}){penalty}", health_state(health.state), duration(health.since_s), health.reason)
}

fn fleet_health(fleet: FleetHealth) -> String {
    let FleetHealth { state, nodes, degraded, down } = fleet;
    format!("{}: of {nodes} nodes {down} find it down, {degraded} degraded", health_state(state))
}

fn probes(health: &Health) -> String {
    let trip = health.round_trip_us.map(|us| format!(", the last in {us} us")).unwrap_or_default();
    let loss = loss(health).unwrap_or_else(|| "none".to_owned());
    let astray = match health.astray {
        0 => String::new(),
        astray => format!(", {astray} late or by another way"),
    };
    format!(
        "to {} from {}; {} sent, {} answered{trip}{astray}; loss in 5 min: {loss}",
        health.target, health.source, health.sent, health.answered
    )
}

fn path_mtu(path: PathMtu) -> String {
    let how = match path.source {
        PathMtuSource::Icmp => "learned",
        PathMtuSource::Probed => "probed",
    };
    let kept = path.expires_s.map(|left| format!(", kept for {}", duration(left))).unwrap_or_default();
    format!("path MTU {} {how} {} ago{kept}", path.outer, duration(path.age_s))
}

fn path_probes(probes: PathProbes) -> String {
    let largest = match (probes.largest, probes.searching) {
        (None, _) => "no size has passed yet".to_owned(),
        (Some(largest), false) => format!("inner packets of up to {largest} pass"),
        (Some(largest), true) => format!("searching; inner packets of up to {largest} have passed"),
    };
    let PathProbes { sent, lost, black_holes, .. } = probes;
    format!("{largest}; {sent} probes sent, {lost} too large; {black_holes} black holes")
}

fn keepalive(keepalive: Keepalive) -> String {
    let state = match keepalive.state {
        KeepaliveState::Waiting => "waiting",
        KeepaliveState::Up => "up",
        KeepaliveState::Down => "down",
    };
    let last = match keepalive.last_received_s {
        Some(seconds) => format!("last one {} ago", duration(seconds)),
        None => "none yet".to_owned(),
    };
    format!("{state}; {} sent, {} came back, {last}", keepalive.sent, keepalive.received)
}

fn join(first: &str, second: Option<&str>) -> String {
    match second {
        Some(second) => format!("{first} ({second})"),
        None => first.to_owned(),
    }
}
