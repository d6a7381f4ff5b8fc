//! Which library works with which keys: decided once, at the start, for each suite.
//!
//! `auto` takes the fastest for each suite, which need not be the same one. A worker's engine works with the keys of
//! all that are chosen. One that the configuration names is used for every suite that it has.

use penstock_dataplane::esp::cipher::Backend;
use penstock_dataplane::esp::suite::Suite;

use super::error::RuntimeError;
use crate::config::CryptoBackend;

/// The libraries in use.
#[derive(Clone, Debug)]
pub(super) struct Backends {
    engine: Backend,
    of_suites: Vec<(Suite, Backend)>,
}

impl Backends {
    /// What the configuration wants.
    ///
    /// # Errors
    /// When that does not work on this machine.
    pub(super) fn choose(wanted: CryptoBackend) -> Result<Self, RuntimeError> {
        let named = match wanted {
            CryptoBackend::Auto => return Ok(Self::new(Backend::best(), Backend::best_for)),
            CryptoBackend::IpsecMb => Backend::IpsecMb,
            CryptoBackend::Vaes => Backend::Vaes,
            CryptoBackend::RustCrypto => Backend::RustCrypto,
        };
        let known = Backend::available().into_iter().find(|known| known.backend == named);
        match known.map(|known| known.state) {
            Some(Err(why)) => Err(RuntimeError::Backend { backend: named, why }),
            _ => Ok(Self::new(named, |suite| named.for_suite(suite))),
        }
    }

    fn new(engine: Backend, of: impl Fn(Suite) -> Backend) -> Self {
        // Asking what works here is not for each key.
        Self { engine, of_suites: Suite::all().map(|suite| (suite, of(suite))).collect() }
    }

    /// What the workers' engines are made for.
    pub(super) fn engine(&self) -> Backend {
        self.engine
    }

    /// What keys of a suite are made for.
    pub(super) fn of(&self, suite: Suite) -> Backend {
        self.of_suites.iter().find(|(known, _)| *known == suite).map_or(self.engine, |(_, backend)| *backend)
    }

    /// The suites that a backend works with.
    pub(super) fn suites_of(&self, backend: Backend) -> impl Iterator<Item = Suite> {
        self.of_suites.iter().filter(move |(_, of)| *of == backend).map(|(suite, _)| *suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_the_fastest_for_each_suite() {
        let backends = Backends::choose(CryptoBackend::Auto).unwrap();
        assert_eq!(backends.engine(), Backend::best());
        for suite in Suite::all() {
            assert_eq!(backends.of(suite), Backend::best_for(suite), "{suite}");
        }
    }

    #[test]
    fn a_named_one_is_used_where_it_has_the_suite_or_refused() {
        for (wanted, named) in [
            (CryptoBackend::IpsecMb, Backend::IpsecMb),
            (CryptoBackend::Vaes, Backend::Vaes),
            (CryptoBackend::RustCrypto, Backend::RustCrypto),
        ] {
            match Backends::choose(wanted) {
                Ok(backends) => {
                    assert_eq!(backends.engine(), named);
                    assert_eq!(backends.of(Suite::AES128_GCM), named);
                    for suite in Suite::all() {
                        let other = named == Backend::Vaes
                            && suite != Suite::AES128_GCM
                            && suite != Suite::AES256_GCM;
                        let expected = if other { Backend::RustCrypto } else { named };
                        assert_eq!(backends.of(suite), expected, "{suite} by {named}");
                    }
                }
                Err(error) => {
                    assert!(!named.works());
                    assert!(
                        error.to_string().starts_with(&format!("crypto.backend: {named} cannot be used: "))
                    );
                }
            }
        }
    }

    #[test]
    fn every_suite_has_one() {
        let backends = Backends::choose(CryptoBackend::Auto).unwrap();
        let known = Backend::available().into_iter().map(|known| backends.suites_of(known.backend).count());
        assert_eq!(known.sum::<usize>(), Suite::all().count());
    }
}
