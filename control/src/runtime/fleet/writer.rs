//! Writes what this node has for the others: records of SAs, sealed, and path MTUs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_fleet::names::{KeyName, Name, TunnelName};
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::{CommitError, Condition, Store, Txn};

use super::watch::SharedPathMtu;
use super::{PathMtu, State};
use crate::fleet::outbox::{Change, Flight};
use crate::runtime::negotiated::sharing::key;

/// Records in one transaction.
const MOST: usize = 64;
/// Bytes of their content.
const MOST_BYTES: usize = 256 << 10;
/// How long to wait after the store did not take something.
const RETRY: Duration = Duration::from_millis(250);
/// How long a path MTU is known, as that of a tunnel is.
const PATH_MTU_LIFE: Duration = crate::compile::PATH_MTU_AGE;

/// Never ends.
pub(super) async fn write(state: Arc<Mutex<State>>, store: Store) {
    let writer = Writer { state, store };
    let Some(wake) = writer.lock().fleet.as_ref().map(super::FleetState::writes) else { return };
    loop {
        match writer.turn().await {
            Turn::Idle => wake.notified().await,
            Turn::More => {}
            Turn::Failed => tokio::time::sleep(RETRY).await,
        }
    }
}

enum Turn {
    /// Nothing waits.
    Idle,
    /// There may be more.
    More,
    /// The store did not take it.
    Failed,
}

struct Writer {
    state: Arc<Mutex<State>>,
    store: Store,
}

impl Writer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn turn(&self) -> Turn {
        let (flights, keyring, path_mtus, over) = {
            let mut state = self.lock();
            let over = state.negotiated.take_over();
            let sharing = state.negotiated.sharing();
            let flights = sharing.map(|sharing| sharing.outbox.take(MOST, MOST_BYTES)).unwrap_or_default();
            let Some(fleet) = &mut state.fleet else { return Turn::Idle };
            (flights, Arc::clone(&fleet.keyring), std::mem::take(&mut fleet.path_mtus), over)
        };
        for path_mtu in path_mtus {
            self.write_path_mtu(&path_mtu).await;
        }
        for name in over {
            // Whoever is first; the others find it gone.
            let _ = self.store.commit(&Txn::new().delete(key(&name))).await;
        }
        if flights.is_empty() {
            return Turn::Idle;
        }
        let outcome = match transaction(&flights, &keyring) {
            Ok(txn) => self.store.commit(&txn).await,
            Err(error) => {
                tracing::error!(error, "SAs stay on this node");
                self.lost(flights);
                return Turn::Failed;
            }
        };
        match outcome {
            Ok(revision) => {
                self.lock().negotiated.landed(flights, revision.0);
                Turn::More
            }
            Err(CommitError::Conflict | CommitError::Unknown(_)) => {
                let seen = self.look_again(&flights).await;
                self.lost(flights);
                if seen { Turn::More } else { Turn::Failed }
            }
            Err(error) => {
                tracing::debug!(%error, "records wait until the store takes them");
                self.lost(flights);
                Turn::Failed
            }
        }
    }

    fn lost(&self, flights: Vec<Flight>) {
        if let Some(sharing) = self.lock().negotiated.sharing() {
            sharing.outbox.lost(flights);
        }
    }

    /// Which versions the store has. Whether it said so of all.
    async fn look_again(&self, flights: &[Flight]) -> bool {
        for flight in flights {
            let Ok(entry) = self.store.get(&flight.key).await else { return false };
            let version = entry.map_or(0, |entry| entry.version);
            if let Some(sharing) = self.lock().negotiated.sharing() {
                sharing.outbox.found(&flight.key, version);
            }
        }
        true
    }

    async fn write_path_mtu(&self, PathMtu { tenant, tunnel, mtu }: &PathMtu) {
        let Some((tenant, tunnel)) = Name::new(tenant).zip(Name::new(tunnel)) else { return };
        let Some(node) = self.lock().fleet.as_ref().map(|fleet| fleet.us.number.0) else { return };
        let key = KeyName::PathMtu(TunnelName { tenant, tunnel }).to_string();
        let value = serde_json::to_vec(&SharedPathMtu { mtu: *mtu, node }).unwrap_or_default();
        let written = async {
            let lease = self.store.grant(PATH_MTU_LIFE).await?;
            self.store.commit(&Txn::new().put(key, value, Some(lease))).await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "other nodes do not hear of a smaller path MTU; each learns it by itself");
        }
    }
}

fn transaction(flights: &[Flight], keyring: &Keyring) -> Result<Txn, String> {
    let mut txn = Txn::new();
    for Flight { key, change, from, .. } in flights {
        txn = txn.when(match from {
            0 => Condition::Absent(key.clone()),
            version => Condition::Version(key.clone(), *version),
        });
        txn = match change {
            Change::Put(content) => {
                let sealed = keyring.seal(key, from + 1, content).map_err(|error| error.to_string())?;
                txn.put(key.clone(), sealed, None)
            }
            Change::Delete => txn.delete(key.clone()),
        };
    }
    Ok(txn)
}
