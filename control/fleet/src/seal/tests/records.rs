//! What is opened, and above all what is not.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const NAME: &str = "sas/7/acme/dc1/i-0040abcd";

#[test]
fn a_record_is_opened_with_any_key_of_the_ring() {
    let (old, rotating, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    let by_old = old.seal(NAME, 1, b"x").unwrap();
    let by_new = rotating.seal(NAME, 1, b"x").unwrap();
    assert_eq!(Keyring::key_of(&by_old), Ok(key(1).id()));
    assert_eq!(Keyring::key_of(&by_new), Ok(key(2).id()));
    assert!(old.open(NAME, 1, &by_old).is_ok() && rotating.open(NAME, 1, &by_old).is_ok());
    assert!(rotating.open(NAME, 1, &by_new).is_ok() && new.open(NAME, 1, &by_new).is_ok());
    assert_eq!(old.open(NAME, 1, &by_new), Err(OpenError::UnknownKey { id: key(2).id() }));
    assert_eq!(new.open(NAME, 1, &by_old), Err(OpenError::UnknownKey { id: key(1).id() }));
}

#[test]
fn no_two_records_are_alike() {
    let ring = ring(&[1]);
    let (one, other) = (ring.seal(NAME, 1, b"x").unwrap(), ring.seal(NAME, 1, b"x").unwrap());
    assert!(one[HEADER - NONCE..HEADER] != other[HEADER - NONCE..HEADER]);
}

#[test]
fn every_beginning_of_a_record_is_refused() {
    let ring = ring(&[1]);
    let sealed = ring.seal(NAME, 1, b"a record").unwrap();
    assert_eq!(sealed.len(), OVERHEAD + 8);
    for end in 0..sealed.len() {
        let expected = if end < OVERHEAD { OpenError::Truncated } else { OpenError::Forged };
        assert_eq!(ring.open(NAME, 1, &sealed[..end]), Err(expected), "{end}");
    }
    let longer = [&sealed[..], b"\0"].concat();
    assert_eq!(ring.open(NAME, 1, &longer), Err(OpenError::Forged));
}

#[test]
fn what_is_of_another_format_is_said_to_be() {
    let ring = ring(&[1]);
    let mut sealed = ring.seal(NAME, 1, b"").unwrap();
    sealed[3] = 2;
    assert_eq!(ring.open(NAME, 1, &sealed), Err(OpenError::Format));
    assert_eq!(ring.open(NAME, 1, b"{\"schema\": 1}"), Err(OpenError::Format));
    assert_eq!(ring.open(NAME, 1, b"{"), Err(OpenError::Format));
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let ring = ring(&[1, 2]);
    let (first, second) = (key(1).id(), key(2).id());
    assert_eq!(format!("{ring:?}"), format!("[{first}, {second}]"));
    assert_eq!(format!("{:?}", key(1)), format!("FleetKey({first})"));
    assert_eq!(format!("{:?}", key(1).token(TokenKind::Control)), "Token");
}

#[test]
fn tokens_differ_by_key_and_kind() {
    let ring = ring(&[1, 2]);
    let tokens: Vec<_> = [TokenKind::Data, TokenKind::Control, TokenKind::Probe]
        .into_iter()
        .flat_map(|kind| ring.tokens(kind))
        .collect();
    assert_eq!(tokens.len(), 6);
    assert!(tokens[0] == key(1).token(TokenKind::Data));
    for (index, token) in tokens.iter().enumerate() {
        assert!(tokens[..index].iter().all(|other| other != token && other.short() != token.short()));
    }
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened(name in ".{0,80}", version: u64, text in vec(any::<u8>(), 0..300)) {
        let ring = ring(&[1, 2]);
        let sealed = ring.seal(&name, version, &text).unwrap();
        prop_assert_eq!(sealed.len(), OVERHEAD + text.len());
        let opened = ring.open(&name, version, &sealed).unwrap();
        prop_assert_eq!(opened.as_slice(), &text[..]);
    }

    #[test]
    fn a_flipped_bit_is_refused(text in vec(any::<u8>(), 0..100), at: prop::sample::Index, bit in 0..8u8) {
        let ring = ring(&[1, 2]);
        let mut sealed = ring.seal(NAME, 1, &text).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let refused = ring.open(NAME, 1, &sealed).unwrap_err();
        let in_id = (MAGIC.len()..MAGIC.len() + KeyId::LEN).contains(&at);
        let is_right = match refused {
            OpenError::Format => at < MAGIC.len(),
            OpenError::UnknownKey { id } => in_id && id != key(1).id(),
            OpenError::Forged => at >= MAGIC.len() + KeyId::LEN,
            OpenError::Truncated => false,
        };
        prop_assert!(is_right, "{:?} at {}", refused, at);
    }

    #[test]
    fn another_place_is_refused(
        names in ("[a-z/]{0,12}", "[a-z/]{0,12}"),
        versions in (0..1000u64, any::<u64>()),
        text in vec(any::<u8>(), 0..100),
    ) {
        let ring = ring(&[1, 2]);
        let sealed = ring.seal(&names.0, versions.0, &text).unwrap();
        let is_same = |name: &str, version| *name == names.0 && version == versions.0;
        for name in [&names.0, &names.1] {
            for version in [versions.0, versions.1, versions.0 + 1, versions.0.wrapping_sub(1)] {
                match ring.open(name, version, &sealed) {
                    Ok(_) => prop_assert!(is_same(name, version)),
                    Err(error) => prop_assert!(!is_same(name, version) && error == OpenError::Forged),
                }
            }
        }
        // What a name ends with is not taken for a version, or the other way.
        let longer = format!("{}\0\0\0\0\0\0\0\0", names.0);
        prop_assert_eq!(ring.open(&longer, versions.0, &sealed), Err(OpenError::Forged));
    }

    #[test]
    fn another_key_is_refused(numbers in (any::<u8>(), any::<u8>()), text in vec(any::<u8>(), 0..100)) {
        prop_assume!(numbers.0 != numbers.1);
        let mut sealed = ring(&[numbers.0]).seal(NAME, 1, &text).unwrap();
        let other = ring(&[numbers.1]);
        let id = key(numbers.0).id();
        prop_assert_eq!(other.open(NAME, 1, &sealed), Err(OpenError::UnknownKey { id }));
        // Nor when it claims to be of that key.
        sealed[MAGIC.len()..][..KeyId::LEN].copy_from_slice(&key(numbers.1).id().to_bytes());
        prop_assert_eq!(other.open(NAME, 1, &sealed), Err(OpenError::Forged));
    }

    #[test]
    fn any_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), has_head: bool) {
        let bytes = if has_head { [&MAGIC[..], &key(1).id().to_bytes(), &bytes].concat() } else { bytes };
        prop_assert!(ring(&[1]).open(NAME, 1, &bytes).is_err());
    }
}
