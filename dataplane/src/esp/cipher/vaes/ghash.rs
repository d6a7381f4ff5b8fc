//! GHASH as a sum of products: each block times its power of H, all added, reduced once.
//!
//! Blocks are turned around; a product is three carry-less multiplications (Karatsuba); the reduction is
//! Montgomery's, as POLYVAL has it (RFC 8452 appendix A).

use core::arch::x86_64::{
    __m128i, __m256i, _mm_and_si128, _mm_shuffle_epi8, _mm_xor_si128, _mm256_and_si256,
    _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_set1_epi8,
    _mm256_set1_epi64x, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_slli_si256, _mm256_srli_si256,
    _mm256_xor_si256, _mm256_zextsi128_si256,
};

use super::key::GcmKey;
use super::vector::{BLOCK_LEN, Block, load16, load32, pair, reversed, twice};

/// Swaps the 64-bit halves of each block.
const SWAP: i32 = 0b01_00_11_10;
/// x^63 + x^62 + x^57, by which Montgomery's reduction folds.
const POLYNOMIAL: i64 = 0xc200_0000_0000_0000_u64.cast_signed();
/// Sixteen bytes of ones, then of zeros: from n on, a mask of the first 16 - n bytes.
const MASKS: [u8; 2 * BLOCK_LEN] = {
    let mut masks = [0; 2 * BLOCK_LEN];
    let mut at = 0;
    while at < BLOCK_LEN {
        masks[at] = 0xff;
        at += 1;
    }
    masks
};

/// A sum of 256 bits, which is not reduced.
#[derive(Clone, Copy)]
pub(super) struct Sum {
    pub(super) low: __m128i,
    pub(super) high: __m128i,
}

/// What a sum begins with, and its power of H: the associated data, or the hash of what came before.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub(super) block: __m128i,
    pub(super) power: usize,
}

