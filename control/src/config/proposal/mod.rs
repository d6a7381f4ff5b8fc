//! What may be agreed to: `aes256gcm16-prfsha384-ecp384`, in strongSwan's keywords.
//!
//! A proposal names one or more transforms of each kind, joined by hyphens, and stands for all their combinations. One
//! is only taken when charon takes it, when nothing in it would be ignored, and, for ESP, when the data plane can do
//! every suite that it stands for.

mod transforms;

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};

use super::reader::closest;
use super::tree::shorten;
use transforms::{Kind, Transform};

/// What a proposal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Ike,
    Esp,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Ike => "IKE",
            Self::Esp => "ESP",
        }
    }

    /// A proposal that is right.
    pub(super) fn example(self) -> &'static str {
        match self {
            Self::Ike => "aes256gcm16-prfsha384-ecp384",
            Self::Esp => "aes256gcm16-ecp384",
        }
    }
}

/// Transforms that are agreed to together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal(Arc<str>);

/// What is wrong with a proposal, and the fix.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) message: String,
    pub(super) fix: String,
}

impl Unfit {
    fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }
}

impl Proposal {
    /// The proposal that a text means, each transform by its first name.
    pub(super) fn parse(text: &str, of: Of) -> Result<Self, Unfit> {
        let mut found: Vec<&'static Transform> = Vec::new();
        for word in text.split('-') {
            let transform = transform(word.trim(), of)?;
            if found.contains(&transform) {
                return Err(Unfit::new(format!("{} is named twice", transform.name), "name it once"));
            }
            found.push(transform);
        }
        complete(&found, of)?;
        let names: Vec<&str> = found.iter().map(|transform| transform.name).collect();
        Ok(Self(names.join("-").into()))
    }

    /// Transforms that are outdated, with what is wrong with each.
    pub(super) fn weaknesses(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let transforms = self.0.split('-').filter_map(Transform::find);
        transforms.filter_map(|transform| Some((transform.name, transform.weakness?)))
    }

    /// In strongSwan's keywords.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn transform(word: &str, of: Of) -> Result<&'static Transform, Unfit> {
    let esp = of == Of::Esp;
    if matches!(word, "esn" | "noesn") {
        return Err(Unfit::new(
            format!("{word} is not part of a proposal here"),
            "remove it; write esn: true beside it",
        ));
    }
    if let Some(transform) = Transform::find(word) {
        if transform.serves(esp) {
            return Ok(transform);
        }
        let of = of.name();
        return Err(match transform.kind {
            Kind::NoGroup => {
                Unfit::new("IKE needs a key exchange", "replace none by a group, such as ecp384")
            }
            Kind::Prf => Unfit::new(format!("{word} is for IKE only"), "remove it"),
            _ => Unfit::new(
                format!("{word} is not available for {of}"),
                format!("write {}", alternatives(transform.kind, esp)),
            ),
        });
    }
    let names: Vec<&str> = Transform::all().filter(|t| t.serves(esp)).map(|t| t.name).collect();
    let fix = match closest(word, &names) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("use transforms of {}", names.join(", ")),
    };
    Err(Unfit::new(format!("\"{}\" is no transform for {}", shorten(word), of.name()), fix))
}

/// The transforms that do the same, for a sentence.
fn alternatives(kind: Kind, esp: bool) -> String {
    let same = Transform::all().filter(|t| t.kind == kind && t.serves(esp) && t.weakness.is_none());
    same.map(|transform| transform.name).collect::<Vec<_>>().join(" or ")
}

