//! This node's record in the store: its name and number are its own as long as it is there.
//!
//! A node that was killed has left a record behind. It is its own former life if it was in the same *place*: the same run of
//! the same machine, with the same socket, which only one process has. That ends at once; for any other one we wait until
//! its lease ends, or give up.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use penstock_fleet::names::{KeyName, NODES};
use penstock_fleet::store::{CommitError, Condition, Entry, LeaseId, Store, StoreError, Txn};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::{State, unix_millis};
use crate::fleet::nodes::conflict::Conflict;
use crate::fleet::nodes::node_record::NodeRecord;

/// How long to wait after the store did not answer, or has another one under our name.
const RETRY: Duration = Duration::from_millis(500);
/// Longest silence of the record: others compare their clocks with it.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// Keeps the record, until another node turns out to have our name or number. `joined` is told when it is there for the first
/// time.
pub(super) async fn keep(
    state: Arc<Mutex<State>>,
    store: Store,
    place: String,
    joined: oneshot::Sender<()>,
    fatal: oneshot::Sender<String>,
) {
    let keeper = Keeper { state, store, place };
    let conflict = keeper.keep(joined).await;
    // Whoever listens ends with us.
    let _ = fatal.send(conflict);
}

/// Where a node runs: two processes in one place are one after the other.
pub(super) fn place(boot: &str, socket: &Path) -> String {
    let digest = Sha256::digest(format!("{boot} {}", socket.display()));
    HEXLOWER.encode(digest.get(..16).unwrap_or_default())
}

struct Keeper {
    state: Arc<Mutex<State>>,
    store: Store,
    place: String,
}

enum Lost {
    /// The lease has ended.
    Lease,
    /// Somebody else has our name or number.
    Conflict(String),
}

