//! Records and their names, through damage.

use penstock_dataplane::esp::sa::Spi;
use penstock_fleet::names::KeyName;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::ike::protocol::tests::{add_sa, an_sa, secret};

/// An inbound SA that is in use.
pub(crate) fn record() -> SaRecord {
    SaRecord {
        owner: Owner { number: 3, journal: 0xabcd },
        tunnel: (Name::new("acme").unwrap(), Name::new("dc1").unwrap()),
        state: State::Current,
        choice: None,
        paired: Some(Spi(0x1234_5678)),
        born: Date(1_700_000_000_000),
        hard_end: Date(1_700_003_960_000),
        sa: add_sa(),
    }
}

fn a_name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-zA-Z0-9_-]{0,62}".prop_map(|name| Name::new(&name).unwrap())
}

fn a_record() -> impl Strategy<Value = SaRecord> {
    let date = || any::<u64>().prop_map(Date);
    let state = prop_oneof![
        Just(State::Pending),
        Just(State::Current),
        date().prop_map(|since| State::Retiring { since }),
        Just(State::Ended)
    ];
    let choice = option::of((1..=u64::MAX, option::of(1..=u64::MAX)))
        .prop_map(|choice| choice.map(|(count, revision)| Choice { count, revision }));
    let paired = option::of((Spi::FIRST.0..).prop_map(Spi));
    let owner = (0..=MAX_NODE_NUMBER, any::<u64>()).prop_map(|(number, journal)| Owner { number, journal });
    ((a_name(), a_name()), owner, state, choice, paired, date(), date(), an_sa()).prop_map(
        |(tunnel, owner, state, choice, paired, born, hard_end, sa)| SaRecord {
            owner,
            tunnel,
            state,
            choice,
            paired,
            born,
            hard_end,
            sa,
        },
    )
}

proptest! {
    #[test]
    fn records_come_back(record in a_record()) {
        let bytes = record.encode().unwrap();
        prop_assert_eq!(SaRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn names_come_back(record in a_record()) {
        let name = record.name();
        prop_assert_eq!(name.to_string().parse(), Ok(KeyName::Sa(name)));
    }

    #[test]
    fn damage_is_noticed_or_does_no_harm(
        record in a_record(), bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()
    ) {
        let mut bytes = record.encode().unwrap();
        prop_assert!(SaRecord::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let mut longer = bytes.to_vec();
        longer.push(0);
        prop_assert_eq!(SaRecord::decode(&longer), Err(DecodeError::Trailing(1).into()));
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(other) = SaRecord::decode(&bytes) {
            let again = other.encode().unwrap();
            prop_assert_eq!(again.as_slice(), bytes.as_slice());
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 8usize..120) {
        prop_assert!(SaRecord::decode(&bytes).is_err());
        let mut damaged = record().encode().unwrap()[..at].to_vec();
        damaged.extend_from_slice(&bytes);
        let _ = SaRecord::decode(&damaged);
    }
}

#[test]
fn a_record_has_the_name_that_the_store_has() {
    assert_eq!(record().name().to_string(), "sas/3/acme/dc1/i-c0000001");
}

#[test]
fn wrong_fields_are_named() {
    let bytes = record().encode().unwrap();
    let at = |at: usize, with: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        SaRecord::decode(&bytes).unwrap_err().to_string()
    };
    assert!(at(7, &[2]).contains("one version of penstock"));
    assert!(at(8, &[4]).contains("the owner's number"));
    // After 8 + 2 + 8 bytes: the names, each with its length of two bytes.
    assert!(at(20, b"a/me").contains("the tenant"));
    let state = 18 + 6 + 5;
    assert!(at(state, &[4]).contains("the state"));
    assert!(at(state + 1, &[1]).contains("when it was retired"));
    assert!(at(state + 9 + 8, &[1]).contains("the choice's revision"));
    assert!(at(state + 25, &[0, 0, 0, 7]).contains("reserved"));
    let long = vec![0; MAX_RECORD + 1];
    assert_eq!(SaRecord::decode(&long), Err(RecordError::TooLong(MAX_RECORD + 1)));
}

#[test]
fn fingerprints_tell_keys_apart_and_nothing_else() {
    let with = |key: &[u8], auth_key: &[u8]| {
        let sa = AddSa { key: secret(key), auth_key: secret(auth_key), ..add_sa() };
        SaRecord { sa, ..record() }.fingerprint()
    };
    assert_eq!(with(b"key", b""), SaRecord { state: State::Ended, ..record_with(b"key") }.fingerprint());
    assert_ne!(with(b"key", b""), with(b"kez", b""));
    assert_ne!(with(b"key", b""), with(b"ke", b"y"));
}

fn record_with(key: &[u8]) -> SaRecord {
    SaRecord { sa: AddSa { key: secret(key), ..add_sa() }, ..record() }
}

#[test]
fn keys_are_not_printed() {
    assert!(!format!("{:?}", record()).contains("sixteen") && format!("{:?}", record()).contains("20 bytes"));
}
