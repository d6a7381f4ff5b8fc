//! The keys of the HMAC.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::CODE;
use crate::seal::{Keyring, MAX_KEYS, Token, TokenKind};

/// Keys of datagrams from node to node: the first one signs, all of them are taken, so that keys can be rotated while
/// nodes have different ones first. Wiped when dropped, and cannot be printed.
#[derive(Clone)]
pub struct PeerKeys {
    signs: Hmac<Sha256>,
    others: Vec<Hmac<Sha256>>,
}

/// There is no key, or more than a key file may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there must be 1 to {MAX_KEYS} keys in the fleet's key file")]
pub struct NoKeys;

impl PeerKeys {
    /// Of these tokens, the one that signs first. They are to be for nothing else: [`TokenKind::Control`].
    ///
    /// # Errors
    /// When there is none, or more than [`MAX_KEYS`].
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Result<Self, NoKeys> {
        let mut tokens = tokens.into_iter();
        let signs = begun(&tokens.next().ok_or(NoKeys)?);
        let others: Vec<_> = tokens.by_ref().take(MAX_KEYS - 1).map(|token| begun(&token)).collect();
        if tokens.next().is_some() { Err(NoKeys) } else { Ok(Self { signs, others }) }
    }

    /// Of the keys of a fleet's key file.
    ///
    /// # Errors
    /// A ring that was made has keys enough, and not too many.
    pub fn of(ring: &Keyring) -> Result<Self, NoKeys> {
        Self::new(ring.tokens(TokenKind::Control))
    }

    /// The HMAC of a message, by the key that signs.
    pub fn code(&self, message: &[u8]) -> [u8; CODE] {
        self.signs.clone().chain_update(message).finalize().into_bytes().into()
    }

    /// Whether one of the keys made this HMAC of the message. How long it takes tells nothing of how much was right.
    pub(super) fn made(&self, message: &[u8], code: &[u8; CODE]) -> bool {
        let by = |key: &Hmac<Sha256>| key.clone().chain_update(message).verify_slice(code).is_ok();
        std::iter::once(&self.signs).chain(&self.others).any(by)
    }
}

/// The HMAC with its key in it and nothing of a message yet.
fn begun(token: &Token) -> Hmac<Sha256> {
    // RFC 2104, section 2: a key is filled up with zeros to a block of the hash.
    let mut block = Zeroizing::new([0; 64]);
    if let Some(room) = block.first_chunk_mut() {
        *room = *token.bytes();
    }
    Hmac::new((&*block).into())
}

impl fmt::Debug for PeerKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerKeys({})", 1 + self.others.len())
    }
}
