use super::*;
use proptest::prelude::*;

/// A packet of `payload` behind a fixed header.
fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x6b, 0x8a, 0xbc, 0xde, 0, payload.len() as u8, next_header, 64];
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend(payload);
    bytes
}

#[test]
fn reads_and_writes_the_first_word() {
    let mut bytes = packet(protocol::TCP, &[0; 20]);
    let header = Ipv6Header::parse_mut(&mut bytes).expect("valid");
    assert_eq!(header.traffic_class(), 0xb8);
    assert_eq!((header.dscp(), header.ecn()), (46, 0));
    assert_eq!(header.flow_label(), 0xabcde);
    assert_eq!(header.src.get(), 0x2001_0db8_0000_0000_0000_0000_0000_0001);
    header.set_ecn(3);
    assert_eq!(header.vtc_flow.get(), 0x6bba_bcde);
    header.set_traffic_class(0x12);
    assert_eq!(header.vtc_flow.get(), 0x612a_bcde);
    header.set_flow_label(0xfff1_2345);
    assert_eq!(header.vtc_flow.get(), 0x6121_2345);
    header.decrement_hop_limit();
    assert_eq!(header.hop_limit, 63);
}

#[test]
fn refuses_with_the_reason() {
    let bytes = packet(protocol::TCP, &[0; 20]);
    for len in 0..bytes.len() {
        assert_eq!(Ipv6Header::parse(&bytes[..len]), Err(Ipv6Error::Truncated), "{len} bytes");
    }
    let mut wrong = bytes.clone();
    wrong[0] = 0x4b;
    assert_eq!(Ipv6Header::parse(&wrong), Err(Ipv6Error::Version));
    assert!(Ipv6Header::parse_first(&bytes[..40], 60).is_ok());
    assert_eq!(Ipv6Header::parse_first(&bytes[..40], 59), Err(Ipv6Error::Truncated));
}

#[test]
fn walks_each_kind_of_extension_header() {
    let mut payload = vec![protocol::AH, 0, 1, 4, 0, 0, 0, 0];
    payload.extend([protocol::ROUTING, 4]);
    payload.extend([0; 22]);
    payload.extend([protocol::FRAGMENT, 1]);
    payload.extend([0; 14]);
    payload.extend([protocol::DESTINATION_OPTIONS, 0, 0, 1, 0xca, 0xfe, 0xba, 0xbe]);
    payload.extend([protocol::UDP, 0, 1, 4, 0, 0, 0, 0]);
    let at = Ipv6Header::LEN + payload.len();
    payload.extend([0; 8]);
    let found = transport(&packet(protocol::HOP_BY_HOP, &payload)).expect("fits");
    assert_eq!((found.protocol, found.offset), (protocol::UDP, at));
    assert!(!found.is_later_fragment());
    let fragment = found.fragment.expect("one is there");
    assert_eq!(
        fragment,
        Fragment { header_offset: 40 + 8 + 24 + 16, offset: 0, more: true, id: 0xcafe_babe }
    );
}

#[test]
fn stops_at_a_later_fragment() {
    let payload = [protocol::DESTINATION_OPTIONS, 0, 0x05, 0xa8, 0, 0, 0, 7, 0xff, 0xff, 0xff];
    let found = transport(&packet(protocol::FRAGMENT, &payload)).expect("fits");
    assert_eq!((found.protocol, found.offset), (protocol::DESTINATION_OPTIONS, 48));
    assert_eq!(found.fragment.map(|f| (f.offset, f.more, f.id)), Some((1448, false, 7)));
    assert!(found.is_later_fragment());
}

#[test]
fn the_chain_is_bounded() {
    let chain = |count: usize| {
        let mut payload = Vec::new();
        for _ in 1..count {
            payload.extend([protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]);
        }
        payload.extend([protocol::TCP, 0, 1, 4, 0, 0, 0, 0]);
        transport(&packet(protocol::DESTINATION_OPTIONS, &payload)).map(|found| found.offset)
    };
    assert_eq!(chain(1), Some(48));
    assert_eq!(chain(MAX_EXTENSION_HEADERS), Some(40 + 64));
    assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), None);
}

#[test]
fn a_chain_that_leaves_the_packet_is_none() {
    let bytes = packet(protocol::HOP_BY_HOP, &[protocol::TCP, 1, 1, 4, 0, 0, 0, 0]);
    assert_eq!(transport(&bytes), None);
    assert_eq!(transport(&bytes[..41]), None);
    assert_eq!(transport(&packet(protocol::FRAGMENT, &[6, 0, 0, 0, 0, 0, 0])), None);
}

proptest! {
    #[test]
    fn any_bytes_end_inside_the_packet(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400),
        kinds in proptest::collection::vec(
            proptest::sample::select(&[0u8, 43, 44, 51, 60, 135, 139, 140, 6][..]), 12),
    ) {
        // Half of the bytes at eight-byte steps name extension headers, so that walks get somewhere.
        if bytes.len() > 6 {
            bytes[6] = kinds[0];
            for (at, kind) in (40..bytes.len()).step_by(8).zip(&kinds[1..]) {
                bytes[at] = *kind;
                if at + 1 < bytes.len() { bytes[at + 1] = 0 }
            }
        }
        let _ = Ipv6Header::parse(&bytes);
        if let Some(found) = transport(&bytes) {
            prop_assert!(found.offset <= bytes.len());
        }
    }
}
