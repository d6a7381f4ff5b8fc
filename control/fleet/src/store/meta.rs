//! The record `meta`: tells one store from another.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::txn::{Condition, Txn};

/// Its key.
pub(super) const KEY: &str = "meta";
/// Of the whole store's layout. A store of a later one is not touched.
const SCHEMA: u32 = 1;

/// Which store: what changes when another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreId {
    /// Etcd's name for its cluster; zero for the embedded store.
    pub cluster: u64,
    /// Random, from when the fleet was first seen in the store; 32 hexadecimal digits.
    pub made: String,
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.cluster, self.made)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Meta {
    schema: u32,
    /// Unix time, seconds.
    created: u64,
    id: String,
}

impl Meta {
    /// Makes the record, unless it is there.
    pub(super) fn make() -> Result<Txn, StoreError> {
        let json = serde_json::json!(Self::new()?).to_string();
        Ok(Txn::new().when(Condition::Absent(KEY.into())).put(KEY, json, None))
    }

    fn new() -> Result<Self, StoreError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| StoreError::Meta(format!("no random numbers: {e}")))?;
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(Self { schema: SCHEMA, created, id: HEXLOWER.encode(&id) })
    }

    pub(super) fn id(self, cluster: u64) -> StoreId {
        StoreId { cluster, made: self.id }
    }

    /// # Errors
    /// When it is something else, or of a later Penstock.
    pub(super) fn read(json: &[u8]) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let broken = |e: serde_json::Error| StoreError::Meta(e.to_string());
        // First, as the rest may look otherwise in a later one.
        let Schema { schema } = serde_json::from_slice(json).map_err(broken)?;
        if schema != SCHEMA {
            return Err(StoreError::Newer { found: schema, known: SCHEMA });
        }
        serde_json::from_slice(json).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::txn::Write;
    use super::*;

    proptest! {
        #[test]
        fn whatever_is_there_is_read_or_refused(json in any::<Vec<u8>>(), text in "[{}\\[\\]\":,0-9a-z]{0,40}") {
            prop_assert!(Meta::read(&json).is_err());
            prop_assert!(Meta::read(text.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_store_has_a_name_of_its_own() {
        let made = Meta::make().unwrap().writes;
        let [Write::Put { value, .. }] = made.as_slice() else { panic!("{made:?}") };
        let id = Meta::read(value).unwrap().id(0xab);
        assert_eq!(id.made.len(), 32);
        assert_eq!(id.to_string(), format!("ab-{}", id.made));
        assert_ne!(id, Meta::new().unwrap().id(0xab));
    }

    #[test]
    fn a_later_layout_is_not_touched() {
        let later = Meta::read(br#"{"schema": 2, "anything": []}"#).unwrap_err();
        assert!(matches!(later, StoreError::Newer { found: 2, known: 1 }), "{later}");
        for broken in ["", "{}", "null", r#"{"schema": 1}"#, r#"{"schema": "1"}"#] {
            assert!(matches!(Meta::read(broken.as_bytes()), Err(StoreError::Meta(_))), "{broken}");
        }
    }
}
