//! Workers: what each core does, why it dropped packets, and the pools that it takes buffers from.

use std::fmt;

use super::table::{Metric, Row, Value, counter, gauge, some};
use crate::api::{CoreRow, DropRow, PoolUse, Sender};

/// A worker, and its right to make IVs.
#[derive(Debug)]
pub(super) struct WorkerRow {
    label: String,
    core: CoreRow,
    sender: Option<Sender>,
}

impl Row for WorkerRow {
    const LABELS: &'static [&'static str] = &["core"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.label)
    }
}

impl WorkerRow {
    fn seconds(&self, cycles: u64) -> Option<Value> {
        (self.core.cycles_hz > 0).then(|| Value::Real(cycles as f64 / self.core.cycles_hz as f64))
    }
}

pub(super) fn rows(workers: Vec<CoreRow>, senders: &[Sender]) -> Vec<WorkerRow> {
    let row = |core: CoreRow| WorkerRow {
        label: core.core.to_string(),
        sender: senders.iter().find(|sender| sender.core == core.core).copied(),
        core,
    };
    workers.into_iter().map(row).collect()
}

pub(super) const WORKERS: &[Metric<WorkerRow>] = &[
    counter("worker_receive_packets", "Packets received from ports", |w| some(w.core.rx_packets)),
    counter("worker_receive_bursts", "Polls of a receive queue that found packets", |w| {
        some(w.core.rx_bursts)
    }),
    counter(
        "worker_receive_full_bursts",
        "Polls that found as many packets as one takes: more may have waited",
        |w| some(w.core.rx_full_bursts),
    ),
    gauge(
        "worker_receive_queue_packets",
        "Packets that waited in the worker's receive queues when it last looked, of devices that can tell",
        |w| some(w.core.rx_waiting),
    ),
    counter("worker_transmit_packets", "Packets given to ports", |w| some(w.core.tx_packets)),
    counter("worker_punted_packets", "Packets given to the kernel's twins", |w| some(w.core.punted)),
    counter("worker_injected_packets", "Packets of the kernel's twins that were sent", |w| {
        some(w.core.injected)
    }),
    counter(
        "worker_generated_packets",
        "Packets made here: ICMP errors, health probes and pieces of fragmented packets",
        |w| some(w.core.generated),
    ),
    counter(
        "worker_merged_packets",
        "Fragments that became part of another packet or wait for its rest",
        |w| some(w.core.merged),
    ),
    counter("worker_handed_in_packets", "Packets that other workers handed to this one", |w| {
        some(w.core.handed_in)
    }),
    counter("worker_handed_out_packets", "Packets that this worker handed to others", |w| {
        some(w.core.handed_out)
    }),
    gauge(
        "worker_handoff_queue_bundles",
        "Bundles of other workers' packets that waited when it last looked",
        |w| some(w.core.handoff_waiting),
    ),
    counter("worker_icmp_sent", "ICMP errors sent", |w| some(w.core.icmp_sent)),
    counter(
        "worker_icmp_suppressed",
        "ICMP errors not sent, as the budget was used up or no buffer was free",
        |w| some(w.core.icmp_suppressed),
    ),
    counter("worker_turns", "Turns of the worker's loop", |w| some(w.core.turns)),
    counter("worker_busy_turns", "Turns that found something to do", |w| some(w.core.busy_turns)),
    counter("worker_busy_cycles", "TSC cycles of the turns that found something to do", |w| {
        some(w.core.busy_cycles)
    }),
    counter("worker_busy_seconds", "Time of the turns that found something to do", |w| {
        w.seconds(w.core.busy_cycles)
    }),
    gauge("worker_longest_turn_seconds", "The longest turn since the start: a stall shows here", |w| {
        w.core.max_loop_us.map(|us| Value::Real(us / 1e6))
    }),
    gauge("worker_tables_generation", "Generation of the tables that the worker uses", |w| {
        w.core.generation.map(Value::Whole)
    }),
    gauge(
        "worker_may_encrypt",
        "1 while the worker has a sender ID, without which it encrypts nothing",
        |w| w.sender.map(|sender| Value::from(sender.sender_id.is_some())),
    ),
    gauge(
        "worker_ivs_remaining",
        "Initialization vectors left under the sender ID, of 2^40; a new ID comes at half",
        |w| w.sender.and_then(|sender| sender.ivs_left).map(Value::Whole),
    ),
];

/// One reason on one core.
#[derive(Debug)]
pub(super) struct DropOfCore {
    core: String,
    reason: String,
    packets: u64,
}

impl Row for DropOfCore {
    const LABELS: &'static [&'static str] = &["core", "reason"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.core)?;
        with(&self.reason)
    }
}

/// All reasons on all cores, also those that never happened: a rate needs a beginning.
pub(super) fn drops(workers: &[CoreRow], rows: &[DropRow]) -> Vec<DropOfCore> {
    let of = |core: u32, row: &DropRow| {
        let counted = row.per_core.iter().find(|count| count.core == core);
        DropOfCore {
            core: core.to_string(),
            reason: row.reason.clone(),
            packets: counted.map_or(0, |count| count.packets),
        }
    };
    rows.iter().flat_map(|row| workers.iter().map(move |worker| of(worker.core, row))).collect()
}

pub(super) const DROPS: &[Metric<DropOfCore>] =
    &[counter("dropped_packets", "Packets dropped, by reason; docs/drop-reasons.md explains each", |d| {
        some(d.packets)
    })];

/// Packet buffers.
#[derive(Debug)]
pub(super) struct Pool(PoolUse);

impl Row for Pool {
    const LABELS: &'static [&'static str] = &["pool"];

    fn labels(&self, with: &mut dyn FnMut(&str) -> fmt::Result) -> fmt::Result {
        with(&self.0.name)
    }
}

/// Each pool once; cores share them.
pub(super) fn pools(workers: &[CoreRow]) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for pool in workers.iter().filter_map(|core| core.pool.as_ref()) {
        if !pools.iter().any(|known| known.0.name == pool.name) {
            pools.push(Pool(pool.clone()));
        }
    }
    pools
}

pub(super) const POOLS: &[Metric<Pool>] = &[
    gauge("mempool_buffers", "Packet buffers of the pool", |p| some(p.0.size)),
    gauge("mempool_in_use_buffers", "Packet buffers in rings, queues and caches", |p| some(p.0.in_use)),
];
