//! AES-GCM in 256-bit vectors: two blocks an instruction, and several packets at once.
//!
//! A small packet is a short chain of instructions that wait for one another, so a burst is worked in steps,
//! each over all its packets, and the processor overlaps what the packets do not share: one step runs AES in
//! counter mode, one multiplies for GHASH, the last reduces two packets' sums at a time and writes or
//! compares the ICVs. Of a longer payload all but the end is encrypted and hashed in the first step, sixteen
//! blocks at once. RFC 4106; SP 800-38D.
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
mod vector;

use core::arch::x86_64::{
    __m128i, _mm_set_epi32, _mm_set_epi64x, _mm_setzero_si128, _mm_shuffle_epi8, _mm_testz_si128,
    _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_shuffle_epi8,
};

use arrayvec::ArrayVec;

use self::chunk::{chunks, last_len};
use self::counter::{count_last, counters};
use self::ghash::{First, Sum, last_sum, reduce_two};
use self::key::GcmKey;
use self::vector::{BLOCK_LEN, load16, reversed, store16, twice};
use super::Key;
use super::job::{OpenJob, SealJob, State};
use crate::esp::key::KeyMaterial;
use crate::esp::key_memory::{OutOfMemory, Slot};
use crate::esp::suite::{Encryption, HEADER_LEN};

/// Packets that go through the steps together.
const BURST: usize = 64;
/// Bytes of the explicit IV.
const IV_LEN: usize = 8;
/// Bytes of the ICV.
const ICV_LEN: usize = 16;

/// An expanded key of AES-GCM, of which there is none where the processor lacks the instructions.
pub(super) struct VaesKey(Slot<GcmKey>);

impl VaesKey {
    /// Expands the keys of an AES-GCM suite; `None` for other suites and other processors.
    ///
    /// # Errors
    /// When the system gives no more memory.
    pub(super) fn new(keys: &KeyMaterial) -> Result<Option<Self>, OutOfMemory> {
        let gcm = matches!(keys.suite().encryption(), Encryption::AesGcm128 | Encryption::AesGcm256);
        if !gcm || !is_available() {
            return Ok(None);
        }
        // SAFETY: the processor has AVX2, AES and VPCLMULQDQ, as was just asked.
        let key = unsafe { GcmKey::new(keys.encryption(), keys.salt()) };
        Slot::new(key).map(|slot| Some(Self(slot)))
    }

    /// Round keys, the lowest powers of H, and the salt.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        self.0.fetch::<9>(0);
    }
}

/// Whether the processor has the instructions.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
}

/// Seals the checked jobs that have a key of this backend.
pub(super) fn seal(jobs: &mut [SealJob<'_>]) {
    for burst in jobs.chunks_mut(BURST) {
        // SAFETY: the engine calls this only with keys of this backend, of which there is none unless the processor has
        // AVX2, AES, VAES and VPCLMULQDQ.
        unsafe { seal_burst(burst) };
    }
}

/// Opens the checked jobs that have a key of this backend.
pub(super) fn open(jobs: &mut [OpenJob<'_>]) {
    for burst in jobs.chunks_mut(BURST) {
        // SAFETY: as in `seal`.
        unsafe { open_burst(burst) };
    }
}

/// A packet between two steps.
struct Begun {
    /// What the sum over the end begins with.
    hash: __m128i,
    sum: Sum,
    /// What hides the hash; of a received packet, that and the ICV.
    pad: __m128i,
}

/// A packet's parts.
struct Parts<'p> {
    header: &'p [u8; HEADER_LEN],
    iv: [u8; IV_LEN],
    /// Payload and ICV.
    text: &'p mut [u8],
    payload_len: usize,
    /// Bytes of the payload that are done in chunks.
    chunks_len: usize,
}

impl<'p> Parts<'p> {
    #[inline(always)]
    fn split(esp: &'p mut [u8]) -> Option<Self> {
        let (header, rest) = esp.split_first_chunk_mut()?;
        let (iv, text) = rest.split_first_chunk_mut()?;
        let payload_len = text.len().checked_sub(ICV_LEN)?;
        let chunks_len = payload_len - last_len(payload_len);
        Some(Self { header, iv: *iv, text, payload_len, chunks_len })
    }

    /// The end of the payload, and the ICV.
    #[inline(always)]
    fn last(&mut self) -> (&mut [u8], usize) {
        (&mut self.text[self.chunks_len..], self.payload_len - self.chunks_len)
    }

    /// What the hash begins with, and what it ends with: the associated data (RFC 4106 section 5), and how many bits of
    /// it and of the payload there are.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn aad(&self, sequence_high: Option<u32>) -> (__m128i, __m128i) {
        let header = u64::from_le_bytes(*self.header);
        let (spi, sequence) = ((header as u32).cast_signed(), ((header >> 32) as u32).cast_signed());
        let (block, bits) = match sequence_high {
            None => (_mm_set_epi32(0, 0, sequence, spi), 64),
            Some(high) => (_mm_set_epi32(0, sequence, high.to_be().cast_signed(), spi), 96),
        };
        (_mm_shuffle_epi8(block, reversed()), _mm_set_epi64x(bits, self.payload_len as i64 * 8))
    }

    /// The first term of the sum over the end.
    #[inline(always)]
    fn first(&self, hash: __m128i) -> First {
        let blocks = (self.payload_len - self.chunks_len).div_ceil(BLOCK_LEN);
        // The associated data is a block before them, a chunk's hash is added to the first of them.
        First { block: hash, power: blocks + if self.chunks_len == 0 { 2 } else { 1 } }
    }

    /// Does what is done in chunks; gives what the sum over the end begins with.
    #[inline]
    #[target_feature(enable = "avx2,vaes,vpclmulqdq")]
    fn chunks<const OPEN: bool>(&mut self, key: &GcmKey, aad: __m128i) -> __m128i {
        if self.chunks_len == 0 {
            return aad;
        }
        let counter = counters(key.salt, self.iv, 2).1;
        let text = &mut self.text[..self.chunks_len];
        if key.long {
            chunks::<14, OPEN>(key, counter, text, aad)
        } else {
            chunks::<10, OPEN>(key, counter, text, aad)
        }
    }

    /// Counter mode over the end; gives the pad of the hash.
    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    fn count_last(&mut self, key: &GcmKey) -> __m128i {
        let block = (self.chunks_len / BLOCK_LEN) as u32;
        let (zeroth, counter) = counters(key.salt, self.iv, block + 2);
        let (text, len) = self.last();
        if key.long {
            count_last::<14>(key, counter, zeroth, text, len)
        } else {
            count_last::<10>(key, counter, zeroth, text, len)
        }
    }
}

