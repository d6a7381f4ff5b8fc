//! Writes what this node has for the others: records of SAs, sealed, and path MTUs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_fleet::names::KeyName;
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::{CommitError, Condition, Revision, Store, Txn};

use super::watch::SharedPathMtu;
use super::{FleetState, PathMtu, State, senders};
use crate::fleet::outbox::{Change, Flight};
use crate::fleet::record::SaName;

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
    let Some(wake) = writer.lock().fleet.as_ref().map(FleetState::writes) else { return };
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
        let (flights, keyring, path_mtus) = {
            let mut state = self.lock();
            let sharing = state.negotiated.sharing();
            let flights = sharing.map(|sharing| sharing.outbox.take(MOST, MOST_BYTES)).unwrap_or_default();
            let Some(fleet) = &mut state.fleet else { return Turn::Idle };
            (flights, Arc::clone(&fleet.keyring), std::mem::take(&mut fleet.path_mtus))
        };
        for path_mtu in path_mtus {
            self.write_path_mtu(&path_mtu).await;
        }
        if flights.is_empty() {
            return self.tidy(&keyring).await;
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

    /// What nobody waits for.
    async fn tidy(&self, keyring: &Keyring) -> Turn {
        let (over, seals_senders) = {
            let mut state = self.lock();
            let over = state.over();
            (over, state.fleet.as_mut().is_some_and(|fleet| std::mem::take(&mut fleet.seals_senders)))
        };
        self.delete(over).await;
        if seals_senders && let Err(error) = senders::seal_again(&self.store, keyring).await {
            tracing::debug!(%error, "the record of sender IDs is sealed again later");
            if let Some(fleet) = &mut self.lock().fleet {
                fleet.seals_senders = true;
            }
            return Turn::Failed;
        }
        Turn::Idle
    }

    /// Deletes records of these revisions, together or else one by one. What the store has not done is asked for again.
    async fn delete(&self, over: Vec<(SaName, u64)>) {
        let delete = |txn: Txn, (name, revision): &(SaName, u64)| {
            let key = name.to_string();
            txn.when(Condition::Modified(key.clone(), Revision(*revision))).delete(key)
        };
        let mut batches = if over.is_empty() { Vec::new() } else { vec![over] };
        while let Some(batch) = batches.pop() {
            match self.store.commit(&batch.iter().fold(Txn::new(), delete)).await {
                Ok(_) => {}
                // Some are gone, or are others by now.
                Err(CommitError::Conflict) if batch.len() > 1 => {
                    batches.extend(batch.into_iter().map(|one| vec![one]));
                    continue;
                }
                Err(CommitError::Conflict) => {}
                Err(error) => {
                    tracing::debug!(%error, "records of what is over wait until the store deletes them");
                    return;
                }
            }
            let mut state = self.lock();
            batch.iter().for_each(|(name, revision)| state.negotiated.over_is_gone(name, *revision));
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
        let Some(node) = self.lock().fleet.as_ref().map(|fleet| fleet.us.number.0) else { return };
        let key = KeyName::PathMtu((tenant.clone(), tunnel.clone())).to_string();
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

impl State {
    /// Records of what is over, if it is for this node to delete them: its clock is right, and no node with a lower number
    /// lives. So a fleet does not delete each of them a thousand times.
    fn over(&self) -> Vec<(SaName, u64)> {
        let is_for_us = self.fleet.as_ref().is_some_and(FleetState::deletes_what_is_over);
        if is_for_us { self.negotiated.over(MOST) } else { Vec::new() }
    }

    /// Once a second: there may be records to delete.
    pub(super) fn check_over(&mut self) {
        if !self.over().is_empty()
            && let Some(fleet) = &self.fleet
        {
            fleet.signals.write.notify_one();
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
