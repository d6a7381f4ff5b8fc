//! What is sealed opens, what is changed does not, and nothing panics.

use super::*;

#[test]
fn what_is_sealed_opens() {
    for backend in backends() {
        let mut engine = Engine::new(backend).unwrap();
        for suite in Suite::all() {
            let cipher = cipher(suite, 1, backend);
            cipher.fetch();
            for len in (16..=1504).step_by(16) {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                for high in [None, Some(7)] {
                    let mut esp = packet(suite, 0x1001, len as u32, &payload);
                    assert!(
                        seal(&mut engine, &cipher, &mut esp, high, len as u64),
                        "{backend} {suite} {len}"
                    );
                    assert_eq!(esp[..8], packet(suite, 0x1001, len as u32, &[])[..8]);
                    assert!(suite.encryption_key_len() == 0 || payload_of(suite, &esp) != payload);
                    let mut look = [0; 64];
                    assert_eq!(cipher.peek(&esp, &mut look), &payload[..len.min(64)], "{backend} {suite}");
                    assert!(open(&mut engine, &cipher, &mut esp, high), "{backend} {suite} {len}");
                    assert_eq!(payload_of(suite, &esp), payload, "{backend} {suite} {len}");
                }
            }
        }
    }
}
