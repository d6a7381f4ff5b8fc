//! The four pages: one row for each thing.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Text;
use ratatui::widgets::{Cell, Row, Table, TableState};

use penstock_control::api::{CoreRow, TunnelState};

use super::{trend, whole};
use crate::show::tunnels::state;
use crate::terminal::{count, maybe};
use crate::top::model::{Model, Order, Sort, name, of_core, of_port, of_tunnel};

/// A column: its heading, whether numbers stand in it, its width.
struct Column {
    heading: String,
    number: bool,
    width: Constraint,
}

fn text(heading: impl Into<String>, width: Constraint) -> Column {
    Column { heading: heading.into(), number: false, width }
}

fn number(heading: impl Into<String>, width: u16) -> Column {
    Column { heading: heading.into(), number: true, width: Constraint::Length(width) }
}

/// Cells as text, and the colour of each where it has one.
type Cells = Vec<(String, Option<Color>)>;

fn plain(text: impl Into<String>) -> (String, Option<Color>) {
    (text.into(), None)
}

/// In red when it is not zero.
fn bad(rate: f64) -> (String, Option<Color>) {
    (whole(rate), (rate >= 0.5).then_some(Color::Red))
}

fn table(frame: &mut Frame<'_>, area: Rect, columns: &[Column], rows: Vec<Cells>, selected: usize) {
    let aligned = |column: &Column, text: String| {
        let side = if column.number { Alignment::Right } else { Alignment::Left };
        Text::from(text).alignment(side)
    };
    let head =
        Row::new(columns.iter().map(|column| Cell::from(aligned(column, column.heading.clone())))).bold();
    let rows = rows.into_iter().map(|cells| {
        Row::new(columns.iter().zip(cells).map(|(column, (text, color))| {
            let cell = Cell::from(aligned(column, text));
            match color {
                Some(color) => cell.style(Style::new().fg(color)),
                None => cell,
            }
        }))
    });
    let table = Table::new(rows, columns.iter().map(|column| column.width))
        .header(head)
        .row_highlight_style(Style::new().reversed());
    let mut at = TableState::default().with_selected(Some(selected));
    frame.render_stateful_widget(table, area, &mut at);
}

fn heading(model: &Model, words: &str, column: Sort) -> String {
    match model.order(column) {
        Some(Order::Falling) => format!("{words}▼"),
        Some(Order::Rising) => format!("{words}▲"),
        None => words.to_owned(),
    }
}

fn state_color(state: TunnelState) -> Color {
    match state {
        TunnelState::Up => Color::Green,
        TunnelState::Down => Color::Red,
        _ => Color::Yellow,
    }
}

pub(super) fn tunnels(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = [
        text(heading(model, "TUNNEL", Sort::Name), Constraint::Min(18)),
        text(heading(model, "STATE", Sort::State), Constraint::Length(10)),
        number("ENCAP/s", 7),
        number(heading(model, "BIT/s", Sort::Encap), 7),
        number("DECAP/s", 7),
        number(heading(model, "BIT/s", Sort::Decap), 7),
        number(heading(model, "DROP/s", Sort::Drops), 7),
        text("TREND", Constraint::Length(super::TREND as u16)),
    ];
    let rows = model.tunnel_rows().into_iter().map(|tunnel| {
        let key = name(tunnel);
        let rate = |which| model.tunnels.now(&key, which);
        vec![
            plain(format!("{}/{}", tunnel.tenant, tunnel.name)),
            (state(tunnel.state).to_owned(), Some(state_color(tunnel.state))),
            plain(whole(rate(of_tunnel::ENCAP_PACKETS))),
            plain(whole(rate(of_tunnel::ENCAP_BYTES) * 8.0)),
            plain(whole(rate(of_tunnel::DECAP_PACKETS))),
            plain(whole(rate(of_tunnel::DECAP_BYTES) * 8.0)),
            bad(rate(of_tunnel::DROPS)),
            (trend(model.tunnels.of(&key).map(|rates| &rates[of_tunnel::ENCAP_PACKETS])), Some(Color::Cyan)),
        ]
    });
    table(frame, area, &columns, rows.collect(), model.selected);
}

