//! Bytes to vectors and back.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm_setr_epi8, _mm_storeu_si128, _mm256_broadcastsi128_si256,
    _mm256_castsi128_si256, _mm256_inserti128_si256, _mm256_loadu_si256, _mm256_storeu_si256,
};

/// Bytes of a block of AES.
pub(super) const BLOCK_LEN: usize = 16;

/// A block.
pub(super) type Block = [u8; BLOCK_LEN];

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load16(from: &Block) -> __m128i {
    // SAFETY: sixteen readable bytes; the instruction needs no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store16(to: &mut Block, value: __m128i) {
    // SAFETY: sixteen writable bytes; the instruction needs no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), value) };
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load32(from: &[Block; 2]) -> __m256i {
    // SAFETY: thirty-two readable bytes; the instruction needs no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn store32(to: &mut [Block; 2], value: __m256i) {
    // SAFETY: thirty-two writable bytes; the instruction needs no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), value) };
}

/// The same in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn twice(value: __m128i) -> __m256i {
    _mm256_broadcastsi128_si256(value)
}

/// `low` in the first half, `high` in the second.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pair(low: __m128i, high: __m128i) -> __m256i {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
}

/// The order of bytes that turns a block around: GHASH's bits come the other way (SP 800-38D section 6.3).
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn reversed() -> __m128i {
    _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
}
