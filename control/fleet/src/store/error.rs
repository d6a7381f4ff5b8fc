//! What goes wrong with a store, in words that say what to do.

use std::io;
use std::path::PathBuf;

use super::entry::LeaseId;
use super::txn::TxnError;

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Not a name.
    #[error("fleet.name {0:?} cannot be: use 1 to 63 letters, digits, '-', '_', '.'")]
    Fleet(String),
    /// Nothing to connect to.
    #[error("fleet.store.etcd.endpoints is empty: name at least one member of etcd")]
    NoEndpoint,
    /// Not a URL of etcd.
    #[error("fleet.store.etcd.endpoints: {0:?} is not https://HOST:PORT (or http://HOST:PORT)")]
    Endpoint(String),
    /// Nobody could tell who answers.
    #[error("fleet.store.etcd: {0} needs fleet.store.etcd.ca, the certificate of who signed etcd's")]
    WithoutCa(String),
    /// Encryption was asked for, and would not be there.
    #[error("fleet.store.etcd: {0} is not encrypted, but there are certificates; write https://")]
    Plain(String),
    /// Built without the engine.
    #[error(
        "this penstock was built without etcd: build with --features etcd (needs protobuf-compiler and libprotobuf-dev)"
    )]
    WithoutEtcd,
    /// A file that is needed cannot be used.
    #[error("cannot {action} {}: {source}; check the path, its owner and mode", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that the configuration names cannot be read, or a secret in it is none.
    #[error("{} {message}; {fix}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// What to do.
        fix: String,
    },
    /// Not what it should be.
    #[error("{} holds no {wanted}", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// Two processes.
    #[error("{} is in use: another penstock runs with this state directory; stop it, or give this one another node.state", .0.display())]
    InUse(PathBuf),
    /// The embedded store's file is broken or something else.
    #[error(
        "{} is damaged or not a store ({reason}). Put a backup in its place, or remove it: what was in it is then lost, \
         the tenants made through the API among it",
        file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Made by a later version, or unreadable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A call that the store did not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No member answers, or none that has a leader.
    #[error(
        "the store is away ({0}); forwarding goes on with what is known. Look at etcd's health: etcdctl endpoint health"
    )]
    Away(String),
    /// It does not know us.
    #[error("the store refuses us ({0}): check fleet.store.etcd.user, its password and our certificate")]
    Refused(String),
    /// What we would show it cannot be read (any more).
    #[error("cannot connect to the store: {0}")]
    Credentials(String),
    /// It knows us, but this is not for us.
    #[error("the store does not permit it ({0}): grant the user's role readwrite on the prefix {1}")]
    Forbidden(String, String),
    /// No room.
    #[error(
        "the store is full or overloaded ({0}): compact and defragment etcd, then etcdctl alarm disarm; or raise its \
         --quota-backend-bytes"
    )]
    Full(String),
    /// The disk of the embedded store.
    #[error("cannot read or write {}: {reason}; look at the disk (space, errors in the kernel's log), then restart", file.display())]
    Disk {
        /// The store.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not kept alive in time, revoked, or never granted.
    #[error("lease {0} has ended, and its keys are deleted: take a new one and write them again")]
    LeaseEnded(LeaseId),
    /// Written by a version to come.
    #[error("the store's layout is {found}, this penstock knows {known}: upgrade this node")]
    Newer {
        /// The store's.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Not ours.
    #[error("the store's record `meta` is not of Penstock's making ({0}): restore the store from a backup")]
    Meta(String),
    /// What etcd gave back makes no sense.
    #[error("the store's answer makes no sense ({0}): is it etcd 3.4 or newer?")]
    Nonsense(String),
}

/// A transaction that did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// A condition does not hold: somebody else was first. Nothing was written.
    #[error("the store changed meanwhile: look again")]
    Conflict,
    /// The answer never came. It may have been written, or be written yet.
    #[error("whether it was written is not known ({0}): look again")]
    Unknown(String),
    /// No store takes it. Nothing was written.
    #[error(transparent)]
    Txn(#[from] TxnError),
    /// Nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
