//! Published vectors of the suites that go by batch, laid out as ESP packets.

use super::{hex, library, manager};
use crate::ipsec_mb::{CbcKey, ChaChaKey, Hash, HmacKey, Job, Keys};

/// RFC 3602, 4, cases 2 and 4 (no padding is added in them): what is encrypted, whatever the HMAC.
#[test]
fn aes_cbc() {
    let library = library();
    let hmac = HmacKey::new(&library, Hash::Sha256, &[9; 32]).unwrap();
    let cases = [
        (
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        ),
        (
            "56e47a38c5598974bc46903dba290349",
            "8ce82eefbea0da3c44699ed7db51b7d9",
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecf\
             d0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
            "c30e32ffedc0774e6aff6af0869f71aa0f3af07a9a31a9c684db207eb0ef8e4e35907aa632c3ffdf868bb7b29d3d46ad\
             83ce9f9a102ee99d49a53e87f4c3da55",
        ),
        // NIST SP 800-38A, F.2.5: CBC-AES256.
        (
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
        ),
    ];
    for (key, iv, text, sealed) in cases {
        let key = CbcKey::new(&library, &hex(key)).unwrap();
        let mut packet = vec![1; 8];
        packet.extend(hex(iv));
        packet.extend(hex(text));
        packet.extend([0; 16]);
        let mut job = [Job::seal(Keys::Cbc(&key, &hmac), &mut packet, None)];
        manager().run(&mut job);
        assert!(job[0].is_done());
        assert_eq!(packet[24..packet.len() - 16], hex(sealed));
    }
}

/// RFC 4231, case 2, in pieces that an ESP packet can carry: HMAC over "what do ya want for nothing?"; and RFC
/// 2202, case 2, for SHA-1. All truncated as ESP does.
#[test]
fn hmac() {
    let cases = [
        (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5"),
        (Hash::Sha256, "5bdcc146bf60754e6a042426089575c7"),
        (Hash::Sha384, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"),
        (Hash::Sha512, "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"),
    ];
    for (hash, expected) in cases {
        let key = HmacKey::new(&library(), hash, b"Jefe").unwrap();
        let mut packet = b"what do ya want for nothing?".to_vec();
        packet.resize(28 + hash.icv_len(), 0);
        let mut job = [Job::seal(Keys::Null(&key), &mut packet, None)];
        manager().run(&mut job);
        assert!(job[0].is_done());
        assert_eq!(packet[28..], hex(expected), "{hash:?}");
        assert_eq!(&packet[..28], b"what do ya want for nothing?");
    }
}

/// The same with the message's last four bytes as an extended sequence number, which is not sent.
#[test]
fn hmac_covers_the_upper_sequence_number() {
    let key = HmacKey::new(&library(), Hash::Sha256, b"Jefe").unwrap();
    let mut packet = b"what do ya want for noth".to_vec();
    packet.resize(24 + 16, 0);
    let high = u32::from_be_bytes(*b"ing?");
    let mut job = [Job::seal(Keys::Null(&key), &mut packet, Some(high))];
    manager().run(&mut job);
    assert!(job[0].is_done());
    assert_eq!(packet[24..], hex("5bdcc146bf60754e6a042426089575c7"));
    for (number, is_authentic) in [(Some(high), true), (Some(high ^ 1), false), (None, false)] {
        let mut received = packet.clone();
        let mut job = [Job::open(Keys::Null(&key), &mut received, number)];
        manager().run(&mut job);
        assert_eq!(job[0].is_done(), is_authentic);
        assert_eq!(received, packet, "the number was left in the packet");
    }
}

/// RFC 4868, 2.7.2, cases AUTH256-3, AUTH384-3, AUTH512-3: keys as long as ESP's.
#[test]
fn hmac_with_keys_of_esp() {
    let cases = [
        (Hash::Sha256, 32, "cdcb1220d1ecccea91e53aba3092f962"),
        (Hash::Sha384, 48, "809f439be00274321d4a538652164b53554a508184a0c316"),
        (Hash::Sha512, 64, "2ee7acd783624ca9398710f3ee05ae41b9f9b0510c87e49e586cc9bf961733d8"),
    ];
    for (hash, key_len, expected) in cases {
        let key = HmacKey::new(&library(), hash, &vec![0xaa; key_len]).unwrap();
        let mut packet = vec![0xdd; 50];
        packet.resize(50 + hash.icv_len(), 0);
        let mut job = [Job::seal(Keys::Null(&key), &mut packet, None)];
        manager().run(&mut job);
        assert!(job[0].is_done());
        assert_eq!(packet[50..], hex(expected), "{hash:?}");
    }
}

/// RFC 7634, appendix A.
#[test]
fn chacha20_poly1305() {
    let key = ChaChaKey::new(
        &hex("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"),
        [0xa0, 0xa1, 0xa2, 0xa3],
    )
    .unwrap();
    let text = hex(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f10111213\
         1415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637 01020204",
    );
    let mut packet = hex("01020304 00000005 1011121314151617");
    packet.extend(&text);
    packet.extend([0; 16]);
    let mut job = [Job::seal(Keys::ChaCha(&key), &mut packet, None)];
    manager().run(&mut job);
    assert!(job[0].is_done());
    let sealed = hex("01020304 00000005 1011121314151617
         24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7
         2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43");
    assert_eq!(packet, sealed);
}
