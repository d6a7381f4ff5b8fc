//! Ethernet II and 802.1Q.

use super::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of a customer VLAN tag (802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a service VLAN tag (802.1ad).
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// The 14 bytes before a payload, or before the first tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct EthernetHeader {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// What follows.
    pub ethertype: U16,
}

impl EthernetHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The header at the start of `frame`; `None` when it is too short.
    #[inline(always)]
    pub fn parse(frame: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(frame).ok().map(|(header, _)| header)
    }

    /// Sent to a group (multicast or broadcast): the lowest bit of the first byte.
    #[inline(always)]
    pub fn to_group(&self) -> bool {
        self.dst[0] & 1 != 0
    }
}

/// The four bytes after the addresses of a tagged frame's EtherType: tag control, then the next EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub tci: U16,
    /// What follows the tag.
    pub ethertype: U16,
}

impl VlanTag {
    /// Bytes of a tag.
    pub const LEN: usize = size_of::<Self>();

    /// The tag at the start of `bytes`; `None` when it is too short.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(tag, _)| tag)
    }

    /// VLAN id, 0 to 4095; 0 is a priority tag that names no VLAN.
    #[inline(always)]
    pub fn vid(&self) -> u16 {
        self.tci.get() & 0x0fff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_tagged_frame() {
        let frame = [0x01, 0x00, 0x5e, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x81, 0x00, 0x60, 0x64, 0x86, 0xdd];
        let ethernet = EthernetHeader::parse(&frame).expect("long enough");
        assert_eq!(ethernet.ethertype.get(), ETHERTYPE_VLAN);
        assert!(ethernet.to_group());
        let unicast = EthernetHeader { dst: [0x02, 0xff, 0xff, 0xff, 0xff, 0xff], ..*ethernet };
        assert!(!unicast.to_group());
        let tag = VlanTag::parse(&frame[EthernetHeader::LEN..]).expect("long enough");
        assert_eq!(tag.vid(), 100);
        assert_eq!(tag.ethertype.get(), ETHERTYPE_IPV6);
        assert!(EthernetHeader::parse(&frame[..13]).is_none());
        assert!(VlanTag::parse(&frame[15..]).is_none());
    }
}
