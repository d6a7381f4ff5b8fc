//! What the table needs to know about an address: IPv4 as `u32`, IPv6 as `u128`, both in host order.

use core::fmt::Debug;
use core::hash::Hash;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// An address as a number; implemented by `u32` and `u128` only.
pub trait Address: Copy + Ord + Debug + Hash + sealed::Sealed {
    /// Length of the address in bits.
    const BITS: u8;
    /// The lowest address.
    const MIN: Self;

    /// The first `bits` bits as a number; `bits` is at most 31.
    fn top(self, bits: u8) -> usize;
    /// The lowest address whose first `bits` bits are `top`.
    fn from_top(top: usize, bits: u8) -> Self;
    /// The lowest address of slot number `slot`, where the region of the first `len` bits of `self` is cut in
    /// `2^stride` slots. Near the end of the address only each 2nd, 4th, ... slot starts an address: `None` else.
    fn slot(self, slot: usize, len: u8, stride: u8) -> Option<Self>;
    /// The address without its first `bits` bits, the rest moved up; `bits` is at most 31.
    fn after(self, bits: u8) -> Self;
    /// The first address of the prefix of length `len` around this address.
    fn first_of(self, len: u8) -> Self;
    /// The last address of the prefix of length `len` around this address.
    fn last_of(self, len: u8) -> Self;
    /// The address after this one, or `None` after the last.
    fn next(self) -> Option<Self>;
}

macro_rules! address {
    ($int:ty) => {
        impl Address for $int {
            const BITS: u8 = <$int>::BITS as u8;
            const MIN: Self = 0;

            #[inline(always)]
            fn top(self, bits: u8) -> usize {
                // In two steps, as a shift by the whole width is not defined.
                ((self >> 1) >> ((<$int>::BITS - 1) - u32::from(bits & 31))) as usize
            }

            #[inline]
            fn from_top(top: usize, bits: u8) -> Self {
                (top as $int).checked_shl(<$int>::BITS - u32::from(bits)).unwrap_or(0)
            }

            #[inline]
            fn slot(self, slot: usize, len: u8, stride: u8) -> Option<Self> {
                let (slot, end) = (slot as $int, u32::from(len + stride));
                if end <= <$int>::BITS {
                    return Some(self | slot << (<$int>::BITS - end));
                }
                let below = end - <$int>::BITS;
                (slot & ((1 << below) - 1) == 0).then_some(self | slot >> below)
            }

            #[inline(always)]
            fn after(self, bits: u8) -> Self {
                self << (bits & 31)
            }

            #[inline]
            fn first_of(self, len: u8) -> Self {
                self & !<$int>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn last_of(self, len: u8) -> Self {
                self | <$int>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }

            #[inline]
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

address!(u32);
address!(u128);