/// What charon asks of a proposal (and what it would drop without a word).
fn complete(found: &[&'static Transform], of: Of) -> Result<(), Unfit> {
    let has = |kind: Kind| found.iter().any(|transform| transform.kind == kind);
    let first = |kind: Kind| found.iter().find(|t| t.kind == kind).map_or("", |t| t.name);
    match (has(Kind::Aead), has(Kind::Cipher)) {
        (false, false) => {
            return Err(Unfit::new("has no cipher", format!("write a proposal such as {}", of.example())));
        }
        (true, true) => {
            let message =
                format!("{} authenticates by itself, {} does not", first(Kind::Aead), first(Kind::Cipher));
            return Err(Unfit::new(message, "make two proposals of it"));
        }
        (true, false) if has(Kind::Integrity) => {
            let integrity = first(Kind::Integrity);
            let message = format!("{} authenticates by itself: {integrity} is not used", first(Kind::Aead));
            let fix = match of {
                Of::Ike if !has(Kind::Prf) => format!("write prf{integrity} instead of {integrity}"),
                _ => format!("remove {integrity}"),
            };
            return Err(Unfit::new(message, fix));
        }
        (false, true) if !has(Kind::Integrity) => {
            let message = format!("{} does not authenticate", first(Kind::Cipher));
            return Err(Unfit::new(message, "add an integrity algorithm, such as sha256"));
        }
        _ => {}
    }
    match of {
        Of::Ike if !has(Kind::Prf) && !has(Kind::Integrity) => {
            Err(Unfit::new("has no pseudo-random function", "add one, such as prfsha384"))
        }
        Of::Ike if !has(Kind::Group) => {
            Err(Unfit::new("has no group for the key exchange", "add one, such as ecp384"))
        }
        Of::Esp if has(Kind::NoGroup) && !has(Kind::Group) => Err(Unfit::new(
            "none is meant beside groups",
            "remove it: without a group there is no key exchange",
        )),
        _ => Ok(()),
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A list of proposals, the best first. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposals(Arc<[Proposal]>);

/// We respond, so the lists may be long: they cost no message. The quick groups come first; a router that begins with
/// another one, and has them too, is asked to begin again. No SHA-1, no small group.
const IKE: [&str; 2] = [
    "aes256gcm16-aes128gcm16-chacha20poly1305-prfsha384-prfsha256-prfsha512-ecp256-curve25519-ecp384-ecp521-modp2048-modp3072-modp4096",
    "aes256-aes128-sha384-sha256-sha512-ecp256-curve25519-ecp384-ecp521-modp2048-modp3072-modp4096",
];

/// With a key exchange for each rekey (PFS) where the peer wants it. The fastest suite first.
const ESP: [&str; 2] = [
    "aes128gcm16-aes256gcm16-chacha20poly1305-ecp256-curve25519-ecp384-ecp521-modp2048-modp3072-modp4096-none",
    "aes128-aes256-sha256-sha384-sha512-ecp256-curve25519-ecp384-ecp521-modp2048-modp3072-modp4096-none",
];

impl Proposals {
    pub(super) fn new(list: Vec<Proposal>) -> Self {
        Self(list.into())
    }

    /// What is agreed to when nothing is written.
    pub(super) fn default_of(of: Of) -> Self {
        static DEFAULTS: LazyLock<[Proposals; 2]> = LazyLock::new(|| {
            let all = |list: &[&str]| Proposals(list.iter().map(|text| Proposal((*text).into())).collect());
            [all(&IKE), all(&ESP)]
        });
        let [ike, esp] = &*DEFAULTS;
        match of {
            Of::Ike => ike.clone(),
            Of::Esp => esp.clone(),
        }
    }
}

/// A proposal for each transform there is, for ESP or for IKE.
#[cfg(test)]
pub(crate) fn one_of_each(esp: bool) -> Vec<String> {
    let fill = |transform: &Transform| match (transform.kind, esp) {
        (Kind::Aead, true) => transform.name.to_owned(),
        (Kind::Aead, false) => format!("{}-prfsha256-ecp256", transform.name),
        (Kind::Cipher, true) => format!("{}-sha256", transform.name),
        (Kind::Cipher, false) => format!("{}-sha256-ecp256", transform.name),
        (Kind::Integrity, true) => format!("aes256-{}", transform.name),
        (Kind::Integrity, false) => format!("aes256-{}-ecp256", transform.name),
        (Kind::Prf, _) => format!("aes256gcm16-{}-ecp256", transform.name),
        (Kind::Group, true) => format!("aes256gcm16-{}", transform.name),
        (Kind::Group, false) => format!("aes256gcm16-prfsha256-{}", transform.name),
        (Kind::NoGroup, _) => format!("aes256gcm16-ecp256-{}", transform.name),
    };
    Transform::all().filter(|transform| transform.serves(esp)).map(fill).collect()
}

impl Deref for Proposals {
    type Target = [Proposal];
    fn deref(&self) -> &[Proposal] {
        &self.0
    }
}

impl Serialize for Proposals {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}
