//! `show tunnels`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One tunnel. A configured tunnel is always listed, up or down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TunnelRow {
    /// Owner.
    pub tenant: String,
    /// Name, unique within the tenant.
    pub name: String,
    /// `gre` or `ipsec`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of our endpoint.
    pub endpoint: String,
    /// Address of our endpoint.
    #[schema(value_type = String)]
    pub local: IpAddr,
    /// The customer's router; absent: wherever it negotiates from.
    #[schema(value_type = Option<String>)]
    pub remote: Option<IpAddr>,
    /// GRE key.
    pub key: Option<u32>,
    /// Algorithms of an IPsec tunnel, of both directions where they differ.
    #[serde(default)]
    pub ciphers: Vec<String>,
    /// Ports of ESP in UDP, ours and the peer's.
    #[serde(default)]
    #[schema(value_type = Option<Vec<u16>>)]
    pub udp_ports: Option<(u16, u16)>,
    /// Where the peer was found, when that is not `remote`: a NAT has moved it, or it may be anywhere.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub moved_to: Option<IpAddr>,
    /// Whether packets can leave through it.
    pub state: TunnelState,
    /// Why it is not up, in words.
    pub reason: Option<String>,
    /// How outer packets leave: port and next hop, for example `edge0 via 192.0.2.254`.
    pub underlay: Option<String>,
    /// Largest inner packet that goes through in one piece now.
    pub mtu: u16,
    /// Set when the path turned out smaller than the configuration says; `mtu` already follows it.
    pub path_mtu: Option<PathMtu>,
    /// Largest TCP segment that SYNs over IPv4 are lowered to; absent: not clamped.
    pub mss_v4: Option<u16>,
    /// The same over IPv6.
    pub mss_v6: Option<u16>,
    /// Into the tunnel; bytes are those of inner packets.
    pub encap: Traffic,
    /// Out of the tunnel; bytes are those of inner packets.
    pub decap: Traffic,
    /// Packets that came out of this tunnel and were dropped.
    pub drops: u64,
    /// SYNs whose MSS was lowered.
    pub clamped_syns: u64,
    /// The peer's keepalives that we answered.
    pub keepalives_answered: u64,
    /// Our own keepalives, when configured.
    pub keepalive: Option<Keepalive>,
    /// What our health probes say, when configured.
    #[serde(default)]
    pub health: Option<Health>,
}

/// Whether packets can leave through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TunnelState {
    /// The way to the remote is known down to the hardware address.
    Up,
    /// There is a route, but its next hop has not answered ARP or ND. Packets go through the kernel.
    Unresolved,
    /// No route to the remote, the port is down, keepalives or health probes are lost, or there is no security
    /// association.
    Down,
}

/// A path that takes less than our link, and so the tunnel's MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PathMtu {
    /// Largest outer packet, bytes.
    pub outer: u16,
    /// Who found out.
    pub source: PathMtuSource,
    /// Seconds since then.
    pub age_s: u64,
    /// Seconds until it is forgotten; absent: it is probed on.
    pub expires_s: Option<u64>,
}

/// Who found out what a path takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathMtuSource {
    /// A router, by an ICMP error about one of our outer packets.
    Icmp,
    /// Probes of ours.
    Probed,
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Our own keepalives of one tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Keepalive {
    /// What they say about the peer.
    pub state: KeepaliveState,
    /// Sent.
    pub sent: u64,
    /// Come back.
    pub received: u64,
    /// Seconds since the last one came back.
    pub last_received_s: Option<u64>,
}

/// What our keepalives say about the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeepaliveState {
    /// None has come back yet, and retries are left.
    Waiting,
    /// They come back.
    Up,
    /// As many as `retries` in a row were lost.
    Down,
}

/// What our health probes say of one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Health {
    /// The tunnel's state.
    pub state: HealthState,
    /// Seconds since then.
    pub since_s: u64,
    /// Why, in words.
    pub reason: String,
    /// Added to the priority of routes into the tunnel.
    pub penalty: u32,
    /// Who is to answer.
    #[schema(value_type = String)]
    pub target: IpAddr,
    /// Where the answers come to.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Probes of the last five minutes that were answered or lost.
    pub ended_5m: u64,
    /// Those of them that were lost.
    pub lost_5m: u64,
    /// Probes sent since the tunnel is probed.
    pub sent: u64,
    /// Answered in time.
    pub answered: u64,
    /// Answered too late, or by another way than `direction` says.
    pub astray: u64,
    /// How long the last answer took, microseconds.
    pub round_trip_us: Option<u64>,
    /// Probes of the path MTU, when configured.
    #[serde(default)]
    pub path_mtu: Option<PathProbes>,
    /// What all nodes of the fleet together find; absent: this node is alone.
    #[serde(default)]
    pub fleet: Option<FleetHealth>,
}

/// The search for a tunnel's path MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PathProbes {
    /// Largest inner packet that is known to pass, bytes; absent: none yet.
    pub largest: Option<u16>,
    /// A search goes on.
    pub searching: bool,
    /// Probes of a size that were sent.
    pub sent: u64,
    /// Those of them that were lost while a small one was answered.
    pub lost: u64,
    /// How often packets that passed before were lost for their size.
    pub black_holes: u64,
}

/// A tunnel, as the nodes of the fleet find it that have been heard of lately, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FleetHealth {
    /// What more than half of them find.
    pub state: HealthState,
    /// How many they are.
    pub nodes: u64,
    /// Those that find it degraded.
    pub degraded: u64,
    /// Those that find it down.
    pub down: u64,
}

/// What health probes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HealthState {
    /// Nothing yet.
    Unknown,
    /// Probes are answered.
    Healthy,
    /// Too many are lost.
    Degraded,
    /// None is answered.
    Down,
}
