//! TCP's fixed header (RFC 9293 3.1).

use super::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// FIN, in `flags`.
pub const FIN: u8 = 0x01;
/// SYN, in `flags`.
pub const SYN: u8 = 0x02;
/// RST, in `flags`.
pub const RST: u8 = 0x04;
/// ACK, in `flags`.
pub const ACK: u8 = 0x10;

/// Option kind: end of the list.
pub const OPTION_END: u8 = 0;
/// Option kind: one byte of padding.
pub const OPTION_NOP: u8 = 1;
/// Option kind: maximum segment size, length 4 (RFC 9293 3.7.1).
pub const OPTION_MSS: u8 = 2;

/// The fixed 20 bytes; options follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Unaligned, KnownLayout, Immutable)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number.
    pub sequence: U32,
    /// Acknowledgment number.
    pub acknowledgment: U32,
    /// Header length in 32-bit words (4 bits), reserved (4 bits).
    pub data_offset: u8,
    /// CWR, ECE, URG, ACK, PSH, RST, SYN, FIN.
    pub flags: u8,
    /// Receive window.
    pub window: U16,
    /// Checksum over pseudo-header, header and payload.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl TcpHeader {
    /// Bytes of a header without options.
    pub const LEN: usize = size_of::<Self>();

    /// The header at the start of `l4`, unchecked but for the length.
    #[inline(always)]
    pub fn view(l4: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(l4).ok().map(|(header, _)| header)
    }

    /// Header length in bytes as the header claims it; may be below 20 or beyond the packet.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        usize::from(self.data_offset >> 4) * 4
    }

    /// SYN or SYN-ACK.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        self.flags & SYN != 0
    }
}
