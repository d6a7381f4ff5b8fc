//! What can do the arithmetic, and what of it this machine has.

use std::fmt;
use std::str::FromStr;

/// An implementation of all suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// The RustCrypto crates: everywhere, and the judge in tests.
    RustCrypto,
    /// Intel's multi-buffer library.
    IpsecMb,
}

/// No backend has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown crypto backend: write ipsec-mb or rustcrypto")]
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
            Self::IpsecMb => "ipsec-mb",
        }
    }

    /// Every backend, the fastest first.
    pub fn available() -> Vec<Availability> {
        vec![
            Availability { backend: Self::IpsecMb, state: super::ipsec_mb::description() },
            Availability { backend: Self::RustCrypto, state: Ok(super::rust::description()) },
        ]
    }

    /// The fastest one that works here.
    pub fn best() -> Self {
        let works = Self::available().into_iter().find(|availability| availability.state.is_ok());
        works.map_or(Self::RustCrypto, |availability| availability.backend)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(name: &str) -> Result<Self, UnknownBackend> {
        [Self::IpsecMb, Self::RustCrypto]
            .into_iter()
            .find(|backend| backend.name() == name)
            .ok_or(UnknownBackend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for availability in Backend::available() {
            assert_eq!(availability.backend.to_string().parse(), Ok(availability.backend));
        }
        assert_eq!("auto".parse::<Backend>(), Err(UnknownBackend));
    }

    #[test]
    fn the_best_works() {
        let best = Backend::best();
        assert!(Backend::available().iter().any(|known| known.backend == best && known.state.is_ok()));
    }
}
