//! IKE: strongSwan's charon negotiates in the twin's namespace, and hands security associations to us.
//!
//! No IKE of our own. A plugin in charon stands where it expects the kernel, and speaks the protocol of
//! `docs/charon-plugin.md` with us over a unix socket.

pub mod algorithms;
pub mod events;
pub mod loader;
pub mod protocol;
pub mod sad;
mod show;
pub mod socket;
pub mod vici;
pub mod wanted;
