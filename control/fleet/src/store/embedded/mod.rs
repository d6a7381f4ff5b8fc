//! The embedded engine: a redb file in the node's state directory, for one process.
//!
//! Writes happen one after another, and are on the disk when they return. Work on the file is done on tokio's blocking
//! threads. Leases end by this process's own clock; when the store is opened, those that are left begin anew. No history
//! is kept: a watch that was not there when something changed starts with a listing.

mod file;
mod leases;
mod tables;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast};

use super::entry::{Entry, LeaseId, Listing, Revision};
use super::error::{CommitError, OpenError, StoreError};
use super::feed::{self, Watch};
use super::meta::{self, Meta, StoreId};
use super::txn::Txn;
use leases::Leases;
use tables::{Change, Tables, Written};

/// Transactions that a watch may be behind before it starts over.
const MOST_BEHIND: usize = 256;

/// The open file.
#[derive(Clone, Debug)]
pub(super) struct Embedded(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: PathBuf,
    tables: Tables,
    /// Locked through each write, so that changes are told in the order of their revisions.
    leases: Mutex<Leases>,
    changes: broadcast::Sender<Arc<Change>>,
    /// Wakes the task that ends leases.
    leases_changed: Arc<Notify>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leases_changed.notify_one();
    }
}

impl Embedded {
    /// Opens the file, or makes it.
    pub(super) async fn open(directory: PathBuf) -> Result<Self, OpenError> {
        let opened = tokio::task::spawn_blocking(move || Inner::open(&directory)).await;
        let inner = opened.map_err(|e| StoreError::Away(e.to_string()))?;
        let inner = Arc::new(inner?);
        tokio::spawn(leases::end_in_time(Arc::downgrade(&inner), Arc::clone(&inner.leases_changed)));
        let store = Self(inner);
        store.id().await?;
        Ok(store)
    }

    pub(super) async fn id(&self) -> Result<StoreId, StoreError> {
        loop {
            if let Some(meta) = self.get(meta::KEY).await? {
                return Ok(Meta::read(&meta.value)?.id(0));
            }
            match self.commit(&Meta::make()?).await {
                // Somebody else may be first; whoever it was, read it.
                Ok(_) | Err(CommitError::Conflict) => {}
                Err(e) => return Err(StoreError::Meta(e.to_string())),
            }
        }
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        self.blocking(move |inner| inner.tables.get(&key).map_err(inner.disk())).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let prefix = prefix.to_owned();
        self.blocking(move |inner| inner.tables.list(&prefix).map_err(inner.disk())).await
    }

    pub(super) async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        let txn = txn.clone();
        self.blocking(move |inner| inner.commit(&txn)).await
    }

    pub(super) async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.blocking(move |inner| {
            let lease = inner.leases().grant(ttl, |lease, ttl| inner.tables.grant(lease, ttl));
            lease.map_err(inner.disk())
        })
        .await
        .inspect(|_| self.0.leases_changed.notify_one())
    }

    pub(super) async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.blocking(move |inner| {
            let kept = inner.leases().keep(lease, Instant::now());
            if kept { Ok(()) } else { Err(StoreError::LeaseEnded(lease)) }
        })
        .await
    }

    pub(super) async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.blocking(move |inner| inner.end(&mut inner.leases(), lease).map_err(inner.disk())).await
    }

    pub(super) fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        let (feed, watch) = feed::new();
        tokio::spawn(watch::run(self.clone(), prefix.to_owned(), from, feed));
        watch
    }

    async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or_else(|e| Err(self.0.disk()(redb::Error::Corrupted(e.to_string())).into()))
    }
}

impl Inner {
    fn open(directory: &Path) -> Result<Self, OpenError> {
        let (file, database) = file::open(directory)?;
        let damaged = |e: redb::Error| OpenError::Damaged { file: file.clone(), reason: e.to_string() };
        let (tables, ttls) = Tables::open(database).map_err(damaged)?;
        let (changes, _) = broadcast::channel(MOST_BEHIND);
        let leases = Mutex::new(Leases::new(ttls, Instant::now()));
        Ok(Self { file, tables, leases, changes, leases_changed: Arc::default() })
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        // No panic leaves it half changed.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        let leases = self.leases();
        let now = Instant::now();
        let written = self.tables.commit(txn, |lease| leases.lives(lease, now));
        // A disk that fails while it is written to may have it or not.
        match written.map_err(|e| CommitError::Unknown(self.disk()(e).to_string()))? {
            Written::Done(revision, change) => {
                self.tell(change);
                Ok(revision)
            }
            Written::Conflict => Err(CommitError::Conflict),
            Written::LeaseEnded(lease) => Err(StoreError::LeaseEnded(lease).into()),
        }
    }

    /// Ends leases that nobody kept; returns when the next one ends.
    fn end_due(&self) -> Result<Option<Instant>, redb::Error> {
        let mut leases = self.leases();
        while let Some(due) = leases.due(Instant::now()) {
            self.end(&mut leases, due)?;
        }
        Ok(leases.next())
    }

    fn end(&self, leases: &mut Leases, lease: LeaseId) -> Result<(), redb::Error> {
        self.tell(self.tables.end(lease)?);
        leases.remove(lease);
        Ok(())
    }

    fn tell(&self, change: Option<Change>) {
        if let Some(change) = change {
            // Fails if nobody watches.
            let _ = self.changes.send(Arc::new(change));
        }
    }

    fn disk(&self) -> impl Fn(redb::Error) -> StoreError {
        |e| StoreError::Disk { file: self.file.clone(), reason: e.to_string() }
    }
}
