//! ESP (RFC 4303): out of the tunnel and into it.

pub mod cipher;
pub mod iv;
pub mod key;
mod key_memory;
pub mod replay;
pub mod suite;
