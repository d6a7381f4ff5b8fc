//! IPv4 (RFC 791).
//!
//! `parse` is what every received packet passes, so it is staged: a header of 20 bytes is judged by a few
//! adds and one multiplication without a loop or a branch per word; options, and every reason to refuse, are
//! found out of line.

use super::checksum::{self, update16};
use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Don't fragment, in `flags_fragment`.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments follow, in `flags_fragment`.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Fragment offset in units of eight bytes, in `flags_fragment`.
pub const OFFSET_MASK: u16 = 0x1fff;

/// Why bytes are not an IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv4Error {
    /// Fewer bytes than the header or the total length says.
    Truncated,
    /// The version is not 4.
    Version,
    /// The header length is below 20 bytes, or the total length below the header length.
    Length,
    /// The header checksum does not match.
    Checksum,
}

/// The fixed 20 bytes; options, if any, follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Length of header and payload.
    pub total_len: U16,
    /// Identification of a fragmented datagram.
    pub id: U16,
    /// Flags (3 bits) and fragment offset (13 bits).
    pub flags_fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Source address.
    pub src: U32,
    /// Destination address.
    pub dst: U32,
}

impl Ipv4Header {
    /// Bytes of a header without options.
    pub const LEN: usize = size_of::<Self>();

    /// Checks version, header length, total length against `l3` and the header checksum.
    #[inline(always)]
    pub fn parse(l3: &[u8]) -> Result<&Self, Ipv4Error> {
        Self::parse_first(l3, l3.len())
    }

    /// As `parse`, for a packet of `packet_len` bytes whose first segment is `first`; the whole header must
    /// lie in `first`.
    #[inline(always)]
    pub fn parse_first(first: &[u8], packet_len: usize) -> Result<&Self, Ipv4Error> {
        let Ok((header, _)) = Self::ref_from_prefix(first) else { return Err(Ipv4Error::Truncated) };
        if packet_len < Self::LEN {
            return Err(Ipv4Error::Truncated);
        }
        if !header.is_plain(packet_len) {
            check_slow(first, packet_len)?;
        }
        Ok(header)
    }

    /// As `parse`, to change the header afterwards.
    #[inline(always)]
    pub fn parse_mut(l3: &mut [u8]) -> Result<&mut Self, Ipv4Error> {
        Self::parse(l3)?;
        match Self::mut_from_prefix(l3) {
            Ok((header, _)) => Ok(header),
            Err(_) => Err(Ipv4Error::Truncated),
        }
    }

    /// The first 20 bytes as they are, unchecked: for packets that were parsed before, or built here.
    #[inline(always)]
    pub fn view(l3: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(l3).ok().map(|(header, _)| header)
    }

    /// As `view`, to change the header.
    #[inline(always)]
    pub fn view_mut(l3: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(l3).ok().map(|(header, _)| header)
    }

    /// Version 4, no options, a total length that fits, and a right checksum. `packet_len` is at least 20.
    #[inline(always)]
    fn is_plain(&self, packet_len: usize) -> bool {
        // A total length below 20 wraps to something large, so one comparison judges both ends.
        let payload_len = usize::from(self.total_len.get()).wrapping_sub(Self::LEN);
        // The sum is not zero: the first byte is 0x45.
        (self.version_ihl == 0x45)
            & (payload_len <= packet_len.wrapping_sub(Self::LEN))
            & checksum::is_all_ones(self.native_sum())
    }

    /// The header's words in native order, added with end-around carry but not folded.
    #[inline(always)]
    fn native_sum(&self) -> u64 {
        let [b0, b1, b2, b3, b4]: &[[u8; 4]; 5] = zerocopy::transmute_ref!(self);
        let wide = |low: &[u8; 4], high: &[u8; 4]| {
            u64::from(u32::from_ne_bytes(*low)) | u64::from(u32::from_ne_bytes(*high)) << 32
        };
        sum_of_header(wide(b0, b1), wide(b2, b3), u32::from_ne_bytes(*b4))
    }