/// The packets of this backend.
macro_rules! mine {
    ($jobs:expr) => {
        $jobs.iter_mut().filter_map(|job| match &job.cipher.key {
            Key::Vaes(key) if job.state == State::Checked => Some((&*key.0, job)),
            _ => None,
        })
    };
}

#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn seal_burst(jobs: &mut [SealJob<'_>]) {
    let mut begun = ArrayVec::<Begun, BURST>::new();
    let nothing = Sum { low: _mm_setzero_si128(), high: _mm_setzero_si128() };
    for (key, job) in mine!(jobs) {
        let Some(mut parts) = Parts::split(job.esp) else {
            job.state = State::Refused;
            continue;
        };
        let (aad, _) = parts.aad(job.sequence_high);
        let hash = parts.chunks::<false>(key, aad);
        begun.push(Begun { hash, sum: nothing, pad: parts.count_last(key) });
    }
    for ((key, job), begun) in mine!(jobs).zip(&mut begun) {
        let Some(mut parts) = Parts::split(job.esp) else { continue };
        let (_, lengths) = parts.aad(job.sequence_high);
        let first = parts.first(begun.hash);
        let (text, len) = parts.last();
        begun.sum = last_sum(key, text, len, first, lengths);
    }
    let mut jobs = mine!(jobs).map(|(_, job)| job);
    for begun in begun.chunks(2) {
        let icvs = icvs(begun);
        for (icv, job) in icvs.into_iter().zip(jobs.by_ref().take(begun.len())) {
            if let Some(place) = job.esp.last_chunk_mut() {
                store16(place, icv);
                job.state = State::Done;
            }
        }
    }
}

#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn open_burst(jobs: &mut [OpenJob<'_>]) {
    let mut begun = ArrayVec::<Begun, BURST>::new();
    for (key, job) in mine!(jobs) {
        let Some(mut parts) = Parts::split(job.esp) else {
            job.state = State::Refused;
            continue;
        };
        let (aad, lengths) = parts.aad(job.sequence_high);
        let hash = parts.chunks::<true>(key, aad);
        let first = parts.first(hash);
        let (text, len) = parts.last();
        let sum = last_sum(key, text, len, first, lengths);
        begun.push(Begun { hash, sum, pad: _mm_setzero_si128() });
    }
    for ((key, job), begun) in mine!(jobs).zip(&mut begun) {
        let Some(mut parts) = Parts::split(job.esp) else { continue };
        let icv = parts.text.last_chunk().map_or(_mm_setzero_si128(), |icv| load16(icv));
        begun.pad = _mm_xor_si128(icv, parts.count_last(key));
    }
    let mut jobs = mine!(jobs).map(|(_, job)| job);
    for begun in begun.chunks(2) {
        // Nothing but zeros is left of an ICV that is right.
        for (rest, job) in icvs(begun).into_iter().zip(jobs.by_ref().take(begun.len())) {
            job.state = if _mm_testz_si128(rest, rest) == 1 { State::Done } else { State::Refused };
        }
    }
}

/// The ICVs of one or two packets.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn icvs(begun: &[Begun]) -> [__m128i; 2] {
    let (Some(first), Some(last)) = (begun.first(), begun.last()) else { return [_mm_setzero_si128(); 2] };
    let hashes = _mm256_shuffle_epi8(reduce_two(first.sum, last.sum), twice(reversed()));
    [
        _mm_xor_si128(_mm256_castsi256_si128(hashes), first.pad),
        _mm_xor_si128(_mm256_extracti128_si256::<1>(hashes), last.pad),
    ]
}
