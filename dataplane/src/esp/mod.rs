//! ESP (RFC 4303): what a security association needs to seal and open packets.
//!
//! [`suite`] names the algorithms and their lengths, [`key`] holds what a key exchange agreed on,
//! [`cipher`] works with it. Nothing here knows how a packet came or where it goes.

pub mod cipher;
pub mod iv;
pub mod key;
mod key_memory;
pub mod suite;
