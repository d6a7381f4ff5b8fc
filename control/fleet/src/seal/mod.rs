//! Records that only nodes of the fleet can read, and that nobody else can make.
//!
//! A sealed record is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) under a key of the fleet's key file:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PSF` and the version of this format, 1 |
//! | 8 | which key, see [`KeyId`] |
//! | 24 | nonce, random: so many bits that chance never makes one twice |
//! | rest | ciphertext, and its tag of 16 bytes |
//!
//! Its name in the store, and which version of the record it is, are sealed in with it. So a record that was put under
//! another name does not open, and neither does an old one that was put back over a newer one.
//!
//! This never decides what a record means, and never logs.

mod file;
mod key;

use std::fmt;

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Tag, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

pub use file::{KeyFileError, MAX_FILE_BYTES};
pub use key::{FleetKey, KeyId, NoRandom, Token, TokenKind};

/// Keys that are valid at a time: the one that seals, and others while it is rotated.
pub const MAX_KEYS: usize = 4;
/// By so much a sealed record is longer than what is in it.
pub const OVERHEAD: usize = HEADER + TAG;

/// What a sealed record begins with: so that nothing else is taken for one, and a later format can be told apart.
const MAGIC: [u8; 4] = *b"PSF\x01";
const NONCE: usize = 24;
const HEADER: usize = MAGIC.len() + KeyId::LEN + NONCE;
const TAG: usize = 16;
/// First of what is authenticated besides the content.
const DOMAIN: &[u8] = b"penstock fleet record\0";

/// Why a record was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no nonce.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// More than the cipher takes: 256 GiB.
    #[error("the record is too long to be sealed")]
    TooLong,
}

/// Why a record was not opened. It says nothing that the record could have chosen, besides the ID of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Shorter than any sealed record.
    #[error("the record is cut off: remove it, its owner writes it again")]
    Truncated,
    /// Not of this format.
    #[error("this is no sealed record, or one of a newer Penstock: update this node, or remove the record")]
    Format,
    /// Sealed with a key that is not in the key file.
    #[error(
        "the record is sealed with the key {id}, which the fleet's key file does not have: give all nodes the same file"
    )]
    UnknownKey {
        /// The key that it names.
        id: KeyId,
    },
    /// Not made by a node of this fleet, or for another name, or an older version that was put back.
    #[error(
        "the record is forged, moved from another name, or an old one that was put back: remove it, and look who may \
         write to the store"
    )]
    Forged,
}

/// The fleet's keys: the first one seals, all of them open.
pub struct Keyring {
    seals: (KeyId, FleetKey),
    others: Vec<(KeyId, FleetKey)>,
}

impl Keyring {
    /// A ring of these keys.
    ///
    /// # Errors
    /// When there is none, more than [`MAX_KEYS`], or one twice.
    pub fn new(keys: Vec<FleetKey>) -> Result<Self, KeyFileError> {
        if keys.len() > MAX_KEYS {
            return Err(KeyFileError::TooMany(keys.len()));
        }
        let mut keys: Vec<_> = keys.into_iter().map(|key| (key.id(), key)).collect();
        for (second, (id, _)) in keys.iter().enumerate() {
            if let Some(first) = keys[..second].iter().position(|(other, _)| other == id) {
                return Err(KeyFileError::Twice { first: first + 1, second: second + 1 });
            }
        }
        if keys.is_empty() {
            return Err(KeyFileError::Empty);
        }
        Ok(Self { seals: keys.remove(0), others: keys })
    }

    fn all(&self) -> impl Iterator<Item = &(KeyId, FleetKey)> {
        std::iter::once(&self.seals).chain(&self.others)
    }

    /// The IDs of the keys, of the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.all().map(|(id, _)| *id)
    }

    /// The keys, the one that seals first: to make another ring of them when keys are rotated.
    pub fn into_keys(self) -> Vec<FleetKey> {
        std::iter::once(self.seals).chain(self.others).map(|(_, key)| key).collect()
    }

    /// What nodes show one another, by each key: the first is the one to send, all are to be taken.
    pub fn tokens(&self, kind: TokenKind) -> impl Iterator<Item = Token> + '_ {
        self.all().map(move |(_, key)| key.token(kind))
    }

    /// Seals a record that will be the `version`th under its name: puts since it was made, the first is 1.
    ///
    /// # Errors
    /// When the system has no random numbers, or the record is absurdly long.
    pub fn seal(&self, key_name: &str, version: u64, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| NoRandom)?;
        self.seal_with_nonce(key_name, version, plaintext, nonce)
    }

    fn seal_with_nonce(
        &self,
        key_name: &str,
        version: u64,
        plaintext: &[u8],
        nonce: [u8; NONCE],
    ) -> Result<Vec<u8>, SealError> {
        let (id, key) = &self.seals;
        // In one piece of memory, which is wiped unless it has become ciphertext.
        let mut sealed = Zeroizing::new(Vec::with_capacity(OVERHEAD + plaintext.len()));
        sealed.extend_from_slice(&MAGIC);
        sealed.extend_from_slice(&id.to_bytes());
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        let tag = cipher(key)
            .encrypt_inout_detached(
                &XNonce::from(nonce),
                &associated(key_name, version),
                (&mut sealed[HEADER..]).into(),
            )
            .map_err(|_| SealError::TooLong)?;
        sealed.extend_from_slice(&tag);
        Ok(std::mem::take(&mut *sealed))
    }

    /// Opens a record that the store has as the `version`th under this name.
    ///
    /// # Errors
    /// When it is not one that a node of this fleet sealed for this name and version. It is not looked at any further.
    pub fn open(&self, key_name: &str, version: u64, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let id = Self::key_of(sealed)?;
        let (_, key) = self.all().find(|(ours, _)| *ours == id).ok_or(OpenError::UnknownKey { id })?;
        let (header, body) = sealed.split_at_checked(HEADER).ok_or(OpenError::Truncated)?;
        let (body, tag) = body.split_last_chunk::<TAG>().ok_or(OpenError::Truncated)?;
        let nonce = header.last_chunk::<NONCE>().ok_or(OpenError::Truncated)?;
        let mut plaintext = Zeroizing::new(body.to_vec());
        cipher(key)
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &associated(key_name, version),
                plaintext.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenError::Forged)?;
        Ok(plaintext)
    }

    /// With which key a record says that it is sealed: before a key goes, none may say so.
    ///
    /// # Errors
    /// When it is no sealed record.
    pub fn key_of(sealed: &[u8]) -> Result<KeyId, OpenError> {
        let start = sealed.len().min(MAGIC.len());
        if sealed[..start] != MAGIC[..start] {
            return Err(OpenError::Format);
        }
        if sealed.len() < OVERHEAD {
            return Err(OpenError::Truncated);
        }
        sealed[MAGIC.len()..].first_chunk().copied().map(KeyId::from_bytes).ok_or(OpenError::Truncated)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

fn cipher(key: &FleetKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

/// What is authenticated besides the content. Only one part is of any length, so no two records share it.
fn associated(key_name: &str, version: u64) -> Vec<u8> {
    [DOMAIN, key_name.as_bytes(), &version.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests;
