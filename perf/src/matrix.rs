//! The whole table. Each case runs in a process of its own: DPDK starts once in a process, and no case
//! finds the memory of another.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::args::AllOptions;
use crate::report;
use crate::scenario::Case;

const SIZES: [usize; 3] = [64, 512, 1400];
const TUNNELS: [usize; 2] = [1_000, 100_000];
const FLOWS: usize = 512;
const MANY_FLOWS: usize = 100_000;
const ROUTES: usize = 1_000_000;

struct Row {
    case: Case,
    size: usize,
    tunnels: usize,
    flows: usize,
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
            .arg(format!("--flows={}", row.flows))
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

/// Every case and size with one tunnel; then many tunnels, with few of them in use and with all; then many routes.
fn rows() -> impl Iterator<Item = Row> {
    let row = |case, size, tunnels, flows| Row { case, size, tunnels, flows, routes: 1 };
    let by_size = Case::ALL.into_iter().flat_map(move |case| SIZES.map(|size| row(case, size, 1, FLOWS)));
    let by_tunnels = [Case::GreEncap, Case::GreDecap, Case::GreTransit].into_iter().flat_map(move |case| {
        TUNNELS
            .into_iter()
            .flat_map(move |tunnels| [FLOWS, tunnels].map(|flows| row(case, 64, tunnels, flows)))
    });
    let by_routes = [(Case::Forward, FLOWS), (Case::Forward, MANY_FLOWS), (Case::GreDecap, FLOWS)]
        .into_iter()
        .map(move |(case, flows)| Row { routes: ROUTES, ..row(case, 64, 1, flows) });
    by_size.chain(by_tunnels).chain(by_routes)
}
