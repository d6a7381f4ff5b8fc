//! Which packets are answered, what the answer says, and which reports are believed.

use super::too_big::{Quoted, TooBig};
use super::{v4, v6};
use crate::wire::checksum::{self, Checksum};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use core::net::IpAddr;
use proptest::prelude::*;

const ROUTER4: u32 = 0xc000_0201;
const ROUTER6: u128 = 0x2001_0db8 << 96 | 0xfe;

fn packet4(src: u32, dst: u32, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 1, protocol, 0, 0];
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet.extend(src.to_be_bytes());
    packet.extend(dst.to_be_bytes());
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

fn packet6(src: u128, dst: u128, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, 1]);
    packet.extend(src.to_be_bytes());
    packet.extend(dst.to_be_bytes());
    packet.extend(payload);
    packet
}

const SRC4: u32 = 0x0a00_0001;
const DST4: u32 = 0x0a00_0002;
const SRC6: u128 = 0xfd00 << 112 | 1;
const DST6: u128 = 0xfd00 << 112 | 2;

fn udp4(len: usize) -> Vec<u8> {
    packet4(SRC4, DST4, 17, &vec![0x55; len])
}

fn udp6(len: usize) -> Vec<u8> {
    packet6(SRC6, DST6, 17, &vec![0x55; len])
}

/// The sum over an ICMPv6 message and its pseudo-header.
fn sum6(packet: &[u8]) -> u16 {
    let header = Ipv6Header::parse(packet).expect("valid");
    let message = &packet[40..];
    let mut sum = Checksum::pseudo_v6(header.src.get(), header.dst.get(), 58, message.len() as u32);
    sum.add_bytes(message);
    sum.sum()
}

#[test]
fn v4_says_type_code_and_mtu() {
    let offending = udp4(100);
    for (error, expected) in [
        (v4::Error::TimeExceeded, [11, 0, 0, 0]),
        (v4::Error::NetUnreachable, [3, 0, 0, 0]),
        (v4::Error::HostUnreachable, [3, 1, 0, 0]),
        (v4::Error::FragmentationNeeded { mtu: 1476 }, [3, 4, 0x05, 0xc4]),
        (v4::Error::FragmentationNeeded { mtu: 0 }, [3, 4, 0, 68]),
        (v4::Error::Prohibited, [3, 13, 0, 0]),
    ] {
        let mut out = [0xff; 600];
        let len = v4::write(&mut out, error, ROUTER4, &offending, false).expect("allowed");
        assert_eq!(len, 28 + offending.len());
        let packet = &out[..len];
        let header = Ipv4Header::parse(packet).expect("valid");
        assert_eq!((header.src.get(), header.dst.get()), (ROUTER4, SRC4));
        assert_eq!((header.tos, header.ttl, header.protocol), (0xc0, 64, 1));
        assert_eq!([packet[20], packet[21], packet[26], packet[27]], expected);
        assert_eq!(packet[24..26], [0, 0]);
        assert_eq!(checksum::sum(&packet[20..]), 0xffff);
        assert_eq!(packet[28..], offending);
    }
}

#[test]
fn v6_says_type_code_and_mtu() {
    let offending = udp6(100);
    for (error, expected) in [
        (v6::Error::TimeExceeded, [3, 0, 0, 0, 0, 0]),
        (v6::Error::NoRoute, [1, 0, 0, 0, 0, 0]),
        (v6::Error::Prohibited, [1, 1, 0, 0, 0, 0]),
        (v6::Error::AddressUnreachable, [1, 3, 0, 0, 0, 0]),
        (v6::Error::PacketTooBig { mtu: 1456 }, [2, 0, 0, 0, 0x05, 0xb0]),
        (v6::Error::PacketTooBig { mtu: 576 }, [2, 0, 0, 0, 0x05, 0x00]),
    ] {
        let mut out = [0xff; 1300];
        let len = v6::write(&mut out, error, ROUTER6, &offending, false).expect("allowed");
        assert_eq!(len, 48 + offending.len());
        let packet = &out[..len];
        let header = Ipv6Header::parse(packet).expect("valid");
        assert_eq!((header.src.get(), header.dst.get()), (ROUTER6, SRC6));
        assert_eq!((header.traffic_class(), header.hop_limit, header.next_header), (0xc0, 64, 58));
        assert_eq!([packet[40], packet[41], packet[44], packet[45], packet[46], packet[47]], expected);
        assert_eq!(sum6(packet), 0xffff);
        assert_eq!(packet[48..], offending);
    }
}

