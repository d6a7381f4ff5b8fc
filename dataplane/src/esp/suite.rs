//! The algorithms of a security association, and every length that follows from them.
//!
//! A [`Suite`] is always a valid pair: an AEAD alone (RFC 4106, 7634), or a cipher with an HMAC
//! (RFC 3602, 2410 with 2404, 4868). Encryption without authentication cannot be written (RFC 8221
//! section 4). Decides no policy: which suites a tunnel may use is control's choice.

use std::fmt;
use std::str::FromStr;

/// SPI and sequence number (RFC 4303 section 2).
pub const HEADER_LEN: usize = 8;
/// Pad length and next header, the last bytes of the payload.
pub const TRAILER_LEN: usize = 2;

/// How the payload is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encryption {
    /// AES-GCM with a 128-bit key and a 16-byte ICV (RFC 4106).
    AesGcm128,
    /// AES-GCM with a 256-bit key and a 16-byte ICV (RFC 4106).
    AesGcm256,
    /// AES-CBC with a 128-bit key (RFC 3602).
    AesCbc128,
    /// AES-CBC with a 256-bit key (RFC 3602).
    AesCbc256,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// Not at all (RFC 2410).
    Null,
}

/// How a packet is authenticated where the cipher does not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// HMAC-SHA-1-96 (RFC 2404).
    HmacSha1,
    /// HMAC-SHA-256-128 (RFC 4868).
    HmacSha256,
    /// HMAC-SHA-384-192 (RFC 4868).
    HmacSha384,
    /// HMAC-SHA-512-256 (RFC 4868).
    HmacSha512,
}

/// A pair that makes no suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// An AEAD authenticates by itself.
    #[error("this cipher authenticates by itself: leave the integrity algorithm out")]
    IntegrityNotWanted,
    /// A cipher that authenticates nothing needs an HMAC beside it.
    #[error("this cipher does not authenticate: add an integrity algorithm")]
    IntegrityMissing,
    /// No suite has this name.
    #[error(
        "unknown cipher suite: write aes128gcm16, aes256gcm16, chacha20poly1305, or one of aes128, aes256 and null, a hyphen, and one of sha1, sha256, sha384 and sha512"
    )]
    UnknownName,
}

/// Algorithms that work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Suite {
    encryption: Encryption,
    integrity: Option<Integrity>,
}

impl Suite {
    /// AES-GCM with a 128-bit key and a 16-byte ICV.
    pub const AES128_GCM: Self = Self { encryption: Encryption::AesGcm128, integrity: None };
    /// AES-GCM with a 256-bit key and a 16-byte ICV.
    pub const AES256_GCM: Self = Self { encryption: Encryption::AesGcm256, integrity: None };
    /// ChaCha20-Poly1305.
    pub const CHACHA20_POLY1305: Self = Self { encryption: Encryption::ChaCha20Poly1305, integrity: None };

    /// The suite of these two.
    ///
    /// # Errors
    /// When an AEAD comes with an integrity algorithm, or another cipher without one.
    pub const fn new(encryption: Encryption, integrity: Option<Integrity>) -> Result<Self, SuiteError> {
        match (encryption.is_aead(), integrity.is_some()) {
            (true, true) => Err(SuiteError::IntegrityNotWanted),
            (false, false) => Err(SuiteError::IntegrityMissing),
            _ => Ok(Self { encryption, integrity }),
        }
    }

    /// Every suite there is.
    pub fn all() -> impl Iterator<Item = Self> {
        let macs = [Integrity::HmacSha1, Integrity::HmacSha256, Integrity::HmacSha384, Integrity::HmacSha512];
        let pairs = [Encryption::AesCbc128, Encryption::AesCbc256, Encryption::Null]
            .into_iter()
            .flat_map(move |encryption| macs.map(|mac| Self { encryption, integrity: Some(mac) }));
        [Self::AES128_GCM, Self::AES256_GCM, Self::CHACHA20_POLY1305].into_iter().chain(pairs)
    }

