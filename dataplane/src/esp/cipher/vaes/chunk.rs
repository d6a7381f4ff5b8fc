//! Sixteen blocks of a long packet at once, encrypted and hashed, or hashed and decrypted.

use core::arch::x86_64::{__m128i, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_xor_si256};

use super::counter::{Counter, counters};
use super::ghash::{First, Running};
use super::key::GcmKey;
use super::rounds::encrypt;
use super::vector::{BLOCK_LEN, Block, load16, load32, reversed, store32, twice};

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
pub(super) fn chunks<const OPEN: bool>(key: &GcmKey, iv: [u8; 8], text: &mut [u8], aad: __m128i) -> __m128i {
    let mut counter = counters(key.salt, iv, 2).1;
    // The associated data stands before the sixteen blocks; the hash of a chunk is added to the next one's first.
    let mut first = First { block: aad, power: 2 * PAIRS + 1 };
    let blocks: &mut [Block] = text.as_chunks_mut().0;
    for chunk in blocks.as_chunks_mut().0.as_chunks_mut().0 {
        let hash = if key.long {
            crypt::<OPEN, 14>(key, &mut counter, chunk, first)
        } else {
            crypt::<OPEN, 10>(key, &mut counter, chunk, first)
        };
        first = First { block: hash, power: 2 * PAIRS };
    }
    first.block
}

/// Not inlined: in the loop around it, all round keys and powers would be loaded ahead, and lie on the stack.
#[inline(never)]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn crypt<const OPEN: bool, const ROUNDS: usize>(
    key: &GcmKey,
    counter: &mut Counter,
    chunk: &mut [[Block; 2]; PAIRS],
    first: First,
) -> __m128i {
    let mut pads = [_mm256_setzero_si256(); PAIRS];
    for pad in &mut pads {
        *pad = counter.next();
    }
    encrypt::<ROUNDS, PAIRS>(key, &mut pads);
    let powers = &key.powers_from(2 * PAIRS).as_chunks().0[..PAIRS];
    let mut sum = Running::new(first.block, load16(&key.powers_from(first.power)[0]));
    for at in 0..PAIRS {
        let before = load32(&chunk[at]);
        let after = _mm256_xor_si256(pads[at], before);
        store32(&mut chunk[at], after);
        let hashed = _mm256_shuffle_epi8(if OPEN { before } else { after }, twice(reversed()));
        sum.add(hashed, load32(&powers[at]));
    }
    sum.reduce()
}
