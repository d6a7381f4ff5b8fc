//! The names of keys in the store.
