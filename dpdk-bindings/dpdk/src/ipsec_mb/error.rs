//! Why the library or a key cannot be used.

/// Why intel-ipsec-mb is not used on this machine. Each text ends with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The dynamic linker does not find it, or it lacks a function.
    #[error("intel-ipsec-mb cannot be loaded ({0}); on Debian or Ubuntu: apt-get install libipsec-mb1")]
    Missing(String),
    /// Structures are laid out as in the header this was built with, so only that release will do.
    #[error(
        "intel-ipsec-mb is version {found}, this was built for {built}; \
         on Debian or Ubuntu: apt-get install libipsec-mb1, or build again with the libipsec-mb-dev of {found}"
    )]
    Version {
        /// What the library says it is.
        found: String,
        /// The release of the header.
        built: String,
    },
    /// The processor lacks AES or carry-less multiplication.
    #[error("intel-ipsec-mb does not work on this processor: it lacks AES-NI or PCLMULQDQ")]
    Processor,
    /// The library's own test of its algorithms fails.
    #[error("intel-ipsec-mb fails its own self-test; reinstall the package libipsec-mb1")]
    SelfTest,
    /// There is no memory for a manager.
    #[error("no memory left for intel-ipsec-mb")]
    Memory,
}

/// A key is of the wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of {found} bytes; {wanted} are needed")]
pub struct KeyError {
    /// Bytes given.
    pub found: usize,
    /// What would do.
    pub wanted: &'static str,
}
