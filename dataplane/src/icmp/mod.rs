//! ICMP errors: those that we send about packets we cannot forward, and the one that we must understand about
//! our own outer packets.
//!
//! `v4` and `v6` write a complete IP packet into a buffer of the caller's, or nothing when the RFCs forbid an
//! error about that packet. They never limit rates and never choose where the answer goes: the pipeline does.
//! `too_big` reads "fragmentation needed" and Packet Too Big.

pub mod too_big;
pub mod v4;
pub mod v6;

/// The TTL or hop limit of what we originate (RFC 1812 4.2.2.9; IANA's recommended value).
pub const TTL: u8 = 64;
/// Precedence "internetwork control" (RFC 1812 4.3.2.5), as DSCP: CS6.
pub const TOS: u8 = 0xc0;

#[cfg(test)]
mod tests;
