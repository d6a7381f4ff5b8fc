//! The messages: requests of charon, answers and events of control.

use std::fmt;
use std::net::SocketAddr;

use penstock_dataplane::esp::sa::Spi;

use super::sa::{AddSa, PolicySpec, SaId, UpdateSa};

/// One run of a program, named by a random number that it takes at its start: of charon in requests, of control in
/// answers and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instance(pub u64);

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a frame holds; the same number in a request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Opens the connection that events take.
    Hello = 1,
    /// What charon believes installed, and what of it control does not have.
    Sync = 2,
    /// Asks for an SPI.
    GetSpi = 3,
    /// Installs an SA.
    AddSa = 4,
    /// Changes an SA's addresses.
    UpdateSa = 5,
    /// Removes an SA.
    DelSa = 6,
    /// Asks what went through an SA.
    QuerySa = 7,
    /// Removes all SAs.
    FlushSas = 8,
    /// Installs a policy.
    AddPolicy = 9,
    /// Removes a policy.
    DelPolicy = 10,
    /// Removes all policies.
    FlushPolicies = 11,
    /// An SA has reached a limit.
    Expire = 32,
    /// The peer of an SA sends from elsewhere.
    Mapping = 33,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Hello,
        Self::Sync,
        Self::GetSpi,
        Self::AddSa,
        Self::UpdateSa,
        Self::DelSa,
        Self::QuerySa,
        Self::FlushSas,
        Self::AddPolicy,
        Self::DelPolicy,
        Self::FlushPolicies,
        Self::Expire,
        Self::Mapping,
    ];

    /// The one with this number.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What charon asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Opens the connection that events take.
    Hello(Hello),
    /// All that charon believes installed; only after [`Request::Hello`].
    Sync(Vec<Installed>),
    /// An SPI for an SA that is being negotiated.
    GetSpi(GetSpi),
    /// An SA with its keys.
    AddSa(Box<AddSa>),
    /// Other addresses for an SA.
    UpdateSa(UpdateSa),
    /// An SA goes.
    DelSa(SaId),
    /// What went through an SA.
    QuerySa(SaId),
    /// All SAs go.
    FlushSas,
    /// A policy.
    AddPolicy(PolicySpec),
    /// A policy goes.
    DelPolicy(PolicySpec),
    /// All policies go.
    FlushPolicies,
}

impl Request {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Sync(_) => Kind::Sync,
            Self::GetSpi(_) => Kind::GetSpi,
            Self::AddSa(_) => Kind::AddSa,
            Self::UpdateSa(_) => Kind::UpdateSa,
            Self::DelSa(_) => Kind::DelSa,
            Self::QuerySa(_) => Kind::QuerySa,
            Self::FlushSas => Kind::FlushSas,
            Self::AddPolicy(_) => Kind::AddPolicy,
            Self::DelPolicy(_) => Kind::DelPolicy,
            Self::FlushPolicies => Kind::FlushPolicies,
        }
    }
}

/// Who speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// charon's version, such as 5.9.8.
    pub charon: String,
    /// The plugin's version.
    pub plugin: String,
}

/// An SA that charon believes installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    /// For what we receive.
    pub inbound: bool,
    /// Which.
    pub id: SaId,
}

/// The SA that an SPI is wanted for. Its protocol is ESP, there is no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetSpi {
    /// The peer.
    pub src: SocketAddr,
    /// Our endpoint.
    pub dst: SocketAddr,
}

/// What went through an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Inner bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Seconds since the last packet; `None`: there was none.
    pub idle_s: Option<u64>,
}

/// What control answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, nothing to say.
    Done,
    /// The SPI, to [`Request::GetSpi`].
    Spi(Spi),
    /// The counters, to [`Request::QuerySa`].
    Usage(Usage),
    /// The SAs that control does not have, to [`Request::Sync`].
    Unknown(Vec<SaId>),
    /// Not done.
    Refused(Refused),
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// For charon.
    pub code: ErrorCode,
    /// For the log, on both sides. Never holds a key.
    pub reason: String,
}

impl Refused {
    /// Not done, for this reason.
    pub fn new(code: ErrorCode, reason: impl fmt::Display) -> Self {
        Self { code, reason: reason.to_string() }
    }
}

/// Kinds of failure: the status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// The request is not of this protocol.
    Malformed = 1,
    /// The request is of a version that is not spoken here.
    UnknownVersion = 2,
    /// There is no such SA or policy.
    NotFound = 3,
    /// Understood, but not supported.
    Refused = 4,
    /// A table is full.
    NoRoom = 5,
    /// Not yet, or not any more: starting, or stopping.
    NotReady = 6,
    /// A fault of ours; our log has the details.
    Internal = 7,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::UnknownVersion,
        Self::NotFound,
        Self::Refused,
        Self::NoRoom,
        Self::NotReady,
        Self::Internal,
    ];
}

/// What control tells charon unasked. There is no answer to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An SA has reached a limit of its life.
    Expire {
        /// Which.
        id: SaId,
        /// The last one: it carries nothing any more. Else it is time to rekey.
        hard: bool,
    },
    /// The peer of an SA sends from another address or port.
    Mapping {
        /// Which.
        id: SaId,
        /// Where it sends from now.
        remote: SocketAddr,
    },
}

impl Event {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Expire { .. } => Kind::Expire,
            Self::Mapping { .. } => Kind::Mapping,
        }
    }

    /// The SA that it is about.
    pub const fn id(&self) -> &SaId {
        match self {
            Self::Expire { id, .. } | Self::Mapping { id, .. } => id,
        }
    }
}
