//! What is said is what was meant, and nobody else can say it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::seal::{FleetKey, TokenKind};

fn open(bytes: &[u8], keys: &PeerKeys) -> Result<Datagram, Refused> {
    match Said::open(bytes, keys)? {
        Said::Revision(datagram) => Ok(datagram),
        said => panic!("{said:?}"),
    }
}

fn token(seed: u8) -> crate::seal::Token {
    FleetKey::from_bytes(&[seed; 32]).token(TokenKind::Control)
}

fn keys(seeds: &[u8]) -> PeerKeys {
    PeerKeys::new(seeds.iter().map(|seed| token(*seed))).unwrap()
}

fn example(kind: Kind) -> Datagram {
    Datagram {
        kind,
        node: Name::new("fra1").unwrap(),
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
        store: StoreTag(*b"0123456789abcdef"),
        revision: 0x0102_0304_0506_0708,
    }
}

prop_compose! {
    fn datagram()(
        applied in any::<bool>(),
        name in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}",
        incarnation in any::<u64>(),
        store in any::<[u8; 16]>(),
        revision in any::<u64>(),
    ) -> Datagram {
        Datagram {
            kind: if applied { Kind::Applied } else { Kind::Ask },
            node: Name::new(&name).unwrap(),
            incarnation: Incarnation(incarnation),
            store: StoreTag(store),
            revision,
        }
    }
}

/// The HMAC is Python's: hmac.digest(hmac.digest(b"\1" * 32, b"penstock fleet token\0control", "sha256"), message, "sha256").
#[test]
fn the_bytes_are_these() {
    let said = "5053544b010204000123456789abcdef303132333435363738396162636465660102030405060708\
                66726131";
    let code = "bdc14c8389dc74e772bbe23ad8a84d432133e0927cd582a07db4c2244ef4d4dd";
    let bytes = example(Kind::Applied).seal(&keys(&[1]));
    assert_eq!(HEXLOWER.encode(&bytes), format!("{said}{code}"));
    let ask = example(Kind::Ask).seal(&keys(&[1]));
    assert_eq!(ask[..5], bytes[..5]);
    assert_eq!(ask[5], 3);
    assert_ne!(ask[44..], bytes[44..], "what is asked for is authenticated, too");
}

#[test]
fn lengths_are_what_they_are_said_to_be() {
    for (name, len) in [("a".to_owned(), MIN_LEN), ("a".repeat(63), FIXED + MAX_NAME + CODE)] {
        let datagram = Datagram { node: Name::new(&name).unwrap(), ..example(Kind::Ask) };
        let bytes = datagram.seal(&keys(&[1]));
        assert_eq!(bytes.len(), len);
        assert_eq!(open(&bytes, &keys(&[1])), Ok(datagram));
    }
}

/// While keys are rotated, nodes have the new one second, then first, then alone.
#[test]
fn two_keys_are_valid_while_they_are_rotated() {
    let datagram = example(Kind::Applied);
    for (of, to, fine) in [
        (&[1][..], &[1, 2][..], true),
        (&[1, 2], &[2, 1], true),
        (&[2, 1], &[1, 2], true),
        (&[2], &[2, 1], true),
        (&[1], &[2], false),
        (&[2, 1], &[1], false),
    ] {
        let opened = open(&datagram.seal(&keys(of)), &keys(to));
        assert_eq!(opened.is_ok(), fine, "{of:?} to {to:?}");
        assert!(fine || opened == Err(Refused::Forged));
    }
}

#[test]
fn there_are_one_to_four_keys() {
    assert!(PeerKeys::new([]).is_err());
    assert!(PeerKeys::new((0..4).map(token)).is_ok());
    assert!(PeerKeys::new((0..5).map(token)).is_err());
    let ring = crate::seal::Keyring::new(vec![FleetKey::from_bytes(&[1; 32])]).unwrap();
    let bytes = example(Kind::Ask).seal(&PeerKeys::of(&ring).unwrap());
    assert_eq!(open(&bytes, &keys(&[1])), Ok(example(Kind::Ask)));
}

/// A rescued packet's token is another one: who sees it on the wire cannot sign with it.
#[test]
fn the_token_of_packets_signs_nothing() {
    let data = PeerKeys::new([FleetKey::from_bytes(&[1; 32]).token(TokenKind::Data)]).unwrap();
    assert_eq!(open(&example(Kind::Ask).seal(&data), &keys(&[1])), Err(Refused::Forged));
}

#[test]
fn keys_are_not_printed() {
    assert_eq!(format!("{:?}", keys(&[1, 2])), "PeerKeys(2)");
}

#[test]
fn what_is_not_of_this_form_is_refused_for_what_it_is() {
    let keys = keys(&[1]);
    let good = example(Kind::Ask).seal(&keys);
    let damaged = |at: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = value;
        open(&bytes, &keys)
    };
    assert_eq!(damaged(0, b'Q'), Err(Refused::Foreign));
    assert_eq!(damaged(4, 2), Err(Refused::Version));
    assert_eq!(damaged(39, 9), Err(Refused::Forged));
    assert_eq!(open(&[], &keys), Err(Refused::Length));
    assert_eq!(open(&[0; MAX_LEN + 1], &keys), Err(Refused::Length));
    // Authentic, and not of this version all the same.
    let signed = |at: usize, value: &[u8]| {
        let mut said = good[..good.len() - CODE].to_vec();
        said[at..at + value.len()].copy_from_slice(value);
        let code = keys.code(&said);
        open(&[&said[..], &code].concat(), &keys)
    };
    assert_eq!(signed(5, &[3]), Ok(example(Kind::Ask)));
    // A report has no revision.
    for (at, value) in [(5, &[1][..]), (5, &[4]), (6, &[3]), (6, &[5]), (7, &[1]), (40, b"-"), (40, &[0xff])]
    {
        assert_eq!(signed(at, value), Err(Refused::Malformed), "{at}: {value:?}");
    }
}

