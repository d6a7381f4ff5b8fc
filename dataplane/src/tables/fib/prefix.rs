//! A prefix: an address whose host bits are clear, and a length that fits it.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Address, FibError};

/// An address range that routes are given for. Its host bits are always clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    addr: A,
    len: u8,
}

/// An IPv4 prefix; the address is in host order.
pub type Prefix4 = Prefix<u32>;
/// An IPv6 prefix; the address is in host order.
pub type Prefix6 = Prefix<u128>;

impl<A: Address> Prefix<A> {
    /// The prefix that covers every address.
    pub const DEFAULT_ROUTE: Self = Self { addr: A::MIN, len: 0 };

    /// Makes a prefix and clears the address's host bits.
    ///
    /// # Errors
    /// [`FibError::PrefixLength`] when `len` is longer than the address.
    pub fn new(addr: A, len: u8) -> Result<Self, FibError> {
        if len > A::BITS {
            return Err(FibError::PrefixLength { len, max: A::BITS });
        }
        Ok(Self { addr: addr.first_of(len), len })
    }

    /// The prefix that covers this one address.
    pub fn host(addr: A) -> Self {
        Self { addr, len: A::BITS }
    }

    /// The first address.
    pub fn addr(&self) -> A {
        self.addr
    }

    /// The last address.
    pub fn last(&self) -> A {
        self.addr.last_of(self.len)
    }

    /// How many leading bits are fixed.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a size; no prefix is empty")]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// Whether the address lies in the prefix.
    pub fn contains(&self, addr: A) -> bool {
        addr.first_of(self.len) == self.addr
    }
}

impl Prefix4 {
    /// Makes an IPv4 prefix and clears the host bits.
    ///
    /// # Errors
    /// [`FibError::PrefixLength`] when `len` is above 32.
    pub fn v4(addr: Ipv4Addr, len: u8) -> Result<Self, FibError> {
        Self::new(addr.to_bits(), len)
    }
}

impl Prefix6 {
    /// Makes an IPv6 prefix and clears the host bits.
    ///
    /// # Errors
    /// [`FibError::PrefixLength`] when `len` is above 128.
    pub fn v6(addr: Ipv6Addr, len: u8) -> Result<Self, FibError> {
        Self::new(addr.to_bits(), len)
    }
}
