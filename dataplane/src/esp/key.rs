//! The keys of one security association as a key exchange gives them, before they are expanded.
//!
//! Never printed, never copied, wiped when dropped. Lengths are checked once, here.

use zeroize::Zeroize;

use super::suite::Suite;

const MAX_ENCRYPTION_LEN: usize = 32;
const MAX_SALT_LEN: usize = 4;
const MAX_INTEGRITY_LEN: usize = 64;

/// Keys of the wrong length. Says lengths only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The cipher's key.
    #[error("the key of {suite} is {expected} bytes ({salt} of them salt, at the end), not {found}")]
    Encryption {
        /// What the keys are for.
        suite: Suite,
        /// Bytes of key and salt.
        expected: usize,
        /// Bytes of salt in it.
        salt: usize,
        /// Bytes given.
        found: usize,
    },
    /// The HMAC's key.
    #[error("the authentication key of {suite} is {expected} bytes, not {found}")]
    Integrity {
        /// What the keys are for.
        suite: Suite,
        /// Bytes of its key.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

/// Keys and salt of one suite.
///
/// They cannot be printed:
/// ```compile_fail
/// fn show(keys: penstock_dataplane::esp::key::KeyMaterial) -> String {
///     format!("{keys:?}")
/// }
/// ```
/// nor copied:
/// ```compile_fail
/// fn copy(keys: &penstock_dataplane::esp::key::KeyMaterial) -> penstock_dataplane::esp::key::KeyMaterial {
///     keys.clone()
/// }
/// ```
pub struct KeyMaterial {
    suite: Suite,
    /// Behind a pointer, so that a move leaves no copy behind.
    bytes: Box<Bytes>,
}

struct Bytes {
    encryption: [u8; MAX_ENCRYPTION_LEN],
    salt: [u8; MAX_SALT_LEN],
    integrity: [u8; MAX_INTEGRITY_LEN],
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.encryption.zeroize();
        self.salt.zeroize();
        self.integrity.zeroize();
    }
}

impl KeyMaterial {
    /// The keys of `suite`. `encryption` is the cipher's key and behind it the salt, if the suite has one
    /// (RFC 4106 section 8.1, RFC 7634 section 2); `integrity` is the HMAC's key, empty for an AEAD.
    ///
    /// # Errors
    /// When a length is not the suite's.
    pub fn new(suite: Suite, encryption: &[u8], integrity: &[u8]) -> Result<Self, KeyError> {
        let (key_len, salt_len) = (suite.encryption_key_len(), suite.salt_len());
        let expected = key_len + salt_len;
        if encryption.len() != expected {
            return Err(KeyError::Encryption { suite, expected, salt: salt_len, found: encryption.len() });
        }
        let expected = suite.integrity_key_len();
        if integrity.len() != expected {
            return Err(KeyError::Integrity { suite, expected, found: integrity.len() });
        }
        let mut bytes = Box::new(Bytes {
            encryption: [0; MAX_ENCRYPTION_LEN],
            salt: [0; MAX_SALT_LEN],
            integrity: [0; MAX_INTEGRITY_LEN],
        });
        let (key, salt) = encryption.split_at(key_len);
        bytes.encryption[..key_len].copy_from_slice(key);
        bytes.salt[..salt_len].copy_from_slice(salt);
        bytes.integrity[..integrity.len()].copy_from_slice(integrity);
        Ok(Self { suite, bytes })
    }

    /// What they are for.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The cipher's key, without salt.
    pub(crate) fn encryption(&self) -> &[u8] {
        &self.bytes.encryption[..self.suite.encryption_key_len()]
    }

    /// The first four bytes of an AEAD's nonce; zero where the suite has none.
    pub(crate) fn salt(&self) -> [u8; 4] {
        self.bytes.salt
    }

    /// The HMAC's key.
    pub(crate) fn integrity(&self) -> &[u8] {
        &self.bytes.integrity[..self.suite.integrity_key_len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_the_suites() {
        for suite in Suite::all() {
            let (encryption, salt) = (suite.encryption_key_len(), suite.salt_len());
            let integrity = suite.integrity_key_len();
            let bytes: Vec<u8> = (0..100).collect();
            let keys = KeyMaterial::new(suite, &bytes[..encryption + salt], &bytes[..integrity]).unwrap();
            assert_eq!(keys.encryption(), &bytes[..encryption]);
            assert_eq!(keys.salt()[..salt], bytes[encryption..][..salt]);
            assert_eq!(keys.integrity(), &bytes[..integrity]);
            for wrong in [encryption + salt + 1, (encryption + salt).wrapping_sub(1)] {
                if let Some(key) = bytes.get(..wrong) {
                    let error = KeyMaterial::new(suite, key, &bytes[..integrity]).err();
                    assert!(matches!(error, Some(KeyError::Encryption { found, .. }) if found == wrong));
                }
            }
            let error = KeyMaterial::new(suite, &bytes[..encryption + salt], &bytes[..integrity + 1]).err();
            assert!(matches!(error, Some(KeyError::Integrity { .. })));
        }
    }

    #[test]
    fn an_error_says_no_key() {
        let error = KeyMaterial::new(Suite::AES128_GCM, &[0xa5; 16], &[]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the key of aes128gcm16 is 20 bytes (4 of them salt, at the end), not 16"
        );
    }
}
