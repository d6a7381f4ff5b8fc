//! Packets byte by byte, written independently of the data path that they judge: every checksum is
//! computed in full, by the plain reading of RFC 1071.

/// Bytes of the header of an untagged Ethernet frame.
pub const ETHERNET_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4_LEN: usize = 20;

/// An Ethernet frame around an IPv4 packet.
pub fn ethernet(dst: [u8; 6], src: [u8; 6], packet: &[u8]) -> Vec<u8> {
    [&dst[..], &src, &0x0800u16.to_be_bytes(), packet].concat()
}

/// An IPv4 packet with DF and without options.
pub fn ipv4(src: u32, dst: u32, ttl: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total_len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total_len.to_be_bytes());
    packet.extend([0, 0, 0x40, 0, ttl, protocol, 0, 0]);
    packet.extend(src.to_be_bytes());
    packet.extend(dst.to_be_bytes());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// GRE without options around an IPv4 packet (RFC 2784).
pub fn gre(packet: &[u8]) -> Vec<u8> {
    [&[0, 0, 0x08, 0x00], packet].concat()
}

/// A TCP segment of `len` bytes: a SYN with `mss` and the options that Linux sends, else an ACK with data.
pub fn tcp(src: u32, dst: u32, ports: (u16, u16), syn_mss: Option<u16>, len: usize) -> Vec<u8> {
    let mut segment = Vec::with_capacity(len);
    segment.extend(ports.0.to_be_bytes());
    segment.extend(ports.1.to_be_bytes());
    segment.extend([0x11; 4]);
    match syn_mss {
        Some(mss) => {
            let [high, low] = mss.to_be_bytes();
            segment.extend([0, 0, 0, 0, 10 << 4, 0x02, 0xfa, 0xf0, 0, 0, 0, 0]);
            segment.extend([2, 4, high, low, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7]);
        }
        None => segment.extend([0x22, 0x22, 0x22, 0x22, 5 << 4, 0x10, 0xfa, 0xf0, 0, 0, 0, 0]),
    }
    segment.extend((segment.len()..len).map(|i| i as u8));
    let mut covered = [&src.to_be_bytes()[..], &dst.to_be_bytes(), &[0, 6]].concat();
    covered.extend((segment.len() as u16).to_be_bytes());
    covered.extend(&segment);
    let sum = checksum(&covered);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example header of RFC 791-style tutorials, whose checksum is known.
    #[test]
    fn the_checksum_of_a_known_header() {
        let packet = ipv4(0xc0a8_0001, 0xc0a8_00c7, 64, 17, &[0; 95]);
        assert_eq!(packet[..12], [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61]);
    }
}
