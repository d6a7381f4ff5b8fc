//! The text of the fleet's key file.
//!
//! ```yaml
//! keys:
//!   - id: "a1b2c3d4e5f60718"   # may be left out
//!     key: "…"                 # 32 bytes as base64
//! ```
//!
//! No error quotes any of it. What we keep of it is wiped; what the YAML parser copies while it reads is not, so the
//! memory of the process is as secret as the file.

use data_encoding::BASE64;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::key::{FleetKey, KeyId, NoRandom};
use super::{Keyring, MAX_KEYS};

/// More text than four keys and what anybody writes about them.
pub const MAX_FILE_BYTES: u64 = 16 * 1024;

/// `=` at the end included.
const BASE64_LEN: usize = 44;

/// What is wrong with the fleet's keys. Keys are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// This is not the fleet's key file.
    #[error("has more than {MAX_FILE_BYTES} bytes: check that this is the right file")]
    TooLong,
    /// It is not text.
    #[error("is not UTF-8 text: check that this is the right file; `penstock fleet new-key FILE` makes one")]
    NotText,
    /// It is not of the form that is wanted.
    #[error(
        "line {line}, column {column}: a list `keys:` is wanted, in which each has `key:` (base64 in quotes) and perhaps \
         `id:` (hexadecimal in quotes), and nothing else; `penstock fleet new-key FILE` makes such a file"
    )]
    Form {
        /// Where, counted from 1; 1 also when it is not known.
        line: usize,
        /// The same.
        column: usize,
    },
    /// There is no key.
    #[error("has no keys: `penstock fleet new-key FILE` makes a file with one; all nodes need the same")]
    Empty,
    /// Too many keys.
    #[error("has {0} keys, at most {MAX_KEYS} are valid at a time: remove the last ones")]
    TooMany(usize),
    /// A key that is none.
    #[error("key {number} is not the base64 of {len} bytes: copy it again from a node where it works", len = FleetKey::LEN)]
    Key {
        /// Which.
        number: usize,
    },
    /// A key that somebody made up.
    #[error("key {number} is one byte again and again: `penstock fleet new-key FILE` makes a random one")]
    NotRandom {
        /// Which.
        number: usize,
    },
    /// The ID beside a key is that of another one.
    #[error("key {number} has the ID {is}, which is not what stands beside it: one of the two is mistyped")]
    Id {
        /// Which.
        number: usize,
        /// Its ID.
        is: KeyId,
    },
    /// A key that is there already.
    #[error("keys {first} and {second} are the same: remove one of them")]
    Twice {
        /// The one that stays.
        first: usize,
        /// The other.
        second: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Option<String>,
    key: Zeroizing<String>,
}

impl Keyring {
    /// The keys of a key file that holds this text. The caller sees to it that nobody else can read the file.
    ///
    /// # Errors
    /// When it is not such a text. The error begins with what is wrong, to be written behind the file's name.
    pub fn parse(text: &[u8]) -> Result<Self, KeyFileError> {
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(KeyFileError::TooLong);
        }
        let text = std::str::from_utf8(text).map_err(|_| KeyFileError::NotText)?;
        let file: KeyFile = serde_yaml::from_str(text).map_err(|error| {
            // Its message quotes what it found.
            let at = error.location();
            let (line, column) = at.map_or((1, 1), |at| (at.line(), at.column()));
            KeyFileError::Form { line, column }
        })?;
        if file.keys.len() > MAX_KEYS {
            return Err(KeyFileError::TooMany(file.keys.len()));
        }
        let keys: Result<Vec<_>, _> =
            (1..).zip(&file.keys).map(|(number, entry)| entry.read(number)).collect();
        Self::new(keys?)
    }

    /// The text of a key file with a new key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new_file_text() -> Result<Zeroizing<String>, NoRandom> {
        let key = FleetKey::generate()?;
        Ok(Self { seals: (key.id(), key), others: Vec::new() }.file_text())
    }

    /// The text of a key file with these keys.
    pub fn file_text(&self) -> Zeroizing<String> {
        let head = "# The keys of a Penstock fleet, the same on all nodes. Who has them can read all keys of all tunnels.\n\
                    # The first one seals, all of them open.\n\
                    keys:\n";
        // Of its full length at once: a text that grows leaves its old memory behind as it is.
        let mut text = Zeroizing::new(String::with_capacity(head.len() + 128 * MAX_KEYS));
        text.push_str(head);
        for (id, key) in self.all() {
            let mut base64 = Zeroizing::new([0; BASE64_LEN]);
            BASE64.encode_mut(key.bytes(), base64.as_mut_slice());
            text.push_str("  - id: \"");
            text.push_str(&id.to_string());
            text.push_str("\"\n    key: \"");
            base64.iter().for_each(|byte| text.push(char::from(*byte)));
            text.push_str("\"\n");
        }
        text
    }
}

impl Entry {
    fn read(&self, number: usize) -> Result<FleetKey, KeyFileError> {
        let invalid = KeyFileError::Key { number };
        if self.key.len() != BASE64_LEN {
            return Err(invalid);
        }
        // One more than a key has, for what the padding stands for.
        let mut bytes = Zeroizing::new([0; FleetKey::LEN + 1]);
        if BASE64.decode_mut(self.key.as_bytes(), bytes.as_mut_slice()) != Ok(FleetKey::LEN) {
            return Err(invalid);
        }
        let Some(bytes) = bytes.first_chunk::<{ FleetKey::LEN }>() else { return Err(invalid) };
        if bytes.iter().all(|byte| *byte == bytes[0]) {
            return Err(KeyFileError::NotRandom { number });
        }
        let key = FleetKey::from_bytes(bytes);
        let is = key.id();
        match &self.id {
            Some(id) if !id.eq_ignore_ascii_case(&is.to_string()) => Err(KeyFileError::Id { number, is }),
            _ => Ok(key),
        }
    }
}
