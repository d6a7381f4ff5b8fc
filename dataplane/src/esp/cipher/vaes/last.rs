//! The end of a packet: at most sixteen blocks, encrypted and hashed in one go with the lengths.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_setzero_si128, _mm_shuffle_epi8, _mm_xor_si128, _mm256_aesenc_epi128,
    _mm256_aesenclast_epi128, _mm256_and_si256, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_xor_si256,
};

use super::counter::counters;
use super::ghash::{First, Running};
use super::key::GcmKey;
use super::vector::{BLOCK_LEN, Block, load16, load32, pair, reversed, store16, store32, twice};

/// What is known of a packet when its end is reached.
pub(super) struct Before {
    pub(super) iv: [u8; 8],
    /// The counter of the next block of payload.
    pub(super) counter: u32,
    pub(super) first: First,
    /// The last block that is hashed: how many bits of associated data and of payload there are.
    pub(super) lengths: __m128i,
}

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

/// Encrypts, or with `OPEN` decrypts, `len` bytes (at most 256) and gives the ICV. `text` is sixteen bytes longer; up
/// to fifteen of them are changed.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
pub(super) fn last<const OPEN: bool>(key: &GcmKey, before: &Before, text: &mut [u8], len: usize) -> __m128i {
    macro_rules! with_pairs {
        ($rounds:literal, $($pairs:literal),*) => {
            match len.div_ceil(BLOCK_LEN) / 2 {
                $($pairs => last_of::<OPEN, $rounds, $pairs>(key, before, text, len),)*
                _ => last_of::<OPEN, $rounds, 8>(key, before, text, len),
            }
        };
    }
    if key.long { with_pairs!(14, 0, 1, 2, 3, 4, 5, 6, 7) } else { with_pairs!(10, 0, 1, 2, 3, 4, 5, 6, 7) }
}

/// [`last`] with so many pairs of blocks, and one more block or none.
#[inline(never)]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn last_of<const OPEN: bool, const ROUNDS: usize, const PAIRS: usize>(
    key: &GcmKey,
    before: &Before,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    // 1. The pads: two a vector, and one of the odd block with that of the hash.
    let (zeroth, mut counter) = counters(key.salt, before.iv, before.counter);
    let whitening = key.round(0);
    let mut pads = [_mm256_setzero_si256(); PAIRS];
    for pad in &mut pads {
        *pad = _mm256_xor_si256(counter.next(), whitening);
    }
    let mut last_pads = _mm256_xor_si256(counter.next_and(zeroth), whitening);
    for round in 1..ROUNDS {
        let round_key = key.round(round);
        for pad in &mut pads {
            *pad = _mm256_aesenc_epi128(*pad, round_key);
        }
        last_pads = _mm256_aesenc_epi128(last_pads, round_key);
    }
    let round_key = key.round(ROUNDS);
    last_pads = _mm256_aesenclast_epi128(last_pads, round_key);

    // 2. The blocks, each times its power of H. Of the last one only what is payload.
    let blocks = len.div_ceil(BLOCK_LEN);
    let odd = blocks % 2 == 1;
    let text: &mut [Block] = text.as_chunks_mut().0;
    let powers = &key.powers_from(blocks + 1).as_chunks::<2>().0[..PAIRS];
    let mask = mask_of_last_block(len);
    let mut sum = Running::new(before.first.block, load16(&key.powers_from(before.first.power)[0]));
    let last = if odd {
        let block = &mut text[2 * PAIRS];
        let received = load16(block);
        let sent = _mm_xor_si128(received, _mm256_castsi256_si128(last_pads));
        store16(block, sent);
        _mm_shuffle_epi8(_mm_and_si128(if OPEN { received } else { sent }, mask), reversed())
    } else {
        _mm_setzero_si128()
    };
    sum.add(pair(last, before.lengths), load32(key.last_powers()));
    let pairs = &mut text.as_chunks_mut::<2>().0[..PAIRS];
    for at in 0..PAIRS {
        let received = load32(&pairs[at]);
        let sent = _mm256_xor_si256(received, _mm256_aesenclast_epi128(pads[at], round_key));
        store32(&mut pairs[at], sent);
        let mut hashed = if OPEN { received } else { sent };
        if at == PAIRS - 1 && !odd {
            hashed = _mm256_and_si256(hashed, pair(_mm256_castsi256_si128(_mm256_set1_epi8(-1)), mask));
        }
        sum.add(_mm256_shuffle_epi8(hashed, twice(reversed())), load32(&powers[at]));
    }

    // 3. The hash under its pad.
    let hash = _mm_shuffle_epi8(sum.reduce(), reversed());
    _mm_xor_si128(hash, _mm256_extracti128_si256::<1>(last_pads))
}

/// Ones where the last block of `len` bytes has bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn mask_of_last_block(len: usize) -> __m128i {
    let missing = len.wrapping_neg() % BLOCK_LEN;
    let mut mask = [0; BLOCK_LEN];
    mask.copy_from_slice(&MASKS[missing..missing + BLOCK_LEN]);
    load16(&mask)
}
