//! `show drops`: the reasons that happened, most frequent first, each explained.

use penstock_control::api::{DropRow, Page};

use crate::args::DropArgs;
use crate::terminal::Column::{Number, Text};
use crate::terminal::{Table, count};

pub fn text(page: &Page<DropRow>, args: &DropArgs, width: Option<u16>) -> String {
    let mut rows: Vec<&DropRow> = page.rows.iter().filter(|row| args.all || row.packets > 0).collect();
    if rows.is_empty() {
        return "no packet was dropped\n".to_owned();
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.packets));
    let total: u64 = rows.iter().map(|row| row.packets).sum();

    let mut columns = vec![Text("REASON"), Number("PACKETS"), Number("SHARE")];
    if args.per_core {
        columns.push(Text("PER CORE"));
    }
    columns.push(Text("MEANING"));
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![row.reason.clone(), count(row.packets), share(row.packets, total)];
        if args.per_core {
            cells.push(per_core(row));
        }
        cells.push(row.help.clone());
        table.row(cells);
    }
    table.text(width)
}

fn share(part: u64, total: u64) -> String {
    if part == 0 {
        return "0%".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is printed")]
    let percent = part as f64 * 100.0 / total as f64;
    if percent < 0.1 { "<0.1%".to_owned() } else { format!("{percent:.1}%") }
}

fn per_core(row: &DropRow) -> String {
    let cores = row.per_core.iter().map(|on| format!("{}:{}", on.core, count(on.packets)));
    cores.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use penstock_control::api::CoreCount;

    use super::*;

    fn drops() -> Page<DropRow> {
        let row = |reason: &str, packets| DropRow {
            reason: reason.into(),
            packets,
            per_core: vec![CoreCount { core: 2, packets }],
            help: format!("About {reason}."),
        };
        Page::all(vec![row("never", 0), row("rarely", 1), row("often", 99_999)])
    }

    #[test]
    fn what_happened_most_comes_first_and_what_never_did_only_on_request() {
        let args = DropArgs { all: false, per_core: false };
        assert_eq!(
            text(&drops(), &args, None),
            "REASON  PACKETS   SHARE  MEANING\n\
             often     99999  100.0%  About often.\n\
             rarely        1   <0.1%  About rarely.\n"
        );
        let args = DropArgs { all: true, per_core: true };
        let all = text(&drops(), &args, None);
        assert!(all.contains("often     99999  100.0%  2:99999   About often."), "{all}");
        assert!(all.ends_with("never         0      0%  2:0       About never.\n"), "{all}");
    }

    #[test]
    fn no_drops_is_said() {
        let args = DropArgs { all: false, per_core: false };
        assert_eq!(text(&Page::all(Vec::new()), &args, None), "no packet was dropped\n");
    }
}
