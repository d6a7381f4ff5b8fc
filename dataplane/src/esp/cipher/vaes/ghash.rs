//! GHASH as a sum of products: each block times its power of H, all added, reduced once.
//!
//! Blocks are turned around; a product is three carry-less multiplications (Karatsuba); the reduction is
//! Montgomery's, as POLYVAL has it (RFC 8452 appendix A).

use core::arch::x86_64::{
    __m128i, __m256i, _mm_xor_si128, _mm256_castsi256_si128, _mm256_clmulepi64_epi128,
    _mm256_extracti128_si256, _mm256_set1_epi64x, _mm256_shuffle_epi32, _mm256_xor_si256,
    _mm256_zextsi128_si256,
};

/// Swaps the 64-bit halves of each block.
pub(super) const SWAP: i32 = 0b01_00_11_10;
/// x^63 + x^62 + x^57, by which Montgomery's reduction folds.
pub(super) const POLYNOMIAL: i64 = 0xc200_0000_0000_0000_u64.cast_signed();

/// What a sum begins with, and its power of H: the associated data, or the hash of what came before.
#[derive(Clone, Copy)]
pub(super) struct First {
    pub(super) block: __m128i,
    pub(super) power: usize,
}

/// A sum that is not reduced: Karatsuba's three parts, each of two sums that are yet to be added.
pub(super) struct Running {
    low: __m256i,
    middle: __m256i,
    high: __m256i,
}

impl Running {
    /// Begins with one product.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn new(block: __m128i, power: __m128i) -> Self {
        Self::product(_mm256_zextsi128_si256(block), _mm256_zextsi128_si256(power))
    }

    /// Begins with two products.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn new_pair(blocks: __m256i, powers: __m256i) -> Self {
        Self::product(blocks, powers)
    }

    /// Adds the products of two blocks, turned around.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m256i, powers: __m256i) {
        let more = Self::product(blocks, powers);
        self.low = _mm256_xor_si256(self.low, more.low);
        self.middle = _mm256_xor_si256(self.middle, more.middle);
        self.high = _mm256_xor_si256(self.high, more.high);
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    fn product(blocks: __m256i, powers: __m256i) -> Self {
        let across = |value| _mm256_xor_si256(value, _mm256_shuffle_epi32::<SWAP>(value));
        Self {
            low: _mm256_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm256_clmulepi64_epi128::<0x00>(across(blocks), across(powers)),
            high: _mm256_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    /// The sum as one element.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let middle = _mm256_xor_si256(self.middle, _mm256_xor_si256(self.low, self.high));
        let middle = _mm256_xor_si256(middle, folded(self.low));
        let sums = _mm256_xor_si256(self.high, folded(middle));
        _mm_xor_si128(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums))
    }
}

/// The lower half folded into what is 64 bits higher.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn folded(low: __m256i) -> __m256i {
    let folded = _mm256_clmulepi64_epi128::<0x00>(low, _mm256_set1_epi64x(POLYNOMIAL));
    _mm256_xor_si256(_mm256_shuffle_epi32::<SWAP>(low), folded)
}

/// The product of two elements.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
pub(super) fn multiply(a: __m128i, b: __m128i) -> __m128i {
    Running::new(a, b).reduce()
}
