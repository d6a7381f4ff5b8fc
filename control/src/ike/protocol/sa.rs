//! Security associations and policies, in charon's terms.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;

use penstock_dataplane::esp::sa::Spi;

use crate::secret::Secret;

/// Which SA. Always ESP. Addresses are the outer ones, of one family; ports are 0 without UDP encapsulation, or where
/// charon does not know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SaId {
    /// Who sends under it.
    pub src: SocketAddr,
    /// Who receives.
    pub dst: SocketAddr,
    /// Chosen by who receives.
    pub spi: Spi,
}

impl fmt::Display for SaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SPI {} from {} to {}", self.spi, self.src, self.dst)
    }
}

/// An SA, with its keys.
#[derive(Debug, PartialEq, Eq)]
pub struct AddSa {
    /// Which.
    pub id: SaId,
    /// How it is used.
    pub flags: SaFlags,
    /// Names the tunnel.
    pub reqid: u32,
    /// What is put into ESP.
    pub mode: Mode,
    /// IKEv2's number of the cipher (transform type 1).
    pub encryption: u16,
    /// The cipher's keying material: key, then salt.
    pub key: Secret,
    /// IKEv2's number of the HMAC (transform type 3).
    pub integrity: u16,
    /// Key of the HMAC; empty for an AEAD.
    pub auth_key: Secret,
    /// Packets that the replay window spans; 0: nothing is checked.
    pub replay_window: u32,
    /// When it has to be replaced, and when it ends.
    pub lifetimes: Lifetimes,
    /// Bytes that all packets are padded to (RFC 4303 section 2.7); 0: none.
    pub tfc: u32,
    /// IPComp's transform (RFC 3173); 0: none.
    pub ipcomp: u16,
    /// Inner sources.
    pub src_ts: Vec<TrafficSelectorSpec>,
    /// Inner destinations.
    pub dst_ts: Vec<TrafficSelectorSpec>,
}

/// How an SA is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SaFlags {
    /// For what we receive; else for what we send.
    pub inbound: bool,
    /// Our side began the exchange that made it.
    pub initiator: bool,
    /// Inside UDP (RFC 3948).
    pub encap: bool,
    /// Sequence numbers of 64 bits.
    pub esn: bool,
    /// Its SPI came from [`GetSpi`](super::GetSpi).
    pub update: bool,
}

/// What is put into ESP, by charon's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nothing: a policy without an SA.
    None = 0,
    /// Payloads (RFC 4303 section 3.1.1).
    Transport = 1,
    /// Whole packets (RFC 4303 section 3.1.2).
    Tunnel = 2,
    /// Bound end-to-end tunnel, an unfinished draft.
    Beet = 3,
    /// A policy that lets packets by in clear.
    Pass = 4,
    /// A policy that drops.
    Drop = 5,
}

/// Limits of an SA's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Seconds since it was installed.
    pub seconds: Limit,
    /// Bytes.
    pub bytes: Limit,
    /// Packets.
    pub packets: Limit,
}

/// Two limits of one kind; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// The end: from here on it carries nothing.
    pub hard: Option<NonZeroU64>,
    /// Time to rekey.
    pub soft: Option<NonZeroU64>,
}

/// Addresses, protocol and ports of one side of inner packets (RFC 7296 section 3.13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrafficSelectorSpec {
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// First port. ICMP has type and code here, as high and low byte.
    pub from_port: u16,
    /// Last port. It is less than the first only for "opaque", which is 65535 to 0: packets that show no port.
    pub to_port: u16,
    /// First address.
    pub first: IpAddr,
    /// Last address, of the same family, not before the first.
    pub last: IpAddr,
}

/// Other addresses for an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateSa {
    /// Which, by its old addresses.
    pub id: SaId,
    /// Who sends from now on.
    pub src: SocketAddr,
    /// Who receives from now on.
    pub dst: SocketAddr,
    /// Whether it was inside UDP.
    pub encap: bool,
    /// Whether it is from now on.
    pub new_encap: bool,
    /// Another reqid; 0: the same.
    pub new_reqid: u32,
}

/// Which way a policy looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Direction {
    /// What is for this host.
    In = 1,
    /// What is sent into the tunnel.
    Out = 2,
    /// What comes out of the tunnel and goes on.
    Forward = 3,
}

/// What a policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PolicyAction {
    /// By an SA.
    Ipsec = 1,
    /// Lets by in clear.
    Pass = 2,
    /// Drops.
    Drop = 3,
}

/// Which inner packets go by which SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// Which way it looks.
    pub direction: Direction,
    /// What it does.
    pub action: PolicyAction,
    /// Mode of its SA.
    pub mode: Mode,
    /// Names the tunnel.
    pub reqid: u32,
    /// The SA; `None`: any of this reqid.
    pub spi: Option<Spi>,
    /// Outer source.
    pub src: SocketAddr,
    /// Outer destination.
    pub dst: SocketAddr,
    /// Inner source.
    pub src_ts: TrafficSelectorSpec,
    /// Inner destination.
    pub dst_ts: TrafficSelectorSpec,
}
