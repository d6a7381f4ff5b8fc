//! Packets that are made up, and what is around them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use penstock_dataplane::tables::Interface;
use penstock_dataplane::wire::checksum::{self, Checksum};
use penstock_dataplane::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN};
use penstock_dataplane::wire::gre::KEY_PRESENT;
use penstock_dataplane::wire::protocol;

use super::super::watching::bad_request;
use crate::api::{ApiError, WhyProtocol, WhyRequest};

const V4_LEN: usize = 20;
const V6_LEN: usize = 40;
const UDP_LEN: usize = 8;
const ICMP_LEN: usize = 8;
/// A TCP header with an MSS option.
const SYN_LEN: usize = 24;
const SYN: u8 = 0x02;
/// Echo requests.
const ECHO_V4: u8 = 8;
const ECHO_V6: u8 = 128;
/// Ports unless the request says otherwise: the first that nobody has, and one that nearly everybody serves.
const SPORT: u16 = 49_152;
const DPORT: u16 = 443;
/// What hosts on Ethernet offer (RFC 9293 3.7.1): 1500 bytes less the headers.
const MSS_V4: u16 = 1460;
const MSS_V6: u16 = 1440;
const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
/// Of nobody: locally administered.
const NEIGHBOUR: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// What is between the outer IP header and the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Around {
    /// GRE.
    Gre {
        /// Its key.
        key: Option<u32>,
    },
    /// ESP.
    Esp {
        /// The association.
        spi: u32,
        /// Source and destination port, if it is in UDP.
        udp: Option<(u16, u16)>,
    },
}

impl Around {
    /// What the outer header says.
    pub(super) fn protocol(self) -> u8 {
        match self {
            Self::Gre { .. } => protocol::GRE,
            Self::Esp { udp: None, .. } => protocol::ESP,
            Self::Esp { udp: Some(_), .. } => protocol::UDP,
        }
    }
}

/// The packet that a request asks about.
pub(super) fn packet(request: &WhyRequest) -> Result<Vec<u8>, ApiError> {
    let (is_v6, ip_len) = match (request.src, request.dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (false, V4_LEN),
        (IpAddr::V6(_), IpAddr::V6(_)) => (true, V6_LEN),
        (src, dst) => {
            return Err(bad_request(format!(
                "{src} and {dst} are of two families: a packet has two IPv4 or two IPv6 addresses"
            )));
        }
    };
    if request.protocol == WhyProtocol::Icmp && (request.sport.is_some() || request.dport.is_some()) {
        return Err(bad_request("ICMP has no ports: leave them out, or choose tcp or udp".to_owned()));
    }
    let header_len = match request.protocol {
        WhyProtocol::Tcp => SYN_LEN,
        WhyProtocol::Udp => UDP_LEN,
        WhyProtocol::Icmp => ICMP_LEN,
    };
    let least = ip_len + header_len;
    let size = request.size.map_or(least, usize::from);
    if size < least {
        return Err(bad_request(format!("a packet of this kind has at least {least} bytes")));
    }
    let (sport, dport) = (request.sport.unwrap_or(SPORT), request.dport.unwrap_or(DPORT));
    let (number, mut l4) = match request.protocol {
        WhyProtocol::Tcp => (protocol::TCP, syn(sport, dport, if is_v6 { MSS_V6 } else { MSS_V4 })),
        WhyProtocol::Udp => (protocol::UDP, udp(sport, dport, size - ip_len)),
        WhyProtocol::Icmp if is_v6 => (protocol::ICMPV6, vec![ECHO_V6, 0, 0, 0, 0, 1, 0, 1]),
        WhyProtocol::Icmp => (protocol::ICMP, vec![ECHO_V4, 0, 0, 0, 0, 1, 0, 1]),
    };
    l4.resize(size - ip_len, 0);
    fill_checksum(request, number, &mut l4);
    let flags = if request.df { DONT_FRAGMENT } else { 0 };
    Ok(ip(request.src, request.dst, number, flags, &l4))
}

fn syn(sport: u16, dport: u16, mss: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(SYN_LEN);
    header.extend_from_slice(&sport.to_be_bytes());
    header.extend_from_slice(&dport.to_be_bytes());
    header.extend_from_slice(&[0; 8]);
    header.extend_from_slice(&[(SYN_LEN as u8 / 4) << 4, SYN, 0xff, 0xff, 0, 0, 0, 0, 2, 4]);
    header.extend_from_slice(&mss.to_be_bytes());
    header
}

