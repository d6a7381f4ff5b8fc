//! IPv6 (RFC 8200): the fixed header, and a bounded walk to what lies behind the extension headers.

use super::protocol;
use super::{U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The largest number of extension headers that `transport` walks. RFC 8200 4.1 recommends an order with
/// seven; a longer chain is somebody's attempt to burn our time.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Why bytes are not an IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Error {
    /// Fewer bytes than the header or the payload length says.
    Truncated,
    /// The version is not 6.
    Version,
}

/// The fixed 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub vtc_flow: U32,
    /// Bytes after this header.
    pub payload_len: U16,
    /// Protocol of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: U128,
    /// Destination address.
    pub dst: U128,
}

impl Ipv6Header {
    /// Bytes of the fixed header.
    pub const LEN: usize = size_of::<Self>();

    /// Checks the version, and the payload length against `l3`.
    #[inline(always)]
    pub fn parse(l3: &[u8]) -> Result<&Self, Ipv6Error> {
        Self::parse_first(l3, l3.len())
    }

    /// As `parse`, for a packet of `packet_len` bytes whose first segment is `first`; the fixed header must
    /// lie in `first`.
    #[inline(always)]
    pub fn parse_first(first: &[u8], packet_len: usize) -> Result<&Self, Ipv6Error> {
        let Ok((header, _)) = Self::ref_from_prefix(first) else { return Err(Ipv6Error::Truncated) };
        if header.vtc_flow.get() >> 28 != 6 {
            return Err(Ipv6Error::Version);
        }
        if header.packet_len() > packet_len {
            return Err(Ipv6Error::Truncated);
        }
        Ok(header)
    }

    /// As `parse`, to change the header afterwards.
    #[inline(always)]
    pub fn parse_mut(l3: &mut [u8]) -> Result<&mut Self, Ipv6Error> {
        Self::parse(l3)?;
        match Self::mut_from_prefix(l3) {
            Ok((header, _)) => Ok(header),
            Err(_) => Err(Ipv6Error::Truncated),
        }
    }

    /// The first 40 bytes as they are, unchecked: for packets that were parsed before, or built here.
    #[inline(always)]
    pub fn view(l3: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(l3).ok().map(|(header, _)| header)
    }

    /// As `view`, to change the header.
    #[inline(always)]
    pub fn view_mut(l3: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(l3).ok().map(|(header, _)| header)
    }

    /// Bytes of header and payload.
    #[inline(always)]
    pub fn packet_len(&self) -> usize {
        Self::LEN + usize::from(self.payload_len.get())
    }

    /// Traffic class: DSCP (6 bits) and ECN (2 bits).
    #[inline(always)]
    pub fn traffic_class(&self) -> u8 {
        (self.vtc_flow.get() >> 20) as u8
    }

    /// Differentiated services codepoint.
    #[inline(always)]
    pub fn dscp(&self) -> u8 {
        self.traffic_class() >> 2
    }

    /// ECN codepoint.
    #[inline(always)]
    pub fn ecn(&self) -> u8 {
        self.traffic_class() & 0b11
    }

    /// Flow label (RFC 6437).
    #[inline(always)]
    pub fn flow_label(&self) -> u32 {
        self.vtc_flow.get() & 0x000f_ffff
    }

    /// Sets DSCP and ECN together.
    #[inline(always)]
    pub fn set_traffic_class(&mut self, class: u8) {
        self.vtc_flow.set((self.vtc_flow.get() & 0xf00f_ffff) | (u32::from(class) << 20));
    }

    /// Sets the ECN codepoint.
    #[inline(always)]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.vtc_flow.set((self.vtc_flow.get() & 0xffcf_ffff) | (u32::from(ecn & 0b11) << 20));
    }

    /// Sets the flow label to the low 20 bits of `label`.
    #[inline(always)]
    pub fn set_flow_label(&mut self, label: u32) {
        self.vtc_flow.set((self.vtc_flow.get() & 0xfff0_0000) | (label & 0x000f_ffff));
    }

    /// Lowers the hop limit by one. The caller has checked that it is not zero.
    #[inline(always)]
    pub fn decrement_hop_limit(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }
}

/// A fragment header's content (RFC 8200 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the fragment header itself starts in the packet.
    pub header_offset: usize,
    /// Offset of this fragment's part, in bytes.
    pub offset: usize,
    /// More fragments follow.
    pub more: bool,
    /// Identification of the datagram.
    pub id: u32,
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The first protocol that is no extension header (or, in a later fragment, the one that the fragment
    /// header names).
    pub protocol: u8,
    /// Where it starts in the packet.
    pub offset: usize,
    /// Set when there was a fragment header. In a later fragment no transport header is at `offset`.
    pub fragment: Option<Fragment>,
}

impl Transport {
    /// The bytes at `offset` are from the middle of a datagram.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|fragment| fragment.offset != 0)
    }
}

/// Walks the extension headers of the IPv6 packet `l3`. `None` when they do not fit in `l3` or are more than
/// `MAX_EXTENSION_HEADERS`.
#[inline(always)]
pub fn transport(l3: &[u8]) -> Option<Transport> {
    let header = Ipv6Header::view(l3)?;
    match header.next_header {
        protocol @ (protocol::TCP | protocol::UDP | protocol::GRE | protocol::ESP | protocol::ICMPV6) => {
            Some(Transport { protocol, offset: Ipv6Header::LEN, fragment: None })
        }
        first => walk(l3, first),
    }
}

#[inline(never)]
fn walk(l3: &[u8], first: u8) -> Option<Transport> {
    let mut next = first;
    let mut offset = Ipv6Header::LEN;
    let mut fragment = None;
    for _ in 0..=MAX_EXTENSION_HEADERS {
        let rest = l3.get(offset..)?;
        let len = match next {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => (usize::from(*rest.get(1)?) + 1) * 8,
            // RFC 4302 2.2: in 32-bit words, minus two.
            protocol::AH => (usize::from(*rest.get(1)?) + 2) * 4,
            protocol::FRAGMENT => {
                let (_, field) = rest.first_chunk::<8>()?.split_at(2);
                let [high, low, i0, i1, i2, i3] = *field.first_chunk::<6>()?;
                let offset_flags = u16::from_be_bytes([high, low]);
                let part = Fragment {
                    header_offset: offset,
                    offset: usize::from(offset_flags & 0xfff8),
                    more: offset_flags & 1 != 0,
                    id: u32::from_be_bytes([i0, i1, i2, i3]),
                };
                fragment = Some(part);
                if part.offset != 0 {
                    return Some(Transport { protocol: *rest.first()?, offset: offset + 8, fragment });
                }
                8
            }
            protocol => return Some(Transport { protocol, offset, fragment }),
        };
        next = *rest.first()?;
        offset += len;
    }
    None
}

#[cfg(test)]
mod tests;