    /// The name in configuration and in what is shown.
    pub const fn name(self) -> &'static str {
        use Encryption::{AesCbc128, AesCbc256, AesGcm128, AesGcm256, ChaCha20Poly1305, Null};
        use Integrity::{HmacSha1, HmacSha256, HmacSha384, HmacSha512};
        match (self.encryption, self.integrity) {
            (AesGcm128, _) => "aes128gcm16",
            (AesGcm256, _) => "aes256gcm16",
            (ChaCha20Poly1305, _) => "chacha20poly1305",
            (AesCbc128, Some(HmacSha1)) => "aes128-sha1",
            (AesCbc128, Some(HmacSha256)) => "aes128-sha256",
            (AesCbc128, Some(HmacSha384)) => "aes128-sha384",
            (AesCbc128, Some(HmacSha512)) => "aes128-sha512",
            (AesCbc256, Some(HmacSha1)) => "aes256-sha1",
            (AesCbc256, Some(HmacSha256)) => "aes256-sha256",
            (AesCbc256, Some(HmacSha384)) => "aes256-sha384",
            (AesCbc256, Some(HmacSha512)) => "aes256-sha512",
            (Null, Some(HmacSha1)) => "null-sha1",
            (Null, Some(HmacSha256)) => "null-sha256",
            (Null, Some(HmacSha384)) => "null-sha384",
            (Null, Some(HmacSha512)) => "null-sha512",
            // `new` lets none of these be.
            (AesCbc128 | AesCbc256 | Null, None) => "unauthenticated",
        }
    }

    /// The cipher.
    pub const fn encryption(self) -> Encryption {
        self.encryption
    }

    /// The HMAC, unless the cipher is an AEAD.
    pub const fn integrity(self) -> Option<Integrity> {
        self.integrity
    }

    /// Whether one algorithm does both.
    pub const fn is_aead(self) -> bool {
        self.encryption.is_aead()
    }

    /// Bytes of IV between ESP header and payload (RFC 4106 section 3.1, RFC 7634 section 2, RFC 3602
    /// section 3).
    pub const fn iv_len(self) -> usize {
        match self.encryption {
            Encryption::AesGcm128 | Encryption::AesGcm256 | Encryption::ChaCha20Poly1305 => 8,
            Encryption::AesCbc128 | Encryption::AesCbc256 => 16,
            Encryption::Null => 0,
        }
    }

    /// Bytes of ICV at the end of a packet.
    pub const fn icv_len(self) -> usize {
        match self.integrity {
            None => 16,
            Some(Integrity::HmacSha1) => 12,
            Some(Integrity::HmacSha256) => 16,
            Some(Integrity::HmacSha384) => 24,
            Some(Integrity::HmacSha512) => 32,
        }
    }

    /// What payload, padding and trailer together are a multiple of, bytes (RFC 4303 section 2.4).
    pub const fn block_len(self) -> usize {
        match self.encryption {
            Encryption::AesCbc128 | Encryption::AesCbc256 => 16,
            _ => 4,
        }
    }

    /// Bytes of the cipher's key, without salt.
    pub const fn encryption_key_len(self) -> usize {
        match self.encryption {
            Encryption::AesGcm128 | Encryption::AesCbc128 => 16,
            Encryption::AesGcm256 | Encryption::AesCbc256 | Encryption::ChaCha20Poly1305 => 32,
            Encryption::Null => 0,
        }
    }

    /// Bytes of salt, which follow the cipher's key in the keying material (RFC 4106 section 8.1,
    /// RFC 7634 section 2).
    pub const fn salt_len(self) -> usize {
        if self.is_aead() { 4 } else { 0 }
    }

    /// Bytes of the HMAC's key: as long as its hash (RFC 2404 section 3, RFC 4868 section 2.1.1).
    pub const fn integrity_key_len(self) -> usize {
        match self.integrity {
            None => 0,
            Some(Integrity::HmacSha1) => 20,
            Some(Integrity::HmacSha256) => 32,
            Some(Integrity::HmacSha384) => 48,
            Some(Integrity::HmacSha512) => 64,
        }
    }

    /// The largest inner packet that fits a link of `link_mtu` bytes in tunnel mode; 0 when none does.
    /// `udp` is UDP encapsulation (RFC 3948).
    pub const fn inner_mtu(self, link_mtu: u16, outer_v6: bool, udp: bool) -> u16 {
        let outer = if outer_v6 { 40 } else { 20 } + if udp { 8 } else { 0 };
        let around = outer + HEADER_LEN + self.iv_len() + self.icv_len();
        let room = (link_mtu as usize).saturating_sub(around);
        (room - room % self.block_len()).saturating_sub(TRAILER_LEN) as u16
    }
}

