//! `show cores`.

use penstock_control::api::{CoreRole, CoreRow, Page};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, count, maybe};

pub fn text(page: &Page<CoreRow>, width: Option<u16>) -> String {
    let mut table = Table::new(&[
        Number("CORE"),
        Text("ROLE"),
        Text("GENERATION"),
        Number("RX"),
        Number("TX"),
        Number("PUNTED"),
        Number("DROPPED"),
        Number("CYCLES"),
        Number("IDLE"),
        Number("LONGEST"),
        Text("BUFFERS"),
        Text("QUEUES"),
    ]);
    for core in &page.rows {
        table.row(vec![
            core.core.to_string(),
            role(core.role).to_owned(),
            generation(core),
            count(core.rx_packets),
            count(core.tx_packets),
            count(core.punted),
            count(core.dropped),
            maybe(core.cycles_per_packet.map(|cycles| format!("{cycles:.0}"))),
            maybe(core.idle_share.map(|share| format!("{:.0}%", share * 100.0))),
            maybe(core.max_loop_us.map(|us| format!("{us:.0} us"))),
            maybe(
                core.pool
                    .as_ref()
                    .map(|pool| format!("{}/{}", count(pool.in_use.into()), count(pool.size.into()))),
            ),
            core.queues.join(" "),
        ]);
    }
    table.text(width) + &footer(page, "cores")
}

fn role(role: CoreRole) -> &'static str {
    match role {
        CoreRole::Control => "control",
        CoreRole::Worker => "worker",
    }
}

/// A worker that lags behind names both numbers.
fn generation(core: &CoreRow) -> String {
    match core.generation {
        None => "-".to_owned(),
        Some(applied) if applied == core.current_generation => applied.to_string(),
        Some(applied) => format!("{applied} of {}", core.current_generation),
    }
}