#[test]
fn quotes_no_more_than_the_rfcs_and_the_buffer_allow() {
    let mut out = [0; 2000];
    let mut v4_len = |room: usize, payload| {
        v4::write(&mut out[..room], v4::Error::TimeExceeded, ROUTER4, &udp4(payload), false)
    };
    assert_eq!(v4_len(2000, 1480), Some(576));
    assert_eq!(v4_len(2000, 528), Some(576));
    assert_eq!(v4_len(2000, 527), Some(575));
    assert_eq!(v4_len(2000, 0), Some(48));
    assert_eq!(v4_len(100, 1480), Some(100));
    assert_eq!(v4_len(56, 1480), Some(56));
    // The original's header and eight bytes are the least (RFC 792).
    assert_eq!(v4_len(55, 1480), None);
    assert_eq!(v4_len(0, 1480), None);
    let mut v6_len = |room: usize, payload| {
        v6::write(&mut out[..room], v6::Error::TimeExceeded, ROUTER6, &udp6(payload), false)
    };
    assert_eq!(v6_len(2000, 1460), Some(1280));
    assert_eq!(v6_len(2000, 1191), Some(1279));
    assert_eq!(v6_len(200, 1460), Some(200));
    assert_eq!(v6_len(96, 1460), Some(96));
    assert_eq!(v6_len(95, 1460), None);
}

#[test]
fn quotes_the_packet_and_not_its_padding() {
    let mut padded = udp4(10);
    padded.extend([0xee; 16]);
    let mut out = [0; 576];
    let len = v4::write(&mut out, v4::Error::TimeExceeded, ROUTER4, &padded, false);
    assert_eq!(len, Some(28 + 30));
    let mut padded = udp6(10);
    padded.extend([0xee; 16]);
    let mut out = [0; 1280];
    assert_eq!(v6::write(&mut out, v6::Error::TimeExceeded, ROUTER6, &padded, false), Some(48 + 50));
}

#[test]
fn v4_keeps_silent_where_rfc_1122_and_1812_say_so() {
    let answered = |packet: &[u8], to_group| {
        v4::write(&mut [0; 576], v4::Error::TimeExceeded, ROUTER4, packet, to_group).is_some()
    };
    assert!(answered(&udp4(20), false));
    assert!(!answered(&udp4(20), true), "a link-layer multicast");
    for src in [0, 0x0000_0001, 0x7f00_0001, 0xe000_0001, 0xf000_0001, u32::MAX] {
        assert!(!answered(&packet4(src, DST4, 17, &[0; 20]), false), "from {src:08x}");
    }
    for dst in [0xe000_0005, 0xefff_ffff, u32::MAX] {
        assert!(!answered(&packet4(SRC4, dst, 17, &[0; 20]), false), "to {dst:08x}");
    }
    for kind in 0..=255u8 {
        let query = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43].contains(&kind);
        assert_eq!(answered(&packet4(SRC4, DST4, 1, &[kind, 0, 0, 0, 0, 0, 0, 0]), false), query, "{kind}");
    }
    assert!(!answered(&packet4(SRC4, DST4, 1, &[]), false), "a type that is not there");
    let mut fragment = udp4(20);
    fragment[6..8].copy_from_slice(&[0x20, 0]);
    assert!(answered(&fragment, false), "the first fragment");
    fragment[7] = 1;
    assert!(!answered(&fragment, false), "a later fragment");
    assert!(!answered(&[], false));
}

