//! Datagrams from node to node: how much of the store a node has applied, what went through another's security
//! associations ([`Report`]), and how its tunnels are ([`HealthDatagram`]).
//!
//! A node tells the owner of what it has newly applied ([`Kind::Applied`]), and whoever asks ([`Kind::Ask`]). What it
//! says is cumulative, so a lost datagram is made good by any later one, and an old one that somebody sends again says
//! nothing that was not so: a node that started anew has another [`Incarnation`].
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PSTK` |
//! | 1 | version, 1 |
//! | 1 | kind: 2 applied, 3 ask, 4 a report, 5 and 6 [health](HealthDatagram); 1 is a rescued packet, on another port |
//! | 1 | length of the sender's name |
//! | 1 | 0 |
//! | 8 | the sender's incarnation |
//! | 16 | which store |
//! | 8 | revision |
//! | 1 to 63 | the sender's name |
//! | | of a report, associations; of one about health, tunnels |
//! | 32 | HMAC-SHA256 over all before it (RFC 2104) |
//!
//! Numbers are big-endian. Each datagram has one form only. Nothing in one is looked at before its HMAC was right, but
//! for the first five bytes. This never decides who is a node of the fleet, and never logs.

mod health;
mod keys;
mod report;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;

use sha2::{Digest, Sha256};

pub use health::{HealthDatagram, HealthNews, MAX_STATES, Sick, TunnelTag};
pub use keys::{NoKeys, PeerKeys};
pub use report::{MOST_SAS, Report, SaUsage};

use crate::names::Name;

const MAGIC: [u8; 4] = *b"PSTK";
const VERSION: u8 = 1;
/// Before the sender's name.
const FIXED: usize = 40;
/// Of the HMAC.
const CODE: usize = 32;
const MAX_NAME: usize = 63;
/// Shortest datagram, bytes.
pub const MIN_LEN: usize = FIXED + 1 + CODE;
/// Longest datagram, bytes. Whoever receives needs a byte more, to see that one is longer.
pub const MAX_LEN: usize = FIXED + MAX_NAME + report::MAX_SAS_LEN + CODE;

/// One life of a node's process: random, another one at each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which store a revision is of: a short form of the store's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreTag(pub [u8; 16]);

impl StoreTag {
    /// Of a store with this name.
    pub fn of(name: &str) -> Self {
        let hash = Sha256::new().chain_update(b"penstock fleet store\0").chain_update(name).finalize();
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash[..16]);
        Self(tag)
    }
}

impl fmt::Debug for StoreTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a datagram says of its revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The sender's workers have everything up to it.
    Applied = 2,
    /// The sender waits for the receiver to have it, and wants to hear what it has.
    Ask = 3,
}

/// One datagram about a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// What it says.
    pub kind: Kind,
    /// Who sent it.
    pub node: Name,
    /// Which life of the sender.
    pub incarnation: Incarnation,
    /// Which store the revision is of.
    pub store: StoreTag,
    /// The revision.
    pub revision: u64,
}

/// What a node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Of a revision.
    Revision(Datagram),
    /// Of what went through associations of the receiver.
    Report(Report),
    /// Of tunnels' health.
    Health(HealthDatagram),
}

/// Why a datagram was not taken. Each is a counter's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Shorter or longer than any datagram, or than it says.
    #[error("it is cut off, or not of this kind")]
    Length,
    /// None of ours.
    #[error("it is no datagram of a fleet")]
    Foreign,
    /// Of another version of the format.
    #[error("it is of a newer Penstock: update this node")]
    Version,
    /// Not made with one of the fleet's keys, or changed on the way.
    #[error(
        "it is forged, or made with a key that the fleet's key file does not have: give all nodes the same file"
    )]
    Forged,
    /// Made by a node of the fleet, but not in the form of this version.
    #[error(
        "a node of the fleet made it in a form that this version does not know: run the same version everywhere"
    )]
    Malformed,
}

/// A datagram as bytes, without a place on the heap.
#[derive(Clone, Copy)]
pub struct Bytes {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Bytes {
    fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// With its HMAC.
    fn sign(mut self, keys: &PeerKeys) -> Self {
        let code = keys.code(&self);
        self.push(&code);
        self
    }
}

/// What all datagrams begin with.
fn head(kind: u8, node: &Name, incarnation: Incarnation, store: StoreTag, revision: u64) -> Bytes {
    let name = node.as_str().as_bytes();
    let mut out = Bytes { bytes: [0; MAX_LEN], len: 0 };
    out.push(&MAGIC);
    // A name has 63 bytes at most.
    out.push(&[VERSION, kind, name.len() as u8, 0]);
    out.push(&incarnation.0.to_be_bytes());
    out.push(&store.0);
    out.push(&revision.to_be_bytes());
    out.push(name);
    out
}

impl Datagram {
    /// The bytes to send, with an HMAC by the first of the keys.
    pub fn seal(&self, keys: &PeerKeys) -> Bytes {
        head(self.kind as u8, &self.node, self.incarnation, self.store, self.revision).sign(keys)
    }
}

impl Said {
    /// The bytes to send, with an HMAC by the first of the keys.
    pub fn seal(&self, keys: &PeerKeys) -> Bytes {
        match self {
            Self::Revision(datagram) => datagram.seal(keys),
            Self::Report(report) => report.seal(keys),
            Self::Health(datagram) => datagram.seal(keys),
        }
    }

    /// What these bytes say, if a node of the fleet made them.
    ///
    /// # Errors
    /// Why they are not to be believed.
    pub fn open(bytes: &[u8], keys: &PeerKeys) -> Result<Self, Refused> {
        if !(MIN_LEN..=MAX_LEN).contains(&bytes.len()) {
            return Err(Refused::Length);
        }
        let (said, code) = bytes.split_last_chunk::<CODE>().ok_or(Refused::Length)?;
        match said {
            [b'P', b'S', b'T', b'K', VERSION, ..] => {}
            [b'P', b'S', b'T', b'K', ..] => return Err(Refused::Version),
            _ => return Err(Refused::Foreign),
        }
        if !keys.made(said, code) {
            return Err(Refused::Forged);
        }
        Self::read(said).ok_or(Refused::Malformed)
    }

    /// Authentic bytes without their HMAC.
    fn read(said: &[u8]) -> Option<Self> {
        let (head, rest_of_it) = said.split_first_chunk::<FIXED>()?;
        let (head, rest) = head.split_first_chunk::<8>()?;
        let (incarnation, rest) = rest.split_first_chunk::<8>()?;
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (revision, _) = rest.split_first_chunk::<8>()?;
        let [.., kind, length, zero] = *head;
        let (name, rest) = rest_of_it.split_at_checked(length.into()).filter(|_| zero == 0)?;
        let node = Name::new(std::str::from_utf8(name).ok()?)?;
        let incarnation = Incarnation(u64::from_be_bytes(*incarnation));
        let (store, revision) = (StoreTag(*store), u64::from_be_bytes(*revision));
        if kind == report::KIND && revision == 0 {
            return Some(Self::Report(Report { node, incarnation, store, sas: Report::read_sas(rest)? }));
        }
        if let Some(news) = HealthNews::read(kind, revision, rest) {
            return Some(Self::Health(HealthDatagram { node, incarnation, store, news }));
        }
        let kind = [Kind::Applied, Kind::Ask].into_iter().find(|one| *one as u8 == kind)?;
        rest.is_empty().then_some(Self::Revision(Datagram { kind, node, incarnation, store, revision }))
    }
}
