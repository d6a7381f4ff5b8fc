//! Clamping against literal bytes, and against a full recomputation of the checksum.

use super::*;
use crate::wire::checksum::Checksum;
use proptest::prelude::*;

const MSS_1460: [u8; 4] = [2, 4, 0x05, 0xb4];
/// As Linux sends it: MSS, SACK permitted, timestamps, NOP, window scale.
const LINUX: [u8; 20] = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7];

fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let offset = ((20 + options.len()) / 4) as u8;
    let mut l4 = vec![0xc0, 0x01, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, offset << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0];
    l4.extend(options);
    l4.extend(payload);
    l4
}

fn v4(ip_options: &[u8], mut l4: Vec<u8>) -> Vec<u8> {
    let mut sum = Checksum::pseudo_v4(0x0a00_0001, 0x0a00_0002, 6, l4.len() as u16);
    sum.add_bytes(&l4);
    l4[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    let len = (20 + ip_options.len() + l4.len()) as u16;
    let ihl = 0x45 + (ip_options.len() / 4) as u8;
    let mut packet =
        vec![ihl, 0, (len >> 8) as u8, len as u8, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend(ip_options);
    let sum = crate::wire::checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(l4);
    packet
}

/// `extension` is a chain of headers of kind `first`, the last of which names TCP.
fn v6(first: u8, extension: &[u8], mut l4: Vec<u8>) -> Vec<u8> {
    let (src, dst) = (0xfd00_u128 << 112 | 1, 0xfd00_u128 << 112 | 2);
    let mut sum = Checksum::pseudo_v6(src, dst, 6, l4.len() as u32);
    sum.add_bytes(&l4);
    l4[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((extension.len() + l4.len()) as u16).to_be_bytes());
    packet.extend([first, 64]);
    packet.extend(src.to_be_bytes());
    packet.extend(dst.to_be_bytes());
    packet.extend(extension);
    packet.extend(l4);
    packet
}

fn tcp_sum_v4(packet: &[u8]) -> u16 {
    let header = Ipv4Header::parse(packet).expect("valid");
    let l4 = &packet[header.header_len()..usize::from(header.total_len.get())];
    let mut sum = Checksum::pseudo_v4(header.src.get(), header.dst.get(), 6, l4.len() as u16);
    sum.add_bytes(l4);
    sum.sum()
}

fn tcp_sum_v6(packet: &[u8], l4: usize) -> u16 {
    let header = Ipv6Header::parse(packet).expect("valid");
    let l4 = &packet[l4..header.packet_len()];
    let mut sum = Checksum::pseudo_v6(header.src.get(), header.dst.get(), 6, l4.len() as u32);
    sum.add_bytes(l4);
    sum.sum()
}

#[test]
fn lowers_a_syn_and_a_syn_ack_only() {
    for (flags, expected) in [
        (tcp::SYN, Clamp::Clamped),
        (tcp::SYN | tcp::ACK, Clamp::Clamped),
        (tcp::ACK, Clamp::NotSyn),
        (tcp::FIN | tcp::ACK, Clamp::NotSyn),
        (tcp::RST, Clamp::NotSyn),
    ] {
        let before = v4(&[], tcp(flags, &LINUX, b""));
        let mut packet = before.clone();
        assert_eq!(may_be_syn_v4(&packet), expected == Clamp::Clamped);
        assert_eq!(clamp_v4(&mut packet, 1436), expected);
        let mut six = v6(protocol::TCP, &[], tcp(flags, &LINUX, b""));
        assert_eq!(may_be_syn_v6(&six), expected == Clamp::Clamped);
        assert_eq!(clamp_v6(&mut six, 1416), expected);
        if expected == Clamp::NotSyn {
            assert_eq!(packet, before);
            continue;
        }
        assert_eq!(packet[40..44], [2, 4, 0x05, 0x9c]);
        assert_eq!(tcp_sum_v4(&packet), 0xffff);
        let changed: Vec<usize> = (0..packet.len()).filter(|&i| packet[i] != before[i]).collect();
        assert_eq!(changed, [37, 43], "the low bytes of checksum and MSS, nothing else");
    }
}

#[test]
fn the_limit_itself_passes() {
    for (limit, expected) in [(1459, Clamp::Clamped), (1460, Clamp::Unchanged), (u16::MAX, Clamp::Unchanged)]
    {
        let before = v4(&[], tcp(tcp::SYN, &MSS_1460, b""));
        let mut packet = before.clone();
        assert_eq!(clamp_v4(&mut packet, limit), expected);
        assert_eq!(packet == before, expected == Clamp::Unchanged);
    }
}

#[test]
fn finds_the_option_anywhere() {
    let lists: [&[u8]; 6] = [
        &[1, 2, 4, 0x05, 0xb4, 1, 1, 1],
        &[1, 1, 2, 4, 0x05, 0xb4, 1, 1],
        &[4, 2, 2, 4, 0x05, 0xb4, 1, 0],
        &[3, 3, 7, 2, 4, 0x05, 0xb4, 0],
        &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 0x05, 0xb4, 1, 1],
        &[
            1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            1, 1, 1, 1, 2, 4, 0x05, 0xb4,
        ],
    ];
    for list in lists {
        let mut packet = v4(&[], tcp(tcp::SYN, list, b"data"));
        assert_eq!(clamp_v4(&mut packet, 1300), Clamp::Clamped, "{list:?}");
        assert_eq!(tcp_sum_v4(&packet), 0xffff, "{list:?}");
        let at = list.windows(2).position(|w| w == [2, 4]).expect("it is there") + 40;
        assert_eq!(packet[at + 2..at + 4], 1300u16.to_be_bytes(), "{list:?}");
        let mut packet = v6(protocol::TCP, &[], tcp(tcp::SYN, list, b"data"));
        assert_eq!(clamp_v6(&mut packet, 1300), Clamp::Clamped, "{list:?}");
        assert_eq!(tcp_sum_v6(&packet, 40), 0xffff, "{list:?}");
    }
}

#[test]
fn without_the_option_nothing_is_added() {
    let lists: [&[u8]; 4] = [&[], &[1, 1, 1, 1], &[0, 4, 0x05, 0xb4], &[4, 2, 0, 0]];
    for list in lists {
        let before = v4(&[], tcp(tcp::SYN, list, &MSS_1460));
        let mut packet = before.clone();
        assert_eq!(clamp_v4(&mut packet, 1300), Clamp::NoOption, "{list:?}");
        assert_eq!(packet, before);
    }
}

#[test]
fn malformed_options_leave_the_packet_as_it_is() {
    let lists: [&[u8]; 8] = [
        &[2, 3, 0x05, 0xb4],
        &[2, 5, 0x05, 0xb4, 0, 0, 0, 0],
        &[2, 0, 0x05, 0xb4],
        &[8, 0, 0, 0, 2, 4, 0x05, 0xb4],
        &[8, 1, 0, 0, 2, 4, 0x05, 0xb4],
        &[8, 10, 0, 0, 2, 4, 0x05, 0xb4],
        &[1, 1, 1, 2],
        &[1, 1, 2, 4],
    ];
    for list in lists {
        let before = v4(&[], tcp(tcp::SYN, list, &MSS_1460));
        let mut packet = before.clone();
        assert_eq!(clamp_v4(&mut packet, 1300), Clamp::Malformed, "{list:?}");
        assert_eq!(packet, before, "{list:?}");
    }
}

#[test]
fn a_data_offset_that_lies_is_malformed() {
    for offset in [0u8, 4, 15] {
        let mut packet = v4(&[], tcp(tcp::SYN, &LINUX, b""));
        packet[32] = offset << 4;
        let before = packet.clone();
        assert_eq!(clamp_v4(&mut packet, 1300), Clamp::Malformed, "offset {offset}");
        assert_eq!(packet, before);
    }
}

#[test]
fn padding_behind_the_packet_is_not_an_option() {
    // The total length ends before the options that the data offset promises.
    let mut packet = v4(&[], tcp(tcp::SYN, &MSS_1460, b""));
    packet[3] = 40;
    let before = packet.clone();
    assert_eq!(clamp_v4(&mut packet, 1300), Clamp::Malformed);
    assert_eq!(packet, before);
}

#[test]
fn ip_options_and_extension_headers_are_passed_over() {
    let mut packet = v4(&[0x94, 4, 0, 0, 1, 1, 1, 0], tcp(tcp::SYN, &LINUX, b""));
    assert!(may_be_syn_v4(&packet));
    assert_eq!(clamp_v4(&mut packet, 1432), Clamp::Clamped);
    assert_eq!(tcp_sum_v4(&packet), 0xffff);
    assert_eq!(packet[50..52], 1432u16.to_be_bytes());

    let mut chain = vec![protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
    chain.extend([protocol::TCP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut packet = v6(protocol::HOP_BY_HOP, &chain, tcp(tcp::SYN | tcp::ACK, &LINUX, b""));
    assert!(may_be_syn_v6(&packet));
    assert_eq!(clamp_v6(&mut packet, 1412), Clamp::Clamped);
    assert_eq!(tcp_sum_v6(&packet, 64), 0xffff);
    assert_eq!(packet[86..88], 1412u16.to_be_bytes());
}

#[test]
fn only_the_first_fragment_is_touched() {
    for (flags, expected) in [(0x2000u16, Clamp::Clamped), (0x2001, Clamp::NotSyn), (0x0001, Clamp::NotSyn)] {
        let mut packet = v4(&[], tcp(tcp::SYN, &LINUX, b""));
        packet[6..8].copy_from_slice(&flags.to_be_bytes());
        let before = packet.clone();
        assert_eq!(clamp_v4(&mut packet, 1300), expected, "{flags:#x}");
        assert_eq!(packet == before, expected == Clamp::NotSyn);
    }
    for (offset, expected) in [(0x0001u16, Clamp::Clamped), (0x0009, Clamp::NotSyn), (0x0008, Clamp::NotSyn)]
    {
        let [high, low] = offset.to_be_bytes();
        let chain = [protocol::TCP, 0, high, low, 0, 0, 0, 9];
        let mut packet = v6(protocol::FRAGMENT, &chain, tcp(tcp::SYN, &LINUX, b""));
        let before = packet.clone();
        assert_eq!(clamp_v6(&mut packet, 1300), expected, "{offset:#x}");
        assert_eq!(packet == before, expected == Clamp::NotSyn);
    }
}

#[test]
fn other_protocols_are_left_alone() {
    let mut packet = v4(&[], tcp(tcp::SYN, &LINUX, b""));
    packet[9] = protocol::UDP;
    assert!(!may_be_syn_v4(&packet));
    assert_eq!(clamp_v4(&mut packet, 1300), Clamp::NotSyn);
    let mut packet = v6(protocol::TCP, &[], tcp(tcp::SYN, &LINUX, b""));
    packet[6] = protocol::UDP;
    assert!(!may_be_syn_v6(&packet));
    assert_eq!(clamp_v6(&mut packet, 1300), Clamp::NotSyn);
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        any::<u16>().prop_map(|mss| [vec![2, 4], mss.to_be_bytes().to_vec()].concat()),
        Just(vec![4, 2]),
        Just(vec![3, 3, 7]),
        any::<[u8; 8]>().prop_map(|stamp| [vec![8, 10], stamp.to_vec()].concat()),
        proptest::collection::vec(any::<u8>(), 1..5),
    ];
    proptest::collection::vec(option, 0..6).prop_map(|list| {
        let mut bytes = list.concat();
        bytes.truncate(40);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    })
}

proptest! {
    #[test]
    fn lowers_only_and_keeps_the_checksum(options in options(), payload: Vec<u8>, limit: u16) {
        let before = v4(&[], tcp(tcp::SYN, &options, &payload));
        let mut packet = before.clone();
        let clamp = clamp_v4(&mut packet, limit);
        prop_assert_eq!(tcp_sum_v4(&packet), 0xffff);
        prop_assert!(clamp == Clamp::Clamped || packet == before);

        // The same again changes nothing, and a naive reading agrees on the value.
        let once = packet.clone();
        let again = clamp_v4(&mut packet, limit);
        prop_assert_eq!(&packet, &once);
        prop_assert_eq!(again, if clamp == Clamp::Clamped { Clamp::Unchanged } else { clamp });
        match (naive_mss(&options), clamp) {
            (Ok(Some(mss)), Clamp::Clamped) => {
                prop_assert!(mss > limit);
                prop_assert_eq!(naive_mss(&packet[40..40 + options.len()]), Ok(Some(limit)));
            }
            (Ok(Some(mss)), Clamp::Unchanged) => prop_assert!(mss <= limit),
            (Ok(None), Clamp::NoOption) | (Err(()), Clamp::Malformed) => {}
            (naive, clamp) => prop_assert!(false, "{:?} against {:?}", naive, clamp),
        }

        // IPv6 carries the same segment.
        let mut six = v6(protocol::TCP, &[], tcp(tcp::SYN, &options, &payload));
        prop_assert_eq!(clamp_v6(&mut six, limit), clamp);
        prop_assert_eq!(tcp_sum_v6(&six, 40), 0xffff);
        prop_assert_eq!(&six[60..], &once[40..]);
    }

    #[test]
    fn any_bytes_never_panic_nor_slip_past_the_question(mut bytes: Vec<u8>, limit: u16, kind in 0..4u8) {
        if bytes.len() > 40 {
            match kind {
                0 => { bytes[0] = 0x45; bytes[9] = 6; bytes[6] = 0; bytes[7] = 0; bytes[2] = 0; }
                1 => { bytes[0] = 0x60; bytes[6] = 6; bytes[4] = 0; }
                2 => { bytes[0] = 0x60; bytes[6] = 44; bytes[4] = 0; bytes[40] = 6; }
                _ => {}
            }
        }
        let before = bytes.clone();
        let asked = may_be_syn_v4(&bytes);
        if clamp_v4(&mut bytes, limit) == Clamp::Clamped {
            prop_assert!(asked);
        } else {
            prop_assert_eq!(&bytes, &before);
        }
        let mut bytes = before.clone();
        let asked = may_be_syn_v6(&bytes);
        if clamp_v6(&mut bytes, limit) == Clamp::Clamped {
            prop_assert!(asked);
        } else {
            prop_assert_eq!(&bytes, &before);
        }
    }
}

/// RFC 9293 3.1, as plainly as it can be read.
fn naive_mss(mut list: &[u8]) -> Result<Option<u16>, ()> {
    loop {
        match list {
            [] | [0, ..] => return Ok(None),
            [1, rest @ ..] => list = rest,
            [2, 4, high, low, ..] => return Ok(Some(u16::from_be_bytes([*high, *low]))),
            [2, ..] => return Err(()),
            [_, len, ..] if *len >= 2 && usize::from(*len) <= list.len() => list = &list[usize::from(*len)..],
            _ => return Err(()),
        }
    }
}
