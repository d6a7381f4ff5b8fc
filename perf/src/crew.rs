//! Workers as `penstock run` starts them, with tables and security associations of their own crew.

use std::sync::Arc;

use anyhow::Result;
use crossbeam::queue::ArrayQueue;
use dpdk::{Mempool, RxQueue, TxQueue};
use penstock_dataplane::esp::EspParts;
use penstock_dataplane::esp::cipher::{Cipher, Engine};
use penstock_dataplane::esp::feed::{SaFeed, SaReceiver};
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::peers;
use penstock_dataplane::ike::IkeGate;
use penstock_dataplane::pipeline::Parts;
use penstock_dataplane::probe::{probe_answers, probe_queue};
use penstock_dataplane::publish::{Publisher, Subscriber};
use penstock_dataplane::punt::{inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::Snapshot;
use penstock_dataplane::worker::Worker;

use crate::associations::{self, Feeding};
use crate::routes::Internet;
use crate::scenario::Scenario;
use crate::tables;
use crate::traffic::Flow;

/// Datagrams that the reassembler may hold; none comes here.
const DATAGRAMS: u32 = 1024;
const EVENTS: usize = 64;

/// What all crews of a run have in common.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub scenario: &'a Scenario,
    pub internet: &'a Internet,
    pub flows: &'a [Flow],
    pub snapshot: &'a Snapshot,
    /// By tunnel.
    pub ciphers: &'a [Arc<Cipher>],
    pub pool: &'a Mempool,
}

/// Workers that share their associations: keys, windows, sequence numbers.
pub struct Crew {
    pub workers: Vec<Worker<Dpdk>>,
    pub feeding: Feeding,
}

impl Crew {
    /// A worker for each pair of queues, ready to go.
    pub fn new(setting: &Setting<'_>, queues: Vec<(RxQueue, TxQueue)>) -> Result<Self> {
        let scenario = setting.scenario;
        let stats: Vec<_> = queues
            .iter()
            .map(|_| Arc::new(WorkerStats::new(tables::PORTS, scenario.all_tunnels())))
            .collect();
        let (mut publisher, subscribers) = Publisher::new(stats.iter().cloned());
        let (feed, receivers) = SaFeed::new(stats.iter().cloned(), associations::room(scenario));
        let ends = stats.into_iter().zip(subscribers).zip(receivers);
        let workers: Result<Vec<_>> = queues
            .into_iter()
            .zip(ends)
            .map(|(queues, ((stats, subscriber), receiver))| {
                worker(setting, queues, stats, subscriber, receiver)
            })
            .collect();
        let mut workers = workers?;
        let mut feeding = associations::install(feed, scenario, setting.ciphers)?;
        // A worker takes a few changes a turn, and no frame before it has tables.
        while !feeding.turn() {
            for worker in &mut workers {
                worker.turn();
            }
        }
        publisher.publish(setting.snapshot);
        Ok(Self { workers, feeding })
    }
}

fn worker(
    setting: &Setting<'_>,
    (rx, tx): (RxQueue, TxQueue),
    stats: Arc<WorkerStats>,
    subscriber: Subscriber,
    receiver: SaReceiver,
) -> Result<Worker<Dpdk>> {
    let (scenario, pool) = (setting.scenario, setting.pool);
    let hz = dpdk::cycles::tsc_hz();
    let limits = dpdk::ip_frag::Limits { datagrams: DATAGRAMS, timeout_cycles: hz, socket: None };
    let fragmentation =
        || -> Result<IpFrag> { Ok(IpFrag::new(dpdk::Reassembler::new(limits)?, pool.clone())) };
    let esp = EspParts {
        receiver,
        engine: Engine::new(scenario.protection.backend)?,
        associations: associations::room(scenario),
        tunnels: scenario.all_tunnels(),
    };
    let (punt, _) = punt_queue();
    let (_, injected) = inject_queue(pool.clone());
    let parts = Parts {
        tx: vec![None, Some(tx)],
        pool: pool.clone(),
        fragmentation: fragmentation()?,
        strangers: fragmentation()?,
        punt,
        probes: probe_queue(pool.clone(), &probe_answers()).1,
        ike: IkeGate::new(),
        events: Arc::new(ArrayQueue::new(EVENTS)),
        stats,
        esp,
        peers: peers(1).remove(0),
        spread: false,
        hz,
    };
    Ok(Worker::new(parts, vec![(tables::PORT_IN, rx)], injected, subscriber))
}
