//! From IKEv2's numbers to our suites, and what of an SA is not supported, each with its reason.
//!
//! charon is configured to offer none of what is refused here, so a refusal means that somebody else configured it.
//! Transform IDs: IANA's registry of IKEv2 parameters, types 1 and 3.

use penstock_dataplane::esp::key::{KeyError, KeyMaterial};
use penstock_dataplane::esp::suite::{Encryption, Integrity, Suite, SuiteError};

use super::protocol::{AddSa, ErrorCode, Mode, Refused};

const ENCR_NULL: u16 = 11;
const ENCR_AES_CBC: u16 = 12;
const ENCR_AES_GCM_ICV8: u16 = 18;
const ENCR_AES_GCM_ICV12: u16 = 19;
const ENCR_AES_GCM_ICV16: u16 = 20;
const ENCR_NULL_AUTH_AES_GMAC: u16 = 21;
const ENCR_CHACHA20_POLY1305: u16 = 28;
const ENCR_AES_CCM_8_IIV: u16 = 29;
const ENCR_CHACHA20_POLY1305_IIV: u16 = 31;

const AUTH_NONE: u16 = 0;
const AUTH_HMAC_SHA1_96: u16 = 2;
const AUTH_HMAC_SHA2_256_128: u16 = 12;
const AUTH_HMAC_SHA2_384_192: u16 = 13;
const AUTH_HMAC_SHA2_512_256: u16 = 14;
/// charon's own numbers begin here, in the range for private use; this one says that there is no algorithm.
const AUTH_UNDEFINED: u16 = 1024;
/// charon's number for what Linux before 2.6.33 took for HMAC-SHA-256.
const AUTH_HMAC_SHA2_256_96: u16 = 1026;

/// Bytes of salt behind an AES-GCM key (RFC 4106 section 8.1).
const GCM_SALT_LEN: usize = 4;
/// Bytes of an AES key of 192 bits.
const AES192_LEN: usize = 24;

/// Why an SA cannot be installed, and what to configure instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// RFC 8750.
    #[error(
        "an implicit IV (cipher {0}, RFC 8750) is not supported, as workers that share an SA make IVs apart from its \
         sequence numbers: propose aes128gcm16, aes256gcm16 or chacha20poly1305"
    )]
    ImplicitIv(u16),
    /// AES-GCM with a short tag.
    #[error(
        "AES-GCM with an ICV of {0} bytes is not supported, only of 16: propose aes128gcm16 or aes256gcm16"
    )]
    ShortIcv(usize),
    /// RFC 4543.
    #[error("AES-GMAC is not supported: propose null-sha256 for authentication without encryption")]
    Gmac,
    /// AES with 192 bits.
    #[error("AES with a key of 192 bits is not supported: propose 128 or 256 bits")]
    Aes192,
    /// A tag that was cut before RFC 4868.
    #[error(
        "HMAC-SHA-256 cut to 96 bits is not supported, only to 128 (RFC 4868): propose sha256 without sha256_96"
    )]
    TruncatedSha256,
    /// Some other cipher.
    #[error(
        "cipher {0} (IKEv2 transform type 1) is not supported: propose aes128gcm16, aes256gcm16, chacha20poly1305, \
         aes128-sha256 or aes256-sha256"
    )]
    Cipher(u16),
    /// Some other HMAC.
    #[error(
        "integrity algorithm {0} (IKEv2 transform type 3) is not supported: propose sha256, sha384 or sha512, or an AEAD"
    )]
    Integrity(u16),
    /// Algorithms that do not go together.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// Keys of another length.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Not tunnel mode.
    #[error(
        "mode {0:?} is not supported, only tunnel mode: set mode = tunnel in the child's configuration, on both sides"
    )]
    Mode(Mode),
    /// RFC 3173.
    #[error("IPComp is not supported: set ipcomp = no in the child's configuration")]
    IpComp,
    /// RFC 4303 section 2.7.
    #[error("TFC padding is not supported: set tfc_padding = 0 in the child's configuration")]
    Tfc,
}

impl From<Unsupported> for Refused {
    fn from(reason: Unsupported) -> Self {
        Self::new(ErrorCode::Refused, reason)
    }
}

/// The suite of two transform IDs. `key_len` is the bytes of keying material that the cipher has, with its salt: IKEv2
/// tells AES of 128 and 256 bits apart by that only.
///
/// # Errors
/// When no suite has these.
pub fn suite(encryption: u16, key_len: usize, integrity: u16) -> Result<Suite, Unsupported> {
    Ok(Suite::new(cipher(encryption, key_len)?, hmac(integrity)?)?)
}

fn cipher(number: u16, key_len: usize) -> Result<Encryption, Unsupported> {
    match number {
        ENCR_AES_GCM_ICV16 => {
            by_length(key_len.saturating_sub(GCM_SALT_LEN), Encryption::AesGcm128, Encryption::AesGcm256)
        }
        ENCR_AES_CBC => by_length(key_len, Encryption::AesCbc128, Encryption::AesCbc256),
        ENCR_CHACHA20_POLY1305 => Ok(Encryption::ChaCha20Poly1305),
        ENCR_NULL => Ok(Encryption::Null),
        ENCR_AES_CCM_8_IIV..=ENCR_CHACHA20_POLY1305_IIV => Err(Unsupported::ImplicitIv(number)),
        ENCR_AES_GCM_ICV8 => Err(Unsupported::ShortIcv(8)),
        ENCR_AES_GCM_ICV12 => Err(Unsupported::ShortIcv(12)),
        ENCR_NULL_AUTH_AES_GMAC => Err(Unsupported::Gmac),
        other => Err(Unsupported::Cipher(other)),
    }
}

