//! The key file.

use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;

fn base64(number: u8) -> String {
    BASE64.encode(key(number).bytes())
}

/// The IDs of the keys in a file, or what is wrong with it.
fn read(text: &str) -> Result<Vec<KeyId>, KeyFileError> {
    Keyring::parse(text.as_bytes()).map(|ring| ring.ids().collect())
}

#[test]
fn a_new_file_has_a_key_that_nobody_had() {
    let (one, other) = (Keyring::new_file_text().unwrap(), Keyring::new_file_text().unwrap());
    let (one, other) = (read(&one).unwrap(), read(&other).unwrap());
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one, other);
}

#[test]
fn a_file_that_we_write_is_read_again() {
    for numbers in [&[1][..], &[2, 1], &[4, 3, 2, 1]] {
        let text = ring(numbers).file_text();
        assert!(text.capacity() >= text.len() && text.len() as u64 <= MAX_FILE_BYTES);
        assert_eq!(read(&text), Ok(ring(numbers).ids().collect()));
    }
}

#[test]
fn keys_are_rotated_by_their_order() {
    let mut keys = ring(&[1]).into_keys();
    keys.insert(0, key(2));
    let rotated = Keyring::new(keys).unwrap();
    assert_eq!(rotated.ids().collect::<Vec<_>>(), [key(2).id(), key(1).id()]);
}

#[test]
fn a_file_may_be_written_by_hand() {
    let text = format!("keys: [{{key: {}}}, {{key: {}, id: \"{}\"}}]", base64(1), base64(2), key(2).id());
    assert_eq!(read(&text), Ok(vec![key(1).id(), key(2).id()]));
    let upper = key(2).id().to_string().to_uppercase();
    assert!(read(&format!("keys:\n- {{key: {}, id: '{upper}'}}\n", base64(2))).is_ok());
}

#[test]
fn what_is_wrong_is_told_without_the_key() {
    let (one, two) = (base64(1), base64(2));
    let form = |line, column| KeyFileError::Form { line, column };
    let key_1 = KeyFileError::Key { number: 1 };
    let many: String = (1..=5).map(|n| format!("- {{key: {}}}\n", base64(n))).collect();
    let zeros = BASE64.encode(&[0; 32]);
    for (text, expected) in [
        (String::new(), form(1, 1)),
        ("keys: []".into(), KeyFileError::Empty),
        (format!("keys: {one}"), form(1, 7)),
        (one.clone(), form(1, 1)),
        (format!("keys:\n- key: {one}\n  {one}: x"), form(3, 3)),
        (format!("keys:\n- key: {one}\n  kez: {two}"), form(3, 3)),
        (format!("keys:\n- key: {one}\nmore: {two}"), form(3, 1)),
        (format!("keys:\n- key: {one}\nkeys:\n- key: {two}"), form(1, 1)),
        (format!("keys:\n- key: {one}\n  key: {two}"), form(2, 3)),
        (format!("keys:\n- key: [{one}]"), form(2, 8)),
        (format!("keys:\n- {{id: x}}\n# {one}"), form(2, 3)),
        (format!("keys:\n- {{key: {one}, id: 12}}"), KeyFileError::Id { number: 1, is: key(1).id() }),
        (format!("keys:\n- {{key: {one}}}\n---\nkeys:\n- {{key: {two}}}"), form(1, 1)),
        (format!("keys:\n- {{key: \"{one}"), form(2, 54)),
        (format!("keys:\n{many}"), KeyFileError::TooMany(5)),
        (format!("keys: [{{key: {}}}]", &one[..43]), key_1.clone()),
        (format!("keys: [{{key: {}}}]", &one[..40]), key_1.clone()),
        (format!("keys: [{{key: {one}=}}]"), key_1.clone()),
        (format!("keys: [{{key: {one}{two}}}]"), key_1.clone()),
        (format!("keys: [{{key: {}}}]", one.replace('=', "A")), key_1.clone()),
        (format!("keys: [{{key: \"!{}\"}}]", &one[1..]), key_1),
        (format!("keys: [{{key: {one}}}, {{key: ''}}]"), KeyFileError::Key { number: 2 }),
        (format!("keys: [{{key: {zeros}}}]"), KeyFileError::NotRandom { number: 1 }),
        (format!("keys: [{{key: {one}, id: {two}}}]"), KeyFileError::Id { number: 1, is: key(1).id() }),
        (
            format!("keys: [{{key: {one}}}, {{key: {two}}}, {{key: {one}}}]"),
            KeyFileError::Twice { first: 1, second: 3 },
        ),
        (format!("# {}\nkeys: [{{key: {one}}}]", "x".repeat(MAX_FILE_BYTES as usize)), KeyFileError::TooLong),
    ] {
        let error = read(&text).unwrap_err();
        assert_eq!(error, expected, "{text}");
        no_key(&error.to_string(), &[&one, &two]);
        no_key(&format!("{error:?}"), &[&one, &two]);
    }
    assert_eq!(Keyring::parse(b"keys: \xff").unwrap_err(), KeyFileError::NotText);
}

/// Not even eight characters of a key.
fn no_key(message: &str, keys: &[&str]) {
    for part in keys.iter().flat_map(|key| key.as_bytes().windows(8)) {
        assert!(!message.as_bytes().windows(8).any(|window| window == part), "{message}");
    }
}

proptest! {
    #[test]
    fn any_text_is_keys_or_an_error(text in "(keys: )?[\\[{]{0,2}(key|id)?:? ?\\PC{0,60}[\\]}]{0,2}") {
        if let Err(error) = read(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn a_damaged_file_shows_nothing_of_its_key(at: prop::sample::Index, byte: u8) {
        let mut text = ring(&[1, 2]).file_text().as_bytes().to_vec();
        let at = at.index(text.len());
        text[at] = byte;
        if let Err(error) = Keyring::parse(&text) {
            no_key(&error.to_string(), &[&base64(1), &base64(2)]);
        }
    }
}
