//! AES in counter mode (SP 800-38D section 6.5), two blocks a vector.

use core::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi64x, _mm_setr_epi8, _mm_xor_si128, _mm256_add_epi32, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_inserti128_si256,
    _mm256_setr_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_xor_si256,
};

use super::key::GcmKey;
use super::vector::{BLOCK_LEN, Block, load16, load32, store16, store32, twice};

/// The next two counter blocks, their last four bytes in the processor's order so that it can add.
#[derive(Clone, Copy)]
pub(super) struct Counter(__m256i);

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

impl Counter {
    /// The next two blocks as AES takes them.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn next(&mut self) -> __m256i {
        let blocks = _mm256_shuffle_epi8(self.0, twice(big_endian()));
        self.0 = _mm256_add_epi32(self.0, _mm256_setr_epi32(0, 0, 0, 2, 0, 0, 0, 2));
        blocks
    }
}

/// Turns the last four bytes of a block around.
#[inline]
#[target_feature(enable = "avx2")]
fn big_endian() -> __m128i {
    _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 14, 13, 12)
}

/// Encrypts or decrypts the end of a packet, at most 256 bytes, in whole blocks: behind `len` bytes, up to fifteen
/// more of `text` are changed. Gives the pad of the hash.
#[inline]
#[target_feature(enable = "avx2,vaes")]
pub(super) fn count_last<const ROUNDS: usize>(
    key: &GcmKey,
    counter: Counter,
    zeroth: Zeroth,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    match len.div_ceil(BLOCK_LEN) / 2 {
        0 => count::<ROUNDS, 0>(key, counter, zeroth, text, len),
        1 => count::<ROUNDS, 1>(key, counter, zeroth, text, len),
        2 => count::<ROUNDS, 2>(key, counter, zeroth, text, len),
        3 => count::<ROUNDS, 3>(key, counter, zeroth, text, len),
        4 => count::<ROUNDS, 4>(key, counter, zeroth, text, len),
        5 => count::<ROUNDS, 5>(key, counter, zeroth, text, len),
        6 => count::<ROUNDS, 6>(key, counter, zeroth, text, len),
        7 => count::<ROUNDS, 7>(key, counter, zeroth, text, len),
        _ => count::<ROUNDS, 8>(key, counter, zeroth, text, len),
    }
}

/// [`count_last`] with so many pairs of blocks, and one more block or none, which goes with the pad.
#[inline]
#[target_feature(enable = "avx2,vaes")]
fn count<const ROUNDS: usize, const PAIRS: usize>(
    key: &GcmKey,
    mut counter: Counter,
    zeroth: Zeroth,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    let whitening = key.round(0);
    let mut states = [_mm256_setzero_si256(); PAIRS];
    for state in &mut states {
        *state = _mm256_xor_si256(counter.next(), whitening);
    }
    let last = _mm256_inserti128_si256::<1>(counter.0, zeroth.0);
    let mut last = _mm256_xor_si256(_mm256_shuffle_epi8(last, twice(big_endian())), whitening);
    for round in 1..ROUNDS {
        let round_key = key.round(round);
        for state in &mut states {
            *state = _mm256_aesenc_epi128(*state, round_key);
        }
        last = _mm256_aesenc_epi128(last, round_key);
    }
    let round_key = key.round(ROUNDS);
    last = _mm256_aesenclast_epi128(last, round_key);
    let blocks: &mut [Block] = text.as_chunks_mut().0;
    for (state, blocks) in states.iter().zip(blocks.as_chunks_mut().0) {
        let pad = _mm256_aesenclast_epi128(*state, round_key);
        store32(blocks, _mm256_xor_si256(pad, load32(blocks)));
    }
    if len.div_ceil(BLOCK_LEN) % 2 == 1 {
        let block = &mut blocks[2 * PAIRS];
        store16(block, _mm_xor_si128(_mm256_castsi256_si128(last), load16(block)));
    }
    _mm256_extracti128_si256::<1>(last)
}