pub(super) fn cores(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = [
        text("CORE", Constraint::Length(5)),
        number("RX/s", 6),
        number("TX/s", 6),
        number("CYCLES", 6),
        number("IDLE", 4),
        number("BURST", 5),
        number("DROP/s", 6),
        number("BUFFERS", 13),
        number("TABLES", 6),
        text("BUSY", Constraint::Length(super::TREND as u16)),
    ];
    let rows = model.core_rows().into_iter().map(|core| {
        let rate = |which| model.cores.now(&core.core, which);
        let behind = core.current_generation.saturating_sub(core.generation.unwrap_or_default());
        vec![
            plain(core.core.to_string()),
            plain(whole(rate(of_core::RX))),
            plain(whole(rate(of_core::TX))),
            plain(maybe(ratio(rate(of_core::CYCLES), rate(of_core::HANDLED)).map(whole))),
            plain(maybe(idle(core, rate(of_core::CYCLES)))),
            plain(maybe(ratio(rate(of_core::RX), rate(of_core::BURSTS)).map(|fill| format!("{fill:.1}")))),
            bad(rate(of_core::DROPS)),
            plain(maybe(
                core.pool
                    .as_ref()
                    .map(|pool| format!("{}/{}", count(pool.in_use.into()), count(pool.size.into()))),
            )),
            match behind {
                0 => plain("new"),
                behind => (format!("-{behind}"), Some(Color::Red)),
            },
            (trend(model.cores.of(&core.core).map(|rates| &rates[of_core::CYCLES])), Some(Color::Cyan)),
        ]
    });
    table(frame, area, &columns, rows.collect(), model.selected);
}

fn ratio(of: f64, to: f64) -> Option<f64> {
    (to > 0.0).then(|| of / to)
}

/// The share of the last interval without packets.
fn idle(core: &CoreRow, cycles: f64) -> Option<String> {
    let busy = ratio(cycles, core.cycles_hz as f64)?;
    Some(format!("{:.0}%", (1.0 - busy).clamp(0.0, 1.0) * 100.0))
}

pub(super) fn drops(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = [
        text("REASON", Constraint::Length(20)),
        number("DROP/s", 6),
        number("ALL", 6),
        text("TREND", Constraint::Length(super::TREND as u16)),
        text("WHAT IT MEANS", Constraint::Min(20)),
    ];
    let rows = model.drop_rows().into_iter().map(|drop| {
        vec![
            plain(&*drop.reason),
            bad(model.drops.now(&drop.reason, 0)),
            plain(count(drop.packets)),
            (trend(model.drops.of(&drop.reason).map(|rates| &rates[0])), Some(Color::Cyan)),
            plain(&*drop.help),
        ]
    });
    table(frame, area, &columns, rows.collect(), model.selected);
}

pub(super) fn ports(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let columns = [
        text("PORT", Constraint::Length(15)),
        text("LINK", Constraint::Length(6)),
        number("RX/s", 7),
        number("BIT/s", 7),
        number("TX/s", 7),
        number("BIT/s", 7),
        number("LOST/s", 7),
        text("TREND", Constraint::Length(super::TREND as u16)),
    ];
    let rows = model.look.ports.iter().map(|port| {
        let rate = |which| model.ports.now(&port.name, which);
        vec![
            plain(&*port.name),
            match (port.link.up, port.link.speed_mbps) {
                (false, _) => ("down".to_owned(), Some(Color::Red)),
                (true, Some(mbps)) => (count(u64::from(mbps) * 1_000_000), Some(Color::Green)),
                (true, None) => ("up".to_owned(), Some(Color::Green)),
            },
            plain(whole(rate(of_port::RX_PACKETS))),
            plain(whole(rate(of_port::RX_BYTES) * 8.0)),
            plain(whole(rate(of_port::TX_PACKETS))),
            plain(whole(rate(of_port::TX_BYTES) * 8.0)),
            bad(rate(of_port::LOST)),
            (trend(model.ports.of(&port.name).map(|rates| &rates[of_port::RX_PACKETS])), Some(Color::Cyan)),
        ]
    });
    table(frame, area, &columns, rows.collect(), model.selected);
}
