//! Figures of a case, as JSON and as tables.

use std::io::Write;

use anyhow::Result as AnyResult;
use serde::{Deserialize, Serialize};

use crate::measure::Sample;
use crate::scenario::{Case, Scenario, Size};

/// Ethernet's preamble, gap and checksum do not exist here: bits are of inner IP packets.
const BITS: f64 = 8.0;

/// One case's figures. Cycles are of the time stamp counter, for one packet, devices included.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Result {
    pub case: String,
    /// The average, when they differ.
    pub size: usize,
    pub imix: bool,
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
    #[serde(flatten)]
    pub esp: Option<EspResult>,
    #[serde(flatten)]
    pub crew: Option<CrewResult>,
}

/// What only ESP cases have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EspResult {
    pub cipher: String,
    pub backend: String,
    pub window: Option<u32>,
    /// The best round of the cipher alone, in the same run.
    pub aead_cycles: f64,
    pub aead_cycles_median: f64,
    /// Devices and cipher, by the best rounds: no data path can cost less.
    pub limit: f64,
    /// The best round to the limit.
    pub ratio: f64,
}

/// What only several workers have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CrewResult {
    /// The median of each worker.
    pub worker_cycles: Vec<f64>,
    /// The median of one worker that has the machine for itself, in the same run.
    pub alone_cycles: f64,
    pub alone_mpps: f64,
    /// Packets a second of all workers to those of the one alone: the median of the rounds, each of which has both.
    pub scaling: f64,
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
        let all = |figure: fn(&Sample) -> Option<f64>| -> Vec<f64> {
            workers.iter().flatten().filter_map(figure).collect()
        };
        let pipeline = all(|sample| Some(sample.pipeline));
        let device = all(|sample| Some(sample.device));
        let worker_cycles: Vec<f64> = workers
            .iter()
            .map(|samples| median(samples.iter().map(|sample| sample.pipeline).collect()))
            .collect();
        let packets_per_second: f64 = worker_cycles.iter().map(|cycles| tsc_hz as f64 / cycles).sum();
        let size = scenario.size.mean(scenario.flows);
        Self {
            case: scenario.case.name().to_owned(),
            size: size.round() as usize,
            imix: scenario.size == Size::Imix,
            tunnels: scenario.tunnels,
            workers: workers.len(),
            cycles_best: tenth(best(&pipeline)),
            cycles_median: tenth(median(pipeline.clone())),
            device_cycles: tenth(best(&device)),
            device_cycles_median: tenth(median(device.clone())),
            mpps: tenth(packets_per_second / 1e6),
            gbps: tenth(packets_per_second * size * BITS / 1e9),
            flows: scenario.flows,
            routes: scenario.routes,
            source_filter: scenario.source_filter,
            hugepages,
            rounds,
            tsc_ghz: (tsc_hz as f64 / 1e6).round() / 1e3,
            esp: EspResult::new(scenario, best(&pipeline), best(&device), all(|sample| sample.aead)),
            crew: CrewResult::new(workers, &worker_cycles, tsc_hz as f64),
        }
    }
}

impl EspResult {
    fn new(scenario: &Scenario, pipeline: f64, device: f64, aead: Vec<f64>) -> Option<Self> {
        if aead.is_empty() {
            return None;
        }
        let limit = device + best(&aead);
        Some(Self {
            cipher: scenario.protection.suite.name().to_owned(),
            backend: scenario.protection.backend.name().to_owned(),
            window: scenario.protection.window,
            aead_cycles: tenth(best(&aead)),
            aead_cycles_median: tenth(median(aead)),
            limit: tenth(limit),
            ratio: hundredth(pipeline / limit),
        })
    }
}

