//! Any bytes as a datagram from another node of the fleet.

use penstock_fleet::peer::{PeerKeys, Said};
use penstock_fleet::seal::{FleetKey, TokenKind};

/// As they are; and signed, as a node of another version, or one that was broken into, could send them. What is taken has no
/// other form than these bytes.
pub fn peer(data: &[u8]) {
    let token = FleetKey::from_bytes(&[1; 32]).token(TokenKind::Control);
    let keys = PeerKeys::new([token]).expect("one key");
    check(data, &keys);
    let signed = [data, &keys.code(data)].concat();
    check(&signed, &keys);
}

fn check(bytes: &[u8], keys: &PeerKeys) {
    match Said::open(bytes, keys) {
        Ok(said) => assert_eq!(&*said.seal(keys), bytes),
        Err(refused) => assert!(!refused.to_string().is_empty()),
    }
}
