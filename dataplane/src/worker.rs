//! The loop of one core: tables between bursts, then every queue once.

use std::sync::Arc;

use crate::frame::{Driver, RxQueue};
use crate::ids::PortId;
use crate::pipeline::{Parts, Pipeline};
use crate::publish::Subscriber;
use crate::punt::InjectReceiver;
use crate::stats::WorkerStats;
use crate::tables::Snapshot;

/// Frames of the kernel sent in one turn, however much else there is to do, or whatever the kernel sends.
const INJECT_BURST: usize = 32;
/// Turns between two looks at the reassembly table, and at how much waits in the queues.
const EXPIRE_EVERY: u64 = 4096;

/// One core's share of the data plane.
pub struct Worker<D: Driver> {
    pipeline: Pipeline<D>,
    queues: Vec<(PortId, D::Rx)>,
    injected: InjectReceiver<D::Buffer>,
    subscriber: Subscriber,
    tables: Arc<Snapshot>,
    turns: u64,
    longest_turn: u64,
}

impl<D: Driver> Worker<D> {
    /// A worker with empty tables.
    pub fn new(
        parts: Parts<D>,
        queues: Vec<(PortId, D::Rx)>,
        injected: InjectReceiver<D::Buffer>,
        subscriber: Subscriber,
    ) -> Self {
        Self {
            pipeline: Pipeline::new(parts),
            queues,
            injected,
            subscriber,
            tables: Arc::default(),
            turns: 0,
            longest_turn: 0,
        }
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        self.pipeline.stats()
    }

    /// One turn of the loop. Returns how many frames came in.
    #[inline]
    pub fn turn(&mut self) -> usize {
        let start = D::now();
        // The kernel's frames are few, and first in line for the places that the ports had free.
        let injected = self.inject();
        // What was handed on goes by the tables that it was looked up in.
        let mut work = self.pipeline.serve_handed(&self.tables);
        let mut most = work;
        if self.subscriber.take(&mut self.tables) {
            self.adopt();
        }
        self.pipeline.adopt_associations();
        self.pipeline.tick(start);
        // Generation 0 are the empty tables of the start: frames wait in the queues until there are others.
        if self.tables.generation != 0 {
            work += self.pipeline.send_probes(&self.tables);
            for (port, queue) in &mut self.queues {
                let received = self.pipeline.poll(queue, *port, &self.tables);
                most = most.max(received);
                work += received;
            }
        }
        self.pipeline.note_load(most);
        if injected != 0 {
            self.pipeline.flush();
            work += injected;
        }
        self.turns += 1;
        let stats = self.pipeline.stats();
        stats.loops.add(1);
        if work != 0 {
            let cycles = D::now().wrapping_sub(start);
            stats.busy_loops.add(1);
            stats.busy_cycles.add(cycles);
            if cycles > self.longest_turn {
                self.longest_turn = cycles;
                stats.longest_turn.set(cycles);
            }
        }
        if self.turns.is_multiple_of(EXPIRE_EVERY) {
            self.pipeline.expire_fragments();
            self.pipeline.tell();
            self.tell_waiting();
        }
        work
    }

    #[inline(never)]
    fn adopt(&mut self) {
        self.pipeline.adopt(self.tables.limits);
        self.pipeline.stats().generation.set(self.tables.generation);
    }

    /// Says how many frames wait in the queues of each port.
    #[inline(never)]
    fn tell_waiting(&self) {
        let stats = self.pipeline.stats();
        for (port, _) in &self.queues {
            let of_port = self.queues.iter().filter(|(other, _)| other == port);
            let waiting = of_port.filter_map(|(_, queue)| queue.waiting()).map(u64::from).sum();
            if let Some(counters) = stats.port(*port) {
                counters.rx_waiting.set(waiting);
            }
        }
    }

    #[inline(always)]
    fn inject(&mut self) -> usize {
        for sent in 0..INJECT_BURST {
            let Some((port, frame)) = self.injected.pop() else { return sent };
            self.pipeline.inject(port, frame);
        }
        INJECT_BURST
    }
}
