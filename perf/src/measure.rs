//! The measured loop: a round of the bare devices, a round of the pipeline, and again; with ESP a round of the cipher
//! alone too, and with several workers one of a worker that is alone.
//!
//! Rounds are short (a millisecond or less), so on a machine that is not quiet some of them are undisturbed:
//! the best round is the machine's ability, the median what it did. Neither subtracts anything.

use std::sync::Arc;

use arrayvec::ArrayVec;
use dpdk::cycles::rdtsc;
use dpdk::{Mbuf, RxQueue, TxQueue};
use penstock_dataplane::frame::BURST;
use penstock_dataplane::frame::dpdk::Dpdk;
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::worker::Worker;

use crate::aead::Aead;
use crate::associations::Feeding;
use crate::together::Together;

/// Rounds before those that count: caches, predictors and the processor's clock settle.
const WARM_UP: usize = 10;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: usize,
    /// Packets of a round, at least.
    pub packets: usize,
    /// After so many packets of each worker the same ones come again, and replay windows must be new.
    pub renew_after: Option<usize>,
}

/// What one core needs: devices for itself, and a worker with devices of the same kind.
pub struct Station {
    pub rx: RxQueue,
    pub tx: TxQueue,
    pub runner: Runner,
    /// A worker that shares nothing, to compare several with.
    pub alone: Option<Runner>,
    /// Empty without ESP.
    pub aeads: Vec<Aead>,
}

/// A worker, and, on one of a crew, what feeds the crew.
pub struct Runner {
    pub worker: Worker<Dpdk>,
    pub feeding: Option<Feeding>,
}

/// Cycles a packet in one round of each.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub device: f64,
    pub pipeline: f64,
    pub alone: Option<f64>,
    pub aead: Option<f64>,
}

/// What a station has to say.
pub struct Outcome {
    pub samples: Vec<Sample>,
    /// The counters of its workers.
    pub stats: Vec<Arc<WorkerStats>>,
    /// Packets that the cipher alone refused.
    pub refused: usize,
}

/// Measures on the calling thread, at the same time as all others of `together`.
pub fn rounds(mut station: Station, plan: &Plan, together: &Together) -> Outcome {
    let mut samples = Vec::with_capacity(plan.rounds);
    let just_me = Together::new(1);
    for round in 0..WARM_UP + plan.rounds {
        together.rest();
        together.start();
        let device = cycles_per_packet(plan.packets, || bare_turn(&mut station.rx, &mut station.tx));
        together.rest();
        let pipeline = station.runner.round(plan, together);
        together.rest();
        let alone = station.alone.as_mut().map(|runner| runner.round(plan, &just_me));
        together.rest();
        together.start();
        let aead = station.aeads.iter_mut().map(|aead| aead.round(plan.packets)).reduce(|a, b| a + b);
        if round >= WARM_UP {
            samples.push(Sample { device, pipeline, alone, aead });
        }
    }
    let runners = [Some(&station.runner), station.alone.as_ref()];
    let stats = runners.into_iter().flatten().map(|runner| Arc::clone(runner.worker.stats())).collect();
    let refused = station.aeads.iter().map(Aead::refused).sum();
    Outcome { samples, stats, refused }
}

impl Runner {
    /// Cycles a packet of one round; waiting for others and new windows do not count.
    fn round(&mut self, plan: &Plan, together: &Together) -> f64 {
        let worker = &mut self.worker;
        let Some(renew_after) = plan.renew_after else {
            together.start();
            return cycles_per_packet(plan.packets, || worker.turn());
        };
        let passes = plan.packets.div_ceil(renew_after);
        let mut sum = 0.0;
        for _ in 0..passes {
            // Nobody may have old packets left when the windows change.
            together.start();
            if let Some(feeding) = &mut self.feeding {
                feeding.renew_windows();
            }
            together.start();
            sum += cycles_per_packet(renew_after, || worker.turn());
        }
        sum / passes as f64
    }
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
