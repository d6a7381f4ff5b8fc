//! GRE (RFC 2784) with key and sequence number (RFC 2890).
//!
//! The length follows from the C, K and S bits, in any combination. Bits 1, 4 and 5 are reserved and a packet
//! that sets one must be dropped (RFC 2784 2.2, with K and S given back by RFC 2890); bits 6 to 12 are ignored.

use super::checksum::Checksum;
use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bit 0: a checksum and a reserved word are present.
pub const CHECKSUM_PRESENT: u16 = 0x8000;
/// Bit 2: a key is present.
pub const KEY_PRESENT: u16 = 0x2000;
/// Bit 3: a sequence number is present.
pub const SEQUENCE_PRESENT: u16 = 0x1000;
/// Bits 1, 4 and 5, which must be zero.
pub const RESERVED_MUST_BE_ZERO: u16 = 0x4c00;
/// The version number, 0 for GRE.
pub const VERSION_MASK: u16 = 0x0007;
/// The longest header: base, checksum, key, sequence.
pub const MAX_LEN: usize = 16;

/// Why bytes are not a GRE header that we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GreError {
    /// Fewer bytes than the flags ask for.
    Truncated,
    /// The version is not 0 (1 is PPTP, RFC 2637).
    Version,
    /// A reserved bit that must be zero is set.
    Reserved,
}

/// The first four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct GreHeader {
    /// Flags and version.
    pub flags_version: U16,
    /// EtherType of the payload.
    pub protocol: U16,
}

impl GreHeader {
    /// Bytes of the part that is always there.
    pub const LEN: usize = size_of::<Self>();
}

/// What a GRE header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// Bytes of the whole header, 4 to 16.
    pub header_len: usize,
    /// A checksum is present; `checksum_is_valid` judges it.
    pub checksum: bool,
    /// The key, when present.
    pub key: Option<u32>,
    /// The sequence number, when present.
    pub sequence: Option<u32>,
    /// EtherType of the payload.
    pub protocol: u16,
}

impl Gre {
    /// Reads the header at the start of `bytes`.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Self, GreError> {
        let Ok((base, _)) = GreHeader::ref_from_prefix(bytes) else { return Err(GreError::Truncated) };
        let protocol = base.protocol.get();
        let flags = base.flags_version.get();
        if flags == 0 {
            let header_len = GreHeader::LEN;
            return Ok(Self { header_len, checksum: false, key: None, sequence: None, protocol });
        }
        if flags & (VERSION_MASK | RESERVED_MUST_BE_ZERO) != 0 {
            return Err(if flags & VERSION_MASK != 0 { GreError::Version } else { GreError::Reserved });
        }
        let checksum = flags & CHECKSUM_PRESENT != 0;
        let key = flags & KEY_PRESENT != 0;
        let sequence = flags & SEQUENCE_PRESENT != 0;
        let header_len = Self::len_with(checksum, key, sequence);
        // Each field is where the ones before it leave it.
        let word = |present: bool, at: usize| match bytes.get(at..).map(U32::ref_from_prefix) {
            _ if !present => Ok(None),
            Some(Ok((word, _))) => Ok(Some(word.get())),
            _ => Err(GreError::Truncated),
        };
        if bytes.len() < header_len {
            return Err(GreError::Truncated);
        }
        Ok(Self {
            header_len,
            checksum,
            key: word(key, Self::len_with(checksum, false, false))?,
            sequence: word(sequence, Self::len_with(checksum, key, false))?,
            protocol,
        })
    }

    /// Bytes of a header with these options.
    #[inline(always)]
    pub const fn len_with(checksum: bool, key: bool, sequence: bool) -> usize {
        GreHeader::LEN + 4 * (checksum as usize + key as usize + sequence as usize)
    }

    /// Writes the header to the start of `out`, with the checksum field zero, and returns its length; `None`
    /// when `out` is too short. `header_len` is not looked at: it follows from the options.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let len = Self::len_with(self.checksum, self.key.is_some(), self.sequence.is_some());
        let out = out.get_mut(..len)?;
        let mut flags = 0;
        let (base, mut rest) = GreHeader::mut_from_prefix(out).ok()?;
        if self.checksum {
            flags |= CHECKSUM_PRESENT;
            rest = put(rest, 0)?;
        }
        if let Some(key) = self.key {
            flags |= KEY_PRESENT;
            rest = put(rest, key)?;
        }
        if let Some(sequence) = self.sequence {
            flags |= SEQUENCE_PRESENT;
            put(rest, sequence)?;
        }
        *base = GreHeader { flags_version: U16::new(flags), protocol: U16::new(self.protocol) };
        Some(len)
    }
}