/// Any length that is neither is the shorter one's to refuse, by its number of bytes.
fn by_length(key_len: usize, short: Encryption, long: Encryption) -> Result<Encryption, Unsupported> {
    match key_len {
        32 => Ok(long),
        AES192_LEN => Err(Unsupported::Aes192),
        _ => Ok(short),
    }
}

fn hmac(number: u16) -> Result<Option<Integrity>, Unsupported> {
    Ok(Some(match number {
        AUTH_NONE | AUTH_UNDEFINED => return Ok(None),
        AUTH_HMAC_SHA1_96 => Integrity::HmacSha1,
        AUTH_HMAC_SHA2_256_128 => Integrity::HmacSha256,
        AUTH_HMAC_SHA2_384_192 => Integrity::HmacSha384,
        AUTH_HMAC_SHA2_512_256 => Integrity::HmacSha512,
        AUTH_HMAC_SHA2_256_96 => return Err(Unsupported::TruncatedSha256),
        other => return Err(Unsupported::Integrity(other)),
    }))
}

impl AddSa {
    /// Its algorithms.
    ///
    /// # Errors
    /// When they are not supported.
    pub fn suite(&self) -> Result<Suite, Unsupported> {
        suite(self.encryption, self.key.len(), self.integrity)
    }

    /// Its keys in the form that ciphers are made from, if everything that it asks for is supported: mode, algorithms,
    /// and nothing beside. Windows, ESN and lifetimes are the tunnel's to say.
    ///
    /// # Errors
    /// What is not supported.
    pub fn keys(&self) -> Result<KeyMaterial, Unsupported> {
        if self.mode != Mode::Tunnel {
            return Err(Unsupported::Mode(self.mode));
        }
        if self.ipcomp != 0 {
            return Err(Unsupported::IpComp);
        }
        if self.tfc != 0 {
            return Err(Unsupported::Tfc);
        }
        Ok(KeyMaterial::new(self.suite()?, self.key.bytes(), self.auth_key.bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_has_its_numbers() {
        let of =
            |encryption: u16, bits: usize, integrity: u16| suite(encryption, bits / 8, integrity).unwrap();
        assert_eq!(of(20, 128 + 32, 1024), Suite::AES128_GCM);
        assert_eq!(of(20, 256 + 32, 0), Suite::AES256_GCM);
        assert_eq!(of(28, 256 + 32, 1024), Suite::CHACHA20_POLY1305);
        let macs = [(2, "sha1"), (12, "sha256"), (13, "sha384"), (14, "sha512")];
        for (cipher, bits, name) in [(12, 128, "aes128"), (12, 256, "aes256"), (11, 0, "null")] {
            for (number, mac) in macs {
                assert_eq!(of(cipher, bits, number).name(), format!("{name}-{mac}"));
            }
        }
    }

    #[test]
    fn the_rest_is_refused_with_its_reason() {
        let refused = |encryption, key_len, integrity| suite(encryption, key_len, integrity).unwrap_err();
        for iiv in [29, 30, 31] {
            assert_eq!(refused(iiv, 20, 1024), Unsupported::ImplicitIv(iiv));
        }
        assert_eq!(refused(18, 20, 0), Unsupported::ShortIcv(8));
        assert_eq!(refused(19, 20, 0), Unsupported::ShortIcv(12));
        assert_eq!(refused(21, 20, 0), Unsupported::Gmac);
        assert_eq!(refused(20, 28, 0), Unsupported::Aes192);
        assert_eq!(refused(12, 24, 12), Unsupported::Aes192);
        assert_eq!(refused(12, 16, 1026), Unsupported::TruncatedSha256);
        for cipher in [0, 1, 2, 3, 13, 14, 16, 23, 32, 1024, u16::MAX] {
            assert_eq!(refused(cipher, 16, 12), Unsupported::Cipher(cipher));
        }
        for integrity in [1, 3, 5, 8, 9, 11, 15, 1025, 1027, u16::MAX] {
            assert_eq!(refused(12, 16, integrity), Unsupported::Integrity(integrity));
        }
        assert_eq!(refused(20, 20, 12), SuiteError::IntegrityNotWanted.into());
        for alone in [(12, 16), (11, 0)] {
            assert_eq!(refused(alone.0, alone.1, 1024), SuiteError::IntegrityMissing.into());
        }
    }

    #[test]
    fn nothing_beside_tunnel_mode_is_taken() {
        let good = || AddSa { mode: Mode::Tunnel, ..crate::ike::protocol::tests::add_sa() };
        assert!(good().keys().is_ok());
        let reason = |sa: AddSa| sa.keys().err();
        for mode in [Mode::None, Mode::Transport, Mode::Beet, Mode::Pass, Mode::Drop] {
            assert_eq!(reason(AddSa { mode, ..good() }), Some(Unsupported::Mode(mode)));
        }
        assert_eq!(reason(AddSa { ipcomp: 3, ..good() }), Some(Unsupported::IpComp));
        assert_eq!(reason(AddSa { tfc: 1, ..good() }), Some(Unsupported::Tfc));
        let short = reason(AddSa { encryption: 28, ..good() });
        assert!(
            matches!(short, Some(Unsupported::Keys(KeyError::Encryption { found: 20, .. }))),
            "{short:?}"
        );
        let refused = Refused::from(Unsupported::Tfc);
        assert_eq!(refused.code, ErrorCode::Refused);
    }
}
