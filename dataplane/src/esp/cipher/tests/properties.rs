//! What is sealed opens, what does not fit is refused, and nothing panics.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_sealed_opens() {
    for way in ways() {
        let mut engine = way.engine();
        for suite in Suite::all() {
            let cipher = cipher(suite, 1, way);
            cipher.fetch();
            for len in (16..=1504).step_by(48) {
                let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
                for high in [None, Some(7)] {
                    let mut esp = packet(suite, 0x1001, len as u32, &payload);
                    assert!(seal(&mut engine, &cipher, &mut esp, high, len as u64), "{way} {suite} {len}");
                    assert_eq!(esp[..8], packet(suite, 0x1001, len as u32, &[])[..8]);
                    assert!(suite.encryption_key_len() == 0 || payload_of(suite, &esp) != payload);
                    let mut look = [0; 64];
                    assert_eq!(cipher.peek(&esp, &mut look), &payload[..len.min(64)], "{way} {suite}");
                    assert!(open(&mut engine, &cipher, &mut esp, high), "{way} {suite} {len}");
                    assert_eq!(payload_of(suite, &esp), payload, "{way} {suite} {len}");
                }
            }
        }
    }
}

/// Lengths that cannot be: too short for the header, the ICV, one trailer; not whole blocks.
#[test]
fn what_does_not_fit_is_refused() {
    for way in ways() {
        let mut engine = way.engine();
        for suite in Suite::all() {
            let cipher = cipher(suite, 1, way);
            let around = HEADER_LEN + suite.iv_len() + suite.icv_len();
            for len in 0..around + 34 {
                let fits = len > around + 1 && (suite.iv_len() < 16 || (len - around).is_multiple_of(16));
                let mut esp = vec![0x5a; len];
                assert_eq!(seal(&mut engine, &cipher, &mut esp, None, 1), fits, "{way} {suite} {len}");
                assert_eq!(open(&mut engine, &cipher, &mut esp, None), fits, "{way} {suite} {len}");
            }
        }
    }
}

/// An IV is used once, whatever the caller does with its jobs.
#[test]
fn no_job_is_done_twice() {
    for way in ways() {
        let mut engine = way.engine();
        for suite in Suite::all() {
            let cipher = cipher(suite, 1, way);
            let mut esp = packet(suite, 1, 1, &[7; 64]);
            let mut once = esp.clone();
            engine.set_iv_key([1; 16]);
            assert!(seal(&mut engine, &cipher, &mut once, None, u64::from_be_bytes([5; 8])));
            let mut jobs = [SealJob::new(&cipher, &mut esp, None, Iv::of_vector([5; 8]))];
            engine.seal(&mut jobs);
            engine.seal(&mut jobs);
            assert!(jobs[0].is_sealed());
            assert_eq!(esp, once, "{way} {suite}");
        }
    }
}

/// RFC 3602 section 3: nobody may foresee the IV, so two engines do not make the same of one number.
#[test]
fn cbc_ivs_cannot_be_foreseen() {
    let suite: Suite = "aes128-sha256".parse().unwrap();
    for way in ways() {
        let cipher = cipher(suite, 1, way);
        let mut ivs: Vec<Vec<u8>> = Vec::new();
        for _ in 0..2 {
            let mut engine = way.engine();
            for iv in 0..50 {
                let mut esp = packet(suite, 1, 1, &[7; 64]);
                assert!(seal(&mut engine, &cipher, &mut esp, None, iv));
                ivs.push(esp[HEADER_LEN..][..16].to_vec());
            }
        }
        ivs.sort();
        ivs.dedup();
        assert_eq!(ivs.len(), 100);
    }
}

#[test]
fn keys_of_another_suite_are_refused() {
    let error = Cipher::new(Suite::AES128_GCM, &keys(Suite::AES256_GCM, 1), Backend::RustCrypto).err();
    let expected = CipherError::OtherSuite { suite: Suite::AES128_GCM, keys: Suite::AES256_GCM };
    assert_eq!(error, Some(expected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_refused_and_nothing_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        high in any::<Option<u32>>(),
    ) {
        for way in ways() {
            let mut engine = way.engine();
            for suite in Suite::all() {
                let cipher = cipher(suite, 9, way);
                let mut esp = bytes.clone();
                cipher.peek(&esp, &mut [0; 64]);
                prop_assert!(!open(&mut engine, &cipher, &mut esp, high));
            }
        }
    }

    #[test]
    fn seal_then_open_is_identity(
        payload in prop::collection::vec(any::<u8>(), 2..2000),
        spi in any::<u32>(),
        sequence in any::<u32>(),
        high in any::<Option<u32>>(),
        iv in any::<u64>(),
        suite in prop::sample::select(Suite::all().collect::<Vec<_>>()),
    ) {
        let whole = payload.len() / 16 * 16;
        let payload = if suite.block_len() == 16 { &payload[..whole] } else { &payload[..] };
        prop_assume!(payload.len() >= 2);
        for way in ways() {
            let mut engine = way.engine();
            let cipher = cipher(suite, 9, way);
            let mut esp = packet(suite, spi, sequence, payload);
            prop_assert!(seal(&mut engine, &cipher, &mut esp, high, iv));
            prop_assert!(open(&mut engine, &cipher, &mut esp, high));
            prop_assert_eq!(payload_of(suite, &esp), payload);
        }
    }
}
