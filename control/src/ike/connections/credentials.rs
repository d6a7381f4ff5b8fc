//! What the files of a configuration hold: pre-shared keys, private keys, certificates.
//!
//! Secrets are read only from files that nobody else can read, live in memory that is wiped, and are never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::pem;
use crate::config::problem::Problems;
use crate::config::{FileKind, Name, NamedFile, Problem, ValidConfig};
use penstock_fleet::names::TunnelName;
use penstock_fleet::secret_file::{self, Refusal};

/// Longest pre-shared key as it stands in its file, bytes.
const MAX_PSK_BYTES: u64 = 4096;
/// Largest file of a key or of certificates; vici has 16 bits for the length of a value.
const MAX_FILE_BYTES: u64 = 65_535;

/// The contents of all files that a configuration names.
#[derive(Default)]
pub struct Credentials {
    psks: BTreeMap<PathBuf, Zeroizing<Vec<u8>>>,
    keys: BTreeMap<PathBuf, Zeroizing<Vec<u8>>>,
    certificates: BTreeMap<PathBuf, Vec<Vec<u8>>>,
    /// Pre-shared keys that stand in no file, by tenant and tunnel.
    stored: BTreeMap<TunnelName, Zeroizing<Vec<u8>>>,
}

/// What is wrong with the files of a configuration.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files that are not here, or that are not read here as they are. On the machine that needs them they may be right.
    pub unread: Vec<Problem>,
    /// Files that do not hold what they should, on whatever machine.
    pub wrong: Vec<Problem>,
}

/// Why a file is of no use.
enum Unfit {
    Unread(Refusal),
    Wrong(Refusal),
}

/// The files may be read again any time: they are named, their contents are not.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.psks.keys().chain(self.keys.keys()).chain(self.certificates.keys());
        f.debug_set().entries(files).finish()
    }
}

impl Credentials {
    /// Reads them all.
    ///
    /// # Errors
    /// All files that are missing, that others can read, or that do not hold what they should.
    pub fn read(config: &ValidConfig) -> Result<Self, Vec<Problem>> {
        let (credentials, Findings { mut unread, wrong }) = Self::look(config);
        unread.extend(wrong);
        if unread.is_empty() { Ok(credentials) } else { Err(Problems::listed(unread)) }
    }

    /// The same, for a configuration of another machine: what is wrong with the files, and nothing of what they hold.
    pub fn check(config: &ValidConfig) -> Findings {
        let (_, Findings { unread, wrong }) = Self::look(config);
        Findings { unread: Problems::listed(unread), wrong: Problems::listed(wrong) }
    }

    fn look(config: &ValidConfig) -> (Self, Findings) {
        let (mut credentials, mut findings) = (Self::default(), Findings::default());
        for named in config.files() {
            let (list, refusal) = match credentials.add(named) {
                Ok(()) => continue,
                Err(Unfit::Unread(refusal)) => (&mut findings.unread, refusal),
                Err(Unfit::Wrong(refusal)) => (&mut findings.wrong, refusal),
            };
            list.push(named.problem(&refusal.message, refusal.fix));
        }
        (credentials, findings)
    }

    fn add(&mut self, named: &NamedFile) -> Result<(), Unfit> {
        let file = &named.file;
        match named.kind {
            FileKind::Psk if !self.psks.contains_key(file) => {
                let (text, _) = secret_file::read(file, "key", MAX_PSK_BYTES).map_err(Unfit::Unread)?;
                self.psks.insert(file.clone(), psk(&text).map_err(Unfit::Wrong)?);
            }
            FileKind::PrivateKey if !self.keys.contains_key(file) => {
                let (text, _) = secret_file::read(file, "key", MAX_FILE_BYTES).map_err(Unfit::Unread)?;
                private_key(&text).map_err(Unfit::Wrong)?;
                self.keys.insert(file.clone(), text);
            }
            FileKind::Certificate | FileKind::Authorities if !self.certificates.contains_key(file) => {
                let bytes =
                    secret_file::read_public(file, "certificates", MAX_FILE_BYTES).map_err(Unfit::Unread)?;
                self.certificates.insert(file.clone(), certificates(&bytes).map_err(Unfit::Wrong)?);
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn psk(&self, file: &Path) -> &[u8] {
        self.psks.get(file).map(|secret| secret.as_slice()).unwrap_or_default()
    }

    /// Adds the pre-shared key of a tunnel that stands in no file.
    pub fn add_stored(&mut self, tunnel: TunnelName, psk: Zeroizing<Vec<u8>>) {
        self.stored.insert(tunnel, psk);
    }

    pub(super) fn stored(&self, tenant: &Name, tunnel: &Name) -> Option<&[u8]> {
        self.stored.get(&(tenant.clone(), tunnel.clone())).map(|psk| psk.as_slice())
    }

    pub(super) fn key(&self, file: &Path) -> &[u8] {
        self.keys.get(file).map(|secret| secret.as_slice()).unwrap_or_default()
    }

    /// In DER, in the order of the file.
    pub(super) fn certificates(&self, file: &Path) -> &[Vec<u8>] {
        self.certificates.get(file).map(Vec::as_slice).unwrap_or_default()
    }
}

fn refusal(message: &str, fix: &str) -> Refusal {
    Refusal { message: message.to_owned(), fix: fix.to_owned() }
}

/// The bytes of a pre-shared key: `0x` and hexadecimal digits, `0s` and Base64, or the text itself.
fn psk(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let (encoding, digits) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (HEXLOWER_PERMISSIVE, digits),
        [b'0', b's' | b'S', digits @ ..] => (BASE64, digits),
        [] => return Err(refusal("is empty", "write the pre-shared key into it")),
        text if text.contains(&b'\n') => {
            return Err(refusal("has several lines", "leave nothing but the pre-shared key in it"));
        }
        text => return Ok(Zeroizing::new(text.to_vec())),
    };
    let unfit = || {
        let fix = "write 0x and an even number of hexadecimal digits, 0s and Base64 with its padding, or a key that does \
                   not begin like them";
        refusal("holds no key in the encoding that its first two characters announce", fix)
    };
    let room = encoding.decode_len(digits.len()).map_err(|_| unfit())?;
    let mut bytes = Zeroizing::new(vec![0; room]);
    let length = encoding.decode_mut(digits, &mut bytes).map_err(|_| unfit())?;
    bytes.truncate(length);
    if bytes.is_empty() { Err(unfit()) } else { Ok(bytes) }
}

/// That it is a private key which can be used without asking anybody.
fn private_key(text: &[u8]) -> Result<(), Refusal> {
    let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
    if has(b"ENCRYPTED") {
        let fix = "write it without one: openssl pkey -in FILE -out FILE.plain; chmod 600 FILE.plain";
        return Err(refusal("is locked with a passphrase", fix));
    }
    if pem::is_der(text) || (has(b"-----BEGIN ") && has(b"PRIVATE KEY-----")) {
        return Ok(());
    }
    Err(refusal("holds no private key", "write an RSA or ECDSA key into it, PEM or DER"))
}

fn certificates(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    pem::certificates(bytes)
        .map_err(|message| refusal(message, "write X.509 certificates into it, PEM or DER"))
}
