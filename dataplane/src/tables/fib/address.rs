//! What the table needs to know about an address: IPv4 as `u32`, IPv6 as `u128`, both in host order.
//!
//! The part of an address that a range node compares at once is its *key*: all of an IPv4 address, half of an IPv6
//! one. A key is kept in the table as 32-bit words, low word first.

use core::fmt::Debug;
use core::hash::Hash;

use arrayvec::ArrayVec;

mod sealed {
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u128 {}
}

/// An address as a number; implemented by `u32` and `u128` only.
pub trait Address: Copy + Ord + Debug + Hash + sealed::Sealed {
    /// Length of the address in bits.
    const BITS: u8;
    /// Length of a key in bits.
    const KEY_BITS: u8;
    /// Length of a key in 32-bit words.
    const KEY_WORDS: usize;
    /// How many keys a range node of class 0 has. A node of class `c` has `2^c` times as many.
    const LANES: usize;
    /// The highest class; its nodes have 64 keys.
    const MAX_CLASS: usize;
    /// The lowest address.
    const MIN: Self;

    /// The first `bits` bits as a number; `bits` is at most 31.
    fn top(self, bits: u8) -> usize;
    /// The lowest address whose first `bits` bits are `top`.
    fn from_top(top: usize, bits: u8) -> Self;
    /// The address without its first `bits` bits, the rest moved up; `bits` is at most 31.
    fn after(self, bits: u8) -> Self;
    /// The first address of the prefix of length `len` around this address.
    fn first_of(self, len: u8) -> Self;
    /// The last address of the prefix of length `len` around this address.
    fn last_of(self, len: u8) -> Self;
    /// The address after this one, or `None` after the last.
    fn next(self) -> Option<Self>;
    /// The lowest address of slot number `slot`, where the region of the first `len` bits of `self` is cut into
    /// `2^stride` slots; `len` is less than [`Self::BITS`].
    fn slot(self, slot: usize, len: u8, stride: u8) -> Self;
    /// The number of the slot that `self` lies in, where the region of its first `len` bits is cut in the same way.
    fn slot_number(self, len: u8, stride: u8) -> usize;

    /// The address without its first key.
    fn after_key(self) -> Self;
    /// The words of the key that follows the first `len` bits.
    fn key_words(self, len: u8) -> ArrayVec<u32, 2>;
    /// How many of the keys that a range node begins with are at most the key at the head of this address.
    /// Each class has straight code of its own: a loop over the keys of any node is slower, and with AVX-512
    /// enabled the compiler turns it into gathers that are slower by far.
    fn rank(self, node: &[u32], class: usize) -> usize;
}

macro_rules! address {
    ($int:ty, { $($key:item)* }) => {
        impl Address for $int {
            const BITS: u8 = <$int>::BITS as u8;
            const MIN: Self = 0;

            #[inline(always)]
            fn top(self, bits: u8) -> usize {
                // The head as a 64-bit number, so that a shift by 32 - 0 is defined.
                let head = (self >> (<$int>::BITS - 32)) as u64;
                (head >> (32 - u32::from(bits & 31))) as usize
            }

            #[inline]
            fn from_top(top: usize, bits: u8) -> Self {
                (top as $int).checked_shl(<$int>::BITS - u32::from(bits)).unwrap_or(0)
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

            #[inline]
            fn slot(self, slot: usize, len: u8, stride: u8) -> Self {
                self | Self::from_top(slot, stride) >> len
            }

            #[inline]
            fn slot_number(self, len: u8, stride: u8) -> usize {
                (self << len).top(stride)
            }

            $($key)*
        }
    };
}

address!(u32, {
    const KEY_BITS: u8 = 32;
    const KEY_WORDS: usize = 1;
    const LANES: usize = 32;
    const MAX_CLASS: usize = 1;

    #[inline(always)]
    fn after_key(self) -> Self {
        0
    }

    #[inline]
    fn key_words(self, len: u8) -> ArrayVec<u32, 2> {
        ArrayVec::from_iter([self.checked_shl(u32::from(len)).unwrap_or(0)])
    }

    #[inline(always)]
    fn rank(self, node: &[u32], class: usize) -> usize {
        match class {
            0 => count_v4::<32>(node, self),
            _ => count_v4::<64>(node, self),
        }
    }
});

address!(u128, {
    const KEY_BITS: u8 = 64;
    const KEY_WORDS: usize = 2;
    const LANES: usize = 8;
    const MAX_CLASS: usize = 3;

    #[inline(always)]
    fn after_key(self) -> Self {
        self << 64
    }

    #[inline]
    fn key_words(self, len: u8) -> ArrayVec<u32, 2> {
        let key = self.checked_shl(u32::from(len)).unwrap_or(0) >> 64;
        ArrayVec::from([key as u32, (key >> 32) as u32])
    }

    #[inline(always)]
    fn rank(self, node: &[u32], class: usize) -> usize {
        let head = (self >> 64) as u64;
        match class {
            0 => count_v6::<16>(node, head),
            1 => count_v6::<32>(node, head),
            2 => count_v6::<64>(node, head),
            _ => count_v6::<128>(node, head),
        }
    }
});

/// How many of the first `N` words are at most `key`.
#[inline(always)]
fn count_v4<const N: usize>(words: &[u32], key: u32) -> usize {
    let Some(keys) = words.first_chunk::<N>() else { return 0 };
    keys.iter().map(|word| u32::from(*word <= key)).sum::<u32>() as usize
}

/// How many of the keys in the first `N` words are at most `key`.
#[inline(always)]
fn count_v6<const N: usize>(words: &[u32], key: u64) -> usize {
    let Some(words) = words.first_chunk::<N>() else { return 0 };
    let keys = words.as_chunks::<2>().0.iter();
    keys.map(|[low, high]| u64::from((u64::from(*low) | u64::from(*high) << 32) <= key)).sum::<u64>() as usize
}
