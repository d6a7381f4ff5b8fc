//! Headers as they lie on the wire, one file each.
//!
//! Every type here is a view of bytes: parsing checks once what its contract names, and after that no
//! accessor can fail. Parsing never panics and never allocates, whatever the bytes.
//!
//! Architecture invariant: network byte order exists only in this module. What leaves it is a plain `u16`,
//! `u32` or `u128`, or a field that must be asked for its value with `get()`.

pub mod checksum;
pub mod ecn;
pub mod ethernet;
pub mod gre;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod keepalive;
pub mod probe;
pub mod protocol;
pub mod rescue;
pub mod tcp;
pub mod udp;

pub use zerocopy::byteorder::big_endian::{U16, U32, U64, U128};
