//! `show cores`.

use penstock_control::api::{CoreRole, CoreRow, IdlePolicy, Page};

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
        Text("HANDED"),
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
            role(core).to_owned(),
            generation(core),
            count(core.rx_packets),
            count(core.tx_packets),
            handed(core),
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

/// A worker that rests while nothing comes says how.
fn role(core: &CoreRow) -> &'static str {
    match (core.role, core.idle_policy) {
        (CoreRole::Control, _) => "control",
        (CoreRole::Worker, Some(IdlePolicy::Pause)) => "worker/pause",
        (CoreRole::Worker, Some(IdlePolicy::Sleep)) => "worker/sleep",
        (CoreRole::Worker, Some(IdlePolicy::Poll) | None) => "worker",
    }
}

/// From other cores and to other cores.
fn handed(core: &CoreRow) -> String {
    match (core.handed_in, core.handed_out) {
        (0, 0) => "-".to_owned(),
        (came, went) => format!("{}/{}", count(came), count(went)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cores_hand_each_other_stands_beside_what_they_receive() {
        let core =
            |core, handed_in, handed_out| CoreRow { core, handed_in, handed_out, ..CoreRow::default() };
        let text = text(&Page::all(vec![core(2, 0, 2_500_000), core(3, 2_500_000, 0), core(4, 0, 0)]), None);
        let column: Vec<_> = text.lines().take(4).filter_map(|line| line.split_whitespace().nth(5)).collect();
        assert_eq!(column, ["HANDED", "0/2.50M", "2.50M/0", "-"]);
    }

    #[test]
    fn a_worker_says_how_it_rests() {
        let core = |idle_policy| CoreRow { role: CoreRole::Worker, idle_policy, ..CoreRow::default() };
        let rows = [None, Some(IdlePolicy::Poll), Some(IdlePolicy::Pause), Some(IdlePolicy::Sleep)];
        let text = text(&Page::all(rows.map(core).to_vec()), None);
        let column: Vec<_> = text.lines().take(5).filter_map(|line| line.split_whitespace().nth(1)).collect();
        assert_eq!(column, ["ROLE", "worker", "worker", "worker/pause", "worker/sleep"]);
    }
}
