//! The store: one interface, an embedded engine and etcd.
