//! `show routes` and `show neighbors`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One prefix of one tenant's table, with every way that is known for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RouteRow {
    /// Tenant whose table it is; `internet` for the underlay.
    pub tenant: String,
    /// Destination.
    #[schema(value_type = String)]
    pub prefix: IpNet,
    /// Who put it there.
    pub source: RouteSource,
    /// Ways, best first. Several active ones share the flows by weight.
    pub hops: Vec<HopRow>,
}

/// Who put a route there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RouteSource {
    /// The configuration's `routes` or `prefixes`.
    Config,
    /// The kernel's table: FRR, BIRD, `ip route`, router advertisements.
    Kernel,
    /// A neighbour on one of our links.
    Neighbor,
    /// An address of ours.
    Local,
    /// One of our endpoints.
    Endpoint,
}

/// One way to a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HopRow {
    /// What it is.
    pub kind: HopKind,
    /// Where: a tunnel's name, `port via address`, an endpoint's name, a tenant.
    pub via: String,
    /// As configured. With `penalty`, lower wins.
    pub priority: u32,
    /// Added to the priority, as the tunnel is not healthy.
    #[serde(default)]
    pub penalty: u32,
    /// Share of the flows among hops of one priority.
    pub weight: u32,
    /// Packets take it now.
    pub active: bool,
    /// Why it is not active, in words.
    pub reason: Option<String>,
}

/// What a hop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HopKind {
    /// Into a tunnel.
    Tunnel,
    /// Out of a port to a next hop whose hardware address is known.
    Adjacency,
    /// Out of a port through the kernel, which resolves the next hop.
    Unresolved,
    /// Ends on one of our endpoints: decapsulate.
    Endpoint,
    /// To whichever host on the link.
    Link,
    /// To the kernel's twin.
    Local,
    /// Look up again in another table.
    Table,
    /// Dropped, on purpose.
    Blackhole,
    /// Dropped, and the sender is told.
    Unreachable,
    /// Nowhere.
    None,
}

/// One neighbour that the kernel knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NeighborRow {
    /// Port or VLAN of a port.
    pub interface: String,
    /// Its address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// Its hardware address, when known.
    pub mac: Option<String>,
    /// The kernel's opinion.
    pub state: NeighborState,
    /// Prefixes and tunnels that go through it.
    pub used_by: u64,
}

/// The kernel's opinion of a neighbour (its NUD state).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NeighborState {
    /// Set by hand; never ages.
    Permanent,
    /// Has answered lately.
    Reachable,
    /// Has answered once; checked again when used.
    Stale,
    /// About to be checked.
    Delay,
    /// Being checked.
    Probe,
    /// Being asked for the first time.
    Incomplete,
    /// Does not answer.
    Failed,
    /// Needs no resolution.
    Noarp,
}