impl Encryption {
    /// Whether it authenticates too.
    const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm128 | Self::AesGcm256 | Self::ChaCha20Poly1305)
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Suite {
    type Err = SuiteError;

    fn from_str(name: &str) -> Result<Self, SuiteError> {
        Self::all().find(|suite| suite.name() == name).ok_or(SuiteError::UnknownName)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        let names: HashSet<_> = Suite::all().map(Suite::name).collect();
        assert_eq!(names.len(), 15);
        for suite in Suite::all() {
            assert_eq!(suite.name().parse(), Ok(suite));
            assert_eq!(format!("{suite}"), suite.name());
            assert_eq!(Suite::new(suite.encryption(), suite.integrity()), Ok(suite));
        }
        for name in ["", "aes128", "AES128GCM16", "unauthenticated", "aes128-md5"] {
            assert_eq!(name.parse::<Suite>(), Err(SuiteError::UnknownName));
        }
    }

    #[test]
    fn only_valid_pairs_make_a_suite() {
        assert_eq!(
            Suite::new(Encryption::AesGcm128, Some(Integrity::HmacSha256)),
            Err(SuiteError::IntegrityNotWanted)
        );
        for encryption in [Encryption::AesCbc128, Encryption::AesCbc256, Encryption::Null] {
            assert_eq!(Suite::new(encryption, None), Err(SuiteError::IntegrityMissing));
        }
    }

    /// The sizes every other IPsec stack uses too, on a link of 1500 bytes.
    #[test]
    fn inner_mtu_on_ethernet() {
        let suite = |name: &str| name.parse::<Suite>().unwrap();
        for (name, v6, udp, mtu) in [
            ("aes128gcm16", false, false, 1446),
            ("aes128gcm16", false, true, 1438),
            ("aes256gcm16", false, false, 1446),
            ("chacha20poly1305", false, false, 1446),
            ("aes128-sha256", false, false, 1438),
            ("aes128-sha256", false, true, 1422),
            ("aes128gcm16", true, false, 1426),
            ("aes128gcm16", true, true, 1418),
            ("null-sha256", false, false, 1454),
        ] {
            assert_eq!(suite(name).inner_mtu(1500, v6, udp), mtu, "{name} v6 {v6} udp {udp}");
        }
    }

    #[test]
    fn inner_mtu_is_the_largest_that_fits() {
        for suite in Suite::all() {
            let sealed = |inner: usize| {
                let payload = (inner + TRAILER_LEN).next_multiple_of(suite.block_len());
                20 + HEADER_LEN + suite.iv_len() + payload + suite.icv_len()
            };
            for link in [0, 20, 68, 576, 1280, 1499, 1500, 1501, 9000, u16::MAX] {
                let inner = usize::from(suite.inner_mtu(link, false, false));
                assert!(inner == 0 || sealed(inner) <= usize::from(link), "{suite} {link}");
                assert!(sealed(inner + 1) > usize::from(link), "{suite} {link}");
            }
        }
    }
}
