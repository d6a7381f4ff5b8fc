//! The expanded key: AES's round keys (FIPS 197 section 5.2), and powers of GHASH's H.

use core::arch::x86_64::{
    __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_extract_epi32,
    _mm_set1_epi32,
};
use core::mem::offset_of;

use zeroize::Zeroize;

use super::ghash::multiply;
use super::vector::{BLOCK_LEN, Block, load16, store16};
use super::width::Width;

/// As many powers as the longest sum has terms: associated data, a chunk of 16 blocks, the lengths.
pub(super) const POWERS: usize = 18;
/// Bytes before the powers that nothing needs.
const GAP_LEN: usize = 42;
/// Round keys of AES-256.
const MAX_ROUND_KEYS: usize = 15;
/// Four-byte words of a block.
const WORDS: usize = BLOCK_LEN / 4;

/// AES-GCM's key, read-only once made.
#[repr(C, align(64))]
pub(super) struct GcmKey {
    round_keys: [Block; MAX_ROUND_KEYS],
    pub(super) salt: [u8; 4],
    /// 256 bits, 14 rounds; else 128 bits, 10 rounds.
    pub(super) long: bool,
    /// Whose instructions the processor has.
    pub(super) width: Width,
    gap: [u8; GAP_LEN],
    /// H to the 18th and so on down to H itself, so that a sum's factors stand in the order of its blocks; and zeros, so
    /// that four can be loaded from any power on.
    powers: [Block; POWERS + 3],
}

// The powers of a chunk begin a cache line. `VaesKey::fetch` counts on the rest: a packet of 64 bytes has seven terms.
const _: () = assert!(
    (offset_of!(GcmKey, powers) + (POWERS - 16) * BLOCK_LEN).is_multiple_of(64)
        && offset_of!(GcmKey, gap) <= 4 * 64
        && offset_of!(GcmKey, powers) + (POWERS - 7) * BLOCK_LEN >= 7 * 64
        && offset_of!(GcmKey, powers) + POWERS * BLOCK_LEN == 9 * 64
);

impl GcmKey {
    /// Expands `key` of 16 or 32 bytes.
    ///
    /// # Safety
    /// The processor has the instructions of `width`.
    #[target_feature(enable = "avx2,aes,vpclmulqdq")]
    pub(super) unsafe fn new(key: &[u8], salt: [u8; 4], width: Width) -> Self {
        let long = key.len() == 32;
        let mut this = Self {
            round_keys: [[0; BLOCK_LEN]; MAX_ROUND_KEYS],
            salt,
            long,
            width,
            gap: [0; GAP_LEN],
            powers: [[0; BLOCK_LEN]; POWERS + 3],
        };
        this.expand(key);
        this.raise();
        this
    }

    /// The key of a round.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn round(&self, round: usize) -> __m128i {
        load16(&self.round_keys[round])
    }

    /// All round keys.
    #[inline(always)]
    pub(super) fn round_keys(&self) -> *const Block {
        self.round_keys.as_ptr()
    }

    /// The powers from `highest` on down, and three zeros.
    #[inline(always)]
    pub(super) fn powers_from(&self, highest: usize) -> &[Block] {
        &self.powers[POWERS - highest..]
    }

    /// H squared, and H.
    #[inline(always)]
    pub(super) fn last_powers(&self) -> &[Block; 2] {
        // The table is longer than two: the other arm is no code.
        self.powers_from(2).first_chunk().unwrap_or(&[[0; BLOCK_LEN]; 2])
    }

    /// FIPS 197 figure 11.
    #[target_feature(enable = "avx2,aes")]
    fn expand(&mut self, key: &[u8]) {
        let key_words = key.len() / WORDS;
        let words = (key_words + 7) * WORDS;
        let mut schedule = [0; MAX_ROUND_KEYS * WORDS];
        for (word, bytes) in schedule.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut constant: u32 = 1;
        for at in key_words..words {
            let mut word = schedule[at - 1];
            if at % key_words == 0 {
                word = substituted(word).rotate_right(8) ^ constant;
                // Doubling in AES's field; its polynomial is x^8 + x^4 + x^3 + x + 1.
                constant = (constant << 1) ^ ((constant >> 7) * 0x11b);
            } else if key_words > 6 && at % key_words == WORDS {
                word = substituted(word);
            }
            schedule[at] = schedule[at - key_words] ^ word;
        }
        for (round_key, words) in self.round_keys.iter_mut().zip(schedule.as_chunks::<WORDS>().0) {
            for (bytes, word) in round_key.as_chunks_mut().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
        }
        schedule.zeroize();
    }

    /// H is the zero block encrypted (SP 800-38D section 7.1). Turned around and doubled, products of two
    /// blocks need no shift.
    #[target_feature(enable = "avx2,aes,vpclmulqdq")]
    fn raise(&mut self) {
        let rounds = if self.long { 14 } else { 10 };
        let mut h = load16(&self.round_keys[0]);
        for round_key in &self.round_keys[1..rounds] {
            h = _mm_aesenc_si128(h, load16(round_key));
        }
        let mut block = [0; BLOCK_LEN];
        store16(&mut block, _mm_aesenclast_si128(h, load16(&self.round_keys[rounds])));
        let h = u128::from_be_bytes(block);
        // x^128 + x^127 + x^126 + x^121 + 1, the mirror image of GHASH's polynomial.
        let mut doubled = ((h << 1) ^ ((h >> 127) * 0xc200_0000_0000_0000_0000_0000_0000_0001)).to_le_bytes();
        let h = load16(&doubled);
        let mut power = h;
        for place in self.powers[..POWERS].iter_mut().rev() {
            store16(place, power);
            power = multiply(power, h);
        }
        block.zeroize();
        doubled.zeroize();
    }
}

/// AES's S-box over each byte, in constant time.
#[target_feature(enable = "avx2,aes")]
fn substituted(word: u32) -> u32 {
    let assisted: __m128i = _mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word.cast_signed()));
    _mm_extract_epi32::<0>(assisted).cast_unsigned()
}
