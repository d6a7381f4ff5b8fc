//! What is between UDP and a packet that one node of a fleet hands to another: 24 bytes, then the packet from its IP
//! header on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const MAGIC: [u8; 4] = *b"PSTK";
const VERSION: u8 = 1;
/// An outer packet that belongs to the receiver.
const OUTER_PACKET: u8 = 1;

/// Bytes of a fleet's token.
pub const TOKEN_LEN: usize = 16;

/// The 24 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct RescueHeader {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    /// None is defined: a packet with one says something that this version does not understand.
    flags: u8,
    /// Sent as zero, not looked at.
    reserved: u8,
    /// What only nodes of the fleet know.
    pub token: [u8; TOKEN_LEN],
}

impl RescueHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// In front of an outer packet.
    pub const fn new(token: [u8; TOKEN_LEN]) -> Self {
        Self { magic: MAGIC, version: VERSION, kind: OUTER_PACKET, flags: 0, reserved: 0, token }
    }

    /// The header at the start of a datagram's payload; `None` when there is none, or one of another version or kind.
    /// The token is not looked at.
    pub fn parse(payload: &[u8]) -> Option<&Self> {
        let (header, _) = Self::ref_from_prefix(payload).ok()?;
        let is_ours = header.magic == MAGIC
            && header.version == VERSION
            && header.kind == OUTER_PACKET
            && header.flags == 0;
        is_ours.then_some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lies_on_the_wire_as_agreed() {
        let header = RescueHeader::new(*b"0123456789abcdef");
        assert_eq!(header.as_bytes(), b"PSTK\x01\x01\0\x000123456789abcdef");
        let bytes = [header.as_bytes(), b"E"].concat();
        assert_eq!(RescueHeader::parse(&bytes).map(|header| header.token), Some(header.token));
    }

    #[test]
    fn only_this_version_and_kind_and_whole() {
        let bytes = RescueHeader::new([7; TOKEN_LEN]).as_bytes().to_vec();
        for len in 0..bytes.len() {
            assert!(RescueHeader::parse(&bytes[..len]).is_none());
        }
        for at in 0..7 {
            let mut other = bytes.clone();
            other[at] ^= 2;
            assert!(RescueHeader::parse(&other).is_none(), "byte {at}");
        }
        let mut other = bytes.clone();
        other[7] = 9;
        assert!(RescueHeader::parse(&other).is_some(), "reserved");
    }
}
