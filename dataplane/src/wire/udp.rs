//! UDP (RFC 768).

use super::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The port of IKE (RFC 7296 2).
pub const IKE_PORT: u16 = 500;
/// Our port for ESP in UDP, and IKE behind the non-ESP marker (RFC 3948, RFC 7296 2.23).
pub const NAT_T_PORT: u16 = 4500;
/// In front of IKE at that port, where ESP has its SPI (RFC 3948 2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Length of header and payload.
    pub len: U16,
    /// Checksum over pseudo-header, header and payload; 0 in IPv4 means none.
    pub checksum: U16,
}

impl UdpHeader {
    /// Bytes of the header.
    pub const LEN: usize = size_of::<Self>();

    /// The header at the start of `l4`, unchecked but for the length.
    #[inline(always)]
    pub fn view(l4: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(l4).ok().map(|(header, _)| header)
    }
}
