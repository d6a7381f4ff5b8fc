//! What can do the arithmetic, and what of it this machine has.

use std::fmt;
use std::str::FromStr;

use crate::esp::suite::{Encryption, Suite};

/// An implementation of all suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The RustCrypto crates: everywhere, and the judge in tests.
    RustCrypto,
    /// AES-GCM in this crate, for processors with VAES; RustCrypto for the other suites.
    Vaes,
    /// Intel's multi-buffer library.
    IpsecMb,
}

/// No backend has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown crypto backend: write ipsec-mb, vaes or rustcrypto")]
pub struct UnknownBackend;

/// Whether a backend works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// Which.
    pub backend: Backend,
    /// Its version and the instructions it uses, or why it cannot be used.
    pub state: Result<String, String>,
}

impl Backend {
    /// The name in configuration and in what is shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rustcrypto",
            Self::Vaes => "vaes",
            Self::IpsecMb => "ipsec-mb",
        }
    }

    /// Every backend, whether it works here or not.
    pub fn available() -> Vec<Availability> {
        vec![
            Availability { backend: Self::IpsecMb, state: super::ipsec_mb::description() },
            Availability { backend: Self::Vaes, state: vaes() },
            Availability { backend: Self::RustCrypto, state: Ok(super::rust::description()) },
        ]
    }

    /// The backend of an engine that works with any key that can be made here.
    pub fn best() -> Self {
        if Self::IpsecMb.works() { Self::IpsecMb } else { Self::RustCrypto }
    }

    /// What works with keys of `suite` that are made for this backend: itself, where it has the suite.
    pub fn for_suite(self, suite: Suite) -> Self {
        if self == Self::Vaes && !is_gcm(suite) { Self::RustCrypto } else { self }
    }

    /// The fastest backend here for keys of `suite`.
    pub fn best_for(suite: Suite) -> Self {
        if is_gcm(suite) && Self::Vaes.works() { Self::Vaes } else { Self::best() }
    }

    /// Whether keys can be made for it.
    pub fn works(self) -> bool {
        Self::available().iter().any(|known| known.backend == self && known.state.is_ok())
    }
}

fn is_gcm(suite: Suite) -> bool {
    matches!(suite.encryption(), Encryption::AesGcm128 | Encryption::AesGcm256)
}

#[cfg(target_arch = "x86_64")]
fn vaes() -> Result<String, String> {
    match super::vaes::Width::widest() {
        Some(width) => Ok(format!("AES-GCM by VAES and VPCLMULQDQ, {width}; the rest by rustcrypto")),
        None => Err("this processor has no VAES".to_owned()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn vaes() -> Result<String, String> {
    Err("only x86-64 has VAES".to_owned())
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        [Self::IpsecMb, Self::Vaes, Self::RustCrypto]
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or(UnknownBackend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::esp::cipher::Cipher;
    use crate::esp::key::KeyMaterial;

    #[test]
    fn names_parse_back() {
        for availability in Backend::available() {
            assert_eq!(availability.backend.to_string().parse(), Ok(availability.backend));
        }
        assert_eq!("auto".parse::<Backend>(), Err(UnknownBackend));
    }

    #[test]
    fn a_key_is_worked_with_by_what_is_said() {
        for suite in Suite::all() {
            let key = vec![7; suite.encryption_key_len() + suite.salt_len()];
            let keys = KeyMaterial::new(suite, &key, &vec![9; suite.integrity_key_len()]).unwrap();
            for known in Backend::available().into_iter().filter(|known| known.state.is_ok()) {
                let cipher = Cipher::new(suite, &keys, known.backend).unwrap();
                assert_eq!(cipher.backend(), known.backend.for_suite(suite), "{suite}");
            }
        }
    }

    #[test]
    fn the_best_works() {
        assert!(Backend::best().works());
        assert!(Suite::all().all(|suite| Backend::best_for(suite).works()));
    }
}
