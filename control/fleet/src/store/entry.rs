//! What is in a store.

use std::fmt;

/// A state of the whole store. Later ones are greater; one change each. Zero is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A lease, as the store names it; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A key and what is under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the fleet's prefix.
    pub key: String,
    /// The bytes.
    pub value: Vec<u8>,
    /// How often it was put since it was created; 1 after the first time.
    pub version: u64,
    /// When it was created.
    pub created: Revision,
    /// When it was put last.
    pub modified: Revision,
    /// The lease that it is on.
    pub lease: Option<LeaseId>,
}

/// Entries of one revision, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The store's revision.
    pub revision: Revision,
    /// What there was.
    pub entries: Vec<Entry>,
}
