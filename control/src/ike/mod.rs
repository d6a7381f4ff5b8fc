//! IKE: strongSwan's charon negotiates in the twin's namespace, and hands security associations to us.
//!
//! No IKE of our own. A plugin in charon stands where it expects the kernel, and speaks the [`protocol`] of
//! `docs/charon-plugin.md` with us over a [`socket`]. What is installed is in [`sad`]; the [`journal`] keeps what a
//! restart of ours must not lose.

pub mod algorithms;
pub mod boot_time;
pub mod charon;
pub mod connections;
mod daemon;
pub mod events;
pub mod journal;
pub mod loader;
pub mod protocol;
pub mod reqids;
pub mod run_directory;
pub mod sad;
mod show;
pub mod socket;
pub mod spi;
pub mod vici;
pub mod wanted;

pub use daemon::{Ike, IkeView, Settings};

#[cfg(test)]
mod tests;
