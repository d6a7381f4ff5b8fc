//! A packet in one line.

use std::net::{Ipv4Addr, Ipv6Addr};

use penstock_dataplane::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::{self, Ipv6Header};
use penstock_dataplane::wire::protocol;

/// Addresses, protocol and ports of a frame or, if it has no Ethernet header, of an IP packet of which these bytes are
/// known.
pub fn summary(bytes: &[u8], is_frame: bool, len: usize) -> String {
    let l3 = if is_frame { behind_ethernet(bytes) } else { Ok(bytes) };
    match l3 {
        Ok(l3) => format!("{}, {len} bytes", packet(l3).unwrap_or_else(|| "not an IP packet".to_owned())),
        Err(ethertype) => format!("ethertype {ethertype:#06x}, {len} bytes"),
    }
}

fn behind_ethernet(frame: &[u8]) -> Result<&[u8], u16> {
    let word =
        |at: usize| frame.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u16::from_be_bytes(*b));
    let (ethertype, at) = match word(12) {
        Some(ETHERTYPE_VLAN) => (word(16).unwrap_or_default(), 18),
        other => (other.unwrap_or_default(), 14),
    };
    match ethertype {
        ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => Ok(frame.get(at..).unwrap_or_default()),
        other => Err(other),
    }
}

fn packet(l3: &[u8]) -> Option<String> {
    match l3.first()? >> 4 {
        4 => {
            let header = Ipv4Header::view(l3)?;
            let (src, dst) = (Ipv4Addr::from_bits(header.src.get()), Ipv4Addr::from_bits(header.dst.get()));
            let l4 = l3.get(header.header_len()..).unwrap_or_default();
            let text = transport(header.protocol, l4, header.is_fragment());
            Some(format!("{src} > {dst} {text}"))
        }
        6 => {
            let header = Ipv6Header::view(l3)?;
            let (src, dst) = (Ipv6Addr::from_bits(header.src.get()), Ipv6Addr::from_bits(header.dst.get()));
            let text = match ipv6::transport(l3) {
                Some(found) => {
                    let l4 = l3.get(found.offset..).unwrap_or_default();
                    transport(found.protocol, l4, found.fragment.is_some())
                }
                None => "with headers that cannot be followed".to_owned(),
            };
            Some(format!("{src} > {dst} {text}"))
        }
        _ => None,
    }
}

fn transport(number: u8, l4: &[u8], is_fragment: bool) -> String {
    let name = match number {
        protocol::ICMP => "ICMP",
        protocol::ICMPV6 => "ICMPv6",
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::GRE => "GRE",
        protocol::ESP => "ESP",
        _ => "",
    };
    let name = if name.is_empty() { format!("protocol {number}") } else { name.to_owned() };
    if is_fragment {
        return format!("{name} fragment");
    }
    match (number, l4) {
        (protocol::TCP | protocol::UDP, [s0, s1, d0, d1, ..]) => {
            let (src, dst) = (u16::from_be_bytes([*s0, *s1]), u16::from_be_bytes([*d0, *d1]));
            format!("{name} {src} > {dst}")
        }
        (protocol::ESP, [a, b, c, d, ..]) => {
            format!("{name} SPI {:#010x}", u32::from_be_bytes([*a, *b, *c, *d]))
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_who_talks_to_whom() {
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend_from_slice(&[0, 7, 0, 53, 0, 8, 0, 0]);
        assert_eq!(summary(&packet, false, 28), "10.0.0.1 > 10.0.0.2 UDP 7 > 53, 28 bytes");
        let tagged = [&[2; 12][..], &[0x81, 0, 0, 5, 8, 0], &packet].concat();
        assert_eq!(summary(&tagged, true, 46), "10.0.0.1 > 10.0.0.2 UDP 7 > 53, 46 bytes");
        assert_eq!(summary(&[&[2; 12][..], &[8, 6]].concat(), true, 60), "ethertype 0x0806, 60 bytes");
        packet[6] = 0x20;
        assert_eq!(summary(&packet, false, 28), "10.0.0.1 > 10.0.0.2 UDP fragment, 28 bytes");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(0u8.., 0..100), is_frame: bool) {
            let _ = summary(&bytes, is_frame, bytes.len());
        }
    }
}
