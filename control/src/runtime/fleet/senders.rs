//! Sender IDs from the fleet's store. The record of them is sealed with the fleet's key, so that only nodes write it.

use std::sync::{Arc, Mutex, PoisonError};

use penstock_dataplane::esp::iv::Lease;
use penstock_fleet::names::KeyName;
use penstock_fleet::seal::Keyring;
use penstock_fleet::store::{CommitError, Condition, Store, Txn};

use super::State;
use crate::leases::fleet::{ClockDifference, FleetLeaseError, FleetLeases, Seen, SharedRecord, StoreFailure};

/// Gives out sender IDs to this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::runtime) struct FleetSenders {
    state: Arc<Mutex<State>>,
    store: Store,
}

/// The record in the store, sealed. `keys` are the fleet's, as they are at each call.
struct Record<F> {
    store: Store,
    keys: F,
}

impl<F: Fn() -> Option<Arc<Keyring>> + Sync> SharedRecord for Record<F> {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        let Some(entry) = self.store.get(&KeyName::Senders.to_string()).await? else { return Ok(None) };
        let keys = (self.keys)().ok_or(NoKeys)?;
        let opened = keys.open(&entry.key, entry.version, &entry.value);
        let value = opened.map(|text| text.to_vec()).map_err(|error| error.to_string());
        Ok(Some(Seen { value, version: entry.version }))
    }

    async fn compare_and_swap(&self, version: Option<u64>, value: Vec<u8>) -> Result<bool, StoreFailure> {
        let key = KeyName::Senders.to_string();
        let keys = (self.keys)().ok_or(NoKeys)?;
        let sealed = keys.seal(&key, version.unwrap_or(0) + 1, &value)?;
        let condition = match version {
            None => Condition::Absent(key.clone()),
            Some(version) => Condition::Version(key.clone(), version),
        };
        match self.store.commit(&Txn::new().when(condition).put(key, sealed, None)).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The node has left its fleet.
#[derive(Debug, thiserror::Error)]
#[error("this node is of no fleet any more")]
struct NoKeys;

/// Seals the record with the first of the keys, if it was sealed with another one. What it says stays.
///
/// # Errors
/// When the store may not have it.
pub(super) async fn seal_again(store: &Store, keys: &Keyring) -> Result<(), CommitError> {
    let key = KeyName::Senders.to_string();
    let Some(entry) = store.get(&key).await? else { return Ok(()) };
    if Keyring::key_of(&entry.value).ok() == keys.ids().next() {
        return Ok(());
    }
    // What cannot be opened is refused where it is read.
    let Ok(text) = keys.open(&key, entry.version, &entry.value) else { return Ok(()) };
    let Ok(sealed) = keys.seal(&key, entry.version + 1, &text) else { return Ok(()) };
    let condition = Condition::Modified(key.clone(), entry.modified);
    store.commit(&Txn::new().when(condition).put(key, sealed, None)).await.map(drop)
}

impl FleetSenders {
    pub(super) fn new(state: Arc<Mutex<State>>, store: Store) -> Self {
        Self { state, store }
    }

    /// Takes a lease for each of `count` workers.
    ///
    /// # Errors
    /// When they cannot be had safely.
    pub(in crate::runtime) async fn take_many(&self, count: usize) -> Result<Vec<Lease>, FleetLeaseError> {
        let state = Arc::clone(&self.state);
        let clocks = move || {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let members = state.fleet.iter().flat_map(|fleet| fleet.members.live());
            let known = members.filter_map(|member| {
                let millis = member.clock_difference()?;
                Some(ClockDifference { node: member.record.name.to_string(), millis })
            });
            known.collect()
        };
        let state = Arc::clone(&self.state);
        let keys = move || {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.fleet.as_ref().map(|fleet| Arc::clone(&fleet.keyring))
        };
        FleetLeases::new(Record { store: self.store.clone(), keys }, clocks).take_many(count).await
    }
}

#[cfg(test)]
mod tests {
    use penstock_fleet::seal::FleetKey;
    use penstock_fleet::store::{Engine, Settings};
    use tempfile::TempDir;

    use super::*;

    fn keys(seeds: &[u8]) -> Arc<Keyring> {
        Arc::new(Keyring::new(seeds.iter().map(|seed| FleetKey::from_bytes(&[*seed; 32])).collect()).unwrap())
    }

    async fn store() -> (TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::Embedded { directory: dir.path().to_owned() };
        (dir, Store::open(Settings { fleet: "edge".into(), engine }).await.unwrap())
    }

    fn record(store: &Store, seeds: &[u8]) -> Record<impl Fn() -> Option<Arc<Keyring>> + Sync> {
        let keys = keys(seeds);
        Record { store: store.clone(), keys: move || Some(Arc::clone(&keys)) }
    }

    async fn leases(store: &Store, seeds: &[u8]) -> Result<usize, String> {
        let leases = FleetLeases::new(record(store, seeds), Vec::<ClockDifference>::new).take_many(2).await;
        leases.map(|leases| leases.len()).map_err(|error| error.to_string())
    }

    async fn put(store: &Store, value: &[u8]) {
        store.commit(&Txn::new().put("senders", value, None)).await.unwrap();
    }

    async fn value(store: &Store) -> Vec<u8> {
        store.get("senders").await.unwrap().unwrap().value
    }

    #[tokio::test]
    async fn who_has_the_key_takes_sender_ids() {
        let (_dir, store) = store().await;
        assert_eq!(leases(&store, &[1]).await, Ok(2));
        let first = value(&store).await;
        assert!(Keyring::key_of(&first).is_ok() && !first.windows(6).any(|window| window == b"newest"));
        assert_eq!(leases(&store, &[2, 1]).await, Ok(2));
        assert_eq!(Keyring::key_of(&value(&store).await).ok(), keys(&[2]).ids().next());
    }

    #[tokio::test]
    async fn what_others_wrote_is_refused() {
        let (_dir, store) = store().await;
        assert_eq!(leases(&store, &[1]).await, Ok(2));
        let good = value(&store).await;
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let moved = keys(&[1]).seal("sas/1/acme/dc1/i-00400001", 7, b"{}").unwrap();
        for (version, bytes, why) in [
            (2, &damaged[..], "forged"),
            // An old one that is put back is of another version of the record.
            (3, &good, "an old one"),
            (4, &good[..20], "cut off"),
            (5, br#"{"schema":1,"newest":0,"claims":[]}"#, "no sealed record"),
            (6, b"", "cut off"),
            (7, &moved, "another name"),
        ] {
            put(&store, bytes).await;
            let refused = leases(&store, &[1]).await.unwrap_err();
            assert!(refused.contains("`senders`") && refused.contains(why), "{version}: {refused}");
        }
        // Another fleet's.
        let foreign = keys(&[9]).seal("senders", 8, br#"{"schema":1,"newest":0,"claims":[]}"#).unwrap();
        put(&store, &foreign).await;
        let refused = leases(&store, &[1]).await.unwrap_err();
        assert!(refused.contains("which the fleet's key file does not have"), "{refused}");
        // Nobody has written over it, and nobody does: an operator removes it.
        assert_eq!(value(&store).await, foreign);
        store.commit(&Txn::new().delete("senders")).await.unwrap();
        assert_eq!(leases(&store, &[1]).await, Ok(2));
    }

    #[tokio::test]
    async fn with_another_first_key_it_is_sealed_again() {
        let (_dir, store) = store().await;
        seal_again(&store, &keys(&[1])).await.unwrap();
        assert!(store.get("senders").await.unwrap().is_none(), "nothing was taken yet");
        assert_eq!(leases(&store, &[1]).await, Ok(2));
        let before = record(&store, &[1]).read().await.unwrap().unwrap();
        seal_again(&store, &keys(&[1, 2])).await.unwrap();
        assert_eq!(record(&store, &[1]).read().await.unwrap().unwrap().version, before.version);
        seal_again(&store, &keys(&[2, 1])).await.unwrap();
        let after = record(&store, &[2]).read().await.unwrap().unwrap();
        assert_eq!((after.value, after.version), (before.value, before.version + 1));
        // Nobody here has its key: it stays, and is refused.
        seal_again(&store, &keys(&[3])).await.unwrap();
        assert!(leases(&store, &[3]).await.is_err());
    }
}
