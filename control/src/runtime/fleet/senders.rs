//! Sender IDs from the fleet's store.

use std::sync::{Arc, Mutex, PoisonError};

use penstock_dataplane::esp::iv::Lease;
use penstock_fleet::names::KeyName;
use penstock_fleet::store::{CommitError, Condition, Store, Txn};

use super::State;
use crate::leases::fleet::{ClockDifference, FleetLeaseError, FleetLeases, Seen, SharedRecord, StoreFailure};

/// Gives out sender IDs to this node. Cheap to clone.
#[derive(Clone)]
pub(in crate::runtime) struct FleetSenders {
    state: Arc<Mutex<State>>,
    store: Store,
}

struct Record(Store);

impl SharedRecord for Record {
    async fn read(&self) -> Result<Option<Seen>, StoreFailure> {
        let entry = self.0.get(&KeyName::Senders.to_string()).await?;
        Ok(entry.map(|entry| Seen { value: entry.value, version: entry.version }))
    }

    async fn compare_and_swap(&self, version: Option<u64>, value: Vec<u8>) -> Result<bool, StoreFailure> {
        let key = KeyName::Senders.to_string();
        let condition = match version {
            None => Condition::Absent(key.clone()),
            Some(version) => Condition::Version(key.clone(), version),
        };
        match self.0.commit(&Txn::new().when(condition).put(key, value, None)).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
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
        FleetLeases::new(Record(self.store.clone()), clocks).take_many(count).await
    }
}