impl Keeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns who has our name or number.
    async fn keep(&self, joined: oneshot::Sender<()>) -> String {
        let mut joined = Some(joined);
        // A record that nobody keeps goes when its lease ends.
        let patience = self.liveness() + Duration::from_secs(2);
        loop {
            let mut refused_since: Option<Instant> = None;
            let lease = loop {
                match self.join().await {
                    Ok(Ok(lease)) => break lease,
                    Ok(Err(conflict)) => {
                        let since = *refused_since.get_or_insert_with(Instant::now);
                        if since.elapsed() > patience {
                            return conflict;
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the node's record waits for the store"),
                }
                tokio::time::sleep(RETRY).await;
            };
            self.set_lease(Some(lease));
            if let Some(joined) = joined.take() {
                // Who waited may have gone on.
                let _ = joined.send(());
            }
            match self.stay(lease).await {
                Lost::Lease => {
                    self.lost_lease();
                    tracing::warn!("the node's record in the store has ended: it is written again");
                }
                Lost::Conflict(conflict) => return conflict,
            }
        }
    }

    fn liveness(&self) -> Duration {
        self.lock().fleet.as_ref().map_or(RETRY, |fleet| fleet.config.liveness.into())
    }

    fn set_lease(&self, lease: Option<LeaseId>) {
        if let Some(fleet) = &mut self.lock().fleet {
            fleet.lease = lease;
        }
    }

    /// What ended our lease has ended those of others.
    fn lost_lease(&self) {
        if let Some(fleet) = &mut self.lock().fleet {
            fleet.lease = None;
            fleet.store_returned(Instant::now());
        }
    }

    /// Takes name and number, or says who has them.
    async fn join(&self) -> Result<Result<LeaseId, String>, CommitError> {
        let Some(record) = self.record() else { return Ok(Err(String::new())) };
        let (node, number) =
            (KeyName::Node(record.name.clone()).to_string(), KeyName::Number(record.number).to_string());
        let others = self.store.list(NODES).await?.entries;
        let others = others.iter().filter_map(|entry| NodeRecord::read(&entry.value).ok());
        if let Some(conflict) = Conflict::of_families(&record, others) {
            return Ok(Err(conflict.to_string()));
        }
        let lease = self.store.grant(self.liveness()).await?;
        let owner = format!("{} {} {}", record.name, record.incarnation, self.place);
        let txn = Txn::new()
            .when(Condition::Absent(node.clone()))
            .when(Condition::Absent(number.clone()))
            .put(node.clone(), record.to_json(), Some(lease))
            .put(number.clone(), owner.clone(), Some(lease));
        match self.store.commit(&txn).await {
            Ok(_) => return Ok(Ok(lease)),
            Err(CommitError::Conflict) => {}
            Err(error) => return Err(error),
        }
        // Not needed any more, and its end takes nothing with it.
        let _ = self.store.revoke(lease).await;
        let there = self.store.get(&node).await?;
        let other = there.and_then(|entry| NodeRecord::read(&entry.value).ok());
        let had = other.as_ref().map_or(record.number, |other| other.number);
        let former = self.store.get(&KeyName::Number(had).to_string()).await?;
        if let Some(lease) = former.and_then(|former| self.former_life(&record, &former)) {
            self.store.revoke(lease).await?;
            return Ok(Err(String::from("this node's former life had its name a moment ago")));
        }
        let holder = self.store.get(&number).await?;
        Ok(Err(match (other, holder) {
            (Some(NodeRecord { name, address, incarnation, .. }), _) => {
                Conflict::Name { name, address, incarnation }.to_string()
            }
            (None, Some(holder)) => format!(
                "number {} is taken by node {}: give this node another node.number",
                record.number,
                String::from_utf8_lossy(&holder.value).split(' ').next().unwrap_or_default()
            ),
            (None, None) => String::from("the store had this node's name or number a moment ago"),
        }))
    }

    /// The lease of what this node left behind when it was killed.
    fn former_life(&self, record: &NodeRecord, holder: &Entry) -> Option<LeaseId> {
        let text = std::str::from_utf8(&holder.value).ok()?;
        let mut words = text.split(' ');
        let (name, incarnation, place) = (words.next()?, words.next()?, words.next()?);
        let is_former = name == record.name.as_str()
            && place == self.place
            && incarnation != record.incarnation.to_string();
        holder.lease.filter(|_| is_former)
    }

    /// Keeps the lease alive, and the record true.
    async fn stay(&self, lease: LeaseId) -> Lost {
        let beat = self.liveness() / 4;
        let Some(signals) = self.lock().fleet.as_ref().map(|fleet| Arc::clone(&fleet.signals)) else {
            return Lost::Lease;
        };
        let mut said: Option<(Instant, bool)> = None;
        let mut heard = Instant::now();
        loop {
            match self.store.keep_alive(lease).await {
                Ok(_) => heard = Instant::now(),
                Err(StoreError::LeaseEnded(_)) => return Lost::Lease,
                Err(error) => {
                    tracing::debug!(%error, silent_s = heard.elapsed().as_secs(), "the node's lease")
                }
            }
            if let Some(conflict) = self.lock().fleet.as_ref().and_then(|fleet| fleet.members.fatal()) {
                return Lost::Conflict(conflict.to_string());
            }
            if let Some(record) = self.record()
                && said.is_none_or(|(at, ready)| at.elapsed() > SAY_AGAIN || ready != record.ready)
            {
                let key = KeyName::Node(record.name.clone()).to_string();
                match self.store.commit(&Txn::new().put(key, record.to_json(), Some(lease))).await {
                    Ok(_) => said = Some((Instant::now(), record.ready)),
                    Err(CommitError::Store(StoreError::LeaseEnded(_))) => return Lost::Lease,
                    Err(error) => tracing::debug!(%error, "the node's record waits for the store"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(beat) => {}
                () = signals.record.notified() => {}
            }
        }
    }

    fn record(&self) -> Option<NodeRecord> {
        let state = self.lock();
        let fleet = state.fleet.as_ref()?;
        Some(NodeRecord {
            name: fleet.us.name.clone(),
            number: fleet.us.number,
            incarnation: fleet.us.incarnation,
            address: fleet.config.address,
            port: fleet.config.port,
            started: fleet.started,
            clock: unix_millis(),
            version: fleet.version.clone(),
            ready: state.not_ready().is_empty(),
            applied: fleet.applied,
        })
    }
}
