//! Figures of a case, as JSON and as a table.

use std::io::Write;

use anyhow::Result as AnyResult;
use serde::{Deserialize, Serialize};

use crate::measure::Sample;
use crate::scenario::{Case, Scenario};

/// Ethernet's preamble, gap and checksum do not exist here: bits are of inner IP packets.
const BITS: f64 = 8.0;

/// One case's figures. Cycles are of the time stamp counter, for one packet, devices included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Result {
    pub case: String,
    pub size: usize,
    pub tunnels: usize,
    pub workers: usize,
    /// The best round of any worker.
    pub cycles_best: f64,
    /// The median over all rounds and workers.
    pub cycles_median: f64,
    /// The best round of the devices alone, in the same run.
    pub device_cycles: f64,
    pub device_cycles_median: f64,
    /// All workers together, by the medians.
    pub mpps: f64,
    pub gbps: f64,
    pub flows: usize,
    pub routes: usize,
    pub source_filter: bool,
    pub hugepages: bool,
    pub rounds: usize,
    pub tsc_ghz: f64,
}

impl Result {
    /// From the samples of each worker.
    pub fn new(
        scenario: &Scenario,
        rounds: usize,
        workers: &[Vec<Sample>],
        tsc_hz: u64,
        hugepages: bool,
    ) -> Self {
        let pipeline: Vec<f64> = workers.iter().flatten().map(|sample| sample.pipeline).collect();
        let device: Vec<f64> = workers.iter().flatten().map(|sample| sample.device).collect();
        let packets_per_second: f64 = workers
            .iter()
            .map(|samples| tsc_hz as f64 / median(samples.iter().map(|sample| sample.pipeline).collect()))
            .sum();
        Self {
            case: scenario.case.name().to_owned(),
            size: scenario.size,
            tunnels: scenario.tunnels,
            workers: workers.len(),
            cycles_best: tenth(best(&pipeline)),
            cycles_median: tenth(median(pipeline)),
            device_cycles: tenth(best(&device)),
            device_cycles_median: tenth(median(device)),
            mpps: tenth(packets_per_second / 1e6),
            gbps: tenth(packets_per_second * scenario.size as f64 * BITS / 1e9),
            flows: scenario.flows,
            routes: scenario.routes,
            source_filter: scenario.source_filter,
            hugepages,
            rounds,
            tsc_ghz: (tsc_hz as f64 / 1e6).round() / 1e3,
        }
    }
}

fn best(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Prints the cases.
pub fn list() -> AnyResult<()> {
    let mut out = std::io::stdout().lock();
    for case in Case::ALL {
        writeln!(out, "{:14} {}", case.name(), case.about())?;
    }
    Ok(())
}

/// Prints results.
pub fn results(results: &[Result], json: bool) -> AnyResult<()> {
    let mut out = std::io::stdout().lock();
    if json {
        for result in results {
            writeln!(out, "{}", serde_json::to_string(result)?)?;
        }
        return Ok(());
    }
    writeln!(
        out,
        "{:14} {:>5} {:>8} {:>8} {:>7} {:>7} | {:>7} {:>7} | {:>7} {:>7} | {:>6} {:>7}",
        "case",
        "bytes",
        "tunnels",
        "routes",
        "flows",
        "workers",
        "best",
        "median",
        "device",
        "median",
        "Mpps",
        "Gbit/s"
    )?;
    for r in results {
        writeln!(
            out,
            "{:14} {:>5} {:>8} {:>8} {:>7} {:>7} | {:>7.1} {:>7.1} | {:>7.1} {:>7.1} | {:>6.1} {:>7.1}",
            r.case,
            r.size,
            r.tunnels,
            r.routes,
            r.flows,
            r.workers,
            r.cycles_best,
            r.cycles_median,
            r.device_cycles,
            r.device_cycles_median,
            r.mpps,
            r.gbps
        )?;
    }
    Ok(())
}
