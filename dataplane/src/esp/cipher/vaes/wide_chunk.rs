//! [`chunk`](super::chunk) with four blocks a vector.
//!
//! Thirty-two vector registers hold all that is in use, so the chunks are a loop here.

use core::arch::x86_64::{
    __m128i, __m512i, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::chunk::CHUNK_LEN;
use super::counter::{WideCounter, wide_counters};
use super::ghash::multiply;
use super::key::GcmKey;
use super::rounds::encrypt_wide;
use super::vector::{BLOCK_LEN, Block, four_times, load16, load64, reversed, store64};
use super::wide_ghash::WideRunning;

/// Vectors of a chunk.
const QUADS: usize = CHUNK_LEN / (4 * BLOCK_LEN);

type Chunk = [[Block; 4]; QUADS];

/// Does the chunks of a payload, of which there is at least one. Gives what the sum over its end begins with.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq")]
pub(super) fn wide_chunks<const OPEN: bool>(
    key: &GcmKey,
    iv: [u8; 8],
    text: &mut [u8],
    aad: __m128i,
) -> __m128i {
    let blocks: &mut [Block] = text.as_chunks_mut().0;
    let chunks: &mut [Chunk] = blocks.as_chunks_mut().0.as_chunks_mut().0;
    // The hash of what came before is added to a chunk's first block.
    let hash = multiply(aad, load16(&key.last_powers()[1]));
    let counter = wide_counters(key.salt, iv, 2).1;
    match (OPEN, key.long) {
        (false, false) => seal::<10>(key, counter, chunks, hash),
        (false, true) => seal::<14>(key, counter, chunks, hash),
        (true, false) => open::<10>(key, counter, chunks, hash),
        (true, true) => open::<14>(key, counter, chunks, hash),
    }
}

/// Hashes a chunk while the next one is encrypted: neither waits for the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq")]
fn seal<const ROUNDS: usize>(
    key: &GcmKey,
    mut counter: WideCounter,
    chunks: &mut [Chunk],
    mut hash: __m128i,
) -> __m128i {
    let Some((first, more)) = chunks.split_first_mut() else { return hash };
    let mut sealed = encrypt::<ROUNDS>(key, &mut counter, loaded(first), first);
    for chunk in more {
        hash = hashed(key, hash, sealed);
        sealed = encrypt::<ROUNDS>(key, &mut counter, loaded(chunk), chunk);
    }
    hashed(key, hash, sealed)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq")]
fn open<const ROUNDS: usize>(
    key: &GcmKey,
    mut counter: WideCounter,
    chunks: &mut [Chunk],
    mut hash: __m128i,
) -> __m128i {
    for chunk in chunks {
        let sealed = loaded(chunk);
        hash = hashed(key, hash, sealed);
        encrypt::<ROUNDS>(key, &mut counter, sealed, chunk);
    }
    hash
}

#[inline]
#[target_feature(enable = "avx512f")]
fn loaded(chunk: &Chunk) -> [__m512i; QUADS] {
    let mut loaded = [_mm512_setzero_si512(); QUADS];
    for at in 0..QUADS {
        loaded[at] = load64(&chunk[at]);
    }
    loaded
}

/// Encrypts (or decrypts: it is the same) `text` into `to`, and gives it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vaes")]
fn encrypt<const ROUNDS: usize>(
    key: &GcmKey,
    counter: &mut WideCounter,
    text: [__m512i; QUADS],
    to: &mut Chunk,
) -> [__m512i; QUADS] {
    let mut pads = [_mm512_setzero_si512(); QUADS];
    for pad in &mut pads {
        *pad = counter.next();
    }
    encrypt_wide::<ROUNDS, QUADS>(key, &mut pads);
    for at in 0..QUADS {
        pads[at] = _mm512_xor_si512(pads[at], text[at]);
        store64(&mut to[at], pads[at]);
    }
    pads
}

/// The hash of what came before and of a chunk.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
fn hashed(key: &GcmKey, before: __m128i, chunk: [__m512i; QUADS]) -> __m128i {
    let powers: &[[Block; 4]] = key.powers_from(4 * QUADS).as_chunks().0;
    let turned = |vector| _mm512_shuffle_epi8(vector, four_times(reversed()));
    let first = _mm512_xor_si512(turned(chunk[0]), _mm512_zextsi128_si512(before));
    let mut sum = WideRunning::new(first, load64(&powers[0]));
    for at in 1..QUADS {
        sum.add(turned(chunk[at]), load64(&powers[at]));
    }
    sum.reduce()
}
