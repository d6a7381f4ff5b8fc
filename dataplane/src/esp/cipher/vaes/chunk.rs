//! Sixteen blocks of a long packet at once, encrypted and hashed, or hashed and decrypted.

use core::arch::x86_64::{
    __m128i, _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_setzero_si256, _mm256_xor_si256,
};

use super::counter::Counter;
use super::ghash::{ChunkSum, First};
use super::key::GcmKey;
use super::vector::{BLOCK_LEN, Block, load32, store32};

/// Pairs of blocks in a chunk: half of the vector registers hold them.
const PAIRS: usize = 8;
/// Bytes of a chunk.
pub(super) const CHUNK_LEN: usize = PAIRS * 2 * BLOCK_LEN;

/// Bytes of the end of a payload of `len` bytes, which is not done in chunks: 1 to 256, or all of nothing.
#[inline(always)]
pub(super) const fn last_len(len: usize) -> usize {
    match len.checked_sub(1) {
        Some(before) => before % CHUNK_LEN + 1,
        None => 0,
    }
}

/// Does the chunks of a payload. Gives what the sum over its end begins with.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
pub(super) fn chunks<const ROUNDS: usize, const OPEN: bool>(
    key: &GcmKey,
    mut counter: Counter,
    text: &mut [u8],
    aad: __m128i,
) -> __m128i {
    // The associated data stands before the sixteen blocks; the hash of a chunk is added to the next one's first.
    let mut first = First { block: aad, power: 2 * PAIRS + 1 };
    for chunk in text.as_chunks_mut::<CHUNK_LEN>().0 {
        let hash = crypt::<ROUNDS, OPEN>(key, &mut counter, chunk, first);
        first = First { block: hash, power: 2 * PAIRS };
    }
    first.block
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn crypt<const ROUNDS: usize, const OPEN: bool>(
    key: &GcmKey,
    counter: &mut Counter,
    chunk: &mut [u8; CHUNK_LEN],
    first: First,
) -> __m128i {
    let whitening = key.round(0);
    let mut states = [_mm256_setzero_si256(); PAIRS];
    for state in &mut states {
        *state = _mm256_xor_si256(counter.next(), whitening);
    }
    for round in 1..ROUNDS {
        let round_key = key.round(round);
        for state in &mut states {
            *state = _mm256_aesenc_epi128(*state, round_key);
        }
    }
    let round_key = key.round(ROUNDS);
    let mut sum = ChunkSum::new(key, first);
    let blocks: &mut [Block] = chunk.as_chunks_mut().0;
    for (at, blocks) in blocks.as_chunks_mut().0.iter_mut().enumerate() {
        let before = load32(blocks);
        let after = _mm256_xor_si256(_mm256_aesenclast_epi128(states[at], round_key), before);
        store32(blocks, after);
        sum.add(key, if OPEN { before } else { after }, 2 * (PAIRS - at));
    }
    sum.finish()
}
