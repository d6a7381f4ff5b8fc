//! [`last`](super::last) with four blocks a vector, after chunks.
//!
//! The counter block of the hash stands behind the last block of payload, as do the lengths in the sum.

use core::arch::x86_64::{
    __m128i, _mm_shuffle_epi8, _mm_xor_si128, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_xor_si512,
    _mm512_zextsi128_si512,
};
use core::ops::Range;

use super::counter::wide_counters;
use super::key::GcmKey;
use super::last::Before;
use super::rounds::encrypt_wide;
use super::vector::{BLOCK_LEN, Block, Lane, four_times, load_some, load64, only, reversed, store_some};
use super::wide_ghash::WideRunning;

/// Bytes of a vector.
const QUAD_LEN: usize = 4 * BLOCK_LEN;

/// Encrypts, or with `OPEN` decrypts, the first `len` bytes of `text` (1 to 256) and gives the ICV. What the sum begins
/// with is added to their first block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq")]
pub(super) fn wide_last<const OPEN: bool>(
    key: &GcmKey,
    before: &Before,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    macro_rules! of {
        ($rounds:literal) => {
            match len.div_ceil(BLOCK_LEN) {
                ..4 => last_of::<OPEN, $rounds, 1>(key, before, text, len),
                4..8 => last_of::<OPEN, $rounds, 2>(key, before, text, len),
                8..12 => last_of::<OPEN, $rounds, 3>(key, before, text, len),
                12..16 => last_of::<OPEN, $rounds, 4>(key, before, text, len),
                16.. => last_of::<OPEN, $rounds, 5>(key, before, text, len),
            }
        };
    }
    if key.long { of!(14) } else { of!(10) }
}

/// [`wide_last`] with so many vectors.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq")]
fn last_of<const OPEN: bool, const ROUNDS: usize, const QUADS: usize>(
    key: &GcmKey,
    before: &Before,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    // 1. The pads.
    let blocks = len.div_ceil(BLOCK_LEN);
    let behind = Lane::of_block(blocks);
    let (zeroth, mut counter) = wide_counters(key.salt, before.iv, before.counter);
    let mut pads = [_mm512_setzero_si512(); QUADS];
    for pad in &mut pads[..QUADS - 1] {
        *pad = counter.next();
    }
    pads[QUADS - 1] = counter.next_and(zeroth, behind);
    encrypt_wide::<ROUNDS, QUADS>(key, &mut pads);

    // 2. The blocks. All are loaded first: a load has to wait for a store close by that was not of a whole vector.
    let text = &mut text[..len];
    let mut vectors = [_mm512_setzero_si512(); QUADS];
    for at in 0..QUADS {
        vectors[at] = load_some(&text[part::<QUADS>(at, len)]);
    }

    // 3. Each times its power of H, with zeros for what is no payload.
    let powers: &[[Block; 4]] = &key.powers_from(blocks + 1).as_chunks().0[..QUADS];
    let mut sum = WideRunning::zero();
    for at in 0..QUADS {
        let part = &mut text[part::<QUADS>(at, len)];
        let after = _mm512_xor_si512(vectors[at], pads[at]);
        store_some(part, after);
        let sealed = if OPEN { vectors[at] } else { only(after, part.len()) };
        let mut hashed = _mm512_shuffle_epi8(sealed, four_times(reversed()));
        if at == 0 {
            hashed = _mm512_xor_si512(hashed, _mm512_zextsi128_si512(before.first.block));
        }
        if at == QUADS - 1 {
            hashed = behind.put(hashed, before.lengths);
        }
        sum.add(hashed, load64(&powers[at]));
    }

    // 4. The hash under its pad.
    let hash = _mm_shuffle_epi8(sum.reduce(), reversed());
    _mm_xor_si128(hash, behind.get(pads[QUADS - 1]))
}

/// Where the bytes of vector `at` are. The last one may have none: then the one before may not be full.
#[inline(always)]
fn part<const QUADS: usize>(at: usize, len: usize) -> Range<usize> {
    let (start, end) = (at * QUAD_LEN, (at + 1) * QUAD_LEN);
    if at + 2 < QUADS { start..end } else { start.min(len)..end.min(len) }
}
