//! One tunnel, open.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};

use penstock_control::api::{KeepaliveState, SaDirection, SaRow, SaState, TunnelRow};

use super::{bits, chart, whole};
use crate::show::tunnels::{health_state, state};
use crate::terminal::{block, count, duration, maybe};
use crate::top::model::{Model, name, of_tunnel};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(tunnel) = model.open_row() else {
        frame.render_widget(Paragraph::new("this tunnel was removed; Esc goes back").yellow(), area);
        return;
    };
    let facts = facts(tunnel, model);
    let [text, charts, sas] =
        Layout::vertical([Constraint::Length(facts.len() as u16), Constraint::Length(3), Constraint::Min(0)])
            .areas(area);
    frame.render_widget(Paragraph::new(facts), text);
    let [encap, decap] = Layout::horizontal([Constraint::Ratio(1, 2); 2]).spacing(2).areas(charts);
    if let Some(rates) = model.tunnels.of(&name(tunnel)) {
        chart(frame, encap, "into the tunnel", &rates[of_tunnel::ENCAP_PACKETS], Color::Green);
        chart(frame, decap, "out of it", &rates[of_tunnel::DECAP_PACKETS], Color::Blue);
    }
    let belongs = |sa: &&SaRow| sa.tenant == tunnel.tenant && sa.tunnel == tunnel.name;
    let lines: Vec<Line<'_>> =
        model.look.sas.iter().filter(belongs).map(|sa| Line::from(association(sa))).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), sas);
}

fn facts(tunnel: &TunnelRow, model: &Model) -> Vec<Line<'static>> {
    let mut standing = state(tunnel.state).to_owned();
    if let Some(reason) = &tunnel.reason {
        standing.push_str(&format!(": {reason}"));
    }
    let remote = maybe(tunnel.moved_to.or(tunnel.remote));
    let mut lines = vec![
        ("tunnel", format!("{}/{} ({})", tunnel.tenant, tunnel.name, tunnel.kind)),
        ("state", standing),
        ("outer", format!("{} to {remote}, {}", tunnel.local, maybe(tunnel.underlay.as_deref()))),
        (
            "sizes",
            format!("MTU {}, MSS {} and {} (IPv6)", tunnel.mtu, maybe(tunnel.mss_v4), maybe(tunnel.mss_v6)),
        ),
    ];
    if let Some(rates) = model.tunnels.of(&name(tunnel)) {
        let way = |packets: usize, bytes: usize| {
            format!("{} pps, {}", whole(rates[packets].now()), bits(&rates[bytes]))
        };
        lines.push((
            "encap",
            format!(
                "{}, {} in all",
                way(of_tunnel::ENCAP_PACKETS, of_tunnel::ENCAP_BYTES),
                count(tunnel.encap.packets)
            ),
        ));
        lines.push((
            "decap",
            format!(
                "{}, {} in all, {} dropped",
                way(of_tunnel::DECAP_PACKETS, of_tunnel::DECAP_BYTES),
                count(tunnel.decap.packets),
                count(tunnel.drops)
            ),
        ));
    }
    if let Some(keepalive) = tunnel.keepalive {
        let standing = match keepalive.state {
            KeepaliveState::Waiting => "waiting",
            KeepaliveState::Up => "come back",
            KeepaliveState::Down => "lost",
        };
        let last =
            keepalive.last_received_s.map_or("never".to_owned(), |ago| format!("{} ago", duration(ago)));
        lines.push(("keepalives", format!("{standing}, last {last}")));
    }
    if let Some(health) = &tunnel.health {
        lines.push((
            "health",
            format!("{}, since {}: {}", health_state(health.state), duration(health.since_s), health.reason),
        ));
    }
    block(&lines).lines().map(|line| Line::from(line.to_owned())).collect()
}

/// An association on one line.
fn association(sa: &SaRow) -> String {
    let direction = match sa.direction {
        SaDirection::Inbound => "inbound ",
        SaDirection::Outbound => "outbound",
    };
    let standing = match sa.state {
        SaState::Current => "current",
        SaState::Pending => "pending",
        SaState::Retiring => "retiring",
        SaState::Stopped => "stopped",
        SaState::Orphan => "orphan",
    };
    let mut words = format!("{direction} {} {} {standing}", sa.spi, sa.cipher);
    if let Some(age) = sa.age_s {
        words.push_str(&format!(", age {}", duration(age)));
    }
    if let Some(end) = sa.budget.and_then(|budget| budget.seconds.end) {
        words.push_str(&format!(", ends in {}", duration(end)));
    }
    if let Some(left) = sa.sequence_left {
        words.push_str(&format!(", {} left", count(left)));
    }
    words
}
