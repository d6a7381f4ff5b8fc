//! Every backend that works here, against published vectors, against itself, and against the others; `vaes` in
//! 256-bit vectors too where it has wider ones.

mod agreement;
mod properties;
mod vectors;
mod wycheproof;

use std::fmt;

use super::*;
use crate::esp::iv::Iv;
use crate::esp::suite::HEADER_LEN;

/// What can work here: a backend, or a part of one that it would not use of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    backend: Backend,
    /// `vaes` in 256-bit vectors where it has wider ones.
    narrow: bool,
}

impl Way {
    /// An engine, which may take milliseconds to make.
    fn engine(self) -> Engine {
        Engine::new(self.backend).unwrap()
    }

    fn cipher(self, suite: Suite, keys: &KeyMaterial) -> Cipher {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "only x86-64 has VAES"))]
        let mut cipher = Cipher::new(suite, keys, self.backend).unwrap();
        #[cfg(target_arch = "x86_64")]
        if let Key::Vaes(key) = &mut cipher.key
            && self.narrow
        {
            *key = vaes::VaesKey::narrow(keys);
        }
        cipher
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.narrow { "narrow " } else { "" }, self.backend)
    }
}

/// All of them.
fn ways() -> Vec<Way> {
    let usable = Backend::available().into_iter().filter(|known| known.state.is_ok());
    let mut ways: Vec<_> = usable.map(|known| Way { backend: known.backend, narrow: false }).collect();
    assert!(ways.iter().any(|way| way.backend == Backend::RustCrypto));
    #[cfg(target_arch = "x86_64")]
    if vaes::Width::widest() == Some(vaes::Width::Bits512) {
        ways.push(Way { backend: Backend::Vaes, narrow: true });
    }
    ways
}

/// An engine of each.
fn engines() -> Vec<(Way, Engine)> {
    ways().into_iter().map(|way| (way, way.engine())).collect()
}

/// Keys of `suite` made of `seed`.
fn keys(suite: Suite, seed: u8) -> KeyMaterial {
    let byte = |i: usize| (i as u8).wrapping_mul(37).wrapping_add(seed);
    let encryption: Vec<u8> = (0..suite.encryption_key_len() + suite.salt_len()).map(byte).collect();
    let integrity: Vec<u8> = (0..suite.integrity_key_len()).map(|i| byte(i + 64)).collect();
    KeyMaterial::new(suite, &encryption, &integrity).unwrap()
}

fn cipher(suite: Suite, seed: u8, way: Way) -> Cipher {
    way.cipher(suite, &keys(suite, seed))
}

/// A packet with `payload` (a multiple of the suite's block) and room for the rest.
fn packet(suite: Suite, spi: u32, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut esp = vec![0; HEADER_LEN + suite.iv_len() + payload.len() + suite.icv_len()];
    esp[..4].copy_from_slice(&spi.to_be_bytes());
    esp[4..8].copy_from_slice(&sequence.to_be_bytes());
    esp[HEADER_LEN + suite.iv_len()..][..payload.len()].copy_from_slice(payload);
    esp
}

fn payload_of(suite: Suite, esp: &[u8]) -> &[u8] {
    &esp[HEADER_LEN + suite.iv_len()..esp.len() - suite.icv_len()]
}

fn seal(engine: &mut Engine, cipher: &Cipher, esp: &mut [u8], high: Option<u32>, iv: u64) -> bool {
    let mut jobs = [SealJob::new(cipher, esp, high, Iv::of_vector(iv.to_be_bytes()))];
    engine.seal(&mut jobs);
    jobs[0].is_sealed()
}

fn open(engine: &mut Engine, cipher: &Cipher, esp: &mut [u8], high: Option<u32>) -> bool {
    let mut jobs = [OpenJob::new(cipher, esp, high)];
    engine.open(&mut jobs);
    jobs[0].is_authentic()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The AEAD below ESP, with any associated data; `None` where the backend takes only that of ESP.
fn aead_seal(
    engine: &mut Engine,
    cipher: &Cipher,
    nonce: [u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> Option<[u8; 16]> {
    match &cipher.key {
        Key::Rust(key) => key.encrypt(nonce, aad, text),
        #[cfg(ipsec_mb)]
        Key::IpsecMb(key) => engine.ipsec_mb().unwrap().encrypt(key, nonce, aad, text),
        #[cfg(not(ipsec_mb))]
        Key::IpsecMb(key) => {
            let _ = engine;
            match *key {}
        }
        #[cfg(target_arch = "x86_64")]
        Key::Vaes(key) => Some(key.encrypt(nonce, aad, text)),
    }
}

/// The reverse; whether the ICV is right.
fn aead_open(
    engine: &mut Engine,
    cipher: &Cipher,
    nonce: [u8; 12],
    aad: &[u8],
    text: &mut [u8],
    icv: [u8; 16],
) -> Option<bool> {
    match &cipher.key {
        Key::Rust(key) => Some(key.decrypt(nonce, aad, text, icv)),
        #[cfg(ipsec_mb)]
        Key::IpsecMb(key) => engine.ipsec_mb().unwrap().decrypt(key, nonce, aad, text, icv),
        #[cfg(not(ipsec_mb))]
        Key::IpsecMb(key) => {
            let _ = engine;
            match *key {}
        }
        #[cfg(target_arch = "x86_64")]
        Key::Vaes(key) => Some(key.decrypt(nonce, aad, text, icv)),
    }
}