#[test]
fn v6_keeps_silent_where_rfc_4443_says_so() {
    let answered = |error, packet: &[u8], to_group| {
        v6::write(&mut [0; 1280], error, ROUTER6, packet, to_group).is_some()
    };
    let time = v6::Error::TimeExceeded;
    let big = v6::Error::PacketTooBig { mtu: 1400 };
    assert!(answered(time, &udp6(20), false));
    assert!(!answered(time, &udp6(20), true), "a link-layer multicast");
    assert!(answered(big, &udp6(20), true), "Packet Too Big is the exception");
    for src in [0, 1, 0xff02 << 112 | 1] {
        assert!(!answered(time, &packet6(src, DST6, 17, &[0; 20]), false), "from {src:x}");
        assert!(!answered(big, &packet6(src, DST6, 17, &[0; 20]), false), "from {src:x}");
    }
    let multicast = packet6(SRC6, 0xff0e << 112 | 1, 17, &[0; 20]);
    assert!(!answered(time, &multicast, false));
    assert!(answered(big, &multicast, false));
    for kind in 0..=255u8 {
        let expected = kind >= 128 && kind != 137;
        let message = packet6(SRC6, DST6, 58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answered(time, &message, false), expected, "{kind}");
        let behind = packet6(SRC6, DST6, 0, &[58, 0, 1, 4, 0, 0, 0, 0, kind, 0, 0, 0]);
        assert_eq!(answered(time, &behind, false), expected, "{kind} behind options");
    }
    assert!(!answered(time, &packet6(SRC6, DST6, 58, &[]), false), "a type that is not there");
    let later = |next| packet6(SRC6, DST6, 44, &[next, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(answered(time, &later(17), false));
    assert!(!answered(time, &later(58), false), "perhaps an error's tail");
    assert!(!answered(time, &packet6(SRC6, DST6, 0, &[0, 9, 0, 0]), false), "a chain that does not end");
    assert!(!answered(time, &[], false));
}

/// GRE with a key, as one of our tunnels sends it.
const KEYED: [u8; 12] = [0x20, 0, 8, 0, 0, 0, 0, 7, 0x45, 0, 0, 0];

fn report4(mtu: u16, original: &[u8]) -> Vec<u8> {
    let mut out = [0; 576];
    let error = v4::Error::FragmentationNeeded { mtu: 1400 };
    let len = v4::write(&mut out, error, ROUTER4, original, false).expect("allowed");
    let mut report = out[..len].to_vec();
    report[26..28].copy_from_slice(&mtu.to_be_bytes());
    mend4(&mut report);
    report
}

fn mend4(report: &mut [u8]) {
    report[22..24].fill(0);
    let sum = checksum::checksum(&report[20..]);
    report[22..24].copy_from_slice(&sum.to_be_bytes());
}

fn ip4(address: u32) -> IpAddr {
    core::net::Ipv4Addr::from_bits(address).into()
}

fn ip6(address: u128) -> IpAddr {
    core::net::Ipv6Addr::from_bits(address).into()
}

#[test]
fn believes_fragmentation_needed_about_gre() {
    let mut original = KEYED.to_vec();
    original.resize(1480, 0);
    let report = report4(1400, &packet4(SRC4, DST4, 47, &original));
    let expected = TooBig {
        reporter: ip4(ROUTER4),
        outer_src: ip4(SRC4),
        outer_dst: ip4(DST4),
        protocol: 47,
        quoted: Quoted::Gre { flags: 0x2000, protocol: 0x0800, key: Some(7) },
        mtu: 1400,
    };
    assert_eq!(TooBig::parse(&report), Some(expected));
    assert_eq!((expected.gre_key(), expected.esp_spi()), (Some(7), None));
    for len in 0..report.len() {
        assert_eq!(TooBig::parse(&report[..len]), None, "{len} bytes");
    }
    for bit in 0..report.len() * 8 {
        let mut wrong = report.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(TooBig::parse(&wrong), None, "bit {bit}");
    }
}

#[test]
fn an_old_router_quotes_eight_bytes_and_no_mtu() {
    // RFC 1191 7.1: below 1500 the next plateau is 1492, and so on.
    for (total, plateau) in [
        (1500u16, Some(1492)),
        (1492, Some(1006)),
        (9000, Some(8166)),
        (300, Some(296)),
        (69, Some(68)),
        (68, None),
    ] {
        let mut original = packet4(SRC4, DST4, 50, &[0, 0, 0x12, 0x34, 0, 0, 0, 1]);
        original[2..4].copy_from_slice(&total.to_be_bytes());
        let report = report4(0, &original);
        assert_eq!(report.len(), 56);
        let parsed = TooBig::parse(&report);
        assert_eq!(parsed.map(|report| report.mtu), plateau, "{total}");
        if let Some(parsed) = parsed {
            assert_eq!((parsed.protocol, parsed.esp_spi()), (50, Some(0x1234)));
        }
    }
}

#[test]
fn ignores_reports_that_cannot_be_about_a_tunnel() {
    let good = packet4(SRC4, DST4, 47, &KEYED);
    assert!(TooBig::parse(&report4(1400, &good)).is_some());
    assert_eq!(TooBig::parse(&report4(67, &good)), None, "an MTU that cannot be");
    assert_eq!(TooBig::parse(&report4(1400, &packet4(SRC4, DST4, 17, &KEYED))), None, "UDP");
    let mut code = report4(1400, &good);
    code[21] = 3;
    mend4(&mut code);
    assert_eq!(TooBig::parse(&code), None, "port unreachable");
    let mut later = report4(1400, &good);
    later[28 + 7] = 1;
    mend4(&mut later);
    assert_eq!(TooBig::parse(&later), None, "a later fragment has no GRE header");
    let mut short = report4(1400, &packet4(SRC4, DST4, 47, &KEYED[..8]));
    assert_eq!(TooBig::parse(&short).and_then(|report| report.gre_key()), Some(7));
    short[28] = 0x46;
    mend4(&mut short);
    assert_eq!(TooBig::parse(&short), None, "options push the eight bytes out");
}

#[test]
fn a_key_beyond_the_quote_is_not_guessed() {
    let original = [0xa0, 0, 8, 0, 0xab, 0xcd, 0, 0];
    let parsed = TooBig::parse(&report4(1400, &packet4(SRC4, DST4, 47, &original)));
    let quoted = Quoted::Gre { flags: 0xa000, protocol: 0x0800, key: None };
    assert_eq!(parsed.map(|report| report.quoted), Some(quoted));
    let original = [0xa0, 0, 8, 0, 0xab, 0xcd, 0, 0, 0, 0, 0, 9];
    let parsed = TooBig::parse(&report4(1400, &packet4(SRC4, DST4, 47, &original)));
    assert_eq!(parsed.and_then(|report| report.gre_key()), Some(9));
}

#[test]
fn believes_packet_too_big() {
    let mut original = KEYED.to_vec();
    original.resize(1460, 0);
    let mut out = [0; 1280];
    let error = v6::Error::PacketTooBig { mtu: 1400 };
    let outer = packet6(SRC6, DST6, 47, &original);
    let len = v6::write(&mut out, error, ROUTER6, &outer, false).expect("allowed");
    let expected = TooBig {
        reporter: ip6(ROUTER6),
        outer_src: ip6(SRC6),
        outer_dst: ip6(DST6),
        protocol: 47,
        quoted: Quoted::Gre { flags: 0x2000, protocol: 0x0800, key: Some(7) },
        mtu: 1400,
    };
    assert_eq!(TooBig::parse(&out[..len]), Some(expected));
    // Every byte of the message and of the addresses is under the checksum.
    for at in 8..len {
        let mut wrong = out;
        wrong[at] ^= 0x10;
        assert_eq!(TooBig::parse(&wrong[..len]), None, "byte {at}");
    }
    // RFC 8201 4: below 1280 it is discarded, whatever its checksum.
    let mut small = out;
    small[44..48].copy_from_slice(&1279u32.to_be_bytes());
    small[42..44].fill(0);
    let sum = !sum6(&small[..len]);
    small[42..44].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(sum6(&small[..len]), 0xffff);
    assert_eq!(TooBig::parse(&small[..len]), None);
}

proptest! {
    #[test]
    fn any_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), group: bool, room in 0usize..700, four: bool,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = if four { 0x45 } else { 0x60 };
        }
        let mut out = vec![0; room];
        for error in [v4::Error::TimeExceeded, v4::Error::FragmentationNeeded { mtu: 1 }] {
            if let Some(len) = v4::write(&mut out, error, ROUTER4, &bytes, group) {
                prop_assert!(Ipv4Header::parse(&out[..len]).is_ok());
                prop_assert_eq!(checksum::sum(&out[20..len]), 0xffff);
            }
        }
        for error in [v6::Error::TimeExceeded, v6::Error::PacketTooBig { mtu: 1 }] {
            if let Some(len) = v6::write(&mut out, error, ROUTER6, &bytes, group) {
                prop_assert_eq!(sum6(&out[..len]), 0xffff);
            }
        }
        prop_assert_eq!(TooBig::parse(&bytes), None);
    }

    #[test]
    fn any_quote_never_panics(quote in proptest::collection::vec(any::<u8>(), 0..120), mtu: u16) {
        // The message is valid; what it quotes is noise behind a plausible header.
        let mut quote = quote;
        if quote.len() > 10 {
            quote[0] = 0x45 + (quote[1] & 1);
            quote[6..8].fill(0);
            quote[9] = if quote[1] & 2 == 0 { 47 } else { 50 };
        }
        let mut message = vec![3, 4, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        message.extend(&quote);
        let sum = checksum::checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        if let Some(report) = TooBig::parse(&packet4(ROUTER4, SRC4, 1, &message)) {
            prop_assert!(report.mtu >= 68);
        }
        let mut message = vec![2, 0, 0, 0, 0, 0];
        message.extend(mtu.to_be_bytes());
        if let Some(first) = quote.first_mut() { *first = 0x60 }
        message.extend(&quote);
        let mut packet = packet6(ROUTER6, SRC6, 58, &message);
        let sum = !sum6(&packet);
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
        if let Some(report) = TooBig::parse(&packet) {
            prop_assert!(report.mtu >= 1280);
        }
    }
}
