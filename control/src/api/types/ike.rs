//! `show ike`: who negotiates, and what was negotiated. Secrets are never part of it.

use serde::{Deserialize, Serialize};

use super::UpCount;

/// The IKE daemon, and the tunnels that it negotiates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ike {
    /// charon; absent: no `ike` is configured.
    pub charon: Option<Charon>,
    /// Tunnels that match, including those beyond the limit.
    pub total: u64,
    /// The first of them.
    pub rows: Vec<IkeRow>,
}

/// strongSwan's daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charon {
    /// Whether penstock starts and watches it (`ike: managed`).
    pub managed: bool,
    /// How it is.
    pub state: CharonState,
    /// Why it does not run, and what to do.
    pub problem: Option<String>,
    /// Process id of a managed one.
    pub pid: Option<u32>,
    /// Its version, when it answers.
    pub version: Option<String>,
    /// The version of our plugin in it, when that has come to us.
    pub plugin: Option<String>,
    /// Seconds since it was started, or since we reached an external one.
    pub uptime_s: Option<u64>,
    /// Times that it had to be started again.
    pub restarts: u64,
    /// IKE SAs.
    pub ike_sas: Option<u64>,
    /// Those of them that are still being negotiated.
    pub half_open: Option<u64>,
    /// Its control socket.
    pub vici_socket: String,
    /// The socket on which its plugin reaches us.
    pub plugin_socket: String,
    /// The log file of a managed one.
    pub log: Option<String>,
    /// What it did not take, each with the fix.
    pub refused: Vec<String>,
}

/// Negotiation at a glance, for `show status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeStatus {
    /// How charon is.
    pub state: CharonState,
    /// Why it does not run, and what to do.
    pub problem: Option<String>,
    /// Tunnels that are negotiated and stand, of all that are negotiated.
    pub tunnels: UpCount,
    /// What charon did not take, each with the fix.
    pub refused: Vec<String>,
    /// Tunnels that do not stand and whose last negotiation failed.
    pub failing: Vec<String>,
    /// Times that charon had to be started again.
    #[serde(default)]
    pub restarts: u64,
    /// What has happened since the start.
    #[serde(default)]
    pub events: IkeEvents,
}

/// What charon told of, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeEvents {
    /// IKE SAs that came to stand.
    pub established: u64,
    /// IKE SAs that were rekeyed.
    pub rekeyed: u64,
    /// IKE SAs that ended.
    pub ended: u64,
    /// Pairs of security associations that came.
    pub children_established: u64,
    /// Pairs of security associations that were rekeyed.
    pub children_rekeyed: u64,
    /// Pairs of security associations that ended.
    pub children_ended: u64,
    /// Peers that moved to another address or port.
    pub moved: u64,
    /// Negotiations that failed, of tunnels and of strangers.
    pub failed: u64,
}

/// How charon is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CharonState {
    /// Not needed: no tunnel is negotiated.
    #[default]
    Idle,
    /// On its way.
    Starting,
    /// It answers.
    Running,
    /// It does not; it is tried again.
    Failed,
}

/// A tunnel that is negotiated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeRow {
    /// Owner of the tunnel.
    pub tenant: String,
    /// Name of the tunnel.
    pub tunnel: String,
    /// How far it is.
    pub state: IkeState,
    /// Our endpoint.
    pub local: String,
    /// The customer's router as configured, `any` when it may be anywhere.
    pub remote: String,
    /// Where the router is now, `192.0.2.77:4500`.
    pub peer: Option<String>,
    /// Who we say we are.
    pub local_id: String,
    /// Who the router has to say it is.
    pub remote_id: String,
    /// Whether a NAT is in between.
    pub nat: Option<bool>,
    /// What protects the IKE SA.
    pub suite: Option<String>,
    /// Seconds since it was established.
    pub age_s: Option<u64>,
    /// Seconds until we rekey it.
    pub rekey_s: Option<u64>,
    /// Its IKE SPIs, ours last.
    pub spis: Option<String>,
    /// The pairs of security associations that it made.
    pub children: Vec<IkeChild>,
    /// Why charon did not take the tunnel, and the fix.
    pub refused: Option<String>,
    /// The last negotiation that failed.
    pub last_failure: Option<IkeFailure>,
}

/// How far a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IkeState {
    /// Negotiated: there are security associations.
    Up,
    /// An IKE SA is there, or on its way, without any.
    Connecting,
    /// Nothing: the router has not negotiated.
    Down,
    /// charon did not take its configuration.
    Refused,
}

/// A pair of security associations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeChild {
    /// charon's word for how it is, `installed`, `rekeyed`.
    pub state: String,
    /// Its SPI towards us, `0x00401001`.
    pub spi_in: Option<String>,
    /// Its SPI towards the router.
    pub spi_out: Option<String>,
    /// What protects it.
    pub suite: String,
    /// In UDP (RFC 3948).
    pub encapsulated: bool,
    /// Seconds since it was installed.
    pub age_s: Option<u64>,
    /// Seconds until we rekey it.
    pub rekey_s: Option<u64>,
    /// Selectors on our side.
    pub local: Vec<String>,
    /// Selectors on the router's side.
    pub remote: Vec<String>,
}

/// A negotiation that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeFailure {
    /// Why, and what to do.
    pub reason: String,
    /// Seconds ago.
    pub age_s: u64,
    /// How many have failed since the start of penstock.
    pub count: u64,
}
