use super::*;
use proptest::prelude::*;

/// The header that textbooks compute: checksum 0xb861.
const PLAIN: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0,
    0xa8, 0x00, 0xc7,
];

fn packet(header: &[u8], len: usize) -> Vec<u8> {
    let mut packet = header.to_vec();
    packet.resize(len, 0xaa);
    packet
}

fn with_checksum(mut header: Vec<u8>) -> Vec<u8> {
    header[10..12].fill(0);
    let sum = checksum::checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

#[test]
fn reads_a_plain_header() {
    let packet = packet(&PLAIN, 0x73);
    let header = Ipv4Header::parse(&packet).expect("valid");
    assert_eq!(header.header_len(), 20);
    assert_eq!(header.total_len.get(), 115);
    assert_eq!(header.src.get(), 0xc0a8_0001);
    assert_eq!(header.dst.get(), 0xc0a8_00c7);
    assert_eq!((header.ttl, header.protocol), (64, 17));
    assert!(header.dont_fragment());
    assert!(!header.more_fragments() && !header.is_fragment());
    assert_eq!(header.fragment_offset(), 0);
}

#[test]
fn refuses_with_the_reason() {
    let good = packet(&PLAIN, 0x73);
    for len in 0..good.len() {
        assert_eq!(Ipv4Header::parse(&good[..len]), Err(Ipv4Error::Truncated), "{len} bytes");
    }
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        Ipv4Header::parse(&packet).err()
    };
    assert_eq!(broken(&|p| p[0] = 0x65), Some(Ipv4Error::Version));
    assert_eq!(broken(&|p| p[0] = 0x44), Some(Ipv4Error::Length));
    assert_eq!(broken(&|p| p[3] = 19), Some(Ipv4Error::Length));
    assert_eq!(broken(&|p| p[8] = 63), Some(Ipv4Error::Checksum));
    assert_eq!(broken(&|p| p[3] = 0x74), Some(Ipv4Error::Truncated));
}

#[test]
fn every_single_bit_flip_is_noticed() {
    let good = packet(&PLAIN, 0x73);
    for bit in 0..160 {
        let mut packet = good.clone();
        packet[bit / 8] ^= 1 << (bit % 8);
        assert!(Ipv4Header::parse(&packet).is_err(), "bit {bit}");
    }
}

#[test]
fn reads_options() {
    let mut header = PLAIN.to_vec();
    header[0] = 0x47;
    header.extend([0x94, 0x04, 0, 0, 1, 1, 1, 0]);
    let packet = packet(&with_checksum(header), 0x73);
    assert_eq!(Ipv4Header::parse(&packet).map(Ipv4Header::header_len), Ok(28));
    // The header claims more than the first segment holds.
    assert_eq!(Ipv4Header::parse_first(&packet[..24], 0x73), Err(Ipv4Error::Truncated));
    assert!(Ipv4Header::parse_first(&packet[..28], 0x73).is_ok());
    assert_eq!(Ipv4Header::parse_first(&packet[..28], 0x72), Err(Ipv4Error::Truncated));
}

#[test]
fn sees_fragments() {
    let mut header = *Ipv4Header::view(&PLAIN).expect("20 bytes");
    header.set_flags_fragment(MORE_FRAGMENTS | 185);
    assert!(header.more_fragments() && header.is_fragment() && !header.dont_fragment());
    assert_eq!(header.fragment_offset(), 1480);
    header.set_flags_fragment(MORE_FRAGMENTS);
    assert!(header.is_fragment());
    header.set_flags_fragment(1);
    assert!(header.is_fragment());
}

proptest! {
    #[test]
    fn setters_keep_the_checksum(
        bytes: [u8; 20], tos: u8, ecn in 0u8..4, len: u16, id: u16, flags: u16,
    ) {
        let bytes = with_checksum([&[0x45][..], &bytes[1..]].concat());
        let (start, _) = Ipv4Header::read_from_prefix(&bytes).expect("20 bytes");
        let changes: [&dyn Fn(&mut Ipv4Header); 6] = [
            &|h| h.decrement_ttl(),
            &|h| h.set_tos(tos),
            &|h| h.set_ecn(ecn),
            &|h| h.set_total_len(len),
            &|h| h.set_id(id),
            &|h| h.set_flags_fragment(flags),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut header = start;
            if index == 0 && header.ttl == 0 { continue }
            change(&mut header);
            let incremental = header.checksum.get();
            header.fill_checksum();
            prop_assert_eq!(incremental, header.checksum.get(), "change {}", index);
            let full = with_checksum(header.as_bytes().to_vec());
            prop_assert_eq!(full, header.as_bytes());
        }
    }

    #[test]
    fn fast_and_slow_agree(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), mend: bool, fit: bool) {
        if bytes.len() >= 20 {
            if fit {
                bytes[0] = 0x45;
                bytes[2] = 0;
            }
            let header_len = usize::from(bytes[0] & 15) * 4;
            if mend && (20..=bytes.len()).contains(&header_len) {
                let header = with_checksum(bytes[..header_len].to_vec());
                bytes[..header_len].copy_from_slice(&header);
            }
        }
        let fast = Ipv4Header::parse(&bytes).map(|_| ());
        prop_assert_eq!(fast, check_slow(&bytes, bytes.len()));
        if let Some(start) = bytes.first_chunk() {
            let plain = PlainV4::parse(start, bytes.len());
            prop_assert_eq!(plain.is_some(), fast.is_ok() && bytes[0] == 0x45);
            if let (Some(plain), Ok(header)) = (plain, Ipv4Header::parse(&bytes)) {
                let same = PlainV4 {
                    tos: header.tos,
                    total_len: header.total_len.get(),
                    src: header.src.get(),
                    dst: header.dst.get(),
                };
                prop_assert_eq!(plain, same);
            }
        }
    }
}