fn put(out: &mut [u8], word: u32) -> Option<&mut [u8]> {
    let (field, rest) = U32::mut_from_prefix(out).ok()?;
    field.set(word);
    Some(rest)
}

/// Checks the checksum over the GRE header and its payload (RFC 2784 2.3), which may lie in several segments.
/// Only for packets whose C bit is set.
#[inline]
pub fn checksum_is_valid<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> bool {
    segments_sum(segments) == 0xffff
}

/// The checksum field's value for a GRE header, whose checksum field is zero, and its payload.
#[inline]
pub fn checksum_of<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    !segments_sum(segments)
}

#[inline]
fn segments_sum<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> u16 {
    let mut sum = Checksum::new();
    for segment in segments {
        sum.add_bytes(segment);
    }
    sum.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_combination() {
        let all =
            [0xb0, 0x00, 0x86, 0xdd, 0x12, 0x34, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x01, 0x02];
        let parsed = Gre::parse(&all).expect("valid");
        let expected =
            Gre { header_len: 16, checksum: true, key: Some(7), sequence: Some(0x102), protocol: 0x86dd };
        assert_eq!(parsed, expected);
        for len in 0..all.len() {
            assert_eq!(Gre::parse(&all[..len]), Err(GreError::Truncated), "{len} bytes");
        }
        assert_eq!(Gre::parse(&[0, 0, 8, 0]).map(|gre| (gre.header_len, gre.protocol)), Ok((4, 0x0800)));
        assert_eq!(Gre::parse(&[0, 0, 8]), Err(GreError::Truncated));
        let key = Gre::parse(&[0x20, 0, 8, 0, 0xff, 0, 0, 1]).expect("valid");
        assert_eq!((key.header_len, key.key, key.sequence), (8, Some(0xff00_0001), None));
        assert_eq!(Gre::parse(&[0x20, 0, 8, 0, 0, 0, 0]), Err(GreError::Truncated));
        let sequence = Gre::parse(&[0x10, 0, 8, 0, 0, 0, 0, 9]).expect("valid");
        assert_eq!((sequence.header_len, sequence.key, sequence.sequence), (8, None, Some(9)));
    }

    #[test]
    fn judges_every_flag_bit() {
        // Bit 0 is the most significant of the word (RFC 2784 figure).
        for bit in 0..16 {
            let flags: u16 = 0x8000 >> bit;
            let mut bytes = [0; MAX_LEN];
            bytes[..2].copy_from_slice(&flags.to_be_bytes());
            let parsed = Gre::parse(&bytes).map(|gre| gre.header_len);
            let expected = match bit {
                0 | 2 | 3 => Ok(8),
                1 | 4 | 5 => Err(GreError::Reserved),
                6..=12 => Ok(4),
                _ => Err(GreError::Version),
            };
            assert_eq!(parsed, expected, "bit {bit}");
        }
    }

    #[test]
    fn checks_the_checksum_over_segments() {
        let mut packet = [0x80, 0, 8, 0, 0, 0, 0, 0, 0x45, 0x01, 0x02, 0x03, 0x99];
        let sum = checksum_of([&packet[..]]);
        // 8000 + 0800 + 4501 + 0203 + 9900 = 16804, folded 6805, complemented 97fa.
        assert_eq!(sum, 0x97fa);
        packet[4..6].copy_from_slice(&sum.to_be_bytes());
        for cut in 0..packet.len() {
            let (first, rest) = packet.split_at(cut);
            assert!(checksum_is_valid([first, rest]), "cut at {cut}");
        }
        for bit in 0..packet.len() * 8 {
            let mut wrong = packet;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert!(!checksum_is_valid([&wrong[..]]), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn write_then_parse(checksum: bool, key: Option<u32>, sequence: Option<u32>, protocol: u16) {
            let header_len = Gre::len_with(checksum, key.is_some(), sequence.is_some());
            let gre = Gre { header_len, checksum, key, sequence, protocol };
            let mut out = [0xff; MAX_LEN];
            prop_assert_eq!(gre.write(&mut out), Some(header_len));
            prop_assert_eq!(Gre::parse(&out), Ok(gre));
            prop_assert_eq!(gre.write(&mut out[..header_len - 1]), None);
        }

        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(gre) = Gre::parse(&bytes) {
                prop_assert!(gre.header_len <= bytes.len());
            }
        }
    }
}
