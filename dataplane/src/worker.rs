//! The loop of one core: tables between bursts, then every queue once.
//!
//! While nobody watches packets, the pipeline is one that has no place to note anything ([`crate::watch`]); which of the
//! two runs is asked twice a turn.

use std::sync::Arc;

use crate::frame::{Driver, RxQueue};
use crate::ids::PortId;
use crate::pipeline::{Parts, Pipeline};
use crate::publish::Subscriber;
use crate::punt::InjectReceiver;
use crate::stats::WorkerStats;
use crate::tables::Snapshot;
use crate::watch::{NoWatch, Recorder, Watched};

/// Frames of the kernel sent in one turn, however much else there is to do, or whatever the kernel sends.
const INJECT_BURST: usize = 32;
/// Turns between two looks at the reassembly table, and at how much waits in the queues.
const EXPIRE_EVERY: u64 = 4096;

/// One core's share of the data plane.
pub struct Worker<D: Driver> {
    path: Path<D>,
    ends: Ends<D>,
    subscriber: Subscriber,
    stats: Arc<WorkerStats>,
}

/// The data path.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each worker: no pointer to follow, and nothing to allocate while packets wait"
)]
enum Path<D: Driver> {
    Plain(Pipeline<D>),
    Watched(Pipeline<Watched<D>>),
    /// From one to the other; never between two turns.
    Changing,
}

/// What a worker's pipeline is fed with, and how long that takes.
struct Ends<D: Driver> {
    queues: Vec<(PortId, D::Rx)>,
    injected: InjectReceiver<D::Buffer>,
    tables: Arc<Snapshot>,
    turns: u64,
    longest_turn: u64,
}

/// The first half of a turn.
struct Begun {
    start: u64,
    injected: usize,
    handed: usize,
}

impl<D: Driver<Watch = NoWatch>> Worker<D> {
    /// A worker with empty tables.
    pub fn new(
        parts: Parts<D>,
        queues: Vec<(PortId, D::Rx)>,
        injected: InjectReceiver<D::Buffer>,
        subscriber: Subscriber,
    ) -> Self {
        Self {
            stats: Arc::clone(&parts.stats),
            path: Path::Plain(Pipeline::new(parts)),
            ends: Ends { queues, injected, tables: Arc::default(), turns: 0, longest_turn: 0 },
            subscriber,
        }
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<WorkerStats> {
        &self.stats
    }

    /// One turn of the loop. Returns how many frames came in.
    #[inline]
    pub fn turn(&mut self) -> usize {
        let begun = match &mut self.path {
            Path::Plain(pipeline) => self.ends.begin(pipeline),
            Path::Watched(pipeline) => self.ends.begin_watched(pipeline),
            Path::Changing => return 0,
        };
        // What was handed on has gone by the tables that it was looked up in.
        if self.subscriber.has_news() {
            self.adopt();
        }
        match &mut self.path {
            Path::Plain(pipeline) => self.ends.go_on(pipeline, &begun),
            Path::Watched(pipeline) => self.ends.go_on_watched(pipeline, &begun),
            Path::Changing => 0,
        }
    }

    #[inline(never)]
    fn adopt(&mut self) {
        let path = &mut self.path;
        // What is watched is let go before the tables that hold it: a worker never frees it.
        let taken = self.subscriber.take(&mut self.ends.tables, |tables| path.adopt(tables));
        if taken {
            self.stats.generation.set(self.ends.tables.generation);
        }
    }
}

impl<D: Driver<Watch = NoWatch>> Path<D> {
    /// Takes over limits, and what is watched.
    fn adopt(&mut self, tables: &Snapshot) {
        let path = std::mem::replace(self, Self::Changing);
        *self = match (path, &*tables.watched) {
            (Self::Plain(pipeline), []) => Self::Plain(pipeline),
            (Self::Plain(pipeline), sessions) => {
                let recorder = Recorder::new(pipeline.number(), sessions);
                Self::Watched(pipeline.watched_by(recorder))
            }
            (Self::Watched(pipeline), []) => Self::Plain(pipeline.watched_by(NoWatch)),
            (Self::Watched(mut pipeline), sessions) => {
                pipeline.cx.watch.attach(sessions);
                Self::Watched(pipeline)
            }
            (Self::Changing, _) => Self::Changing,
        };
        match self {
            Self::Plain(pipeline) => pipeline.adopt(tables.limits),
            Self::Watched(pipeline) => pipeline.adopt(tables.limits),
            Self::Changing => {}
        }
    }
}

impl<D: Driver> Ends<D> {
    /// The kernel's frames, and what other workers have handed over.
    #[inline(always)]
    fn begin<E>(&mut self, pipeline: &mut Pipeline<E>) -> Begun
    where
        E: Driver<Buffer = D::Buffer, Rx = D::Rx>,
    {
        let start = D::now();
        // The kernel's frames are few, and first in line for the places that the ports had free.
        let injected = self.inject(pipeline);
        let handed = pipeline.serve_handed(&self.tables);
        Begun { start, injected, handed }
    }

