//! The counter blocks of a packet (SP 800-38D section 7.1), two or four a vector.

use core::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_set_epi64x, _mm_setr_epi8, _mm256_add_epi32, _mm256_inserti128_si256,
    _mm256_setr_epi32, _mm256_shuffle_epi8, _mm512_add_epi32, _mm512_setr_epi32, _mm512_shuffle_epi8,
};

use super::vector::{Lane, four_times, twice};

/// The next two counter blocks, their last four bytes in the processor's order so that it can add.
#[derive(Clone, Copy)]
pub(super) struct Counter(__m256i);

/// The next four.
#[derive(Clone, Copy)]
pub(super) struct WideCounter(__m512i);

/// The counter block that hides the hash: counter 1 (SP 800-38D section 7.1).
#[derive(Clone, Copy)]
pub(super) struct Zeroth(__m128i);

/// The counters of a packet: the one for the hash, and those for the payload from `next` on, which begin with 2.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn counters(salt: [u8; 4], iv: [u8; 8], next: u32) -> (Zeroth, Counter) {
    let iv = u64::from_le_bytes(iv);
    let low = iv << 32 | u64::from(u32::from_le_bytes(salt));
    let zeroth = _mm_set_epi64x((iv >> 32 | 1 << 32).cast_signed(), low.cast_signed());
    let next = next.cast_signed();
    let first = _mm256_add_epi32(twice(zeroth), _mm256_setr_epi32(0, 0, 0, next - 1, 0, 0, 0, next));
    (Zeroth(zeroth), Counter(first))
}

/// [`counters`] for four blocks a vector.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn wide_counters(salt: [u8; 4], iv: [u8; 8], next: u32) -> (Zeroth, WideCounter) {
    let (zeroth, _) = counters(salt, iv, next);
    let next = next.cast_signed();
    let steps = _mm512_setr_epi32(0, 0, 0, next - 1, 0, 0, 0, next, 0, 0, 0, next + 1, 0, 0, 0, next + 2);
    (zeroth, WideCounter(_mm512_add_epi32(four_times(zeroth.0), steps)))
}

impl WideCounter {
    /// The next four blocks as AES takes them.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn next(&mut self) -> __m512i {
        let blocks = _mm512_shuffle_epi8(self.0, four_times(big_endian()));
        let steps = _mm512_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 4);
        self.0 = _mm512_add_epi32(self.0, steps);
        blocks
    }

    /// The next four blocks, but in `lane` the one that hides the hash.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn next_and(self, zeroth: Zeroth, lane: Lane) -> __m512i {
        _mm512_shuffle_epi8(lane.put(self.0, zeroth.0), four_times(big_endian()))
    }
}

impl Counter {
    /// The next two blocks as AES takes them.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn next(&mut self) -> __m256i {
        let blocks = _mm256_shuffle_epi8(self.0, twice(big_endian()));
        self.0 = _mm256_add_epi32(self.0, _mm256_setr_epi32(0, 0, 0, 2, 0, 0, 0, 2));
        blocks
    }

    /// The next block, and the one that hides the hash.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn next_and(self, zeroth: Zeroth) -> __m256i {
        _mm256_shuffle_epi8(_mm256_inserti128_si256::<1>(self.0, zeroth.0), twice(big_endian()))
    }
}

/// Turns the last four bytes of a block around.
#[inline]
#[target_feature(enable = "avx2")]
fn big_endian() -> __m128i {
    _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12)
}
