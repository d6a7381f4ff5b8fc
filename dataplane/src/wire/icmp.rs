//! ICMP (RFC 792) and ICMPv6 (RFC 4443): the eight bytes before an error's quoted packet or an echo's data.

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// ICMPv4: echo reply.
pub const V4_ECHO_REPLY: u8 = 0;
/// ICMPv4: destination unreachable.
pub const V4_UNREACHABLE: u8 = 3;
/// ICMPv4: echo request.
pub const V4_ECHO_REQUEST: u8 = 8;
/// ICMPv4: time exceeded.
pub const V4_TIME_EXCEEDED: u8 = 11;
/// ICMPv4 code of `V4_UNREACHABLE`: fragmentation needed and DF set.
pub const V4_FRAGMENTATION_NEEDED: u8 = 4;

/// ICMPv6: destination unreachable.
pub const V6_UNREACHABLE: u8 = 1;
/// ICMPv6: packet too big.
pub const V6_PACKET_TOO_BIG: u8 = 2;
/// ICMPv6: time exceeded.
pub const V6_TIME_EXCEEDED: u8 = 3;
/// ICMPv6: echo request.
pub const V6_ECHO_REQUEST: u8 = 128;
/// ICMPv6: echo reply.
pub const V6_ECHO_REPLY: u8 = 129;
/// ICMPv6: redirect (RFC 4861).
pub const V6_REDIRECT: u8 = 137;

/// Type, code, checksum and the word whose meaning depends on the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct IcmpHeader {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum: over the message in v4, with the pseudo-header in v6.
    pub checksum: U16,
    /// Unused, the next hop's MTU, or an echo's identifier and sequence.
    pub rest: U32,
}

impl IcmpHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The header at the start of `l4`, unchecked but for the length.
    #[inline(always)]
    pub fn view(l4: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(l4).ok().map(|(header, _)| header)
    }
}

/// An ICMPv4 type that reports an error about another packet (RFC 1122 3.2.2); about such a message no error
/// may be sent. Types nobody knows count as errors: silence is the safe side.
#[inline]
pub fn v4_is_error(kind: u8) -> bool {
    // Echo, router discovery (RFC 1256), timestamp, information, address mask, extended echo (RFC 8335).
    !matches!(kind, 0 | 8 | 9 | 10 | 13..=18 | 42 | 43)
}

/// An ICMPv6 type below 128 reports an error (RFC 4443 2.1).
#[inline]
pub fn v6_is_error(kind: u8) -> bool {
    kind < 128
}
