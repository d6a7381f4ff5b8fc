//! `show status`: what to type first when something is wrong.

use penstock_control::api::{Status, UpCount};

use crate::terminal::{block, count, duration, maybe};

pub fn text(status: &Status) -> String {
    let of = |number: UpCount| format!("{} of {}", number.up, number.total);
    let mut text = block(&[
        ("node", status.node.clone()),
        ("version", format!("{} ({})", status.version, status.dpdk)),
        ("process", format!("{}, up {}", status.pid, duration(status.uptime_s))),
        ("configuration", status.config_source.clone()),
        ("last reload", maybe(last_reload(status))),
        ("namespace", status.netns.clone()),
        ("generation", format!("{}, on {} workers", status.generation, of(status.workers))),
        ("ports up", of(status.ports)),
        ("tunnels up", format!("{}, {} tenants", of(status.tunnels), status.tenants)),
        ("routes", format!("{}, {} neighbors", count(status.routes), count(status.neighbors))),
        (
            "packets",
            format!(
                "{} received, {} sent, {} dropped",
                count(status.rx_packets),
                count(status.tx_packets),
                count(status.dropped)
            ),
        ),
        (
            "kernel",
            format!(
                "{} frames to it, {} from it, {} lost",
                count(status.twin_punted),
                count(status.twin_injected),
                count(status.twin_lost)
            ),
        ),
    ]);
    if status.attention.is_empty() {
        text.push_str("\nnothing needs attention\n");
        return text;
    }
    text.push_str("\nneeds attention:\n");
    for sentence in &status.attention {
        text.push_str("  - ");
        text.push_str(sentence);
        text.push('\n');
    }
    text
}

fn last_reload(status: &Status) -> Option<String> {
    let reload = status.last_reload.as_ref()?;
    let ago = duration(reload.age_s);
    Some(match &reload.error {
        Some(error) => format!("{ago} ago, refused: {error}"),
        None => format!("{ago} ago, {} changes", reload.changes),
    })
}
