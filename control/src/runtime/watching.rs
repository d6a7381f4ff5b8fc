//! Captures and traces: what the workers are told to note, and who reads it.
//!
//! Each has a thread of its own for as long as it lasts, which reads what the workers caught, puts it in order and hands
//! it to whoever asked. It ends at its limits, when it is told to, when nobody listens any more, or when the gateway stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::TunnelId;
use penstock_dataplane::watch::{Drops, Journey, MAX_SESSIONS, Session, SessionReader, WatchSpec};
use tokio::sync::mpsc;

use super::state::State;
use super::view::Call;
use crate::api::{ApiError, Caught, ErrorCode, PacketFilter as Wanted, WatchPiece};
use crate::compile::Names;
use crate::watch::{Clock, Merge, PacketFilter};

mod sinks;

pub(super) use sinks::{CaptureSink, TraceSink};

/// Memory for packets that wait to be read, bytes, over all workers.
const MEMORY: usize = 64 << 20;
/// Places that each waiting packet has bytes of: as it came, came out, went in, left.
const PIECES: usize = 4;
/// Packets of a worker that wait, at least and at most.
const WAITING: (usize, usize) = (512, 8192);
/// From when a worker notes the time to when its packet can be read, at most; and then some.
const SETTLES: Duration = Duration::from_millis(10);
/// How long to rest where nothing is to be read.
const REST: Duration = Duration::from_millis(2);
/// How often names are looked at again.
const NAMES_AGE: Duration = Duration::from_secs(1);
/// Packets that are read in one go.
const AT_ONCE: usize = 4096;
/// Pieces that wait for whoever asked.
pub(super) const PIECES_WAITING: usize = 16;

/// What is watched at present.
#[derive(Default)]
pub(super) struct Watches {
    last: u64,
    running: Vec<Running>,
}

struct Running {
    session: Arc<Session>,
    stop: Arc<AtomicBool>,
}

impl Watches {
    /// A number that no other had.
    pub(super) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Has a watch end soon; false when there is none of this number.
    pub(super) fn stop(&self, id: u64) -> bool {
        let found = self.running.iter().find(|running| running.session.id() == id);
        found.inspect(|running| running.stop.store(true, Ordering::Relaxed)).is_some()
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.running.iter().map(|running| Arc::clone(&running.session)).collect()
    }
}

impl State {
    /// Has the workers note what the session wants. The flag is set when it shall end.
    pub(super) fn watch(&mut self, session: Arc<Session>) -> Result<Arc<AtomicBool>, ApiError> {
        if self.watches.running.len() >= MAX_SESSIONS {
            let message = format!("{MAX_SESSIONS} captures and traces are running; end one of them first");
            return Err(ApiError::new(ErrorCode::Conflict, message));
        }
        let stop = Arc::new(AtomicBool::new(false));
        self.watches.running.push(Running { session, stop: Arc::clone(&stop) });
        self.publish_watches();
        Ok(stop)
    }

    /// Has the workers forget a session.
    pub(super) fn unwatch(&mut self, id: u64) {
        self.watches.running.retain(|running| running.session.id() != id);
        self.publish_watches();
    }

    fn publish_watches(&mut self) {
        self.dataplane.publisher.watch(self.watches.sessions());
        let generation = self.dataplane.publisher.publish(self.compiler.tables());
        self.compiler.published(generation);
        self.settle();
    }

    /// What somebody wants to see, in the workers' terms.
    pub(super) fn watch_spec(
        &self,
        wanted: &Wanted,
        snaplen: usize,
        outer: bool,
        inner: bool,
    ) -> Result<WatchSpec, ApiError> {
        let tunnel = wanted.tunnel.as_deref().map(|name| self.tunnel_of(name)).transpose()?;
        let pieces = snaplen * PIECES * self.dataplane.workers.len().max(1);
        Ok(WatchSpec {
            snaplen,
            outer,
            inner,
            tunnel,
            drops: wanted.drops.as_deref().map_or(Ok(Drops::Any), drops_of)?,
            waiting: (MEMORY / pieces.max(1)).clamp(WAITING.0, WAITING.1),
        })
    }

    /// A tunnel by its name, with or without its tenant's.
    pub(super) fn tunnel_of(&self, name: &str) -> Result<TunnelId, ApiError> {
        let (tenant, tunnel) = match name.split_once('/') {
            Some((tenant, tunnel)) => (Some(tenant), tunnel),
            None => (None, name),
        };
        let all = self.compiler.tunnels();
        let found: Vec<_> = all
            .filter(|t| t.name.as_str() == tunnel && tenant.is_none_or(|tenant| t.tenant.as_str() == tenant))
            .map(|t| (t.id, format!("{}/{}", t.tenant, t.name)))
            .collect();
        match &found[..] {
            [(id, _)] => Ok(*id),
            [] => Err(bad_request(format!(
                "there is no tunnel {name}; `penstock show tunnels` lists all, as tenant/name"
            ))),
            several => {
                let names: Vec<_> = several.iter().map(|(_, name)| name.as_str()).collect();
                Err(bad_request(format!("several tunnels are called {name}: write {}", names.join(" or "))))
            }
        }
    }
}

