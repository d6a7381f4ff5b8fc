//! Transactions: what must be so, and what to write then. Limits are etcd's own defaults or below, for both engines.

use std::collections::BTreeSet;

use super::entry::{LeaseId, Revision};

/// Most writes, and most conditions, in one transaction: etcd's `--max-txn-ops`.
pub const MOST_WRITES: usize = 128;
/// Longest key.
pub const MOST_KEY_BYTES: usize = 512;
/// Most bytes of values in one transaction; etcd takes requests of 1.5 MiB (`--max-request-bytes`).
pub const MOST_VALUE_BYTES: usize = 1 << 20;

/// What has to be so for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent(String),
    /// The key is there, and has been put so often since it was created.
    Version(String, u64),
    /// The key is there, and was put last at this revision.
    Modified(String, Revision),
}

impl Condition {
    pub(super) fn key(&self) -> &str {
        let (Self::Absent(key) | Self::Version(key, _) | Self::Modified(key, _)) = self;
        key
    }

    fn check(&self) -> Result<(), TxnError> {
        match self {
            // To etcd both would say that the key is absent.
            Self::Version(key, 0) | Self::Modified(key, Revision(0)) => Err(TxnError::Zero(key.clone())),
            _ => check_key(self.key()),
        }
    }
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Creates the key or replaces its value and lease.
    Put {
        /// The name.
        key: String,
        /// The bytes.
        value: Vec<u8>,
        /// Deletes the key when it ends. `None`: the key stays.
        lease: Option<LeaseId>,
    },
    /// Deletes the key. One that is not there is no error.
    Delete(String),
}

impl Write {
    pub(super) fn key(&self) -> &str {
        let (Self::Put { key, .. } | Self::Delete(key)) = self;
        key
    }
}

/// Writes that happen together, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// A key is written once at most.
    pub writes: Vec<Write>,
}

impl Txn {
    /// One that does nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// With a put.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>, lease: Option<LeaseId>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into(), lease });
        self
    }

    /// With a deletion.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete(key.into()));
        self
    }

    /// Whether every store can take it.
    pub(super) fn check(&self) -> Result<(), TxnError> {
        if self.writes.len() > MOST_WRITES || self.conditions.len() > MOST_WRITES {
            return Err(TxnError::TooManyWrites);
        }
        let mut written = BTreeSet::new();
        let mut value_bytes = 0;
        for write in &self.writes {
            check_key(write.key())?;
            if !written.insert(write.key()) {
                return Err(TxnError::Twice(write.key().into()));
            }
            if let Write::Put { value, .. } = write {
                value_bytes += value.len();
            }
        }
        if value_bytes > MOST_VALUE_BYTES {
            return Err(TxnError::TooLarge(value_bytes));
        }
        self.conditions.iter().try_for_each(Condition::check)
    }
}

fn check_key(key: &str) -> Result<(), TxnError> {
    let fits = (1..=MOST_KEY_BYTES).contains(&key.len()) && !key.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(TxnError::Key(key.into())) }
}

/// A transaction that no store takes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// More than fit into one.
    #[error("more than {MOST_WRITES} writes or conditions in one transaction: make several")]
    TooManyWrites,
    /// Values too large together.
    #[error("{0} bytes of values in one transaction; the store takes {MOST_VALUE_BYTES} at most")]
    TooLarge(usize),
    /// Whichever came last would win.
    #[error("a transaction writes the key {0:?} twice")]
    Twice(String),
    /// No key has been put zero times.
    #[error("a transaction wants version or revision 0 of the key {0:?}: use Absent")]
    Zero(String),
    /// Not a key.
    #[error("{0:?} cannot be a key: that is 1 to {MOST_KEY_BYTES} bytes without control characters")]
    Key(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_store_takes_is_refused() {
        let many = |n| (0..n).fold(Txn::new(), |txn, i| txn.delete(format!("k/{i}")));
        assert_eq!(many(MOST_WRITES).check(), Ok(()));
        assert_eq!(many(MOST_WRITES + 1).check(), Err(TxnError::TooManyWrites));
        let twice = Txn::new().put("a", "1", None).delete("a");
        assert_eq!(twice.check(), Err(TxnError::Twice("a".into())));
        let sized = |bytes| Txn::new().put("a", vec![0; bytes], None).check();
        assert_eq!(sized(MOST_VALUE_BYTES), Ok(()));
        assert_eq!(sized(MOST_VALUE_BYTES + 1), Err(TxnError::TooLarge(MOST_VALUE_BYTES + 1)));
        let zero = Txn::new().when(Condition::Version("a".into(), 0));
        assert_eq!(zero.check(), Err(TxnError::Zero("a".into())));
        for key in [String::new(), "a\0".into(), "a".repeat(MOST_KEY_BYTES + 1)] {
            assert_eq!(Txn::new().delete(&key).check(), Err(TxnError::Key(key.clone())));
            assert_eq!(Txn::new().when(Condition::Absent(key.clone())).check(), Err(TxnError::Key(key)));
        }
    }
}
