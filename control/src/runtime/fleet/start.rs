//! How a node begins to be one of a fleet.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use penstock_fleet::peer::{PeerKeys, StoreTag};
use penstock_fleet::store::Store;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{FleetSenders, FleetState, State, applied, membership, us, watch, writer};
use crate::config::GatewayConfig;
use crate::fleet::nodes::acknowledgements::Acknowledgements;
use crate::fleet::nodes::peers::{self, Peers};
use crate::fleet::{key_file, store_settings};
use crate::kernel::netns::Netns;
use crate::leases::BootId;
use crate::runtime::clock;
use crate::runtime::error::RuntimeError;

/// How long a stop may take for the others' sake.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How long a start waits for a store that does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The tasks of the fleet. They end when it is dropped.
pub(in crate::runtime) struct Tasks {
    tasks: Vec<JoinHandle<()>>,
    store: Store,
    senders: FleetSenders,
    /// Told once: another node has our name or number.
    fatal: Option<oneshot::Receiver<String>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Tasks {
    /// Before a stop: what the others have to know is written, and this node's record goes.
    pub(in crate::runtime) async fn leave(self, state: &Mutex<State>) {
        let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        while lock().negotiated.unwritten() > 0 && began.elapsed() < LAST_WORDS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let unwritten = lock().negotiated.unwritten();
        if unwritten > 0 {
            tracing::warn!(unwritten, "the fleet's store did not take all that this node had for it");
        }
        let lease = lock().fleet.as_mut().and_then(FleetState::take_lease);
        if let Some(lease) = lease {
            // Else it ends by itself.
            let _ = tokio::time::timeout(LAST_WORDS, self.store.revoke(lease)).await;
        }
    }

    /// Who gives out sender IDs.
    pub(in crate::runtime) fn senders(&self) -> FleetSenders {
        self.senders.clone()
    }

    /// The store.
    pub(in crate::runtime) fn store(&self) -> &Store {
        &self.store
    }

    /// Tells, once, that another node has our name or number.
    pub(in crate::runtime) fn take_fatal(&mut self) -> Option<oneshot::Receiver<String>> {
        self.fatal.take()
    }

    /// The next change of the store's tenants.
    pub(in crate::runtime) async fn objects_changed(state: &Mutex<State>) {
        let signals = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.fleet.as_ref().map(|fleet| Arc::clone(&fleet.signals))
        };
        match signals {
            Some(signals) => signals.objects.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Opens the store, and begins to follow it. The store need not answer yet.
///
/// # Errors
/// When files of the configuration cannot be used.
pub(in crate::runtime) async fn start(
    config: &GatewayConfig,
    version: &str,
    netns: &Netns,
    state: &Arc<Mutex<State>>,
) -> Result<Option<Tasks>, RuntimeError> {
    let Some(fleet) = &config.fleet else { return Ok(None) };
    let failed = |reason: String| RuntimeError::Fleet { reason };
    let keyring =
        key_file::read(&fleet.key_file).map_err(|error| failed(format!("fleet.key_file: {error}")))?;
    let store =
        Store::open(store_settings(config, fleet)).await.map_err(|error| failed(error.to_string()))?;
    // Another one than that of the run before, whether there is chance to be had or not.
    let incarnation = getrandom::u64().unwrap_or_else(|_| clock::moment().uptime.as_nanos() as u64);
    let us = us(config, incarnation);
    let keys = PeerKeys::of(&keyring).map_err(|error| failed(error.to_string()))?;
    let local = fleet.control_address();
    let socket = peers::open(Some(netns), local).map_err(|error| failed(error.to_string()))?;
    let settings = peers::Settings {
        local,
        node: us.name.clone(),
        incarnation: us.incarnation,
        store: StoreTag::of(""),
        keys,
    };
    let peers = Peers::start(socket, settings).map_err(|error| failed(error.to_string()))?;
    let acknowledgements = Acknowledgements::start(peers, fleet.barrier.into());
    {
        let mut locked = state.lock().unwrap_or_else(PoisonError::into_inner);
        locked.fleet =
            Some(FleetState::new(fleet.clone(), us, version.to_owned(), keyring, acknowledgements));
        locked.set_rescue();
    }
    let boot =
        BootId::read().map_err(|error| failed(format!("the run of this machine has no name: {error}")))?;
    let place = membership::place(boot.as_str(), &config.node.socket);
    let ((told, mut fatal), (has_joined, joined)) = (oneshot::channel(), oneshot::channel());
    let tasks = vec![
        tokio::spawn(applied::tell(Arc::clone(state))),
        tokio::spawn(watch::follow(Arc::clone(state), store.clone())),
        tokio::spawn(writer::write(Arc::clone(state), store.clone())),
        tokio::spawn(membership::keep(Arc::clone(state), store.clone(), place, has_joined, told)),
    ];
    let senders = FleetSenders::new(Arc::clone(state), store.clone());
    tracing::info!(fleet = %fleet.name, node = %config.node.name, number = config.node.number, "this node is one of a fleet");
    let mut tasks = Tasks { tasks, store, senders, fatal: None };
    let longest = Duration::from(fleet.liveness) + PATIENCE * 2;
    // Two nodes with one name must not both begin; but a store that is away keeps nobody from forwarding.
    tokio::select! {
        _ = joined => {}
        Ok(conflict) = &mut fatal => return Err(failed(conflict)),
        () = store_away(state) => tracing::warn!("the fleet's store does not answer: this node begins without it"),
        () = tokio::time::sleep(longest) => tracing::warn!("the fleet's store does not take this node's record yet"),
    }
    tasks.fatal = Some(fatal);
    Ok(Some(tasks))
}

/// Waits until it has been away for long enough.
async fn store_away(state: &Mutex<State>) {
    let mut since = Instant::now();
    while since.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let locked = state.lock().unwrap_or_else(PoisonError::into_inner);
        if locked.fleet.as_ref().is_some_and(|fleet| fleet.store.connected) {
            since = Instant::now();
        }
    }
}

impl State {
    /// From now on other nodes hear of this node's SAs. Called again it does nothing.
    pub(super) fn begin_to_share(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        if self.negotiated.sharing().is_none() {
            self.negotiated.share(fleet.writes());
        }
    }
}