fn drops_of(name: &str) -> Result<Drops, ApiError> {
    if name == "all" {
        return Ok(Drops::All);
    }
    let found = DropReason::ALL.iter().find(|reason| reason.name() == name);
    found.map(|reason| Drops::Only(*reason)).ok_or_else(|| {
        let close = DropReason::ALL.iter().map(|reason| reason.name());
        let close = close.max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let close = close.unwrap_or_default();
        bad_request(format!(
            "there is no drop reason {name}; did you mean {close}? `penstock show drops --all` lists them, `all` is any"
        ))
    })
}

pub(super) fn bad_request(message: String) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message)
}

/// What becomes of the packets that are read.
pub(super) trait Sink: Send + 'static {
    /// One entry.
    type Entry;

    /// The entries that a packet makes, with their times, in cycles.
    fn entries(&mut self, journey: &Journey, around: &Around) -> Vec<(u64, Self::Entry)>;

    /// What comes before the first entry.
    fn begin(&mut self, around: &Around) -> Vec<u8>;

    /// An entry's bytes.
    fn write(&mut self, at: u64, entry: Self::Entry, around: &Around) -> Vec<u8>;

    /// What comes after the last.
    fn end(&mut self, now: u64, caught: Caught, around: &Around) -> Vec<u8>;
}

/// What is known beside the packets.
pub(super) struct Around {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) filter: Option<PacketFilter>,
    pub(super) names: Names,
    pub(super) ports: Vec<String>,
    pub(super) cores: Vec<u16>,
    pub(super) clock: Clock,
}

impl Around {
    pub(super) fn new(state: Arc<Mutex<State>>, filter: Option<PacketFilter>) -> Self {
        let clock = Clock::at(dpdk::cycles::rdtsc(), dpdk::cycles::tsc_hz());
        let (names, ports, cores) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let ports = state.dataplane.ports.iter().map(|port| port.name.to_string()).collect();
            let cores = state.dataplane.workers.iter().map(|worker| worker.core).collect();
            (state.compiler.names(), ports, cores)
        };
        Self { state, filter, names, ports, cores, clock }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn core(&self, worker: u16) -> u16 {
        self.cores.get(usize::from(worker)).copied().unwrap_or_default()
    }
}

/// Reads a session to its end.
pub(super) struct Reader {
    pub(super) session: Arc<Session>,
    pub(super) rings: SessionReader,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) pieces: mpsc::Sender<WatchPiece>,
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) most: Option<u64>,
    pub(super) until: Option<Instant>,
}

impl Reader {
    /// Reads until the end has come; on a thread of its own.
    pub(super) fn run<S: Sink>(mut self, mut sink: S, mut around: Around) {
        let mut caught = Caught::default();
        // Whoever asked may have gone away: then it is over, too.
        let _gone = self.read(&mut sink, &mut around, &mut caught);
        caught.missed = self.session.missed();
        caught.seen = self.session.seen();
        let end = sink.end(dpdk::cycles::rdtsc(), caught, &around);
        if self.send(end).is_ok() {
            let _ = self.pieces.blocking_send(WatchPiece::End(caught));
        }
        let _stopping = self.calls.blocking_send(Call::Unwatch(self.session.id()));
    }

    fn read<S: Sink>(
        &mut self,
        sink: &mut S,
        around: &mut Around,
        caught: &mut Caught,
    ) -> Result<(), mpsc::error::SendError<WatchPiece>> {
        self.send(sink.begin(around))?;
        let settles = (dpdk::cycles::tsc_hz() / 1_000_000) * SETTLES.as_micros() as u64;
        let mut merge = Merge::default();
        let mut named = Instant::now();
        loop {
            let is_over = self.is_over();
            if named.elapsed() > NAMES_AGE {
                let names = around.state().compiler.names();
                around.names = names;
                named = Instant::now();
            }
            let now = dpdk::cycles::rdtsc();
            let read = self.drain(sink, around, &mut merge);
            let until = if is_over { u64::MAX } else { now.saturating_sub(settles) };
            let mut out = Vec::new();
            while self.most.is_none_or(|most| caught.caught < most)
                && let Some((at, entry)) = merge.take(until)
            {
                out.append(&mut sink.write(at, entry, around));
                caught.caught += 1;
            }
            self.send(out)?;
            if is_over || self.most.is_some_and(|most| caught.caught >= most) {
                return Ok(());
            }
            if read == 0 {
                std::thread::sleep(REST);
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
            || self.pieces.is_closed()
            || self.calls.is_closed()
            || self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn drain<S: Sink>(&mut self, sink: &mut S, around: &Around, merge: &mut Merge<S::Entry>) -> usize {
        let mut read = 0;
        for worker in 0..self.rings.workers() {
            for _ in 0..AT_ONCE {
                let Some(journey) = self.rings.take(worker) else { break };
                for (at, entry) in sink.entries(&journey, around) {
                    merge.put(at, entry);
                }
                self.rings.give_back(journey);
                read += 1;
            }
        }
        read
    }

    fn send(&self, bytes: Vec<u8>) -> Result<(), mpsc::error::SendError<WatchPiece>> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.pieces.blocking_send(WatchPiece::Data(Bytes::from(bytes)))
    }
}
