//! Bytes to vectors and back.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, __mmask16, __mmask64, _mm_loadu_si128, _mm_setr_epi8, _mm_storeu_si128,
    _mm256_broadcastsi128_si256, _mm256_castsi128_si256, _mm256_inserti128_si256, _mm256_loadu_si256,
    _mm256_storeu_si256, _mm512_broadcast_i32x4, _mm512_castsi512_si128, _mm512_loadu_si512,
    _mm512_mask_broadcast_i32x4, _mm512_mask_storeu_epi8, _mm512_maskz_compress_epi32,
    _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_storeu_si512,
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

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load64(from: &[Block; 4]) -> __m512i {
    // SAFETY: sixty-four readable bytes; the instruction needs no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn store64(to: &mut [Block; 4], value: __m512i) {
    // SAFETY: sixty-four writable bytes; the instruction needs no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), value) };
}

/// Up to sixty-four bytes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn load_some(from: &[u8]) -> __m512i {
    // SAFETY: reads the bytes that the mask names, which `from` has; the instruction needs no alignment.
    unsafe { _mm512_maskz_loadu_epi8(first_bytes(from.len()), from.as_ptr().cast()) }
}

/// Stores as many bytes as there is room for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn store_some(to: &mut [u8], value: __m512i) {
    // SAFETY: writes the bytes that the mask names, which `to` has; the instruction needs no alignment.
    unsafe { _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), first_bytes(to.len()), value) };
}

/// Zeros all but the first `len` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn only(value: __m512i, len: usize) -> __m512i {
    _mm512_maskz_mov_epi8(first_bytes(len), value)
}

#[inline(always)]
const fn first_bytes(len: usize) -> __mmask64 {
    if len < 64 { (1 << len) - 1 } else { !0 }
}

/// A quarter of a 512-bit vector.
#[derive(Clone, Copy)]
pub(super) struct Lane(__mmask16);

impl Lane {
    /// The quarter of block `at` of a payload.
    #[inline(always)]
    pub(super) const fn of_block(at: usize) -> Self {
        Self(0b1111 << (at % 4 * 4))
    }

    /// `value` with `block` in this quarter.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn put(self, value: __m512i, block: __m128i) -> __m512i {
        _mm512_mask_broadcast_i32x4(value, self.0, block)
    }

    /// This quarter of `value`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(super) fn get(self, value: __m512i) -> __m128i {
        _mm512_castsi512_si128(_mm512_maskz_compress_epi32(self.0, value))
    }
}

/// The same in both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn twice(value: __m128i) -> __m256i {
    _mm256_broadcastsi128_si256(value)
}

/// The same in all quarters.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn four_times(value: __m128i) -> __m512i {
    _mm512_broadcast_i32x4(value)
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
