//! What a store must do, whichever engine it has; the engines' own tests; and what etcd goes through in its life.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod embedded;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod server;
mod suite;
