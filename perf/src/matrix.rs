//! The whole table. Each case runs in a process of its own: DPDK starts once in a process, and no case
//! finds the memory of another.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::args::AllOptions;
use crate::report;
use crate::scenario::Case;

const SIZES: [usize; 3] = [64, 512, 1400];
const TUNNELS: [usize; 3] = [1, 1_000, 100_000];
const ROUTES: usize = 1_000_000;

struct Row {
    case: Case,
    size: usize,
    tunnels: usize,
    routes: usize,
}

/// Measures every row and prints it as soon as it is there.
pub fn run(options: &AllOptions) -> Result<()> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut results = Vec::new();
    for row in rows().filter(|row| options.case.is_none_or(|case| case == row.case)) {
        let output = Command::new(&program)
            .args(["run", "--json", "--case", row.case.name()])
            .arg(format!("--size={}", row.size))
            .arg(format!("--tunnels={}", row.tunnels))
            .arg(format!("--routes={}", row.routes))
            .arg(format!("--workers={}", options.workers))
            .args(options.machine.to_args())
            .stderr(Stdio::inherit())
            .output()
            .context("this program cannot be run again")?;
        ensure!(output.status.success(), "{} at {} bytes failed", row.case.name(), row.size);
        let result: report::Result = serde_json::from_slice(&output.stdout).context("figures of a case")?;
        if options.json {
            report::results(std::slice::from_ref(&result), true)?;
        }
        results.push(result);
    }
    if options.json { Ok(()) } else { report::results(&results, false) }
}

/// Every case and size with one tunnel; many tunnels and routes where they matter, at 64 bytes.
fn rows() -> impl Iterator<Item = Row> {
    let by_size = Case::ALL
        .into_iter()
        .flat_map(|case| SIZES.into_iter().map(move |size| Row { case, size, tunnels: 1, routes: 1 }));
    let by_tunnels = [Case::GreEncap, Case::GreDecap, Case::GreTransit].into_iter().flat_map(|case| {
        TUNNELS.into_iter().skip(1).flat_map(move |tunnels| {
            SIZES.into_iter().map(move |size| Row { case, size, tunnels, routes: 1 })
        })
    });
    let by_routes = [Case::Forward, Case::GreDecap].into_iter().map(|case| Row {
        case,
        size: 64,
        tunnels: 1,
        routes: ROUTES,
    });
    by_size.chain(by_tunnels).chain(by_routes)
}
