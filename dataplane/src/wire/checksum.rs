//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A ones-complement sum does not care in which byte order the words were added, as long as the result is
//! swapped once at the end. So memory is read in native order and wide words, and only the folded result is
//! brought into host order.

/// Folds a wide sum to 16 bits with end-around carry.
#[inline(always)]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// Folds a sum of at most 65 536 words to 16 bits with end-around carry.
#[inline(always)]
pub const fn fold_u32(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    (sum + (sum >> 16)) as u16
}

/// `fold(sum) == 0xffff` for a sum that is not zero: the sum over bytes that hold their own right checksum.
///
/// Such a sum is a multiple of 0xffff, and n is a multiple of an odd d exactly when n times the inverse of d
/// modulo 2^64 is at most 2^64 / d: one multiplication in place of three folds.
#[inline(always)]
pub const fn is_all_ones(sum: u64) -> bool {
    const MOST: u64 = u64::MAX / 0xffff;
    // 0xffff * -0x0001_0001_0001_0001 is 1 modulo 2^64.
    sum.wrapping_mul(MOST.wrapping_neg()) <= MOST
}

/// The ones-complement sum of `bytes` as big-endian words; an odd last byte counts as if a zero followed.
#[inline]
pub fn sum(bytes: &[u8]) -> u16 {
    // 32-bit words into a 64-bit sum: no carry can be lost below 2^32 words, and the loop vectorises.
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum = 0u64;
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let last = match *rest {
        [a] => [a, 0, 0, 0],
        [a, b] => [a, b, 0, 0],
        [a, b, c] => [a, b, c, 0],
        _ => [0; 4],
    };
    sum += u64::from(u32::from_ne_bytes(last));
    u16::from_be(fold(sum))
}

/// The checksum field's value over `bytes`: the complement of their sum.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    !sum(bytes)
}

/// A sum that grows: over pseudo-headers, and over packets that lie in several segments of any length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    sum: u64,
    odd: bool,
}

impl Checksum {
    /// An empty sum.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { sum: 0, odd: false }
    }

    /// Starts with the IPv4 pseudo-header (RFC 9293 3.1, RFC 768).
    #[inline]
    pub const fn pseudo_v4(src: u32, dst: u32, protocol: u8, transport_len: u16) -> Self {
        let mut sum = Self::new();
        sum.add_u32(src);
        sum.add_u32(dst);
        sum.add_u16(protocol as u16);
        sum.add_u16(transport_len);
        sum
    }

    /// Starts with the IPv6 pseudo-header (RFC 8200 8.1).
    #[inline]
    pub const fn pseudo_v6(src: u128, dst: u128, protocol: u8, transport_len: u32) -> Self {
        let mut sum = Self::new();
        sum.add_u128(src);
        sum.add_u128(dst);
        sum.add_u32(transport_len);
        sum.add_u16(protocol as u16);
        sum
    }

    /// Adds the next bytes, which go on where the last ones ended, even in the middle of a word.
    #[inline]
    pub fn add_bytes(&mut self, bytes: &[u8]) {
        let part = sum(bytes);
        // A segment that starts at an odd offset has its bytes in the other half of each word.
        let part = if self.odd { part.swap_bytes() } else { part };
        self.sum += u64::from(part);
        self.odd ^= !bytes.len().is_multiple_of(2);
    }

    /// Adds one word (host order) at an even offset.
    #[inline(always)]
    pub const fn add_u16(&mut self, word: u16) {
        self.sum += word as u64;
    }

    /// Adds two words (host order) at an even offset.
    #[inline(always)]
    pub const fn add_u32(&mut self, words: u32) {
        self.sum += (words >> 16) as u64 + (words & 0xffff) as u64;
    }

    /// Adds eight words (host order) at an even offset.
    #[inline(always)]
    pub const fn add_u128(&mut self, words: u128) {
        let high = (words >> 64) as u64;
        let low = words as u64;
        self.sum += (high >> 32) + (high & 0xffff_ffff) + (low >> 32) + (low & 0xffff_ffff);
    }

    /// The folded sum; 0xffff over bytes that hold their own correct checksum.
    #[inline(always)]
    pub const fn sum(self) -> u16 {
        fold(self.sum)
    }

    /// The value for the checksum field.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        !fold(self.sum)
    }
}

