//! AES-GCM in 256-bit vectors, two blocks an instruction, and for long packets in 512-bit ones, four.
//!
//! A packet of up to sixteen blocks is one straight run of instructions with no loop, written for its number of
//! blocks; of a longer one all but the end is done in such runs of sixteen. They are short enough that the
//! processor works on the next packet of a burst while the last results of one are still on their way.
//! RFC 4106; SP 800-38D.
//!
//! Packets of up to sixteen blocks are left to 256-bit vectors: with wider ones Intel's processors work on two at a
//! time instead of three, which eats up what such a packet would gain.
//!
//! Needs VAES and VPCLMULQDQ, which a [`VaesKey`] is the proof of: where they are missing, none is made.
//! No branch and no address depends on a key or a payload.
#![allow(unsafe_code)]

#[cfg(test)]
mod below_esp;
mod chunk;
mod counter;
mod ghash;
mod key;
mod last;
mod rounds;
mod vector;
mod wide_chunk;
mod wide_ghash;
mod wide_last;
mod width;

use core::arch::x86_64::{
    __m128i, _mm_set_epi32, _mm_set_epi64x, _mm_shuffle_epi8, _mm_testz_si128, _mm_xor_si128,
};

use std::ptr;

use self::chunk::{chunks, last_len};
use self::ghash::First;
use self::key::GcmKey;
use self::last::{Before, last};
use self::vector::{BLOCK_LEN, load16, reversed, store16};
use self::wide_chunk::wide_chunks;
use self::wide_last::wide_last;
pub(super) use self::width::Width;
use super::job::{OpenJob, SealJob, State};
use super::{Cipher, Key};
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::{Encryption, HEADER_LEN, TRAILER_LEN};

/// How far ahead of the work keys are fetched: a small packet takes less time than a line from memory.
const AHEAD: usize = 4;
/// Bytes of the explicit IV.
const IV_LEN: usize = 8;
/// Bytes of the ICV.
const ICV_LEN: usize = 16;

/// An expanded key of AES-GCM, of which there is none where the processor lacks the instructions.
#[derive(Clone)]
pub(super) struct VaesKey(Slot<GcmKey>);

impl VaesKey {
    /// Expands the keys of an AES-GCM suite; `None` for other suites and other processors.
    ///
    /// # Errors
    /// When the system gives no more memory.
    pub(super) fn new(keys: &KeyMaterial) -> Result<Option<Self>, OutOfMemory> {
        let gcm = matches!(keys.suite().encryption(), Encryption::AesGcm128 | Encryption::AesGcm256);
        let Some(width) = Width::widest().filter(|_| gcm) else { return Ok(None) };
        // SAFETY: the processor has AVX2, AES and VPCLMULQDQ, or there were no width; and the instructions of this one.
        let key = unsafe { GcmKey::new(keys.encryption(), keys.salt(), width) };
        Slot::new(key).map(|slot| Some(Self(slot)))
    }

    /// Round keys, the salt, and the lowest powers of H.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        self.0.fetch::<4>(0);
        self.0.fetch::<2>(7);
    }
}

