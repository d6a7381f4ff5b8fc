//! IKE: strongSwan's charon negotiates in the twin's namespace, and hands security associations to us.
//!
//! No IKE of our own. A plugin in charon stands where it expects the kernel, and speaks the protocol of
//! `docs/charon-plugin.md` with us over a unix socket.

pub mod charon;
pub mod connections;
mod daemon;
pub mod events;
pub mod loader;
mod show;
pub mod vici;
pub mod wanted;

pub use daemon::{Ike, IkeView, Settings};

#[cfg(test)]
mod tests;
