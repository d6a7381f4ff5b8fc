//! The store: one interface, and two engines for it.
//!
//! `embedded` is a redb file of one node, `etcd` is shared by the nodes of a fleet. A store is a map of keys to values
//! with a *revision*, which grows by one with each transaction that changes anything. Transactions are all or nothing,
//! and may demand that keys are as they were when the caller looked. A key on a *lease* is deleted when nobody keeps
//! the lease alive. A *watch* tells of every change once, in order.
//!
//! Architecture invariants:
//! - Callers name keys without the fleet's prefix, and never see another fleet's.
//! - No call waits for ever, and no queue grows without bound: a watcher that is too slow starts over.
//! - Values are bytes: nothing here opens or judges them, but for `meta`, which tells stores apart.

mod embedded;
mod entry;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod feed;
mod meta;
mod settings;
mod txn;

use std::time::Duration;

pub use entry::{Entry, LeaseId, Listing, Revision};
pub use error::{CommitError, OpenError, StoreError};
pub use feed::{Event, QUIET, Watch, Why};
pub use meta::StoreId;
pub use settings::{Engine, EtcdSettings, EtcdTls, EtcdUser, Settings};
pub use txn::{Condition, MOST_KEY_BYTES, MOST_VALUE_BYTES, MOST_WRITES, Txn, TxnError, Write};

/// An open store. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Store(Opened);

#[derive(Clone, Debug)]
enum Opened {
    Embedded(embedded::Embedded),
    #[cfg(feature = "etcd")]
    Etcd(etcd::Etcd),
}

/// Calls the engine's method of the same name.
macro_rules! engine {
    ($self:ident, $store:ident => $call:expr) => {
        match &$self.0 {
            Opened::Embedded($store) => $call,
            #[cfg(feature = "etcd")]
            Opened::Etcd($store) => $call,
        }
    };
}

impl Store {
    /// Opens the store. Must be called in a tokio runtime, which then has the store's tasks.
    ///
    /// Etcd need not be there yet: its settings and files are read, and the first call connects.
    ///
    /// # Errors
    /// When settings or files cannot be used, or the embedded store's file cannot.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        settings.check()?;
        match settings.engine {
            Engine::Embedded { directory } => {
                Ok(Self(Opened::Embedded(embedded::Embedded::open(directory).await?)))
            }
            #[cfg(feature = "etcd")]
            Engine::Etcd(etcd) => Ok(Self(Opened::Etcd(etcd::Etcd::open(&settings.fleet, etcd).await?))),
            #[cfg(not(feature = "etcd"))]
            Engine::Etcd(_) => Err(OpenError::WithoutEtcd),
        }
    }

    /// Which store this is. Another one, or one made anew, has another name; so do not keep it, ask again.
    ///
    /// # Errors
    /// When the store is away, or was made by a newer Penstock.
    pub async fn id(&self) -> Result<StoreId, StoreError> {
        engine!(self, store => store.id().await)
    }

    /// What is under a key now.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        engine!(self, store => store.get(key).await)
    }

    /// All entries whose keys begin with `prefix`, in the order of their keys, as they were at one revision.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        engine!(self, store => store.list(prefix).await)
    }

    /// Makes all writes if all conditions hold, else none. What it returns is the revision at which the writes were
    /// made; they are on disk then. Once called it may happen even if the future is dropped.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] when a condition does not hold. [`CommitError::Unknown`] when the writes may have
    /// been made or not.
    pub async fn commit(&self, txn: &Txn) -> Result<Revision, CommitError> {
        txn.check()?;
        engine!(self, store => store.commit(txn).await)
    }

    /// A new lease, which ends `ttl` (a second or more; the store may grant more) after the last time it was kept
    /// alive.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        engine!(self, store => store.grant(ttl).await)
    }

    /// Keeps a lease for another TTL.
    ///
    /// # Errors
    /// [`StoreError::LeaseEnded`] when there is no such lease (any more), or the store is away.
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        engine!(self, store => store.keep_alive(lease).await)
    }

    /// Ends a lease and deletes its keys. One that has ended already is no error.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        engine!(self, store => store.revoke(lease).await)
    }

    /// Watches all keys that begin with `prefix`, until what it returns is dropped. It begins with a listing
    /// ([`Event::Reset`]), or goes on after revision `from` if the store still knows what came after that.
    pub fn watch(&self, prefix: &str, from: Option<Revision>) -> Watch {
        engine!(self, store => store.watch(prefix, from))
    }
}