    /// Header length in bytes as the header claims it; at least 20 after `parse`.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl & 0x0f) * 4
    }

    /// Differentiated services codepoint.
    #[inline(always)]
    pub fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// ECN codepoint.
    #[inline(always)]
    pub fn ecn(&self) -> u8 {
        self.tos & 0b11
    }

    /// Routers must not fragment this packet.
    #[inline(always)]
    pub fn dont_fragment(&self) -> bool {
        self.flags_fragment.get() & DONT_FRAGMENT != 0
    }

    /// More fragments follow this one.
    #[inline(always)]
    pub fn more_fragments(&self) -> bool {
        self.flags_fragment.get() & MORE_FRAGMENTS != 0
    }

    /// Offset of this fragment's payload, in bytes.
    #[inline(always)]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_fragment.get() & OFFSET_MASK) * 8
    }

    /// Part of a larger datagram, first part or later.
    #[inline(always)]
    pub fn is_fragment(&self) -> bool {
        self.flags_fragment.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Not the first part of a larger datagram.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.flags_fragment.get() & OFFSET_MASK != 0
    }

    /// Lowers the TTL by one and mends the checksum. The caller has checked that it is not zero.
    #[inline(always)]
    pub fn decrement_ttl(&mut self) {
        self.ttl = self.ttl.wrapping_sub(1);
        // The word of TTL and protocol falls by 0x0100, so the checksum rises by it (RFC 1141, with the
        // end-around carry of RFC 1624).
        let sum = u32::from(self.checksum.get()) + 0x0100;
        self.checksum.set((sum + u32::from(sum >= 0xffff)) as u16);
    }

    /// Sets DSCP and ECN together and mends the checksum.
    #[inline(always)]
    pub fn set_tos(&mut self, tos: u8) {
        // The word's other byte does not change, so it may be anything on both sides.
        self.checksum.set(update16(self.checksum.get(), u16::from(self.tos), u16::from(tos)));
        self.tos = tos;
    }

    /// Sets the ECN codepoint and mends the checksum.
    #[inline(always)]
    pub fn set_ecn(&mut self, ecn: u8) {
        self.set_tos((self.tos & 0xfc) | (ecn & 0b11));
    }

    /// Sets the total length and mends the checksum.
    #[inline(always)]
    pub fn set_total_len(&mut self, total_len: u16) {
        self.checksum.set(update16(self.checksum.get(), self.total_len.get(), total_len));
        self.total_len.set(total_len);
    }

    /// Sets the identification and mends the checksum.
    #[inline(always)]
    pub fn set_id(&mut self, id: u16) {
        self.checksum.set(update16(self.checksum.get(), self.id.get(), id));
        self.id.set(id);
    }

    /// Sets flags and fragment offset and mends the checksum.
    #[inline(always)]
    pub fn set_flags_fragment(&mut self, flags_fragment: u16) {
        self.checksum.set(update16(self.checksum.get(), self.flags_fragment.get(), flags_fragment));
        self.flags_fragment.set(flags_fragment);
    }

    /// Computes the checksum of a header without options from scratch.
    #[inline]
    pub fn fill_checksum(&mut self) {
        self.checksum.set(0);
        self.checksum.set(!u16::from_be(checksum::fold(self.native_sum())));
    }
}

/// What a stage asks of a header without options that `Ipv4Header::parse` would accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainV4 {
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload.
    pub total_len: u16,
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
}

impl PlainV4 {
    /// Reads the header of a packet of `packet_len` bytes. `None` where it has options or is not sound; which of
    /// these, `Ipv4Header::parse` knows.
    #[inline(always)]
    pub fn parse(header: &[u8; Ipv4Header::LEN], packet_len: usize) -> Option<Self> {
        let [a, b, c, d, e]: &[[u8; 4]; 5] = zerocopy::transmute_ref!(header);
        // Three loads for all: what is asked is cut out of these.
        let wide = |low: &[u8; 4], high: &[u8; 4]| {
            u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << 32
        };
        let (first, second, dst) = (wide(a, b), wide(c, d), u32::from_le_bytes(*e));
        let total_len = (first >> 16) as u16;
        let total_len = total_len.swap_bytes();
        // A total length below 20 wraps to something large, so one comparison judges both ends.
        let payload_len = usize::from(total_len).wrapping_sub(Ipv4Header::LEN);
        let is_sound = packet_len >= Ipv4Header::LEN
            && first as u8 == 0x45
            && payload_len <= packet_len - Ipv4Header::LEN
            && checksum::is_all_ones(sum_of_header(first, second, dst));
        is_sound.then_some(Self {
            tos: (first >> 8) as u8,
            total_len,
            src: ((second >> 32) as u32).swap_bytes(),
            dst: dst.swap_bytes(),
        })
    }
}

/// The words of a header without options, all read in the same byte order, added with end-around carry but not folded.
#[inline(always)]
fn sum_of_header(first: u64, second: u64, third: u32) -> u64 {
    // Three adds on the carry flag.
    let (sum, carry) = first.overflowing_add(second);
    let (sum, carry) = sum.overflowing_add(u64::from(third) + u64::from(carry));
    // After a carry the sum is below 2^33, so this one cannot overflow.
    sum + u64::from(carry)
}

/// The full check: any header length, and the exact reason when something is wrong.
#[inline(never)]
fn check_slow(first: &[u8], packet_len: usize) -> Result<(), Ipv4Error> {
    let header = Ipv4Header::view(first).ok_or(Ipv4Error::Truncated)?;
    if header.version_ihl >> 4 != 4 {
        return Err(Ipv4Error::Version);
    }
    let header_len = header.header_len();
    let total_len = usize::from(header.total_len.get());
    if header_len < Ipv4Header::LEN || total_len < header_len {
        return Err(Ipv4Error::Length);
    }
    if total_len > packet_len {
        return Err(Ipv4Error::Truncated);
    }
    let with_options = first.get(..header_len).ok_or(Ipv4Error::Truncated)?;
    if checksum::sum(with_options) != 0xffff {
        return Err(Ipv4Error::Checksum);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
