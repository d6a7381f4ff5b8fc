//! What is printed and how: plain tables without borders, human units, JSON.
//!
//! On a terminal only the last column wraps; elsewhere nothing does, so that one row is one line for grep.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement};
use serde::Serialize;

/// Spaces between columns.
const GAP: u16 = 2;

/// Where less is left for the last column, the terminal breaks the lines better than we would.
const NARROWEST_LAST_COLUMN: u16 = 20;

/// Prints to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}

/// A table in the making.
pub struct Table {
    inner: comfy_table::Table,
    columns: Vec<Column>,
}

/// A column's heading and where its text goes.
#[derive(Clone, Copy)]
pub enum Column {
    /// Words, to the left.
    Text(&'static str),
    /// Numbers, to the right.
    Number(&'static str),
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[Column]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(NOTHING);
        inner.set_header(columns.iter().map(|column| match *column {
            Column::Text(heading) => Cell::new(heading),
            Column::Number(heading) => Cell::new(heading).set_alignment(CellAlignment::Right),
        }));
        Self { inner, columns: columns.to_vec() }
    }

    /// Adds a row: one text for each column.
    pub fn row(&mut self, cells: Vec<String>) {
        self.inner.add_row(cells);
    }

    /// The table as text, its last column wrapped to a terminal of `width` columns where that is given and
    /// leaves room for a few words.
    pub fn text(mut self, width: Option<u16>) -> String {
        let last = self.columns.len().saturating_sub(1);
        let contents = self.inner.column_max_content_widths();
        let others: u16 = contents.iter().take(last).map(|width| width + GAP).sum();
        if let Some(width) = width.filter(|width| width.saturating_sub(others) >= NARROWEST_LAST_COLUMN) {
            self.inner.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for (index, (column, kind)) in self.inner.column_iter_mut().zip(&self.columns).enumerate() {
            column.set_padding((0, if index == last { 0 } else { GAP }));
            if matches!(kind, Column::Number(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if index != last {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        let mut text = self.inner.trim_fmt();
        text.push('\n');
        text
    }
}

/// Labels and values, one a line, values aligned.
pub fn block(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.len()).max().unwrap_or_default();
    lines.iter().map(|(label, value)| format!("{label:<width$}  {value}\n")).collect()
}

/// Columns of the terminal; none when standard output is something else.
pub fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(terminal_size::Width(columns), _)| columns)
}

/// A count in at most six characters: exact below 100 000, else three digits and a power of 1000.
pub fn count(value: u64) -> String {
    const EXACT_BELOW: u64 = 100_000;
    if value < EXACT_BELOW {
        return value.to_string();
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    let mut scaled = value as f64;
    let mut unit = "";
    for larger in ["K", "M", "G", "T", "P", "E"] {
        // What would round to 1000 belongs to the next unit.
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    let decimals = if scaled < 9.995 {
        2
    } else if scaled < 99.95 {
        1
    } else {
        0
    };
    format!("{scaled:.decimals$}{unit}")
}

/// A duration in its two largest units.
pub fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let first = UNITS.iter().position(|(length, _)| seconds >= *length).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (length, unit) in UNITS.iter().skip(first).take(2) {
        let amount = rest / length;
        rest %= length;
        if amount > 0 || parts.is_empty() {
            parts.push(format!("{amount}{unit}"));
        }
    }
    parts.join(" ")
}

/// A value that may be missing.
pub fn maybe<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fit_six_characters() {
        let cases = [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100K"),
            (999_499, "999K"),
            (999_500, "1.00M"),
            (1_234_567, "1.23M"),
            (12_345_678, "12.3M"),
            (99_960_000, "100M"),
            (1_000_000_000_000, "1.00T"),
            (u64::MAX, "18.4E"),
        ];
        for (value, expected) in cases {
            assert_eq!(count(value), expected);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases =
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (8_640_000, "100d")];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn numbers_are_aligned_and_only_the_last_column_wraps() {
        let table = || {
            let mut table =
                Table::new(&[Column::Text("NAME"), Column::Number("PACKETS"), Column::Text("HELP")]);
            table.row(vec!["a_long_name".into(), "7".into(), "one two three four five six seven".into()]);
            table.row(vec!["b".into(), "12345".into(), "x".into()]);
            table
        };
        assert_eq!(
            table().text(None),
            "NAME         PACKETS  HELP\n\
             a_long_name        7  one two three four five six seven\n\
             b              12345  x\n"
        );
        let narrow = table().text(Some(42));
        assert!(narrow.lines().all(|line| line.len() <= 42), "{narrow}");
        assert!(narrow.contains("a_long_name        7  one two three four\n"), "{narrow}");
        assert_eq!(table().text(Some(30)), table().text(None), "no room to wrap in");
    }
}
