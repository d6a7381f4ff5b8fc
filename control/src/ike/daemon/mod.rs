//! The task that has to do with charon: it starts it (or not), reaches it, keeps what it holds in line with what is
//! wanted, listens to it, and answers for it.
//!
//! Here is its handle. `task` does the work, `answers` says how it is, `loaded` remembers what charon was given.

mod answers;
mod loaded;
mod task;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::charon::{self, CharonError};
use super::wanted::Wanted;
use crate::api::{self, IkeFilter};
use task::Daemon;

/// What waits for the task.
const ORDERS: usize = 16;
/// How long a reload waits for charon.
const PATIENCE: Duration = Duration::from_secs(30);

/// How charon is reached.
#[derive(Debug)]
pub struct Settings {
    /// Its vici socket.
    pub vici: PathBuf,
    /// Where its plugin finds us; only shown.
    pub plugin_socket: PathBuf,
    /// The directory of what outlives a restart of ours.
    pub run: PathBuf,
    /// A charon of ours; `None`: the operator runs it.
    pub managed: Option<charon::Settings>,
}

/// The task's handle.
#[derive(Debug)]
pub struct Ike {
    view: IkeView,
    task: JoinHandle<()>,
}

/// What may be asked of the task from any thread.
#[derive(Clone, Debug)]
pub struct IkeView {
    orders: mpsc::Sender<Order>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
enum Order {
    Apply(Arc<Wanted>, oneshot::Sender<Vec<String>>),
    Show(IkeFilter, oneshot::Sender<api::Ike>),
    Stop(oneshot::Sender<()>),
}

/// What is known without asking.
#[derive(Debug, Default)]
struct Shared {
    charon: api::Charon,
    negotiated: u64,
    tunnels: u64,
    /// Tunnels that are not up and whose negotiation has failed.
    failing: Vec<String>,
    events: api::IkeEvents,
}

impl Ike {
    /// Starts the task, on the runtime that this is called on.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub fn start(settings: Settings, wanted: Wanted) -> Result<Self, CharonError> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let (orders, receiver) = mpsc::channel(ORDERS);
        let task = tokio::spawn(Daemon::new(settings, wanted, Arc::clone(&shared))?.run(receiver));
        Ok(Self { view: IkeView { orders, shared }, task })
    }

    /// What other threads use.
    pub fn view(&self) -> IkeView {
        self.view.clone()
    }

    /// Makes charon hold what is wanted now. The answer names what did not work, by tunnel, with the fix.
    pub async fn apply(&self, wanted: Wanted) -> Vec<String> {
        let (answer, answered) = oneshot::channel();
        let late =
            || vec!["charon is not done with the changes yet; penstock show ike tells how it is".to_owned()];
        if self.view.orders.send(Order::Apply(Arc::new(wanted), answer)).await.is_err() {
            return late();
        }
        timeout(PATIENCE, answered).await.ok().and_then(Result::ok).unwrap_or_else(late)
    }

    /// Ends a charon of ours, and the task. Workers have to run: peers are told.
    pub async fn stop(self) {
        let (answer, answered) = oneshot::channel();
        if self.view.orders.send(Order::Stop(answer)).await.is_ok() {
            let _ = timeout(PATIENCE, answered).await;
        }
        self.task.abort();
    }
}

impl IkeView {
    /// The page `show ike`. Blocks; not for the control thread.
    pub fn show(&self, filter: &IkeFilter) -> api::Ike {
        let (answer, answered) = oneshot::channel();
        let asked = self.orders.blocking_send(Order::Show(filter.clone(), answer));
        asked.ok().and_then(|()| answered.blocking_recv().ok()).unwrap_or_default()
    }

    /// What `show status` says.
    pub fn status(&self) -> api::IkeStatus {
        let shared = self.shared();
        api::IkeStatus {
            state: shared.charon.state,
            problem: shared.charon.problem.clone(),
            tunnels: api::UpCount { up: shared.negotiated, total: shared.tunnels },
            refused: shared.charon.refused.clone(),
            failing: shared.failing.clone(),
            restarts: shared.charon.restarts,
            events: shared.events,
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
