//! The mirror: follows the kernel by netlink events and tells one consumer what changed.
//!
//! - It reads everything once, then lives on events. Nothing is polled.
//! - When the kernel says that events were lost (`ENOBUFS`), or did something that it tells nobody about (see
//!   [`Effect::RoutesUncertain`]), it reads everything again beside the running events and passes on the
//!   difference.
//! - Changes are gathered for about a millisecond and handed over as one [`KernelUpdate`]. While the consumer
//!   is busy they go on being merged; nothing grows but by what is in the kernel.
//! - It also drives the [`Resolver`], which needs the same events.

mod contents;
mod dirty;
mod task;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rtnetlink::MulticastGroup;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::KernelError;
use super::netlink::socket::NetlinkSocket;
use super::netns::Netns;
use super::resolve::NeighbourKey;
use super::state::KernelUpdate;

/// Groups of events that the mirror follows.
const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Nexthop,
];

/// Knobs; the defaults are for production.
#[derive(Debug, Clone, Copy)]
pub struct MirrorOptions {
    /// Receive buffer for events. The kernel counts about 1 KiB for each: the default holds some 30 000 of
    /// them.
    pub receive_bytes: usize,
    /// How long changes are gathered before they are handed over.
    pub gather: Duration,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self { receive_bytes: 32 << 20, gather: Duration::from_millis(1) }
    }
}

#[derive(Debug, Default)]
struct Counters {
    events: AtomicU64,
    unreadable: AtomicU64,
    overruns: AtomicU64,
    resyncs: AtomicU64,
    resync_us: AtomicU64,
    requests: AtomicU64,
    requests_refused: AtomicU64,
    prefixes: AtomicU64,
}

/// What the mirror has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MirrorStats {
    /// Messages about an object of interest.
    pub events: u64,
    /// Messages that could not be read and were skipped.
    pub unreadable: u64,
    /// Times that the kernel dropped events because the mirror was too slow.
    pub overruns: u64,
    /// Times that everything was read.
    pub resyncs: u64,
    /// How long the last such reading took, microseconds.
    pub resync_us: u64,
    /// Requests to resolve a neighbour.
    pub requests: u64,
    /// Requests that the kernel refused, for instance because the interface is down.
    pub requests_refused: u64,
    /// Prefixes in the main table.
    pub prefixes: u64,
}

/// The running mirror. Dropping it ends the mirror's task, and with it the stream of updates.
#[derive(Debug)]
pub struct Mirror {
    wanted: mpsc::UnboundedSender<HashSet<NeighbourKey>>,
    counters: Arc<Counters>,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts to mirror a namespace. The first update holds all that is there. Must be called inside a tokio
    /// runtime.
    pub fn start(
        netns: &Netns,
        options: MirrorOptions,
    ) -> Result<(Self, mpsc::Receiver<KernelUpdate>), KernelError> {
        let runtime = tokio::runtime::Handle::current();
        let open = || {
            let _entered = runtime.enter();
            let events = NetlinkSocket::open(&GROUPS, options.receive_bytes)?;
            let dumps = NetlinkSocket::open(&[], 1 << 20)?;
            let requests = NetlinkSocket::open(&[], 1 << 20)?;
            Ok::<_, KernelError>((events, dumps, requests))
        };
        let sockets = netns.run(open)??;
        // One update on its way is enough: what comes meanwhile is merged.
        let (updates, receiver) = mpsc::channel(1);
        let (wanted, commands) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        let task = task::Task::new(sockets, options.gather, updates, commands, Arc::clone(&counters));
        Ok((Self { wanted, counters, task: runtime.spawn(task.run()) }, receiver))
    }

    /// Replaces the set of neighbours that forwarding uses: these are resolved and kept fresh.
    pub fn set_wanted(&self, wanted: HashSet<NeighbourKey>) {
        // The task only ends with this handle, or with the consumer; then nobody needs neighbours.
        let _ = self.wanted.send(wanted);
    }

    /// Counters, for metrics and `show`.
    pub fn stats(&self) -> MirrorStats {
        let c = &self.counters;
        MirrorStats {
            events: c.events.load(Relaxed),
            unreadable: c.unreadable.load(Relaxed),
            overruns: c.overruns.load(Relaxed),
            resyncs: c.resyncs.load(Relaxed),
            resync_us: c.resync_us.load(Relaxed),
            requests: c.requests.load(Relaxed),
            requests_refused: c.requests_refused.load(Relaxed),
            prefixes: c.prefixes.load(Relaxed),
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.task.abort();
    }
}
