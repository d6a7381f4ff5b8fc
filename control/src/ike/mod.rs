//! IKE: strongSwan's charon negotiates in the twin's namespace, and hands security associations to us.
//!
//! No IKE of our own. A plugin in charon stands where it expects the kernel, and speaks the [`protocol`] of
//! `docs/charon-plugin.md` with us over a [`socket`]. The [`journal`] keeps what a restart of ours must not lose.

pub mod algorithms;
pub mod boot_time;
pub mod journal;
pub mod protocol;
pub mod reqids;
pub mod run_directory;
pub mod socket;
pub mod spi;
