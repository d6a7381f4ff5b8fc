//! Every parser, on any bytes: no panic, and what it returns is within the packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use penstock_dataplane::icmp::too_big::TooBig;
use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_dataplane::wire::ethernet::{EthernetHeader, VlanTag};
use penstock_dataplane::wire::gre::Gre;
use penstock_dataplane::wire::icmp::IcmpHeader;
use penstock_dataplane::wire::ipv4::Ipv4Header;
use penstock_dataplane::wire::ipv6::{self, Ipv6Header};
use penstock_dataplane::wire::probe::{MAX_LEN, Probe, Style};
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
            assert!(data.ends_with(&again(probe, v6, &keys.current)), "only what we made is ours");
        }
    }
    if let Some(report) = TooBig::parse(data) {
        assert!(report.mtu >= 68);
    }
}

/// The data of a probe, made anew.
fn again(probe: Probe, v6: bool, key: &Token) -> Vec<u8> {
    let ip: IpAddr = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let mut out = [0; MAX_LEN];
    let len = probe.write(&mut out, Style::Reply, ip, ip, key).unwrap_or_default();
    out[len.saturating_sub(40)..len].to_vec()
}