impl CrewResult {
    fn new(workers: &[Vec<Sample>], worker_cycles: &[f64], tsc_hz: f64) -> Option<Self> {
        // The first worker's core is where the one alone was.
        let alone: Vec<f64> = workers.first()?.iter().filter_map(|sample| sample.alone).collect();
        if alone.is_empty() {
            return None;
        }
        let scaling = alone.iter().enumerate().map(|(round, alone)| {
            let of_round = workers.iter().filter_map(|samples| samples.get(round));
            of_round.map(|sample| alone / sample.pipeline).sum()
        });
        let scaling = hundredth(median(scaling.collect()));
        let alone = median(alone);
        Some(Self {
            worker_cycles: worker_cycles.iter().copied().map(tenth).collect(),
            alone_cycles: tenth(alone),
            alone_mpps: tenth(tsc_hz / alone / 1e6),
            scaling,
        })
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

fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
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
    let (esp, plain): (Vec<_>, Vec<_>) = results.iter().partition(|result| result.esp.is_some());
    if !plain.is_empty() {
        plain_table(&mut out, &plain)?;
    }
    if !esp.is_empty() {
        esp_table(&mut out, &esp)?;
    }
    Ok(())
}

fn plain_table(out: &mut impl Write, results: &[&Result]) -> AnyResult<()> {
    writeln!(
        out,
        "{:14} {:>5} {:>8} {:>8} {:>7} {:>7} | {:>7} {:>7} | {:>7} {:>7} | {:>6} {:>7} {:>7}",
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
        "Gbit/s",
        "scaling"
    )?;
    for r in results {
        writeln!(
            out,
            "{:14} {:>5} {:>8} {:>8} {:>7} {:>7} | {:>7.1} {:>7.1} | {:>7.1} {:>7.1} | {:>6.1} {:>7.1} {:>7}",
            r.case,
            r.bytes(),
            r.tunnels,
            r.routes,
            r.flows,
            r.workers,
            r.cycles_best,
            r.cycles_median,
            r.device_cycles,
            r.device_cycles_median,
            r.mpps,
            r.gbps,
            r.scaling()
        )?;
    }
    Ok(())
}

fn esp_table(out: &mut impl Write, results: &[&Result]) -> AnyResult<()> {
    writeln!(
        out,
        "{:11} {:16} {:>5} {:>7} {:>7} {:>6} {:>7} | {:>7} {:>7} | {:>7} {:>7} {:>7} {:>6} | {:>6} {:>7} {:>7}",
        "case",
        "cipher",
        "bytes",
        "SAs",
        "flows",
        "window",
        "workers",
        "best",
        "median",
        "device",
        "AEAD",
        "limit",
        "ratio",
        "Mpps",
        "Gbit/s",
        "scaling"
    )?;
    for r in results {
        let Some(esp) = &r.esp else { continue };
        writeln!(
            out,
            "{:11} {:16} {:>5} {:>7} {:>7} {:>6} {:>7} | {:>7.1} {:>7.1} | {:>7.1} {:>7.1} {:>7.1} {:>6.2} | {:>6.1} \
             {:>7.1} {:>7}",
            r.case,
            esp.cipher,
            r.bytes(),
            r.tunnels,
            r.flows,
            esp.window.map_or_else(|| "-".to_owned(), |window| window.to_string()),
            r.workers,
            r.cycles_best,
            r.cycles_median,
            r.device_cycles,
            esp.aead_cycles,
            esp.limit,
            esp.ratio,
            r.mpps,
            r.gbps,
            r.scaling()
        )?;
    }
    Ok(())
}

impl Result {
    fn bytes(&self) -> String {
        if self.imix { "imix".to_owned() } else { self.size.to_string() }
    }

    fn scaling(&self) -> String {
        self.crew.as_ref().map_or_else(|| "-".to_owned(), |crew| format!("{:.2}", crew.scaling))
    }
}

#[cfg(test)]
mod tests {
    use penstock_dataplane::esp::cipher::Backend;
    use penstock_dataplane::esp::suite::Suite;

    use super::*;
    use crate::scenario::Protection;

    const HZ: u64 = 2_000_000_000;

    fn scenario(case: Case, size: Size) -> Scenario {
        let protection =
            Protection { suite: Suite::AES128_GCM, backend: Backend::RustCrypto, window: Some(64) };
        Scenario { case, size, tunnels: 1, flows: 12, routes: 1, source_filter: true, protection }
    }

    #[test]
    fn the_limit_is_devices_and_cipher() {
        let sample = |device, pipeline, aead| Sample { device, pipeline, alone: None, aead: Some(aead) };
        let samples = vec![vec![sample(30.0, 200.0, 75.0), sample(25.0, 150.0, 80.0)]];
        let result = Result::new(&scenario(Case::EspDecap, Size::Imix), 2, &samples, HZ, true);
        let esp = result.esp.as_ref().unwrap();
        assert_eq!((esp.limit, esp.ratio, esp.window), (100.0, 1.5, Some(64)));
        assert_eq!((result.size, result.imix, result.mpps, result.gbps), (352, true, 10.0, 28.2));
        assert!(result.crew.is_none());
    }

    #[test]
    fn two_workers_are_compared_with_one_round_by_round() {
        let sample = |pipeline, alone| Sample { device: 30.0, pipeline, alone, aead: None };
        // The machine was busy in the second round.
        let first = [(100.0, 90.0), (300.0, 270.0), (100.0, 90.0)];
        let second = [100.0, 300.0, 100.0];
        let samples = vec![
            first.map(|(pipeline, alone)| sample(pipeline, Some(alone))).to_vec(),
            second.map(|pipeline| sample(pipeline, None)).to_vec(),
        ];
        let result = Result::new(&scenario(Case::GreEncap, Size::Bytes(64)), 3, &samples, HZ, true);
        let crew = result.crew.as_ref().unwrap();
        assert_eq!((crew.scaling, crew.alone_mpps, result.mpps), (1.8, 22.2, 40.0));
        assert_eq!(crew.worker_cycles, [100.0, 100.0]);
    }

    #[test]
    fn figures_come_back_from_json() {
        let sample = Sample { device: 30.0, pipeline: 200.0, alone: None, aead: None };
        for (case, aead) in [(Case::Forward, None), (Case::EspEncap, Some(75.0))] {
            let samples = [vec![Sample { aead, ..sample }]];
            let result = Result::new(&scenario(case, Size::Bytes(64)), 1, &samples, HZ, true);
            let json = serde_json::to_string(&result).unwrap();
            let back: Result = serde_json::from_str(&json).unwrap();
            assert_eq!(back.esp.is_some(), case.is_esp());
            assert_eq!(serde_json::to_string(&back).unwrap(), json);
        }
    }
}
