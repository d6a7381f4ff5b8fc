//! One packet to seal or to open, and where its parts are.
//!
//! A job goes through three states: new, checked by the engine (its lengths fit the suite and its IV is
//! written), done. A backend touches only checked jobs, or checks new ones itself, and no job is done twice:
//! sealing again would use an IV twice.

use super::Cipher;
use crate::esp::iv::Iv;
use crate::esp::suite::{HEADER_LEN, Suite, TRAILER_LEN};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    New,
    Checked,
    Done,
    Refused,
}

/// A packet to encrypt and authenticate in place: ESP header (SPI and sequence number written), room for
/// the IV, payload with padding and trailer, room for the ICV.
pub struct SealJob<'a> {
    pub(super) cipher: &'a Cipher,
    pub(super) esp: &'a mut [u8],
    pub(super) sequence_high: Option<u32>,
    pub(super) iv: [u8; 8],
    pub(super) state: State,
}

/// A received packet, from its ESP header to its ICV, to verify and decrypt in place.
pub struct OpenJob<'a> {
    pub(super) cipher: &'a Cipher,
    pub(super) esp: &'a mut [u8],
    pub(super) sequence_high: Option<u32>,
    pub(super) state: State,
}

impl<'a> SealJob<'a> {
    /// `esp` under `cipher` with `iv`; `sequence_high` is the high half of an extended sequence number
    /// (RFC 4303 section 2.2.1), which is authenticated but not sent.
    #[inline(always)]
    pub fn new(cipher: &'a Cipher, esp: &'a mut [u8], sequence_high: Option<u32>, iv: Iv) -> Self {
        Self { cipher, esp, sequence_high, iv: iv.to_be_bytes(), state: State::New }
    }

    /// Whether the packet may be sent. Not when its length does not fit the suite, or the engine has no
    /// such backend.
    #[inline(always)]
    pub fn is_sealed(&self) -> bool {
        self.state == State::Done
    }
}

impl<'a> OpenJob<'a> {
    /// `esp` under `cipher`; `sequence_high` is the inferred high half of an extended sequence number
    /// (RFC 4303 appendix A2).
    #[inline(always)]
    pub fn new(cipher: &'a Cipher, esp: &'a mut [u8], sequence_high: Option<u32>) -> Self {
        Self { cipher, esp, sequence_high, state: State::New }
    }

    /// Whether the packet is the peer's, and decrypted. Otherwise its payload may be anything.
    #[inline(always)]
    pub fn is_authentic(&self) -> bool {
        self.state == State::Done
    }
}

/// What an AEAD authenticates beside the payload: SPI and sequence number, extended or not (RFC 4106
/// section 5, RFC 7634 section 2.1).
#[derive(Clone, Copy)]
pub(super) struct Aad {
    bytes: [u8; 12],
    len: usize,
}

impl Aad {
    #[inline(always)]
    pub(super) fn new(header: &[u8; HEADER_LEN], sequence_high: Option<u32>) -> Self {
        let [s0, s1, s2, s3, l0, l1, l2, l3] = *header;
        match sequence_high {
            None => Self { bytes: [s0, s1, s2, s3, l0, l1, l2, l3, 0, 0, 0, 0], len: 8 },
            Some(high) => {
                let [h0, h1, h2, h3] = high.to_be_bytes();
                Self { bytes: [s0, s1, s2, s3, h0, h1, h2, h3, l0, l1, l2, l3], len: 12 }
            }
        }
    }

    #[inline(always)]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The parts of a packet under an AEAD with an IV of eight bytes and an ICV of sixteen.
pub(super) struct AeadParts<'p> {
    pub(super) header: &'p [u8; HEADER_LEN],
    pub(super) iv: &'p mut [u8; 8],
    pub(super) payload: &'p mut [u8],
    pub(super) icv: &'p mut [u8; 16],
}

impl<'p> AeadParts<'p> {
    #[inline(always)]
    pub(super) fn split(esp: &'p mut [u8]) -> Option<Self> {
        let (header, rest) = esp.split_first_chunk_mut()?;
        let (iv, rest) = rest.split_first_chunk_mut()?;
        let (payload, icv) = rest.split_last_chunk_mut()?;
        Some(Self { header, iv, payload, icv })
    }
}

/// Whether a packet of `len` bytes can be one of `suite`. Blocks must be whole only where the cipher needs them:
/// what we send always is aligned, and of what a peer sends the ICV decides.
#[inline(always)]
pub(super) fn payload_fits(suite: Suite, len: usize) -> bool {
    let around = HEADER_LEN + suite.iv_len() + suite.icv_len();
    let Some(payload) = len.checked_sub(around) else { return false };
    payload >= TRAILER_LEN && (suite.block_len() == 4 || payload.is_multiple_of(suite.block_len()))
}
