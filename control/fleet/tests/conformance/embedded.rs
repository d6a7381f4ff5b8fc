//! The embedded engine: the rules, and its file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use penstock_fleet::store::{Engine, OpenError, Settings, Store, Txn, Why};
use tempfile::TempDir;

use crate::suite::{self, put};

struct Fixture {
    store: Store,
    _dir: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: open(dir.path()).await.unwrap(), _dir: dir }
    }

    fn store(&self) -> &Store {
        &self.store
    }
}

async fn open(dir: &Path) -> Result<Store, OpenError> {
    let engine = Engine::Embedded { directory: dir.join("state") };
    Store::open(Settings { fleet: "test".into(), engine }).await
}

/// The process that had the store is gone; so is its task when the runtime had a moment.
async fn reopen(dir: &Path) -> Store {
    for _ in 0..500 {
        match open(dir).await {
            Err(OpenError::InUse(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            opened => return opened.unwrap(),
        }
    }
    panic!("it stays open");
}

suite::conformance!(Fixture::new());

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let id = store.id().await.unwrap();
    let lease = store.grant(Duration::from_secs(1)).await.unwrap();
    let revision = store.commit(&put("a", "1").put("leased", "1", Some(lease))).await.unwrap();
    drop(store);
    let store = reopen(dir.path()).await;
    assert_eq!(store.id().await.unwrap(), id);
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.revision, revision);
    assert!(suite::keys(&listing.entries).starts_with(&["a"]));
    // Leases of before begin anew, and end.
    let mut watch = store.watch("leased", Some(revision));
    let (_, _, deletes) = suite::changed(&mut watch).await;
    assert_eq!(deletes, ["leased"]);
    assert!(store.commit(&Txn::new().put("b", "1", Some(lease))).await.is_err());
}

#[tokio::test]
async fn changes_of_before_are_not_known() {
    let Fixture { store, _dir } = Fixture::new().await;
    let old = store.commit(&put("a/1", "1")).await.unwrap();
    store.commit(&put("a/2", "1")).await.unwrap();
    let mut watch = store.watch("a/", Some(old));
    assert_eq!(suite::reset(&mut watch, Why::Compacted).await.1.len(), 2);
}

#[tokio::test]
async fn the_file_is_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("state"), mode("state/store.redb")), (0o700, 0o600));
    assert!(!dir.path().join("state/store.redb.new").exists());
    let second = open(dir.path()).await.unwrap_err();
    assert!(matches!(second, OpenError::InUse(_)), "{second}");
    drop(store);
    reopen(dir.path()).await;
}

#[tokio::test]
async fn a_broken_file_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await.unwrap();
    store.commit(&put("a", "1")).await.unwrap();
    drop(store);
    drop(reopen(dir.path()).await);
    let file = dir.path().join("state/store.redb");
    let whole = loop {
        // Until the last one has let go of it.
        if let Ok(store) = open(dir.path()).await {
            drop(store);
            break fs::read(&file).unwrap();
        }
    };
    let mut flipped = whole.clone();
    flipped[..4096].iter_mut().for_each(|byte| *byte ^= 0xff);
    for broken in [vec![], b"tenants: {}\n".to_vec(), whole[..whole.len() / 2].to_vec(), flipped] {
        // Another file: the old one may be locked for a moment more.
        fs::remove_file(&file).unwrap();
        fs::write(&file, &broken).unwrap();
        let error = open(dir.path()).await.unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{} bytes: {error}", broken.len());
        assert!(error.to_string().contains("backup"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), broken);
    }
}

#[tokio::test]
async fn an_unfinished_file_of_a_first_start_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("state/store.redb.new"), "half a store").unwrap();
    open(dir.path()).await.unwrap().commit(&put("a", "1")).await.unwrap();
}

#[cfg(not(feature = "etcd"))]
#[tokio::test]
async fn without_etcd_its_settings_are_refused() {
    let etcd = penstock_fleet::store::EtcdSettings {
        endpoints: vec!["http://127.0.0.1:2379".into()],
        tls: None,
        user: None,
    };
    let opened = Store::open(Settings { fleet: "test".into(), engine: Engine::Etcd(etcd) }).await;
    assert!(opened.unwrap_err().to_string().contains("--features etcd"));
}
