//! `nodes/NAME`: what a node says of itself in the store, on a lease that ends with it.

use std::net::IpAddr;

use penstock_fleet::names::{Name, NodeNumber};
use penstock_fleet::peer::Incarnation;
use serde::{Deserialize, Serialize};

/// Largest record, bytes. Ours have a few hundred.
const MAX_BYTES: usize = 4096;
/// Longest version, bytes.
const MAX_VERSION: usize = 64;
/// SPIs have ten bits for it.
const MAX_NUMBER: u16 = 1023;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its name.
    pub name: Name,
    /// Its number, in all SPIs that it gives out.
    pub number: NodeNumber,
    /// Which life of its process.
    pub incarnation: Incarnation,
    /// Where the other nodes reach it.
    pub address: IpAddr,
    /// UDP port of packets from node to node.
    pub port: u16,
    /// When it started, Unix time in milliseconds.
    pub started: u64,
    /// Its clock when it wrote this, Unix time in milliseconds.
    pub clock: u64,
    /// Its version of Penstock.
    pub version: String,
    /// It has all that it needs to serve.
    pub ready: bool,
    /// Its workers have everything up to this revision of the store.
    pub applied: u64,
}

/// Why a record is not one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Far larger than ours.
    #[error("it has {0} bytes, and no record of a node has more than {MAX_BYTES}")]
    Size(usize),
    /// Not JSON, or a field that is missing or of another type.
    #[error("{0}")]
    Json(String),
    /// A field of the right type that can have no such value.
    #[error("{0} has a value that it cannot have")]
    Value(&'static str),
    /// Under the name of another one.
    #[error("it is of a node with another name")]
    OtherName,
    /// There are as many nodes already as there are numbers.
    #[error("there are {MAX_NUMBER} other nodes already: remove some, or serve from another fleet")]
    TooMany,
}

/// The record as JSON. Fields that a later version adds are left alone.
#[derive(Serialize, Deserialize)]
struct Json<'a> {
    name: &'a str,
    number: u16,
    incarnation: &'a str,
    address: IpAddr,
    port: u16,
    started: u64,
    clock: u64,
    version: std::borrow::Cow<'a, str>,
    ready: bool,
    applied: u64,
}

impl NodeRecord {
    /// The record as it is in the store.
    pub fn to_json(&self) -> Vec<u8> {
        let json = Json {
            name: self.name.as_str(),
            number: self.number.0,
            incarnation: &self.incarnation.to_string(),
            address: self.address,
            port: self.port,
            started: self.started,
            clock: self.clock,
            version: self.version.as_str().into(),
            ready: self.ready,
            applied: self.applied,
        };
        // Text and numbers: to write them cannot fail.
        serde_json::to_vec(&json).unwrap_or_default()
    }

    /// The record that these bytes are.
    ///
    /// # Errors
    /// Why they are none.
    pub fn read(bytes: &[u8]) -> Result<Self, BadRecord> {
        if bytes.len() > MAX_BYTES {
            return Err(BadRecord::Size(bytes.len()));
        }
        let json: Json<'_> = serde_json::from_slice(bytes).map_err(|e| BadRecord::Json(e.to_string()))?;
        let hex = json.incarnation;
        let is_hex = hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let incarnation = is_hex.then(|| u64::from_str_radix(hex, 16).ok()).flatten();
        let cannot_be_reached = json.address.is_unspecified() || json.address.is_multicast();
        // It goes into the log.
        let version_fits = json.version.len() <= MAX_VERSION && !json.version.contains(char::is_control);
        Ok(Self {
            name: Name::new(json.name).ok_or(BadRecord::Value("name"))?,
            number: NodeNumber(
                Some(json.number).filter(|n| *n <= MAX_NUMBER).ok_or(BadRecord::Value("number"))?,
            ),
            incarnation: Incarnation(incarnation.ok_or(BadRecord::Value("incarnation"))?),
            address: Some(json.address).filter(|_| !cannot_be_reached).ok_or(BadRecord::Value("address"))?,
            port: Some(json.port).filter(|p| (1..u16::MAX).contains(p)).ok_or(BadRecord::Value("port"))?,
            started: json.started,
            clock: json.clock,
            version: Some(json.version).filter(|_| version_fits).ok_or(BadRecord::Value("version"))?.into(),
            ready: json.ready,
            applied: json.applied,
        })
    }
}
