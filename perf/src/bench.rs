//! One case from frames to figures: prepare, judge what the pipeline does, then measure how fast.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use dpdk::TxQueue;

use crate::aead::{Aead, Direction};
use crate::associations;
use crate::crew::{Crew, Setting};
use crate::devices::{self, Device};
use crate::measure::{self, Outcome, Plan, Runner, Station};
use crate::packet::{ETHERNET_LEN, IPV4_LEN};
use crate::report::Result as Figures;
use crate::routes::Internet;
use crate::scenario::{Machine, Scenario};
use crate::together::Together;
use crate::{capture, esp, tables, traffic, verify};

/// Runs one case.
pub fn run(scenario: &Scenario, machine: &Machine) -> Result<Figures> {
    let memory = devices::Memory::start(scenario, machine)?;
    let pool = devices::pool(scenario, machine)?;
    let internet = Internet::new(scenario.routes, traffic::NEXT_HOPS);
    let flows = traffic::flows(scenario, &internet);
    let snapshot = tables::build(scenario, &internet)?;
    let ciphers = associations::ciphers(scenario)?;
    let setting = Setting {
        scenario,
        internet: &internet,
        flows: &flows,
        snapshot: &snapshot,
        ciphers: &ciphers,
        pool: &pool,
    };

    let dir = tempfile::tempdir().context("no temporary directory")?;
    let captures = captures(dir.path(), &setting, machine.cores.len())?;
    let first = *machine.cores.first().context("no core to run on")?;
    for frames in &captures {
        verify::one_pass(frames, &dir.path().join("out.pcap"), &setting, first)?;
    }

    let mut sink = devices::sink(2 * machine.cores.len() + 1, &pool)?;
    let (stations, _replays) = stations(&setting, &captures, machine.cores.len(), &mut sink.tx)?;
    let plan = Plan {
        rounds: machine.rounds,
        packets: machine.packets.max(scenario.flows),
        renew_after: scenario.checks_replays().then_some(scenario.flows),
    };
    let together = Arc::new(Together::new(stations.len()));
    let mut threads = Vec::new();
    for (station, core) in stations.into_iter().zip(&machine.cores) {
        let together = Arc::clone(&together);
        let measure = move || measure::rounds(station, &plan, &together);
        threads.push(dpdk::lcore::spawn(*core, &format!("worker-{core}"), measure)?);
    }
    let mut samples = Vec::new();
    for thread in threads {
        let outcome: Outcome = thread.join().map_err(|_| anyhow!("a worker panicked"))?;
        outcome.stats.iter().try_for_each(|stats| verify::counters(stats, scenario))?;
        ensure!(outcome.refused == 0, "the cipher alone refused {} packets", outcome.refused);
        samples.push(outcome.samples);
    }
    Ok(Figures::new(scenario, machine.rounds, &samples, dpdk::cycles::tsc_hz(), memory.in_hugepages()))
}

/// The frames of each worker; all have the same, unless no two packets may be the same.
fn captures(dir: &Path, setting: &Setting<'_>, workers: usize) -> Result<Vec<PathBuf>> {
    let different = if setting.scenario.checks_replays() { workers } else { 1 };
    let write = |worker| {
        let path = dir.join(format!("in{worker}.pcap"));
        capture::write(&path, traffic::frames_in(setting.scenario, setting.flows, worker, different))?;
        Ok(path)
    };
    (0..different).map(write).collect()
}

/// A station for each worker, and the devices that must live as long.
fn stations(
    setting: &Setting<'_>,
    captures: &[PathBuf],
    workers: usize,
    sink: &mut Vec<TxQueue>,
) -> Result<(Vec<Station>, Vec<Device>)> {
    let mut replays = Vec::new();
    let mut queues = |name: String, worker: usize| -> Result<_> {
        let frames = captures.get(worker % captures.len()).context("frames for each worker")?;
        let mut device = devices::replay(&name, frames, setting.pool)?;
        let rx = devices::only(&mut device.rx)?;
        replays.push(device);
        Ok((rx, sink.pop().context("a queue to send by")?))
    };
    let together: Result<_> = (0..workers).map(|worker| queues(format!("{worker}w"), worker)).collect();
    let crew = Crew::new(setting, together?)?;
    let mut feeding = Some(crew.feeding);
    let mut alone = None;
    if workers > 1 {
        let mut crew = Crew::new(setting, vec![queues("_alone".to_owned(), 0)?])?;
        alone = Some(Runner { worker: devices::only(&mut crew.workers)?, feeding: Some(crew.feeding) });
    }
    let mut stations = Vec::new();
    for (number, worker) in crew.workers.into_iter().enumerate() {
        let (rx, tx) = queues(format!("{number}b"), number)?;
        let runner = Runner { worker, feeding: feeding.take() };
        stations.push(Station { rx, tx, runner, alone: alone.take(), aeads: aeads(setting)? });
    }
    Ok((stations, replays))
}

/// The cipher's part, both parts for transit, none without ESP.
fn aeads(setting: &Setting<'_>) -> Result<Vec<Aead>> {
    let Setting { scenario, flows, .. } = *setting;
    let packet = |frame: Result<Vec<u8>>, tunnel: usize| {
        let cipher = setting.ciphers.get(tunnel).context("a key for each tunnel")?;
        Ok((Arc::clone(cipher), frame?.split_off(ETHERNET_LEN + IPV4_LEN)))
    };
    let mut aeads = Vec::new();
    if !scenario.inbound().is_empty() {
        let frames = traffic::frames_in(scenario, flows, 0, 1);
        let packets = frames.zip(flows).map(|(frame, flow)| packet(frame, flow.tunnel_in()));
        aeads.push(Aead::new(Direction::Open, &scenario.protection, packets)?);
    }
    if !scenario.outbound().is_empty() {
        let iv = vec![0; esp::iv_len(scenario.protection.suite)];
        let packets = flows.iter().map(|flow| {
            packet(flow.frame_out(scenario, setting.internet, 1, &iv), flow.tunnel_out(scenario))
        });
        aeads.push(Aead::new(Direction::Seal, &scenario.protection, packets)?);
    }
    Ok(aeads)
}
