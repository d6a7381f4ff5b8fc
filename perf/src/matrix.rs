//! The whole table. Each case runs in a process of its own: DPDK starts once in a process, and no case
//! finds the memory of another.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use penstock_dataplane::esp::suite::Suite;

use crate::args::AllOptions;
use crate::report;
use crate::scenario::{Case, Size};

const SIZES: [usize; 3] = [64, 512, 1400];
const ESP_SIZES: [Size; 5] =
    [Size::Bytes(64), Size::Bytes(256), Size::Bytes(512), Size::Bytes(1400), Size::Imix];
const TUNNELS: [usize; 2] = [1_000, 100_000];
const FLOWS: usize = 512;
const MANY_FLOWS: usize = 100_000;
const ROUTES: usize = 1_000_000;
/// Beside the usual one.
const OTHER_SUITES: [&str; 4] = ["aes256gcm16", "chacha20poly1305", "aes128-sha256", "aes256-sha512"];
/// Of an ordinary peer; and one that a pass of two workers fits into.
const WINDOWS: [u32; 2] = [64, 1024];

struct Row {
    case: Case,
    size: Size,
    tunnels: usize,
    flows: usize,
    routes: usize,
    cipher: &'static str,
    window: Option<u32>,
    workers: usize,
}

impl Row {
    fn new(case: Case, bytes: usize) -> Self {
        let cipher = Suite::AES128_GCM.name();
        let size = Size::Bytes(bytes);
        Self { case, size, tunnels: 1, flows: FLOWS, routes: 1, cipher, window: None, workers: 1 }
    }
}

/// Measures every row and prints it as soon as it is there.
pub fn run(options: &AllOptions) -> Result<()> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut results = Vec::new();
    let mut rows = plain_rows();
    rows.extend(esp_rows());
    if options.workers > 1 {
        rows.iter_mut().for_each(|row| row.workers = options.workers);
    } else if core_affinity::get_core_ids().is_some_and(|cores| cores.len() > 1) {
        rows.extend(shared_rows());
    }
    rows.retain(|row| options.case.is_none_or(|case| case == row.case));
    for row in rows {
        let mut command = Command::new(&program);
        command
            .args(["run", "--json", "--case", row.case.name()])
            .arg(format!("--size={}", row.size))
            .arg(format!("--tunnels={}", row.tunnels))
            .arg(format!("--flows={}", row.flows))
            .arg(format!("--routes={}", row.routes))
            .arg(format!("--workers={}", row.workers))
            .args(options.machine.to_args());
        if row.case.is_esp() {
            command.arg(format!("--cipher={}", row.cipher));
            command.args(options.backend.iter().map(|backend| format!("--backend={backend}")));
            command.args(row.window.iter().map(|window| format!("--window={window}")));
        }
        let output = command.stderr(Stdio::inherit()).output().context("this program cannot be run again")?;
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
fn plain_rows() -> Vec<Row> {
    let plain = Case::ALL.into_iter().filter(|case| !case.is_esp());
    let by_size = plain.flat_map(|case| SIZES.map(|size| Row::new(case, size)));
    let by_tunnels =
        [Case::GreEncap, Case::GreDecap, Case::GreTransit].into_iter().flat_map(|case| by_tunnels(case, 64));
    let by_routes = [(Case::Forward, FLOWS), (Case::Forward, MANY_FLOWS), (Case::GreDecap, FLOWS)]
        .into_iter()
        .map(|(case, flows)| Row { flows, routes: ROUTES, ..Row::new(case, 64) });
    by_size.chain(by_tunnels).chain(by_routes).collect()
}

fn by_tunnels(case: Case, bytes: usize) -> impl Iterator<Item = Row> {
    TUNNELS.into_iter().flat_map(move |tunnels| {
        [FLOWS, tunnels].map(|flows| Row { tunnels, flows, ..Row::new(case, bytes) })
    })
}

/// Every size with one association; then many, with few of them in use and with all; then with a replay window at the
/// receiver; then other ciphers.
fn esp_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for case in [Case::EspEncap, Case::EspDecap] {
        rows.extend(ESP_SIZES.map(|size| Row { size, ..Row::new(case, 64) }));
        rows.extend(by_tunnels(case, 64));
        rows.extend([512, 1400].map(|bytes| Row { tunnels: TUNNELS[0], ..Row::new(case, bytes) }));
        rows.push(Row { window: Some(WINDOWS[0]), ..Row::new(case, 64) });
        for cipher in OTHER_SUITES {
            rows.extend([64, 1400].map(|bytes| Row { cipher, ..Row::new(case, bytes) }));
        }
    }
    rows.extend([64, 1400].map(|bytes| Row::new(Case::EspTransit, bytes)));
    rows
}

/// Two workers on one association, without and with a receiver that checks for replays.
fn shared_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for case in [Case::EspEncap, Case::EspDecap] {
        for window in [None, Some(WINDOWS[1])] {
            rows.extend([64, 1400].map(|bytes| Row { window, workers: 2, ..Row::new(case, bytes) }));
        }
    }
    rows
}
