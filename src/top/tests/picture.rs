//! A screen as SVG, for the documents.

use std::fmt::Write;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Of a cell, in units of the picture.
const WIDTH: u32 = 8;
const HEIGHT: u32 = 17;
const MARGIN: u32 = 8;
const BACKGROUND: &str = "#1c1f24";
const FOREGROUND: &str = "#d7dae0";

/// The picture of a screen.
pub(super) fn svg(buffer: &Buffer) -> String {
    let (columns, lines) = (u32::from(buffer.area.width), u32::from(buffer.area.height));
    let (width, height) = (columns * WIDTH + 2 * MARGIN, lines * HEIGHT + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', monospace\" font-size=\"13\" xml:space=\"preserve\">\n"
    );
    for (line, row) in buffer.content().chunks(columns as usize).enumerate() {
        let mut column = 0;
        for run in row.chunk_by(|a, b| look(a) == look(b)) {
            draw(&mut svg, column, line as u32, run);
            column += run.len() as u32;
        }
    }
    svg + "</g>\n</svg>\n"
}

/// All that a run of cells has in common.
fn look(cell: &Cell) -> (Color, Modifier) {
    (cell.fg, cell.modifier)
}

fn draw(svg: &mut String, column: u32, line: u32, run: &[Cell]) {
    let text: String = run.iter().map(Cell::symbol).collect();
    let (color, modifier) = run.first().map_or((Color::Reset, Modifier::empty()), look);
    let (x, top) = (MARGIN + column * WIDTH, MARGIN + line * HEIGHT);
    let cells = run.len() as u32 * WIDTH;
    let mut fill = hex(color);
    if modifier.contains(Modifier::REVERSED) {
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{top}\" width=\"{cells}\" height=\"{HEIGHT}\" fill=\"{fill}\"/>"
        );
        fill = BACKGROUND;
    }
    if text.trim().is_empty() {
        return;
    }
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    let opacity = if modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" textLength=\"{cells}\" fill=\"{fill}\"{weight}{opacity}>{escaped}</text>",
        top + HEIGHT - 4
    );
}

fn hex(color: Color) -> &'static str {
    match color {
        Color::Red => "#e06c75",
        Color::Green => "#98c379",
        Color::Yellow => "#e5c07b",
        Color::Blue => "#61afef",
        Color::Cyan => "#56b6c2",
        _ => FOREGROUND,
    }
}
