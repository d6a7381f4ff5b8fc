//! Any bytes where the store of a fleet has them, and as its key file.

use std::sync::LazyLock;

use penstock_fleet::names::KeyName;
use penstock_fleet::seal::{FleetKey, Keyring};

const NAME: &str = "sas/7/acme/dc1/i-0040abcd";
static RING: LazyLock<Keyring> = LazyLock::new(|| {
    let key = |number: u8| FleetKey::from_bytes(&std::array::from_fn(|at| at as u8 ^ number));
    Keyring::new(vec![key(1), key(2)]).expect("two keys")
});

/// No bytes are a sealed record, with our head or without; and what we seal of them opens where it was sealed for, and
/// nowhere else.
pub fn sealed_record(data: &[u8]) {
    let refused = RING.open(NAME, 1, data).expect_err("it is not ours");
    assert!(!refused.to_string().is_empty());
    let sealed = RING.seal(NAME, 1, data).expect("there is chance");
    let behind_our_head = [&sealed[..12], data].concat();
    assert!(RING.open(NAME, 1, &behind_our_head).is_err());
    assert_eq!(RING.open(NAME, 1, &sealed).expect("it is ours").as_slice(), data);
    assert!(RING.open(NAME, 2, &sealed).is_err());
    assert!(RING.open("senders", 1, &sealed).is_err());
}

/// Keys or an error, never a panic; an error quotes no key.
pub fn fleet_key_file(data: &[u8]) {
    match Keyring::parse(data) {
        Ok(ring) => {
            let again = Keyring::parse(ring.file_text().as_bytes()).expect("we wrote it");
            assert!(again.ids().eq(ring.ids()));
        }
        Err(error) => {
            let message = error.to_string();
            let longest =
                message.split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c)).map(str::len).max();
            assert!(longest < Some(17), "{message}");
        }
    }
}

/// A name or none; and what is one has no other form than this text.
pub fn fleet_key_name(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<KeyName>() {
        assert_eq!(name.to_string(), text);
    }
}
