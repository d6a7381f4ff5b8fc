//! Every parser, on any bytes: no panic, and what it returns is within the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use penstock_dataplane::icmp::too_big::TooBig;
use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_dataplane::wire::ethernet::{EthernetHeader, VlanTag};
use penstock_dataplane::wire::gre::Gre;
use penstock_dataplane::wire::icmp::IcmpHeader;
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::{self, Ipv6Header};
use penstock_dataplane::wire::probe::{Probe, Style};
use penstock_dataplane::wire::rescue::RescueHeader;
use penstock_dataplane::wire::tcp::TcpHeader;
use penstock_dataplane::wire::{gre, keepalive};

/// Parses `data` as everything that it could be.
pub fn headers(data: &[u8]) {
    let _ = EthernetHeader::parse(data).map(|header| header.to_group());
    let _ = VlanTag::parse(data).map(|tag| tag.vid());
    let _ = IcmpHeader::view(data);
    let _ = TcpHeader::view(data).map(|header| (header.header_len(), header.is_syn()));
    let _ = gre::checksum_is_valid([data]);
    if let Ok(header) = Ipv4Header::parse(data) {
        assert!(header.header_len() <= usize::from(header.total_len.get()));
        assert!(usize::from(header.total_len.get()) <= data.len());
        let _ = keepalive::is_request_v4(data, header.src.get(), header.dst.get());
    }
    if let Ok(header) = Ipv6Header::parse(data) {
        assert!(header.packet_len() <= data.len());
        let _ = keepalive::is_request_v6(data, header.src.get(), header.dst.get());
    }
    if let Some(transport) = ipv6::transport(data) {
        assert!(transport.offset <= data.len());
    }
    if let Ok(gre) = Gre::parse(data) {
        assert!(gre.header_len <= data.len());
        let mut again = [0; 16];
        if let Some(len) = gre.write(&mut again) {
            assert_eq!(len, gre.header_len);
        }
    }
    if let Some(header) = RescueHeader::parse(data) {
        assert_eq!(data[..4], *b"PSTK");
        assert_eq!(data[8..24], header.token);
    }
    let keys = Tokens { current: Token::new([7; 16]), other: None };
    for v6 in [false, true] {
        if let Some(probe) = Probe::answered(data, v6, &keys) {
            let (made, at) = again(data, probe, v6, &keys.current);
            assert_eq!(data.get(at..at + made.len()), Some(&*made), "only what we made is ours");
        }
    }
    if let Some(report) = TooBig::parse(data) {
        assert!(report.mtu >= 68);
    }
}

/// The data of a probe that `data` answers, made anew, without the zeros; and where it is.
fn again(data: &[u8], probe: Probe, v6: bool, key: &Token) -> (Vec<u8>, usize) {
    let (ip, at, message_len): (IpAddr, _, _) = if v6 {
        let len = Ipv6Header::view(data).map_or(0, |header| usize::from(header.payload_len.get()));
        (Ipv6Addr::LOCALHOST.into(), Ipv6Header::LEN, len)
    } else {
        let header = Ipv4Header::view(data);
        let at = header.map_or(0, Ipv4Header::header_len);
        let len = header.map_or(0, |header| usize::from(header.total_len.get()));
        (Ipv4Addr::LOCALHOST.into(), at, len.saturating_sub(at))
    };
    let header_len = if v6 { Ipv6Header::LEN } else { Ipv4Header::LEN };
    let mut out = vec![0; header_len + message_len];
    let filled = probe.fill(&mut out, Style::Reply, ip, ip, key);
    assert_eq!(filled, Some(()), "what we answer to we can send");
    let data_at = IcmpHeader::LEN;
    (out[header_len + data_at..][..40].to_vec(), at + data_at)
}
