//! Who a side says it is (RFC 7296 section 3.5), written so that charon reads the same out of it as we do.
//!
//! charon guesses the kind from the text, and takes for a key id whatever it does not understand; a name with a slip
//! of the pen would then match nobody. Here a text is one kind, or it is refused. Wildcards are refused: a tunnel is one
//! router.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Serialize, Serializer};

use super::tree::shorten;

/// An identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR, ID_IPV6_ADDR.
    Address(IpAddr),
    /// ID_FQDN.
    Fqdn(Arc<str>),
    /// ID_RFC822_ADDR.
    Mail(Arc<str>),
    /// ID_KEY_ID: any bytes.
    KeyId(Arc<[u8]>),
    /// ID_DER_ASN1_DN: types and values of a distinguished name.
    Dn(Arc<[(&'static str, Box<str>)]>),
}

/// What is wrong with a text, and the fix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) message: String,
    pub(super) fix: &'static str,
}

/// Longest identity, bytes; a payload may have 64 KiB, a router's form has a line.
const MAX_LEN: usize = 255;
/// Most parts of a distinguished name that charon takes.
const MAX_RDNS: usize = 20;

/// The types of a distinguished name that charon knows.
const RDNS: [&str; 33] = [
    "ND",
    "UID",
    "DC",
    "CN",
    "SN",
    "serialNumber",
    "C",
    "L",
    "ST",
    "STREET",
    "O",
    "OU",
    "T",
    "D",
    "postalAddress",
    "postalCode",
    "N",
    "G",
    "I",
    "dnQualifier",
    "dmdName",
    "pseudonym",
    "ID",
    "EN",
    "employeeNumber",
    "E",
    "Email",
    "emailAddress",
    "UN",
    "unstructuredName",
    "UA",
    "unstructuredAddress",
    "TCGID",
];

impl Identity {
    /// A domain name as an identity; `None`: it is none.
    pub fn domain(name: &str) -> Option<Self> {
        Self::parse(&format!("fqdn:{name}")).ok()
    }

    /// The identity that a text means.
    pub(super) fn parse(text: &str) -> Result<Self, Unfit> {
        let identity = Self::read(text)?;
        if identity.text().len() > MAX_LEN {
            let fix = "write a shorter one";
            return Err(Unfit {
                message: format!("is longer than the {MAX_LEN} bytes that charon takes"),
                fix,
            });
        }
        Ok(identity)
    }

    fn read(text: &str) -> Result<Self, Unfit> {
        let unfit = |message: String, fix| Err(Unfit { message, fix });
        let shown = shorten(text);
        if text.is_empty() || text.len() > MAX_LEN || text.chars().any(char::is_control) {
            let fix = "write a name, user@name, an address, keyid:..., or a distinguished name";
            return unfit(format!("\"{shown}\" is no identity of 1 to {MAX_LEN} printable characters"), fix);
        }
        if text.starts_with('%') || text.contains('*') {
            let fix = "write the router's own identity; each router is a tunnel";
            return unfit(format!("\"{shown}\" stands for several identities"), fix);
        }
        if let Some(rest) = text.strip_prefix("keyid:") {
            return key_id(rest);
        }
        if text.starts_with("@#") {
            return key_id(&text[1..]);
        }
        if text.contains('=') {
            return distinguished_name(text);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            if ip.is_unspecified() {
                return unfit(format!("{ip} stands for any identity"), "write the router's own identity");
            }
            return Ok(Self::Address(ip));
        }
        if let Some((user, domain)) = text.strip_prefix("email:").unwrap_or(text).split_once('@')
            && !user.is_empty()
        {
            let user_fits = user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b));
            if user_fits && is_name(domain) {
                return Ok(Self::Mail(format!("{user}@{domain}").into()));
            }
            return unfit(format!("\"{shown}\" is no mail address"), "write it as user@example.com");
        }
        let name = text.strip_prefix("fqdn:").or_else(|| text.strip_prefix('@')).unwrap_or(text);
        if !is_name(name) {
            let fix = "write a name such as router.example.com; anything else as keyid:...";
            return unfit(format!("\"{shown}\" is no host name"), fix);
        }
        // A slip in an address: charon would take it for a name.
        if name == text && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return unfit(
                format!("\"{shown}\" is neither an address nor a name"),
                "mend the address, or write keyid:...",
            );
        }
        Ok(Self::Fqdn(name.into()))
    }

    /// The same for all identities that charon takes for equal: it does not tell capitals from small letters.
    pub(super) fn folded(&self) -> String {
        match self {
            Self::KeyId(_) => self.text(),
            _ => self.text().to_ascii_lowercase(),
        }
    }

    /// The text that means this identity, to us and to charon.
    pub fn text(&self) -> String {
        match self {
            Self::Address(ip) => ip.to_string(),
            Self::Fqdn(name) => format!("fqdn:{name}"),
            Self::Mail(mail) => format!("email:{mail}"),
            Self::KeyId(id) => {
                let printable = id.iter().all(|byte| byte.is_ascii_graphic()) && !id.starts_with(b"#");
                match str::from_utf8(id) {
                    Ok(text) if printable => format!("keyid:{text}"),
                    _ => {
                        format!("keyid:#{}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
                    }
                }
            }
            Self::Dn(parts) => {
                let slashes = parts.iter().any(|(_, value)| value.contains(','));
                let parts = parts.iter().map(|(key, value)| format!("{key}={value}"));
                if slashes {
                    parts.map(|part| format!("/{part}")).collect()
                } else {
                    parts.collect::<Vec<_>>().join(", ")
                }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.split('.').all(label)
}

/// What follows `keyid:`: text as it is, or `#` and hexadecimal digits.
fn key_id(text: &str) -> Result<Identity, Unfit> {
    let Some(digits) = text.strip_prefix('#') else {
        if text.is_empty() || text.contains(char::is_whitespace) {
            let fix = "write keyid: and the bytes as text without spaces, or keyid:# and hexadecimal digits";
            return Err(Unfit { message: "the key id is empty or has spaces".into(), fix });
        }
        return Ok(Identity::KeyId(text.as_bytes().into()));
    };
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok().filter(|bytes| !bytes.is_empty());
    let fix = "write an even number of hexadecimal digits after the #";
    let Some(bytes) = bytes else {
        return Err(Unfit { message: "the key id is not hexadecimal".into(), fix });
    };
    Ok(Identity::KeyId(bytes.into()))
}

/// `C=CH, O=Example, CN=router` or `/C=CH/O=Example/CN=router`.
fn distinguished_name(text: &str) -> Result<Identity, Unfit> {
    let fix = "write it as \"C=CH, O=Example, CN=router\", or with / where a value has a comma";
    let unfit = |message: String| Err(Unfit { message, fix });
    let (separator, rest) = match text.trim_start().strip_prefix('/') {
        Some(rest) => ('/', rest),
        None => (',', text),
    };
    let mut parts = Vec::new();
    for part in rest.split(separator) {
        let Some((key, value)) = part.split_once('=') else {
            return unfit(format!("\"{}\" in a distinguished name has no =", shorten(part.trim())));
        };
        let (key, value) = (key.trim(), value.trim());
        let Some(known) = RDNS.iter().find(|known| known.eq_ignore_ascii_case(key)) else {
            return unfit(format!("\"{}\" is no part of a distinguished name", shorten(key)));
        };
        if value.is_empty() || value.starts_with('=') {
            return unfit(format!("{known} has no value"));
        }
        parts.push((*known, value.into()));
    }
    if parts.len() > MAX_RDNS {
        return unfit(format!("the distinguished name has more than {MAX_RDNS} parts"));
    }
    Ok(Identity::Dn(parts.into()))
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // What has no other meaning needs no prefix for people.
            Self::Fqdn(name) if name.bytes().any(|byte| byte.is_ascii_alphabetic()) => f.write_str(name),
            Self::Mail(mail) => f.write_str(mail),
            _ => f.write_str(&self.text()),
        }
    }
}

impl Serialize for Identity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
