//! One wait for all nodes: joins who lives ([`super::members`]), what they have applied ([`super::barrier`]) and the socket
//! between them ([`super::peers`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use penstock_fleet::peer::StoreTag;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::barrier::{Barrier, Counters, Live, Outcome};
use super::members::Members;
use super::peers::{Peer, Peers};

type Waits = Barrier<oneshot::Sender<Outcome>>;

struct Shared {
    peers: Peers,
    waits: Mutex<Waits>,
    /// There may be something to do earlier than was thought.
    changed: Notify,
}

/// The waits for other nodes. Cheap to clone; the task behind it ends with the last one.
#[derive(Clone)]
pub struct Acknowledgements {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Acknowledgements {
    /// Over this socket; nothing waits longer than `limit`. Must be called inside a tokio runtime with time.
    pub fn start(peers: Peers, limit: Duration) -> Self {
        let shared =
            Arc::new(Shared { peers, waits: Mutex::new(Barrier::new(limit)), changed: Notify::new() });
        let task = tokio::spawn(watch(shared.clone()));
        Self { shared, _task: Arc::new(Task(task.abort_handle())) }
    }

    /// The socket, to say what we have applied.
    pub fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    /// Call this whenever a record of a node came or went.
    pub fn set_members(&self, members: &Members) {
        let records = || members.live().map(|member| &member.record);
        self.shared.peers.set_peers(records().map(|record| Peer {
            name: record.name.clone(),
            incarnation: record.incarnation,
            address: record.address,
        }));
        let live = records().map(|record| Live {
            name: record.name.clone(),
            incarnation: record.incarnation,
            applied: record.applied,
        });
        self.shared.change(|waits, now| waits.set_live(now, live));
    }

    /// Another store took the place of the one before; its revisions are others.
    pub fn set_store(&self, store: StoreTag) {
        self.shared.peers.set_store(store);
        self.shared.change(Barrier::forget);
    }

    /// Waits until all nodes that live have `revision`, or the time is up. It begins with the call, not when it is first
    /// polled. `None` only when the task has ended.
    pub fn wait(&self, revision: u64) -> impl Future<Output = Option<Outcome>> + Send + use<> {
        let (done, outcome) = oneshot::channel();
        self.shared.change(|waits, now| waits.wait(now, revision, done));
        async move { outcome.await.ok() }
    }

    /// Numbers since the start.
    pub fn counters(&self) -> Counters {
        self.shared.lock().counters()
    }

    /// What is known of the nodes, for whoever shows it.
    pub fn with_nodes<R>(&self, show: impl FnOnce(&Barrier<oneshot::Sender<Outcome>>) -> R) -> R {
        show(&self.shared.lock())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waits> {
        // Nobody panics while holding it.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, then does what has come of it.
    fn change(&self, change: impl FnOnce(&mut Waits, Instant)) {
        let now = Instant::now();
        let mut waits = self.lock();
        change(&mut waits, now);
        waits.turn(now);
        let (over, late, asks) = (waits.take_over(), waits.take_late(), waits.asks(now));
        drop(waits);
        for (done, outcome) in over {
            // Whoever waited may have given up.
            let _ = done.send(outcome);
        }
        for (node, revision) in asks {
            self.peers.ask(&node, revision);
        }
        for late in late {
            tracing::warn!(
                node = %late.node,
                revision = late.revision,
                applied = late.applied,
                waits = late.times,
                "the node did not apply security associations in time; tunnels lose packets that reach it until it has \
                 (penstock show fleet)"
            );
        }
        self.changed.notify_one();
    }
}

async fn watch(shared: Arc<Shared>) {
    loop {
        let next = shared.lock().next();
        tokio::select! {
            heard = shared.peers.heard() => shared.change(|waits, now| {
                for one in heard {
                    waits.applied(now, &one.node, one.incarnation, one.revision);
                }
            }),
            () = shared.changed.notified() => {}
            () = until(next) => shared.change(|_, _| {}),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
