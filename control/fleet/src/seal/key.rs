//! A key of the fleet, and what is derived from it.

use std::fmt;

use hmac::digest::FixedOutput;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// What a key's ID is the hash of, besides the key.
const ID_DOMAIN: &[u8] = b"penstock fleet key id";
/// What tokens are derived from, besides their kind.
const TOKEN_DOMAIN: &[u8] = b"penstock fleet token";

/// The system has no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers: /dev/urandom has to be there")]
pub struct NoRandom;

/// A key that all nodes have. It is wiped when dropped, and cannot be printed.
///
/// ```compile_fail
/// fn show(key: penstock_fleet::seal::FleetKey) -> String {
///     key.to_string()
/// }
/// ```
// In a box, so that a move leaves nothing behind.
pub struct FleetKey(Box<Zeroizing<[u8; FleetKey::LEN]>>);

impl FleetKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// A new one.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn generate() -> Result<Self, NoRandom> {
        let mut key = Self::empty();
        getrandom::fill(key.0.as_mut_slice()).map_err(|_| NoRandom)?;
        Ok(key)
    }

    /// A key of these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut key = Self::empty();
        key.0.copy_from_slice(bytes);
        key
    }

    fn empty() -> Self {
        Self(Box::new(Zeroizing::new([0; Self::LEN])))
    }

    pub(super) fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Its name, which tells nothing about it.
    pub fn id(&self) -> KeyId {
        let hash = Sha256::new().chain_update(ID_DOMAIN).chain_update(self.bytes()).finalize();
        let mut id = [0; KeyId::LEN];
        id.copy_from_slice(&hash[..KeyId::LEN]);
        KeyId(id)
    }

    /// The token of this key for one kind of datagram.
    pub fn token(&self, kind: TokenKind) -> Token {
        let text = match kind {
            TokenKind::Data => "data",
            TokenKind::Control => "control",
            TokenKind::Probe => "probe",
        };
        // RFC 2104, section 2: a key is filled up with zeros to a block of the hash.
        let mut block = Zeroizing::new([0; 64]);
        block[..Self::LEN].copy_from_slice(self.bytes());
        let mut mac = Hmac::<Sha256>::new((&*block).into());
        [TOKEN_DOMAIN, &[0], text.as_bytes()].iter().for_each(|part| Mac::update(&mut mac, part));
        let mut token = Token(Box::new(Zeroizing::new([0; Token::LEN])));
        mac.finalize_into((&mut **token.0).into());
        token
    }
}

impl fmt::Debug for FleetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetKey({})", self.id())
    }
}

/// Which of the fleet's keys: the first 8 bytes of a hash of it. No secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KeyId::LEN]);

impl KeyId {
    /// Bytes of an ID.
    pub const LEN: usize = 8;

    /// An ID as it is in a record.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The ID as it is in a record.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a token is for. One is sent as it is and the other keys a MAC, so they have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Rescued packets: [`Token::short`] is in their header.
    Data,
    /// Acknowledgements: [`Token::bytes`] is the key of their HMAC. Never sent.
    Control,
    /// Health probes: [`Token::short`] is the key of their hash. Never sent.
    Probe,
}

/// Shows one node of a fleet to another one. Wiped when dropped, and cannot be printed.
pub struct Token(Box<Zeroizing<[u8; Token::LEN]>>);

impl Token {
    /// Bytes of a token.
    pub const LEN: usize = 32;
    /// Bytes of a token in a header.
    pub const SHORT: usize = 16;

    /// All of it.
    pub fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// What a header carries.
    pub fn short(&self) -> [u8; Self::SHORT] {
        let mut short = [0; Self::SHORT];
        short.copy_from_slice(&self.0[..Self::SHORT]);
        short
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}
