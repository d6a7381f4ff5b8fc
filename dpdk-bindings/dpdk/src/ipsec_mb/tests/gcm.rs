use super::{hex, library, manager, noise};
use crate::ipsec_mb::{GcmKey, Manager};

fn seal(manager: &Manager, key: &GcmKey, iv: &[u8; 12], aad: &[u8], text: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let (mut data, mut tag) = (text.to_vec(), [0; 16]);
    manager.gcm_seal(key, iv, aad, &mut data, &mut tag);
    (data, tag)
}

/// The Galois/Counter Mode of Operation (McGrew, Viega), appendix B, which NIST submits; and RFC 4106's use.
#[test]
fn agrees_with_published_vectors() {
    let (library, manager) = (library(), manager());
    let text = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
                b16aedf5aa0de657ba637b39";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let cases = [
        // Test case 2.
        (
            "00000000000000000000000000000000",
            "000000000000000000000000",
            "",
            "00000000000000000000000000000000",
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        // Test case 4.
        (
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            aad,
            text,
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa05\
             1ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        // Test case 16.
        (
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            aad,
            text,
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
             c5f61e6393ba7a0abcc9f662",
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ];
    for (key, iv, aad, text, sealed, tag) in cases {
        let key = GcmKey::new(&library, &hex(key)).unwrap();
        let (data, made) = seal(&manager, &key, &hex(iv).try_into().unwrap(), &hex(aad), &hex(text));
        assert_eq!(data, hex(sealed));
        assert_eq!(made.to_vec(), hex(tag));
    }
}

#[test]
fn opens_what_it_sealed_at_every_length_and_alignment() {
    let (library, manager) = (library(), manager());
    for key_len in [16, 32] {
        let key = GcmKey::new(&library, &noise(1, key_len)).unwrap();
        for len in (0..600).chain(600..2001).step_by(7).chain([1023, 1024, 9000]) {
            let iv: [u8; 12] = noise(len as u64, 12).try_into().unwrap();
            let aad = noise(2, if len % 2 == 0 { 8 } else { 12 });
            let text = noise(3, len);
            let (sealed, tag) = seal(&manager, &key, &iv, &aad, &text);
            // Elsewhere in a cache line, with a guard on both sides.
            let shift = len % 64;
            let mut buffer = vec![0xaa; shift];
            buffer.extend(&sealed);
            buffer.extend([0xaa; 64]);
            key.fetch();
            assert!(manager.gcm_open(&key, &iv, &aad, &mut buffer[shift..shift + len], &tag), "{len} bytes");
            assert_eq!(buffer[shift..shift + len], text);
            assert!(buffer[..shift].iter().chain(&buffer[shift + len..]).all(|byte| *byte == 0xaa));
        }
    }
}

#[test]
fn a_changed_bit_anywhere_is_found() {
    let (library, manager) = (library(), manager());
    let key = GcmKey::new(&library, &noise(1, 16)).unwrap();
    let (iv, aad, text) = ([7; 12], noise(2, 8), noise(3, 40));
    let (sealed, tag) = seal(&manager, &key, &iv, &aad, &text);
    let opens = |sealed: &[u8], aad: &[u8], tag: &[u8; 16], iv: &[u8; 12]| {
        manager.gcm_open(&key, iv, aad, &mut sealed.to_vec(), tag)
    };
    assert!(opens(&sealed, &aad, &tag, &iv));
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&changed, &aad, &tag, &iv));
    }
    for bit in 0..128 {
        let mut changed = tag;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&sealed, &aad, &changed, &iv));
    }
    for bit in 0..64 {
        let mut changed = aad.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!opens(&sealed, &changed, &tag, &iv));
    }
    assert!(!opens(&sealed, &aad, &tag, &[8; 12]));
    assert!(!opens(&sealed[..39], &aad, &tag, &iv));
}

#[test]
fn refuses_keys_of_other_lengths() {
    for len in [0, 15, 17, 20, 24, 31, 33] {
        assert_eq!(GcmKey::new(&library(), &vec![0; len]).err().map(|error| error.found), Some(len));
    }
}
