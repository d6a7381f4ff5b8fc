//! Workers over DPDK devices: packets from a capture, through rings, into a capture.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and fails by panic")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use dpdk::ip_frag::Limits;
use dpdk::{Mempool, Port, PortConfig, Reassembler, RxQueue, TxQueue};
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::peers;
use penstock_dataplane::ids::PortId;
use penstock_dataplane::ike::IkeGate;
use penstock_dataplane::pipeline::Parts;
use penstock_dataplane::probe::{probe_answers, probe_queue};
use penstock_dataplane::publish::Publisher;
use penstock_dataplane::punt::{inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::Snapshot;
use penstock_dataplane::worker::Worker;

use super::support::{ASSOCIATIONS, esp_parts};

/// The frames of a capture that `net_pcap` wrote.
pub fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while rest.len() >= 16 {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

pub fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = std::fs::File::create(path).unwrap();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        file.write_all(frame).unwrap();
    }
}

/// A port and its queues, where it has any.
pub fn attach(device: &str, pool: &Mempool) -> (Port, Option<RxQueue>, Option<TxQueue>) {
    let mut port = Port::attach(device).unwrap();
    port.configure(&PortConfig::default(), std::slice::from_ref(pool)).unwrap();
    let (mut rx, mut tx) = port.start().unwrap();
    (port, rx.pop(), tx.pop())
}

pub struct Gateway {
    pub worker: Worker<Dpdk>,
    pub feed: SaFeed,
    pub stats: Arc<WorkerStats>,
}

/// A worker that receives at port 0 and sends by both.
pub fn gateway(pool: &Mempool, tables: &Snapshot, rx: Option<RxQueue>, tx: Vec<Option<TxQueue>>) -> Gateway {
    let stats = Arc::new(WorkerStats::new(2, 16));
    let (feed, mut receivers) = SaFeed::new([Arc::clone(&stats)], ASSOCIATIONS);
    let (mut publisher, mut subscribers) = Publisher::new([Arc::clone(&stats)]);
    publisher.publish(tables);
    let (punt, _) = punt_queue();
    let (_, injected) = inject_queue::<_, Mempool>(pool.clone());
    let hz = dpdk::cycles::tsc_hz();
    let limits = Limits { datagrams: 64, timeout_cycles: hz, socket: None };
    let parts = Parts {
        tx,
        pool: pool.clone(),
        fragmentation: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        strangers: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        punt,
        probes: probe_queue(pool.clone(), &probe_answers()).1,
        ike: IkeGate::new(),
        events: Arc::new(ArrayQueue::new(16)),
        stats: Arc::clone(&stats),
        esp: esp_parts(receivers.remove(0)),
        peers: peers(1).remove(0),
        spread: false,
        hz,
    };
    let queues = rx.into_iter().map(|rx| (PortId(0), rx)).collect();
    Gateway { worker: Worker::new(parts, queues, injected, subscribers.remove(0)), feed, stats }
}

pub fn drops(stats: &WorkerStats) -> Vec<(&'static str, u64)> {
    DropReason::ALL
        .iter()
        .map(|reason| (reason.name(), stats.drops(*reason)))
        .filter(|drop| drop.1 > 0)
        .collect()
}
