//! Key bytes on their way from whoever made them to the ciphers.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes that are never printed, and wiped when dropped.
///
/// ```compile_fail
/// fn show(secret: penstock_control::secret::Secret) -> String {
///     secret.to_string()
/// }
/// ```
#[derive(Default)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// These bytes.
    pub fn new(bytes: Zeroizing<Box<[u8]>>) -> Self {
        Self(bytes)
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.len())
    }
}