/// Seals the new jobs that have a key of this backend, in one pass: writes their IVs, too. True when there are others.
#[inline(always)]
pub(super) fn seal(jobs: &mut [SealJob<'_>]) -> bool {
    let mut others = false;
    for n in 0..jobs.len() {
        fetch_ahead(jobs.get(n).map(|job| job.cipher), jobs.get(n + AHEAD).map(|job| job.cipher));
        let Some(SealJob { cipher, esp, sequence_high, iv, state }) = jobs.get_mut(n) else { break };
        match &cipher.key {
            Key::Vaes(key) if *state == State::New => {
                // SAFETY: there is a VaesKey, so the processor has AVX2, AES, VAES, PCLMULQDQ and VPCLMULQDQ.
                let sealed = unsafe { seal_one(&key.0, esp, *sequence_high, *iv) };
                *state = if sealed.is_some() { State::Done } else { State::Refused };
            }
            Key::Vaes(_) => {}
            _ => others = true,
        }
    }
    others
}

/// Opens the new jobs that have a key of this backend. True when there are others.
#[inline(always)]
pub(super) fn open(jobs: &mut [OpenJob<'_>]) -> bool {
    let mut others = false;
    for n in 0..jobs.len() {
        fetch_ahead(jobs.get(n).map(|job| job.cipher), jobs.get(n + AHEAD).map(|job| job.cipher));
        let Some(OpenJob { cipher, esp, sequence_high, state }) = jobs.get_mut(n) else { break };
        match &cipher.key {
            Key::Vaes(key) if *state == State::New => {
                // SAFETY: as in `seal`.
                let authentic = unsafe { open_one(&key.0, esp, *sequence_high) };
                *state = if authentic == Some(true) { State::Done } else { State::Refused };
            }
            Key::Vaes(_) => {}
            _ => others = true,
        }
    }
    others
}

/// Fetches a later packet's key, unless it is the one at work.
#[inline(always)]
fn fetch_ahead(now: Option<&Cipher>, later: Option<&Cipher>) {
    if let (Some(now), Some(later)) = (now, later)
        && !ptr::eq(now, later)
    {
        later.fetch();
    }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn seal_one(key: &GcmKey, esp: &mut [u8], sequence_high: Option<u32>, iv: [u8; IV_LEN]) -> Option<()> {
    let (header, rest) = esp.split_first_chunk_mut()?;
    let (place, text) = rest.split_first_chunk_mut()?;
    if text.len() < TRAILER_LEN + ICV_LEN {
        return None;
    }
    // The number itself: unique is enough (RFC 4106 section 3.1).
    *place = iv;
    let (aad, aad_bits) = associated_data(header, sequence_high);
    let icv = crypt::<false>(key, iv, aad, aad_bits, text);
    store16(text.last_chunk_mut()?, icv);
    Some(())
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn open_one(key: &GcmKey, esp: &mut [u8], sequence_high: Option<u32>) -> Option<bool> {
    let (header, rest) = esp.split_first_chunk_mut()?;
    let (iv, text) = rest.split_first_chunk_mut()?;
    if text.len() < TRAILER_LEN + ICV_LEN {
        return None;
    }
    let (aad, aad_bits) = associated_data(header, sequence_high);
    let received = load16(text.last_chunk()?);
    let difference = _mm_xor_si128(received, crypt::<true>(key, *iv, aad, aad_bits, text));
    Some(_mm_testz_si128(difference, difference) == 1)
}

/// What the hash begins with (RFC 4106 section 5), and how many bits that is.
#[inline]
#[target_feature(enable = "avx2")]
fn associated_data(header: &[u8; HEADER_LEN], sequence_high: Option<u32>) -> (__m128i, i64) {
    let header = u64::from_le_bytes(*header);
    let (spi, sequence) = ((header as u32).cast_signed(), ((header >> 32) as u32).cast_signed());
    let (block, bits) = match sequence_high {
        None => (_mm_set_epi32(0, 0, sequence, spi), 64),
        Some(high) => (_mm_set_epi32(0, sequence, high.to_be().cast_signed(), spi), 96),
    };
    (_mm_shuffle_epi8(block, reversed()), bits)
}

/// Encrypts, or with `OPEN` decrypts, `text` but for its last sixteen bytes, of which some are changed; gives the ICV.
/// `hash` is what the hash begins with: the last block of `aad_bits` of associated data, and the hash before it.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn crypt<const OPEN: bool>(
    key: &GcmKey,
    iv: [u8; IV_LEN],
    hash: __m128i,
    aad_bits: i64,
    text: &mut [u8],
) -> __m128i {
    let payload_len = text.len().saturating_sub(ICV_LEN);
    let lengths = _mm_set_epi64x(aad_bits, payload_len as i64 * 8);
    let len = last_len(payload_len);
    let (whole, end) = text.split_at_mut(payload_len - len);
    let blocks = len.div_ceil(BLOCK_LEN);
    // Counter 1 hides the hash (SP 800-38D section 7.1); the associated data is a block before the payload's.
    let first = First { block: hash, power: blocks + 2 };
    let mut before = Before { iv, counter: 2, first, lengths };
    if whole.is_empty() {
        return last::<OPEN>(key, &before, end, len);
    }
    before.counter += (whole.len() / BLOCK_LEN) as u32;
    // A chunk's hash is added to the first block after it.
    before.first.power = blocks + 1;
    match key.width {
        Width::Bits256 => {
            before.first.block = chunks::<OPEN>(key, iv, whole, hash);
            last::<OPEN>(key, &before, end, len)
        }
        // SAFETY: the processor has the instructions of the key's width: AVX-512 F and BW.
        Width::Bits512 => unsafe {
            before.first.block = wide_chunks::<OPEN>(key, iv, whole, hash);
            wide_last::<OPEN>(key, &before, end, len)
        },
    }
}
