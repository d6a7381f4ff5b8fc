//! One packet of a batch: where ESP (RFC 4303) has its parts.

use super::keys::{CbcKey, ChaChaKey, HmacKey};

/// Bytes of the ESP header: SPI and sequence number.
pub(super) const HEADER_LEN: usize = 8;

/// Longest packet: the library counts in 16 bits.
const PACKET_MAX: usize = 65_500;

/// The keys of a packet, which also name its suite.
#[derive(Clone, Copy)]
pub enum Keys<'a> {
    /// AES-CBC, then HMAC.
    Cbc(&'a CbcKey, &'a HmacKey),
    /// No encryption (RFC 2410), HMAC only.
    Null(&'a HmacKey),
    /// ChaCha20-Poly1305.
    ChaCha(&'a ChaChaKey),
}

impl Keys<'_> {
    /// Bytes of the IV in front of the ciphertext.
    const fn iv_len(self) -> usize {
        match self {
            Self::Cbc(..) => 16,
            Self::Null(_) => 0,
            Self::ChaCha(_) => 8,
        }
    }

    fn icv_len(self) -> usize {
        match self {
            Self::Cbc(_, hmac) | Self::Null(hmac) => hmac.hash().icv_len(),
            Self::ChaCha(_) => 16,
        }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// One packet to seal or to open in place: ESP header, IV, ciphertext, integrity check value.
pub struct Job<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) esp: &'a mut [u8],
    pub(super) sequence_high: Option<u32>,
    pub(super) direction: Direction,
    pub(super) done: bool,
}

/// Where the parts of one packet are, checked against its length.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Start of the ciphertext.
    pub(super) text: usize,
    /// Its length: not 0, and whole blocks in AES-CBC.
    pub(super) text_len: usize,
    /// Start of the integrity check value, which ends the packet.
    pub(super) icv: usize,
    /// Its length, 12 at least.
    pub(super) icv_len: usize,
}

impl<'a> Job<'a> {
    /// A packet to seal. Header, IV and plaintext with its padding and trailer are in place; the integrity
    /// check value is written. `sequence_high` is the upper half of an extended sequence number.
    ///
    /// The caller answers for the IV: new under ChaCha20-Poly1305, unpredictable in AES-CBC.
    #[must_use]
    pub fn seal(keys: Keys<'a>, esp: &'a mut [u8], sequence_high: Option<u32>) -> Self {
        Self { keys, esp, sequence_high, direction: Direction::Seal, done: false }
    }

    /// A packet to open, as it was received.
    #[must_use]
    pub fn open(keys: Keys<'a>, esp: &'a mut [u8], sequence_high: Option<u32>) -> Self {
        Self { keys, esp, sequence_high, direction: Direction::Open, done: false }
    }

    /// After the batch: whether the packet was sealed, or opened and found authentic.
    ///
    /// Never when its length does not fit the suite: then it is left as it was. An opened packet that is not
    /// authentic is left as it was under an HMAC, and under ChaCha20-Poly1305 holds what nobody sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// The packet's parts, or `None` where its length does not fit the suite.
    pub(super) fn layout(&self) -> Option<Layout> {
        let text = HEADER_LEN + self.keys.iv_len();
        let icv_len = self.keys.icv_len();
        let icv = self.esp.len().checked_sub(icv_len)?;
        let text_len = icv.checked_sub(text)?;
        let whole = match self.keys {
            Keys::Cbc(..) => text_len.is_multiple_of(16),
            Keys::Null(_) | Keys::ChaCha(_) => true,
        };
        let fits = text_len > 0 && whole && self.esp.len() <= PACKET_MAX;
        fits.then_some(Layout { text, text_len, icv, icv_len })
    }
}
