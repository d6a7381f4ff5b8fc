//! IP fragments, both ways, by DPDK's ip_frag library.
//!
//! Packets begin at their L3 header here. What the library leaves to its user is done: lengths are checked
//! before it sees a packet, header checksums are right after it, fragments come out in one buffer each.

mod fragment;
mod reassemble;

pub use fragment::{FragmentError, fragment_v4, fragment_v6};
pub use reassemble::{Limits, Reassembled, Reassembler, TableError};

/// Most fragments of one datagram that can be reassembled; fixed when DPDK was built.
pub const MAX_FRAGMENTS: usize = dpdk_sys::PENSTOCK_MAX_FRAGMENTS as usize;

const IPV6_HEADER: usize = 40;
const IPV6_FRAGMENT_HEADER: usize = 8;

/// A big-endian number in a header; 0 beyond the end.
fn be16(bytes: &[u8], at: usize) -> u16 {
    match bytes.get(at..at + 2) {
        Some([high, low]) => u16::from_be_bytes([*high, *low]),
        _ => 0,
    }
}

/// The parts of an IPv4 header that fragments turn on.
#[derive(Clone, Copy, Debug)]
struct Ipv4 {
    header_len: usize,
    total_len: usize,
    /// Bytes before this fragment's in the datagram.
    offset: usize,
    more: bool,
    dont_fragment: bool,
}

impl Ipv4 {
    /// Reads the header; none if it is not one, or the packet is shorter than it says.
    fn parse(data: &[u8], packet_len: usize) -> Option<Self> {
        let first = *data.first()?;
        let header_len = usize::from(first & 0xf) * 4;
        let total_len = usize::from(be16(data, 2));
        let valid = first >> 4 == 4 && header_len >= 20 && header_len <= data.len();
        if !valid || total_len < header_len || total_len > packet_len {
            return None;
        }
        let flags = be16(data, 6);
        Some(Self {
            header_len,
            total_len,
            offset: usize::from(flags & 0x1fff) * 8,
            more: flags & 0x2000 != 0,
            dont_fragment: flags & 0x4000 != 0,
        })
    }
}

/// Writes the checksum of the IPv4 header at the front of `data` (RFC 1071).
fn write_ipv4_checksum(data: &mut [u8]) {
    let header_len = usize::from(data.first().map_or(0, |first| first & 0xf)) * 4;
    let Some(header) = data.get_mut(..header_len).filter(|header| header.len() >= 20) else { return };
    header[10..12].fill(0);
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(be16(pair, 0))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    // At most 30 words: two folds leave 16 bits.
    let folded = ((folded & 0xffff) + (folded >> 16)) as u16;
    header[10..12].copy_from_slice(&(!folded).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_checksum_of_a_published_header() {
        // The example of RFC 1071's successors everywhere: checksum b861.
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xff, 0xff, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        write_ipv4_checksum(&mut header);
        assert_eq!(header[10..12], [0xb8, 0x61]);
    }

    #[test]
    fn a_header_longer_than_the_packet_is_none() {
        let mut header = [0u8; 20];
        header[0] = 0x46;
        header[3] = 20;
        assert!(Ipv4::parse(&header, 20).is_none());
        header[0] = 0x45;
        assert!(Ipv4::parse(&header, 20).is_some());
        assert!(Ipv4::parse(&header, 19).is_none());
        assert!(Ipv4::parse(&[], 0).is_none());
    }
}
