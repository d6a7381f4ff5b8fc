//! [`ghash`](super::ghash) with four blocks a vector.
//!
//! A product is four carry-less multiplications: Karatsuba's three need more other instructions, and where vectors
//! are this wide the processor has fewer units for those.

use core::arch::x86_64::{
    __m128i, __m512i, _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_set1_epi64,
    _mm512_setzero_si512, _mm512_shuffle_epi32, _mm512_xor_si512,
};

use super::ghash::{POLYNOMIAL, SWAP};

/// A sum that is not reduced, each part of four sums that are yet to be added.
pub(super) struct WideRunning {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl WideRunning {
    /// Of nothing.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, middle: zero, high: zero }
    }

    /// Begins with the products of four blocks, turned around.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn new(blocks: __m512i, powers: __m512i) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(blocks, powers),
                _mm512_clmulepi64_epi128::<0x10>(blocks, powers),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    /// Adds four more.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn add(&mut self, blocks: __m512i, powers: __m512i) {
        let more = Self::new(blocks, powers);
        self.low = _mm512_xor_si512(self.low, more.low);
        self.middle = _mm512_xor_si512(self.middle, more.middle);
        self.high = _mm512_xor_si512(self.high, more.high);
    }

    /// The sum as one element.
    #[inline]
    #[target_feature(enable = "avx512f,vpclmulqdq")]
    pub(super) fn reduce(self) -> __m128i {
        let middle = _mm512_xor_si512(self.middle, folded(self.low));
        let sums = _mm512_xor_si512(self.high, folded(middle));
        let sums = _mm256_xor_si256(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
        _mm_xor_si128(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums))
    }
}

/// The lower half folded into what is 64 bits higher.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn folded(low: __m512i) -> __m512i {
    let folded = _mm512_clmulepi64_epi128::<0x00>(low, _mm512_set1_epi64(POLYNOMIAL));
    _mm512_xor_si512(_mm512_shuffle_epi32::<SWAP>(low), folded)
}
