//! `show neighbors`.

use penstock_control::api::{NeighborRow, NeighborState, Page};

use super::footer;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, count, maybe};

pub fn text(page: &Page<NeighborRow>, width: Option<u16>) -> String {
    let mut table =
        Table::new(&[Text("INTERFACE"), Text("ADDRESS"), Text("MAC"), Text("STATE"), Number("USED BY")]);
    for neighbor in &page.rows {
        table.row(vec![
            neighbor.interface.clone(),
            neighbor.ip.to_string(),
            maybe(neighbor.mac.as_ref()),
            state(neighbor.state).to_owned(),
            count(neighbor.used_by),
        ]);
    }
    table.text(width) + &footer(page, "neighbors")
}

fn state(state: NeighborState) -> &'static str {
    match state {
        NeighborState::Permanent => "permanent",
        NeighborState::Reachable => "reachable",
        NeighborState::Stale => "stale",
        NeighborState::Delay => "delay",
        NeighborState::Probe => "probe",
        NeighborState::Incomplete => "incomplete",
        NeighborState::Failed => "failed",
        NeighborState::Noarp => "noarp",
    }
}
