//! The screen: a head with the whole gateway, one page of rows, and the keys. Made for 80 columns and 24 lines; more is used.

mod pages;
mod tunnel;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::bar::NINE_LEVELS;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

use super::model::{Model, View};
use super::rates::{REMEMBERED, Rate};
use crate::terminal::{count, duration};

/// Cells of a trend in a row.
const TREND: usize = 10;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, model: &Model) {
    let [head, charts, note, tabs, page, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(model)), head);
    let [received, sent] = Layout::horizontal([Constraint::Ratio(1, 2); 2]).spacing(2).areas(charts);
    chart(frame, received, "received", &model.totals.rx_packets, Color::Green);
    chart(frame, sent, "sent", &model.totals.tx_packets, Color::Blue);
    frame.render_widget(attention(model), note);
    frame.render_widget(tab_line(model), tabs);
    if model.opened().is_some() {
        tunnel::draw(frame, page, model);
    } else {
        match model.view {
            View::Tunnels => pages::tunnels(frame, page, model),
            View::Cores => pages::cores(frame, page, model),
            View::Drops => pages::drops(frame, page, model),
            View::Ports => pages::ports(frame, page, model),
        }
    }
    frame.render_widget(key_line(model), keys);
}

fn summary(model: &Model) -> Vec<Line<'static>> {
    let status = &model.look.status;
    let all_up = status.tunnels.up == status.tunnels.total;
    let totals = &model.totals;
    vec![
        Line::from(vec![
            Span::from(format!("penstock {}", status.node)).bold(),
            Span::from(format!("  up {}  tunnels ", duration(status.uptime_s))),
            Span::styled(format!("{}/{}", status.tunnels.up, status.tunnels.total), good(all_up)),
            Span::from(" ports "),
            Span::styled(
                format!("{}/{}", status.ports.up, status.ports.total),
                good(status.ports.up == status.ports.total),
            ),
            Span::from(" workers "),
            Span::styled(
                format!("{}/{}", status.workers.up, status.workers.total),
                good(status.workers.up == status.workers.total),
            ),
            if model.paused { Span::from("  PAUSED").yellow().bold() } else { Span::default() },
        ]),
        Line::from(vec![
            Span::from(format!("RX {} pps {}", whole(totals.rx_packets.now()), bits(&totals.rx_bytes))),
            Span::from(format!("  TX {} pps {}", whole(totals.tx_packets.now()), bits(&totals.tx_bytes))),
            Span::from("  dropped "),
            Span::styled(format!("{}/s", whole(totals.dropped.now())), good(totals.dropped.now() < 0.5)),
            Span::from(" lost "),
            Span::styled(format!("{}/s", whole(totals.lost.now())), good(totals.lost.now() < 0.5)),
        ]),
    ]
}

fn chart(frame: &mut Frame<'_>, area: Rect, title: &'static str, rate: &Rate, color: Color) {
    let [label, bars] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(area);
    let width = usize::from(bars.width).min(REMEMBERED);
    let trend = rate.trend(width);
    let most = trend.iter().copied().fold(0.0, f64::max);
    let title = format!("{title}, pps, most {}", whole(most));
    frame.render_widget(Paragraph::new(title).dim(), label);
    let values: Vec<u64> = trend.into_iter().map(|value| value as u64).collect();
    frame.render_widget(Sparkline::default().data(values).style(color), bars);
}

/// What needs a person, or why the screen is old.
fn attention(model: &Model) -> Paragraph<'static> {
    if let Some(problem) = &model.problem {
        let first = problem.lines().next().unwrap_or_default();
        return Paragraph::new(format!("no answer, this is old: {first}")).red();
    }
    let sentences = &model.look.status.attention;
    match sentences.first() {
        None => Paragraph::new("nothing needs attention").dim(),
        Some(first) if sentences.len() == 1 => Paragraph::new(format!("! {first}")).yellow(),
        Some(first) => Paragraph::new(format!("! ({} like this) {first}", sentences.len())).yellow(),
    }
}

fn tab_line(model: &Model) -> Line<'static> {
    let mut spans = Vec::new();
    for (number, view) in View::ALL.into_iter().enumerate() {
        let tab = Span::from(format!(" {} {} ", number + 1, view.name()));
        spans.push(if view == model.view { tab.reversed() } else { tab });
    }
    if model.typing {
        spans.push(Span::from(format!("  filter: {}_", model.filter)).yellow());
    } else if !model.filter.is_empty() {
        spans.push(Span::from(format!("  filter: {}", model.filter)).yellow());
    }
    Line::from(spans)
}

fn key_line(model: &Model) -> Paragraph<'static> {
    let keys = if model.typing {
        "type a part of a name or a state   Enter keep   Esc clear"
    } else if model.opened().is_some() {
        "Esc back   1-4 page   p pause   q quit"
    } else if model.view == View::Tunnels {
        "1-4 page  ↑↓ select  Enter open  s sort  r reverse  / filter  p pause  q quit"
    } else {
        "1-4 page   ↑↓ select   / filter   p pause   q quit"
    };
    Paragraph::new(keys).dim()
}

fn good(good: bool) -> Style {
    Style::new().fg(if good { Color::Green } else { Color::Red })
}

/// A rate as a count.
fn whole(rate: f64) -> String {
    count(rate.round() as u64)
}

/// Bits a second of a counter of bytes.
fn bits(bytes: &Rate) -> String {
    format!("{}bit/s", whole(bytes.now() * 8.0))
}

/// A trend of one line of text.
fn trend(rate: Option<&Rate>) -> String {
    let values = rate.map_or_else(|| vec![0.0; TREND], |rate| rate.trend(TREND));
    let most = values.iter().copied().fold(0.0, f64::max);
    let level = |value: f64| -> &'static str {
        const LEVELS: [&str; 9] = [
            NINE_LEVELS.empty,
            NINE_LEVELS.one_eighth,
            NINE_LEVELS.one_quarter,
            NINE_LEVELS.three_eighths,
            NINE_LEVELS.half,
            NINE_LEVELS.five_eighths,
            NINE_LEVELS.three_quarters,
            NINE_LEVELS.seven_eighths,
            NINE_LEVELS.full,
        ];
        // The least that there was is seen, too.
        let eighths = if most > 0.0 { (value / most * 8.0).ceil() as usize } else { 0 };
        LEVELS.get(eighths.min(8)).copied().unwrap_or_default()
    };
    values.into_iter().map(level).collect()
}
