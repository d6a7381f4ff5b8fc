//! What the table needs to know about an address: IPv4 as `u32`, IPv6 as `u128`, both in host order.
//!
//! The part of an address that a range node compares at once is its *key*: all of an IPv4 address, half of an IPv6
//! one. A key is kept in the table as 32-bit words, low word first, with its top bit flipped: AVX2 compares signed
//! numbers only.

use core::fmt::Debug;
use core::hash::Hash;

use arrayvec::ArrayVec;
use wide::{i32x8, i64x4};

/// Turns the order of unsigned words into that of signed ones.
const FLIP: u32 = 1 << 31;

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
    /// Range nodes have a multiple of so many keys. IPv4: what a table of seven routes needs. IPv6: two AVX2
    /// registers.
    const LANES: usize;
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
    /// The words, as the table keeps them, of the key that follows the first `len` bits.
    fn key_words(self, len: u8) -> ArrayVec<u32, 2>;
    /// How many of `keys` are at most the key at the head of this address; all keys of a range node are given.
    fn rank(self, keys: &[u32]) -> usize;
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
    const LANES: usize = 16;

    #[inline(always)]
    fn after_key(self) -> Self {
        0
    }

    #[inline]
    fn key_words(self, len: u8) -> ArrayVec<u32, 2> {
        ArrayVec::from_iter([self.checked_shl(u32::from(len)).unwrap_or(0) ^ FLIP])
    }

    #[inline(always)]
    fn rank(self, keys: &[u32]) -> usize {
        let addr = i32x8::splat((self ^ FLIP) as i32);
        let Some((first, mut rest)) = keys.split_first_chunk() else { return 0 };
        let mut at_most = count_v4(first, addr);
        // Not one loop over all: a small node would pay for what the compiler unrolls.
        while let Some((next, after)) = rest.split_first_chunk() {
            at_most += count_v4(next, addr);
            rest = after;
        }
        at_most as usize
    }
});

address!(u128, {
    const KEY_BITS: u8 = 64;
    const KEY_WORDS: usize = 2;
    const LANES: usize = 8;

    #[inline(always)]
    fn after_key(self) -> Self {
        self << 64
    }

    #[inline]
    fn key_words(self, len: u8) -> ArrayVec<u32, 2> {
        let key = self.checked_shl(u32::from(len)).unwrap_or(0) >> 64;
        ArrayVec::from([key as u32, (key >> 32) as u32 ^ FLIP])
    }

    #[inline(always)]
    fn rank(self, keys: &[u32]) -> usize {
        let head = i64x4::splat((self >> 64) as i64 ^ i64::MIN);
        let mut above = i64x4::ZERO;
        for eight in keys.as_chunks::<{ 2 * Self::LANES }>().0 {
            for four in eight.as_chunks::<8>().0 {
                above += i64x4::new(wide_keys(four)).simd_gt(head);
            }
        }
        (keys.len() / Self::KEY_WORDS).wrapping_add_signed(above.reduce_add() as isize)
    }
});

/// How many of `keys` are at most `addr`. Spelt out in vectors: left to itself the compiler does as well for AVX2,
/// but some fifty times worse for AVX-512.
#[inline(always)]
fn count_v4(keys: &[u32; u32::LANES], addr: i32x8) -> u32 {
    let (low, high) = keys.split_at(u32::LANES / 2);
    u32::LANES as u32 - (above_v4(low, addr) << 8 | above_v4(high, addr)).count_ones()
}

/// A bit for each of eight keys that is above `addr`.
#[inline(always)]
fn above_v4(keys: &[u32], addr: i32x8) -> u32 {
    let &[a, b, c, d, e, f, g, h] = keys else { return 0 };
    let keys = [a as i32, b as i32, c as i32, d as i32, e as i32, f as i32, g as i32, h as i32];
    i32x8::new(keys).simd_gt(addr).to_bitmask()
}

/// Four keys from their words.
#[inline(always)]
fn wide_keys(words: &[u32; 8]) -> [i64; 4] {
    let [a, b, c, d, e, f, g, h] = words.map(u64::from);
    [a | b << 32, c | d << 32, e | f << 32, g | h << 32].map(|key| key as i64)
}