/// The checksum after one word under it changed from `old` to `new` (RFC 1624, equation 3).
#[inline(always)]
pub const fn update16(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let sum = (sum >> 16) + (sum & 0xffff);
    !(((sum >> 16) + sum) as u16)
}

/// The checksum after two words at an even offset changed.
#[inline(always)]
pub const fn update32(checksum: u16, old: u32, new: u32) -> u16 {
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// The checksum after the bytes `old`, which began at an even offset, were replaced by `new`.
///
/// The two may differ in length when the covered range grows or shrinks by whole words.
#[inline]
pub fn update_bytes(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    !fold(u64::from(!checksum) + u64::from(!sum(old)) + u64::from(sum(new)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071 4.1, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(sum(&bytes), 0xddf2);
        assert_eq!(checksum(&bytes), 0x220d);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: the case that RFC 1141's equation gets wrong.
        assert_eq!(update16(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn every_carry_of_a_fold_counts() {
        // The carry of the last step appears in few sums: 0001 + 0000 + ffff + ffff is one.
        assert_eq!(fold(0x0001_0000_ffff_ffff), 1);
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0), 0);
        for shift in 0..64 {
            let sum = (u64::MAX >> shift) - 1;
            assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff, "{sum:#x}");
        }
    }

    #[test]
    fn all_ones_at_the_edges() {
        let edges = [0xfffe, 0xffff, 0x1_0000, 0x1_fffe, 0xffff_ffff, 0x1_0000_0000, 5 * 0xffff_ffff];
        for sum in edges.into_iter().chain([u64::MAX - 1, u64::MAX]) {
            assert_eq!(is_all_ones(sum), fold(sum) == 0xffff, "{sum:#x}");
        }
    }

    #[test]
    fn empty_and_odd() {
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0x12]), 0x1200);
        assert_eq!(sum(&[0xff; 65_535]), naive(&[0xff; 65_535]));
    }

    proptest! {
        #[test]
        fn all_ones_is_what_folding_says(sum in 1..u64::MAX, factor in 1..=u64::MAX / 0xffff) {
            prop_assert_eq!(is_all_ones(sum), fold(sum) == 0xffff);
            prop_assert!(is_all_ones(factor * 0xffff));
            prop_assert_eq!(fold(factor * 0xffff), 0xffff);
        }

        #[test]
        fn wide_sum_is_the_naive_sum(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(sum(&bytes), naive(&bytes));
        }

        #[test]
        fn segments_of_any_length_are_one_slice(
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8)
        ) {
            let mut growing = Checksum::new();
            for segment in &segments {
                growing.add_bytes(segment);
            }
            prop_assert_eq!(growing.sum(), naive(&segments.concat()));
        }

        #[test]
        fn pseudo_headers_are_their_bytes(v4: (u32, u32, u8, u16), v6: (u128, u128, u8, u32)) {
            let bytes = [
                &v4.0.to_be_bytes()[..], &v4.1.to_be_bytes(), &[0, v4.2], &v4.3.to_be_bytes(),
            ].concat();
            prop_assert_eq!(Checksum::pseudo_v4(v4.0, v4.1, v4.2, v4.3).sum(), naive(&bytes));
            let bytes = [
                &v6.0.to_be_bytes()[..], &v6.1.to_be_bytes(), &v6.3.to_be_bytes(), &[0, 0, 0, v6.2],
            ].concat();
            prop_assert_eq!(Checksum::pseudo_v6(v6.0, v6.1, v6.2, v6.3).sum(), naive(&bytes));
        }

        #[test]
        fn incremental_is_full(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..200),
            at in 0usize..8, word: u16, words: u32, many: [u8; 16],
        ) {
            // A covered range is never all zero: there is always a version or a port in it.
            bytes[39] = 1;
            let at = at * 2;
            let full = checksum(&bytes);

            let mut changed = bytes.clone();
            changed[at..at + 2].copy_from_slice(&word.to_be_bytes());
            let old = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
            prop_assert_eq!(update16(full, old, word), checksum(&changed));

            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&words.to_be_bytes());
            let old = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            prop_assert_eq!(update32(full, old, words), checksum(&changed));

            let mut changed = bytes.clone();
            changed[at..at + 16].copy_from_slice(&many);
            prop_assert_eq!(update_bytes(full, &bytes[at..at + 16], &many), checksum(&changed));
        }
    }
}