    /// Associations, and every queue once.
    #[inline(always)]
    fn go_on<E>(&mut self, pipeline: &mut Pipeline<E>, begun: &Begun) -> usize
    where
        E: Driver<Buffer = D::Buffer, Rx = D::Rx>,
    {
        let mut work = begun.handed;
        let mut most = work;
        pipeline.adopt_associations();
        pipeline.tick(begun.start);
        // Generation 0 are the empty tables of the start: frames wait in the queues until there are others.
        if self.tables.generation != 0 {
            work += pipeline.send_probes(&self.tables);
            for (port, queue) in &mut self.queues {
                let received = pipeline.poll(queue, *port, &self.tables);
                most = most.max(received);
                work += received;
            }
        }
        pipeline.note_load(most);
        if begun.injected != 0 {
            pipeline.flush();
            work += begun.injected;
        }
        self.turns += 1;
        let stats = pipeline.stats();
        stats.loops.add(1);
        if work != 0 {
            let cycles = D::now().wrapping_sub(begun.start);
            stats.busy_loops.add(1);
            stats.busy_cycles.add(cycles);
            if cycles > self.longest_turn {
                self.longest_turn = cycles;
                stats.longest_turn.set(cycles);
            }
        }
        if self.turns.is_multiple_of(EXPIRE_EVERY) {
            pipeline.expire_fragments();
            pipeline.tell();
            self.tell_waiting(pipeline.stats());
        }
        work
    }

    /// As `begin`, out of the way of the usual case.
    #[inline(never)]
    fn begin_watched(&mut self, pipeline: &mut Pipeline<Watched<D>>) -> Begun {
        self.begin(pipeline)
    }

    /// As `go_on`, out of the way of the usual case.
    #[inline(never)]
    fn go_on_watched(&mut self, pipeline: &mut Pipeline<Watched<D>>, begun: &Begun) -> usize {
        self.go_on(pipeline, begun)
    }

    /// Says how many frames wait in the queues of each port.
    #[inline(never)]
    fn tell_waiting(&self, stats: &WorkerStats) {
        for (port, _) in &self.queues {
            let of_port = self.queues.iter().filter(|(other, _)| other == port);
            let waiting = of_port.filter_map(|(_, queue)| queue.waiting()).map(u64::from).sum();
            if let Some(counters) = stats.port(*port) {
                counters.rx_waiting.set(waiting);
            }
        }
    }

    #[inline(always)]
    fn inject<E>(&mut self, pipeline: &mut Pipeline<E>) -> usize
    where
        E: Driver<Buffer = D::Buffer>,
    {
        for sent in 0..INJECT_BURST {
            let Some((port, frame)) = self.injected.pop() else { return sent };
            pipeline.inject(port, frame);
        }
        INJECT_BURST
    }
}
