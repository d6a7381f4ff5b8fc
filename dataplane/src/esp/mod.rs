//! ESP (RFC 4303): out of the tunnel and into it.

pub mod iv;
pub mod replay;