fn udp(sport: u16, dport: u16, len: usize) -> Vec<u8> {
    [sport, dport, len as u16, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Over the pseudo header, except ICMP for IPv4.
fn fill_checksum(request: &WhyRequest, number: u8, l4: &mut [u8]) {
    let mut sum = match (request.src, request.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Checksum::pseudo_v6(u128::from(src), u128::from(dst), number, l4.len() as u32)
        }
        (IpAddr::V4(src), IpAddr::V4(dst)) if number != protocol::ICMP => {
            let mut sum = Checksum::default();
            sum.add_bytes(&src.octets());
            sum.add_bytes(&dst.octets());
            sum.add_bytes(&[0, number]);
            sum.add_bytes(&(l4.len() as u16).to_be_bytes());
            sum
        }
        _ => Checksum::default(),
    };
    sum.add_bytes(l4);
    let at = match number {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => 2,
    };
    let value = match !sum.sum() {
        // RFC 768: 0 would say that there is none.
        0 if number == protocol::UDP => 0xffff,
        value => value,
    };
    if let Some(field) = l4.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// A GRE header in front of a packet.
pub(super) fn gre(inner: &[u8], key: Option<u32>) -> Vec<u8> {
    let is_v6 = inner.first().is_some_and(|byte| byte >> 4 == 6);
    let flags = if key.is_some() { KEY_PRESENT } else { 0 };
    let ethertype = if is_v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    let mut packet = flags.to_be_bytes().to_vec();
    packet.extend_from_slice(&ethertype.to_be_bytes());
    packet.extend(key.into_iter().flat_map(u32::to_be_bytes));
    packet.extend_from_slice(inner);
    packet
}

/// A UDP header without a checksum in front of ESP (RFC 3948 2.1).
pub(super) fn in_udp(esp: &[u8], (from, to): (u16, u16)) -> Vec<u8> {
    let mut datagram = udp(from, to, UDP_LEN + esp.len());
    datagram.extend_from_slice(esp);
    datagram
}

/// From the customer's router to our endpoint.
pub(super) fn outer(local: IpAddr, remote: IpAddr, number: u8, payload: &[u8]) -> Vec<u8> {
    ip(remote, local, number, 0, payload)
}

fn ip(src: IpAddr, dst: IpAddr, number: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => ip6(src, dst, number, payload),
        (IpAddr::V4(src), IpAddr::V4(dst)) => ip4(src, dst, number, flags, payload),
        // A tunnel's ends are of one family, and so are the packet's.
        _ => Vec::new(),
    }
}

fn ip4(src: Ipv4Addr, dst: Ipv4Addr, number: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&((V4_LEN + payload.len()) as u16).to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    packet.extend_from_slice(&flags.to_be_bytes());
    packet.extend_from_slice(&[TTL, number, 0, 0]);
    packet.extend_from_slice(&src.octets());
    packet.extend_from_slice(&dst.octets());
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn ip6(src: Ipv6Addr, dst: Ipv6Addr, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[number, TTL]);
    packet.extend_from_slice(&src.octets());
    packet.extend_from_slice(&dst.octets());
    packet.extend_from_slice(payload);
    packet
}

/// As a neighbour on the link sends it to us.
pub(super) fn frame(interface: &Interface, l3: &[u8]) -> Vec<u8> {
    let is_v6 = l3.first().is_some_and(|byte| byte >> 4 == 6);
    let ethertype = if is_v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    let mut frame = interface.mac.to_vec();
    frame.extend_from_slice(&NEIGHBOUR);
    if let Some(vid) = interface.vlan {
        frame.extend_from_slice(&ETHERTYPE_VLAN.to_be_bytes());
        frame.extend_from_slice(&vid.to_be_bytes());
    }
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(l3);
    frame
}

#[cfg(test)]
mod tests {
    use penstock_dataplane::wire::ipv4::Ipv4Header;
    use penstock_dataplane::wire::ipv6::Ipv6Header;
    use proptest::prelude::*;

    use super::*;

    fn request(v6: bool, protocol: WhyProtocol, size: Option<u16>) -> WhyRequest {
        let (src, dst) = if v6 { ("2001:db8::1", "2001:db8::2") } else { ("10.0.0.1", "10.0.0.2") };
        WhyRequest {
            tenant: "acme".into(),
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            protocol,
            sport: None,
            dport: None,
            size,
            df: true,
            from_tunnel: None,
        }
    }

    proptest! {
        /// Whatever is asked for, a packet that is made is sound: every checksum over it is right.
        #[test]
        fn what_is_made_up_is_sound(v6: bool, which in 0usize..3, size in proptest::option::of(0u16..9000)) {
            let protocol = [WhyProtocol::Tcp, WhyProtocol::Udp, WhyProtocol::Icmp][which];
            let request = request(v6, protocol, size);
            let Ok(packet) = packet(&request) else {
                prop_assert!(size.unwrap() < 64, "refused");
                return Ok(());
            };
            prop_assert!(size.is_none_or(|size| usize::from(size) == packet.len()));
            let (header_len, number) = if v6 {
                (V6_LEN, Ipv6Header::parse(&packet).unwrap().next_header)
            } else {
                (V4_LEN, Ipv4Header::parse(&packet).unwrap().protocol)
            };
            let mut again = packet[header_len..].to_vec();
            fill_checksum(&request, number, &mut again);
            // The sum over a packet with its own checksum in it is what one that is right leaves.
            let at = match number { 6 => 16, 17 => 6, _ => 2 };
            let value = u16::from_be_bytes([again[at], again[at + 1]]);
            prop_assert!(value == 0 || (value == 0xffff && number == 17));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mixed =
            WhyRequest { dst: "2001:db8::2".parse().unwrap(), ..request(false, WhyProtocol::Udp, None) };
        assert!(packet(&mixed).unwrap_err().message.contains("two families"));
        let short = request(true, WhyProtocol::Tcp, Some(63));
        assert!(packet(&short).unwrap_err().message.contains("at least 64 bytes"));
        let ports = WhyRequest { dport: Some(1), ..request(false, WhyProtocol::Icmp, None) };
        assert!(packet(&ports).unwrap_err().message.contains("no ports"));
    }
}