/// Karatsuba's three sums, of both halves of the vectors.
struct Running {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl Running {
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    fn new(blocks: __m256i, powers: __m256i) -> Self {
        let across = |value| _mm256_xor_si256(value, _mm256_shuffle_epi32::<SWAP>(value));
        Self {
            low: _mm256_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm256_clmulepi64_epi128::<0x00>(across(blocks), across(powers)),
            high: _mm256_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    fn add(&mut self, blocks: __m256i, powers: __m256i) {
        let more = Self::new(blocks, powers);
        self.low = _mm256_xor_si256(self.low, more.low);
        self.middle = _mm256_xor_si256(self.middle, more.middle);
        self.high = _mm256_xor_si256(self.high, more.high);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum(self) -> Sum {
        let middle = _mm256_xor_si256(self.middle, _mm256_xor_si256(self.low, self.high));
        let low = _mm256_xor_si256(self.low, _mm256_slli_si256::<8>(middle));
        let high = _mm256_xor_si256(self.high, _mm256_srli_si256::<8>(middle));
        let halves = |sum| _mm_xor_si128(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        Sum { low: halves(low), high: halves(high) }
    }
}

/// Two sums at once.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
pub(super) fn reduce_two(first: Sum, second: Sum) -> __m256i {
    let (low, high) = (pair(first.low, second.low), pair(first.high, second.high));
    let polynomial = _mm256_set1_epi64x(POLYNOMIAL);
    let folded = _mm256_clmulepi64_epi128::<0x00>(low, polynomial);
    let low = _mm256_xor_si256(_mm256_shuffle_epi32::<SWAP>(low), folded);
    let folded = _mm256_clmulepi64_epi128::<0x00>(low, polynomial);
    let low = _mm256_xor_si256(_mm256_shuffle_epi32::<SWAP>(low), folded);
    _mm256_xor_si256(high, low)
}

#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn reduce(sum: Sum) -> __m128i {
    _mm256_castsi256_si128(reduce_two(sum, sum))
}

/// The product of two elements.
#[target_feature(enable = "avx2,vpclmulqdq")]
pub(super) fn multiply(a: __m128i, b: __m128i) -> __m128i {
    reduce(Running::new(_mm256_zextsi128_si256(a), _mm256_zextsi128_si256(b)).sum())
}

/// The sum over whole pairs of blocks, begun for a chunk.
pub(super) struct ChunkSum(Running);

impl ChunkSum {
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn new(key: &GcmKey, first: First) -> Self {
        let power = _mm256_zextsi128_si256(load16(&key.powers_from(first.power)[0]));
        Self(Running::new(_mm256_zextsi128_si256(first.block), power))
    }

    /// Adds two blocks of ciphertext, the first of which has this power of H.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add(&mut self, key: &GcmKey, blocks: __m256i, power: usize) {
        let powers = key.powers_from(power);
        self.0.add(_mm256_shuffle_epi8(blocks, twice(reversed())), load32(&[powers[0], powers[1]]));
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn finish(self) -> __m128i {
        reduce(self.0.sum())
    }
}

/// The sum over the end of a packet: `first`, `len` bytes of ciphertext (at most 256; what stands in `text` behind
/// them is not hashed, and must be sixteen bytes at least), and the lengths.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
pub(super) fn last_sum(key: &GcmKey, text: &[u8], len: usize, first: First, lengths: __m128i) -> Sum {
    match len.div_ceil(BLOCK_LEN) / 2 {
        0 => sum_of::<0>(key, text, len, first, lengths),
        1 => sum_of::<1>(key, text, len, first, lengths),
        2 => sum_of::<2>(key, text, len, first, lengths),
        3 => sum_of::<3>(key, text, len, first, lengths),
        4 => sum_of::<4>(key, text, len, first, lengths),
        5 => sum_of::<5>(key, text, len, first, lengths),
        6 => sum_of::<6>(key, text, len, first, lengths),
        7 => sum_of::<7>(key, text, len, first, lengths),
        _ => sum_of::<8>(key, text, len, first, lengths),
    }
}

/// [`last_sum`] with so many pairs of blocks, and one more block or none.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn sum_of<const PAIRS: usize>(key: &GcmKey, text: &[u8], len: usize, first: First, lengths: __m128i) -> Sum {
    let blocks = len.div_ceil(BLOCK_LEN);
    let text: &[Block] = text.as_chunks().0;
    let pairs = &text.as_chunks::<2>().0[..PAIRS];
    let powers = &key.powers_from(blocks + 1).as_chunks::<2>().0[..PAIRS];
    let first_power = load16(&key.powers_from(first.power)[0]);
    let last_powers = key.last_powers();
    let mask = load16(&mask_of_last_block(len));
    let turned = reversed();
    let odd = blocks % 2 == 1;
    let mut running = if odd {
        let last = _mm_shuffle_epi8(_mm_and_si128(load16(&text[2 * PAIRS]), mask), turned);
        let mut running =
            Running::new(_mm256_zextsi128_si256(first.block), _mm256_zextsi128_si256(first_power));
        running.add(pair(last, lengths), load32(last_powers));
        running
    } else {
        Running::new(pair(first.block, lengths), pair(first_power, load16(&last_powers[1])))
    };
    for at in 0..PAIRS {
        let mut blocks = load32(&pairs[at]);
        if at == PAIRS - 1 && !odd {
            blocks = _mm256_and_si256(blocks, pair(_mm256_castsi256_si128(_mm256_set1_epi8(-1)), mask));
        }
        running.add(_mm256_shuffle_epi8(blocks, twice(turned)), load32(&powers[at]));
    }
    running.sum()
}

/// Ones where the last block of `len` bytes has bytes.
#[inline(always)]
fn mask_of_last_block(len: usize) -> Block {
    let missing = len.wrapping_neg() % BLOCK_LEN;
    let mut mask = [0; BLOCK_LEN];
    mask.copy_from_slice(&MASKS[missing..missing + BLOCK_LEN]);
    mask
}
