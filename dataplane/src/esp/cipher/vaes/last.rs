//! The end of a packet: at most sixteen blocks, encrypted and hashed in one go with the lengths.

use core::arch::x86_64::{
    __m128i, _mm_and_si128, _mm_shuffle_epi8, _mm_xor_si128, _mm256_and_si256, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_xor_si256,
};

use super::counter::counters;
use super::ghash::{First, Running};
use super::key::GcmKey;
use super::rounds::encrypt;
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
static MASKS: [u8; 2 * BLOCK_LEN] = {
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
    macro_rules! of {
        ($rounds:literal: $($blocks:literal => $pairs:literal $vectors:literal $odd:literal,)*) => {
            match len.div_ceil(BLOCK_LEN) {
                $($blocks => last_of::<OPEN, $rounds, $pairs, $vectors, $odd>(key, before, text, len),)*
                _ => last_of::<OPEN, $rounds, 8, 9, false>(key, before, text, len),
            }
        };
        ($rounds:literal) => {
            of!($rounds:
                0 => 0 1 false, 1 => 0 1 true, 2 => 1 2 false, 3 => 1 2 true, 4 => 2 3 false, 5 => 2 3 true, 6 => 3 4 false,
                7 => 3 4 true, 8 => 4 5 false, 9 => 4 5 true, 10 => 5 6 false, 11 => 5 6 true, 12 => 6 7 false, 13 => 6 7 true,
                14 => 7 8 false, 15 => 7 8 true,
            )
        };
    }
    if key.long { of!(14) } else { of!(10) }
}

/// [`last`] with so many pairs of blocks and, if `ODD`, one more. `N` is one more than `PAIRS`.
#[inline(never)]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn last_of<const OPEN: bool, const ROUNDS: usize, const PAIRS: usize, const N: usize, const ODD: bool>(
    key: &GcmKey,
    before: &Before,
    text: &mut [u8],
    len: usize,
) -> __m128i {
    // 1. The pads: two a vector, and one of the odd block with that of the hash.
    let (zeroth, mut counter) = counters(key.salt, before.iv, before.counter);
    let mut pads = [_mm256_setzero_si256(); N];
    for pad in &mut pads[..PAIRS] {
        *pad = counter.next();
    }
    pads[PAIRS] = counter.next_and(zeroth);
    encrypt::<ROUNDS, N>(key, &mut pads);
    let last_pads = pads[PAIRS];

    // 2. The blocks, each times its power of H. Of the last one only what is payload.
    let text: &mut [Block] = text.as_chunks_mut().0;
    let blocks = 2 * PAIRS + usize::from(ODD);
    let mask = load16(mask_of_last_block(len));
    let first_power = load16(&key.powers_from(before.first.power)[0]);
    let mut sum = if ODD {
        Running::new(before.first.block, first_power)
    } else {
        let powers = pair(first_power, load16(&key.powers_from(1)[0]));
        Running::new_pair(pair(before.first.block, before.lengths), powers)
    };
    let powers = &key.powers_from(blocks + 1).as_chunks::<2>().0[..PAIRS];
    let pairs = &mut text.as_chunks_mut::<2>().0[..PAIRS];
    for at in 0..PAIRS {
        let before = load32(&pairs[at]);
        let after = _mm256_xor_si256(before, pads[at]);
        store32(&mut pairs[at], after);
        let mut hashed = if OPEN { before } else { after };
        if at == PAIRS - 1 && !ODD {
            hashed = _mm256_and_si256(hashed, pair(_mm256_castsi256_si128(_mm256_set1_epi8(-1)), mask));
        }
        sum.add(_mm256_shuffle_epi8(hashed, twice(reversed())), load32(&powers[at]));
    }
    if ODD {
        let block = &mut text[2 * PAIRS];
        let before_it = load16(block);
        let after = _mm_xor_si128(before_it, _mm256_castsi256_si128(last_pads));
        store16(block, after);
        let hashed = _mm_shuffle_epi8(_mm_and_si128(if OPEN { before_it } else { after }, mask), reversed());
        sum.add(pair(hashed, before.lengths), load32(key.last_powers()));
    }

    // 3. The hash under its pad.
    let hash = _mm_shuffle_epi8(sum.reduce(), reversed());
    _mm_xor_si128(hash, _mm256_extracti128_si256::<1>(last_pads))
}

/// Ones where the last block of `len` bytes has bytes.
#[inline(always)]
fn mask_of_last_block(len: usize) -> &'static Block {
    let missing = len.wrapping_neg() % BLOCK_LEN;
    match MASKS[missing..].first_chunk() {
        Some(mask) => mask,
        None => &[0; BLOCK_LEN],
    }
}