fn usage(spi: u32) -> SaUsage {
    SaUsage { spi, outbound: true, runs_out: false, bytes: 0x0102_0304_0506_0708, packets: 9 }
}

/// The HMAC is Python's, as above.
#[test]
fn the_bytes_of_a_report_are_these() {
    let report = Report {
        node: Name::new("fra1").unwrap(),
        incarnation: Incarnation(0x0123_4567_89ab_cdef),
        store: StoreTag(*b"0123456789abcdef"),
        sas: vec![
            usage(0x00c0_0101),
            SaUsage { outbound: false, runs_out: true, bytes: 0, ..usage(0x00c0_0102) },
        ],
    };
    let said = "5053544b010404000123456789abcdef303132333435363738396162636465660000000000000000\
                66726131\
                00c001010101020304050607080000000000000009\
                00c001020200000000000000000000000000000009";
    let code = "8de2e3c9ebc4b69399219bb3fb945124384c4ccfdc448f622964763f2737bdb1";
    let bytes = report.seal(&keys(&[1]));
    assert_eq!(HEXLOWER.encode(&bytes), format!("{said}{code}"));
    assert_eq!(Said::open(&bytes, &keys(&[1])), Ok(Said::Report(report)));
}

#[test]
fn a_report_has_whole_associations_and_known_flags() {
    let keys = keys(&[1]);
    let report = Report {
        node: Name::new(&"a".repeat(63)).unwrap(),
        incarnation: Incarnation(1),
        store: StoreTag([0; 16]),
        sas: vec![usage(1); MOST_SAS],
    };
    let bytes = report.seal(&keys);
    assert_eq!(bytes.len(), MAX_LEN);
    let more = Report { sas: vec![usage(1); MOST_SAS + 1], ..report.clone() };
    assert_eq!(&*more.seal(&keys), &*bytes, "what is too much is left out");
    let said = &bytes[..bytes.len() - CODE];
    let signed = |said: &[u8]| Said::open(&[said, &keys.code(said)].concat(), &keys);
    assert_eq!(signed(said), Ok(Said::Report(report)));
    assert_eq!(signed(&said[..said.len() - 1]), Err(Refused::Malformed));
    // With a short name there is room for more than there may be.
    let short = Report { node: Name::new("a").unwrap(), sas: vec![usage(1); MOST_SAS], ..more };
    let bytes = short.seal(&keys);
    let said_more = [&bytes[..bytes.len() - CODE], &bytes[FIXED + 1..FIXED + 1 + 21]].concat();
    assert!(said_more.len() + CODE < MAX_LEN);
    assert_eq!(signed(&said_more), Err(Refused::Malformed));
    let mut other = said.to_vec();
    other[FIXED + MAX_NAME + 4] = 4;
    assert_eq!(signed(&other), Err(Refused::Malformed));
}

#[test]
fn stores_have_different_tags() {
    let tag = StoreTag::of("0-0123");
    assert_eq!(tag, StoreTag::of("0-0123"));
    assert_ne!(tag, StoreTag::of("1-0123"));
}

proptest! {
    #[test]
    fn a_report_is_read_as_it_was_written(
        name in "[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}",
        sas in prop::collection::vec(any::<(u32, bool, bool, u64, u64)>(), 0..=MOST_SAS),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let sas = sas.into_iter().map(|(spi, outbound, runs_out, bytes, packets)| SaUsage {
            spi, outbound, runs_out, bytes, packets,
        });
        let node = Name::new(&name).unwrap();
        let report = Report { node, incarnation: Incarnation(7), store: StoreTag([1; 16]), sas: sas.collect() };
        let mut bytes = report.seal(&keys(&[7])).to_vec();
        prop_assert_eq!(Said::open(&bytes, &keys(&[7])), Ok(Said::Report(report)));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Said::open(&bytes, &keys(&[7])).is_err());
    }

    #[test]
    fn a_datagram_is_read_as_it_was_written(datagram in datagram()) {
        let bytes = datagram.seal(&keys(&[7]));
        prop_assert!((MIN_LEN..=MAX_LEN).contains(&bytes.len()));
        prop_assert_eq!(open(&bytes, &keys(&[7])), Ok(datagram));
    }

    /// Any bit, anywhere.
    #[test]
    fn a_changed_one_is_refused(datagram in datagram(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = datagram.seal(&keys(&[7])).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(open(&bytes, &keys(&[7])).is_err());
    }

    #[test]
    fn a_part_of_one_is_refused(datagram in datagram(), more in 1usize..40) {
        let bytes = datagram.seal(&keys(&[7]));
        for end in 0..bytes.len() {
            prop_assert!(open(&bytes[..end], &keys(&[7])).is_err());
        }
        let longer = [&bytes[..], &vec![0; more]].concat();
        prop_assert!(open(&longer, &keys(&[7])).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(open(&bytes, &keys(&[7])).is_err());
    }

    /// As a node of another version could make them: what is taken has this one form.
    #[test]
    fn any_authentic_bytes_have_one_form(
        head in prop::collection::vec(0u8..7, 3), rest in prop::collection::vec(any::<u8>(), 32..100),
    ) {
        let said = [&b"PSTK\x01"[..], &head, &rest].concat();
        let bytes = [&said[..], &keys(&[7]).code(&said)].concat();
        if let Ok(said) = Said::open(&bytes, &keys(&[7])) {
            prop_assert_eq!(&*said.seal(&keys(&[7])), &bytes[..]);
        }
    }
}
