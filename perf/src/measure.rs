//! The measured loop: a round of the bare devices, a round of the pipeline, and again.
//!
//! Rounds are short (a few milliseconds), so on a machine that is not quiet some of them are undisturbed:
//! the best round is the machine's ability, the median what it did. Neither subtracts anything.

use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk::cycles::rdtsc;
use dpdk::{Mbuf, RxQueue, TxQueue};
use penstock_dataplane::frame::BURST;
use penstock_dataplane::frame::dpdk::Dpdk;
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::worker::Worker;

/// Rounds before those that count: caches, predictors and the processor's clock settle.
const WARM_UP: usize = 10;

/// What one core needs: devices for itself, and a worker with devices of the same kind.
pub struct Station {
    pub rx: RxQueue,
    pub tx: TxQueue,
    pub worker: Worker<Dpdk>,
}

/// Cycles a packet in one round of each.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub device: f64,
    pub pipeline: f64,
}

/// Measures on the calling thread. Returns the samples and the worker's counters.
pub fn rounds(mut station: Station, rounds: usize, packets: usize) -> (Vec<Sample>, Arc<WorkerStats>) {
    let mut samples = Vec::with_capacity(rounds);
    for round in 0..WARM_UP + rounds {
        let device = cycles_per_packet(packets, || bare_turn(&mut station.rx, &mut station.tx));
        let pipeline = cycles_per_packet(packets, || station.worker.turn());
        if round >= WARM_UP {
            samples.push(Sample { device, pipeline });
        }
    }
    (samples, Arc::clone(station.worker.stats()))
}

#[inline(always)]
fn cycles_per_packet(packets: usize, mut turn: impl FnMut() -> usize) -> f64 {
    let start = rdtsc();
    let mut done = 0;
    while done < packets {
        done += turn();
    }
    rdtsc().wrapping_sub(start) as f64 / done as f64
}

/// What any program on these devices must do: take a burst, give it away.
#[inline(always)]
fn bare_turn(rx: &mut RxQueue, tx: &mut TxQueue) -> usize {
    let mut burst = ArrayVec::<Mbuf, BURST>::new();
    let count = rx.rx_burst(&mut burst);
    tx.tx_burst(&mut burst);
    count
}
