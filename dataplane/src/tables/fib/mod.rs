//! Longest-prefix match: from a destination address to an opaque 32-bit value (a packed `Hop`).
//!
//! A [`Fib`] is immutable. Control builds a new one when the routes of a VRF change; workers only look up.
//! The routes are first flattened into disjoint address intervals (`intervals`), then laid out as a shallow trie
//! (`build`) whose nodes keep only the places where the value changes (`table`). What a lookup costs and why this
//! layout was chosen is measured in `docs/longest-prefix-match.md`.
//!
//! - Value 0 means "no route". It is the answer where nothing matches, and a route may carry it on purpose.
//! - Values have 31 bits ([`MAX_VALUE`]); the table needs the top bit for its own links.
//! - When a prefix is given twice, the later one wins.

mod address;
mod build;
mod intervals;
mod prefix;
mod table;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use prefix::{Prefix, Prefix4, Prefix6};
pub use table::Fib;

/// The IPv4 table.
pub type Fib4 = Fib<u32>;
/// The IPv6 table.
pub type Fib6 = Fib<u128>;

/// The largest value a route can carry.
pub const MAX_VALUE: u32 = table::LINK - 1;

/// Why a table or a prefix cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FibError {
    /// The prefix length does not fit the address family.
    #[error("prefix length {len} is too long: use 0 to {max}")]
    PrefixLength {
        /// The length asked for.
        len: u8,
        /// The longest one of this address family.
        max: u8,
    },
    /// A route's value collides with the table's internal links.
    #[error("route value {value:#x} is too large: use 0 to {MAX_VALUE:#x}")]
    Value {
        /// The value asked for.
        value: u32,
    },
    /// The routes need more nodes than the table can number.
    #[error("the routes need more than {max} words of table: split them over several VRFs", max = table::MAX_WORDS)]
    TooManyRoutes,
}
