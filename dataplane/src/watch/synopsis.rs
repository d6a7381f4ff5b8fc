//! What is read of a packet beside the way it takes: the segment size of a SYN.

use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6;
use crate::wire::protocol;
use crate::wire::tcp::{OPTION_END, OPTION_MSS, OPTION_NOP, SYN};

/// The MSS option of a TCP SYN (RFC 9293 3.2); `None` for anything else.
pub(super) fn syn_mss(l3: &[u8], v6: bool) -> Option<u16> {
    let tcp_at = if v6 {
        let transport = ipv6::transport(l3)?;
        (transport.protocol == protocol::TCP && transport.fragment.is_none()).then_some(transport.offset)?
    } else {
        let header = Ipv4Header::view(l3)?;
        (header.protocol == protocol::TCP && !header.is_fragment()).then_some(header.header_len())?
    };
    let tcp = l3.get(tcp_at..)?;
    if tcp.get(13)? & SYN == 0 {
        return None;
    }
    let header_len = usize::from(tcp.get(12)? >> 4) * 4;
    let mut options = tcp.get(20..header_len)?;
    while let [kind, rest @ ..] = options {
        match (*kind, rest) {
            (OPTION_END, _) => return None,
            (OPTION_NOP, _) => options = rest,
            (OPTION_MSS, [4, high, low, ..]) => return Some(u16::from_be_bytes([*high, *low])),
            (_, [len, ..]) if *len >= 2 => options = options.get(usize::from(*len)..)?,
            _ => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(&[0, 1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(&[((20 + options.len()) as u8 / 4) << 4, SYN, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn the_segment_size_is_found_behind_other_options() {
        assert_eq!(syn_mss(&syn(&[2, 4, 0x05, 0xb4]), false), Some(1460));
        assert_eq!(syn_mss(&syn(&[1, 1, 4, 2, 2, 4, 0x05, 0x96]), false), Some(1430));
        assert_eq!(syn_mss(&syn(&[1, 1, 1, 0]), false), None);
        let mut data = syn(&[2, 4, 0x05, 0xb4]);
        data[33] = 0x10;
        assert_eq!(syn_mss(&data, false), None, "not a SYN");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(0u8.., 0..120), v6: bool) {
            let _ = syn_mss(&bytes, v6);
        }

        #[test]
        fn no_options_are_too_strange(options in proptest::collection::vec(0u8.., 0..10)) {
            let options: Vec<u8> = options.iter().flat_map(|b| [*b, 1, 2, 0]).collect();
            let _ = syn_mss(&syn(&options), false);
        }
    }
}
