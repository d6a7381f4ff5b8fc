//! One case from frames to figures: prepare, judge what the pipeline does, then measure how fast.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use crossbeam::queue::ArrayQueue;
use dpdk::{Mempool, RxQueue, TxQueue};
use penstock_dataplane::esp::EspParts;
use penstock_dataplane::esp::cipher::{Backend, Engine};
use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::peers;
use penstock_dataplane::pipeline::Parts;
use penstock_dataplane::publish::Publisher;
use penstock_dataplane::punt::{inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::Snapshot;
use penstock_dataplane::worker::Worker;

use crate::measure::{Sample, Station};
use crate::report::Result as Figures;
use crate::routes::Internet;
use crate::scenario::{Machine, Scenario};
use crate::{capture, devices, measure, tables, traffic, verify};

/// Datagrams that the reassembler may hold; none comes here.
const DATAGRAMS: u32 = 1024;
const EVENTS: usize = 64;

/// Runs one case.
pub fn run(scenario: &Scenario, machine: &Machine) -> Result<Figures> {
    let memory = devices::Memory::start(scenario, machine)?;
    let pool = devices::pool(scenario, machine)?;
    let internet = Internet::new(scenario.routes, traffic::NEXT_HOPS);
    let flows = traffic::flows(scenario, &internet);
    let snapshot = tables::build(scenario, &internet)?;

    let dir = tempfile::tempdir().context("no temporary directory")?;
    let frames = dir.path().join("in.pcap");
    capture::write(&frames, flows.iter().map(|flow| flow.frame_in(scenario)))?;
    let first = *machine.cores.first().context("no core to run on")?;
    let expected = flows.iter().map(|flow| flow.frame_out(scenario, &internet));
    verify::one_pass(&frames, &dir.path().join("out.pcap"), expected, &snapshot, scenario, &pool, first)?;

    let mut sink = devices::sink(2 * machine.cores.len(), &pool)?;
    let mut replays = Vec::new();
    let mut threads = Vec::new();
    for (number, core) in machine.cores.iter().enumerate() {
        let mut bare = devices::replay(&format!("{number}b"), &frames, &pool)?;
        let mut work = devices::replay(&format!("{number}w"), &frames, &pool)?;
        let tx = sink.tx.pop().context("a queue for the pipeline")?;
        let bare_tx = sink.tx.pop().context("a queue for the bare devices")?;
        let worker = worker(devices::only(&mut work.rx)?, tx, &pool, scenario, &snapshot)?;
        let station = Station { rx: devices::only(&mut bare.rx)?, tx: bare_tx, worker };
        replays.push((bare, work));
        let (rounds, packets) = (machine.rounds, machine.packets.max(scenario.flows));
        let measure = move || measure::rounds(station, rounds, packets);
        threads.push(dpdk::lcore::spawn(*core, &format!("worker-{core}"), measure)?);
    }
    let mut samples: Vec<Vec<Sample>> = Vec::new();
    for thread in threads {
        let (of_one, stats) = thread.join().map_err(|_| anyhow!("a worker panicked"))?;
        verify::counters(&stats, scenario)?;
        samples.push(of_one);
    }
    Ok(Figures::new(scenario, machine.rounds, &samples, dpdk::cycles::tsc_hz(), memory.in_hugepages()))
}

/// A worker with one queue in and one out, and its tables.
pub fn worker(
    rx: RxQueue,
    tx: TxQueue,
    pool: &Mempool,
    scenario: &Scenario,
    snapshot: &Snapshot,
) -> Result<Worker<Dpdk>> {
    let hz = dpdk::cycles::tsc_hz();
    let limits = dpdk::ip_frag::Limits { datagrams: DATAGRAMS, timeout_cycles: hz, socket: None };
    let reassembler = dpdk::Reassembler::new(limits)?;
    let stats = Arc::new(WorkerStats::new(tables::PORTS, scenario.all_tunnels()));
    let (mut publisher, mut subscribers) = Publisher::new([Arc::clone(&stats)]);
    let (_feed, mut receivers) = SaFeed::new([Arc::clone(&stats)], scenario.associations());
    let esp = EspParts {
        receiver: receivers.pop().context("a receiver for each worker")?,
        engine: Engine::new(Backend::best())?,
        associations: scenario.associations(),
        tunnels: scenario.all_tunnels(),
    };
    let (punt, _) = punt_queue();
    let (_, injected) = inject_queue(pool.clone());
    let parts = Parts {
        tx: vec![None, Some(tx)],
        pool: pool.clone(),
        fragmentation: IpFrag::new(reassembler, pool.clone()),
        punt,
        events: Arc::new(ArrayQueue::new(EVENTS)),
        stats,
        esp,
        peers: peers(1).remove(0),
        spread: false,
        hz,
    };
    publisher.publish(snapshot);
    let subscriber = subscribers.pop().context("a subscriber for each worker")?;
    Ok(Worker::new(parts, vec![(tables::PORT_IN, rx)], injected, subscriber))
}
