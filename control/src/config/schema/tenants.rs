//! `tenants`: public prefixes, tunnels, inner routes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::{Auto, HealthConfig, TunnelIke};
use crate::config::Name;

/// `tenants.NAME`: a customer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TenantConfig {
    /// Public prefixes: packets to these from the Internet are looked up in this tenant's table.
    pub prefixes: Vec<IpNet>,
    /// The tunnels, by name.
    pub tunnels: BTreeMap<Name, TunnelConfig>,
    /// The inner routes.
    pub routes: Vec<TenantRoute>,
}

/// `tenants.NAME.tunnels.NAME`: a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TunnelConfig {
    /// The encapsulation, with the keys that only it has.
    #[serde(flatten)]
    pub kind: TunnelKind,
    /// Our end, by name.
    pub endpoint: Name,
    /// The customer's router.
    pub remote: Remote,
    /// Our addresses inside the tunnel.
    pub address: Vec<IpNet>,
    /// Largest inner packet.
    pub mtu: Auto<u16>,
    /// Clamping of the TCP segment size.
    pub mss: Mss,
    /// Outer TTL or hop limit.
    pub ttl: Ttl,
    /// Outer DSCP.
    pub dscp: Dscp,
    /// Outer "don't fragment".
    pub df: Df,
    /// Which inner sources are accepted.
    pub source_filter: SourceFilter,
    /// How it is probed; `None`: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthConfig>,
}

impl TunnelConfig {
    /// What only a GRE tunnel has; `None` for the others.
    pub fn gre(&self) -> Option<&GreConfig> {
        match &self.kind {
            TunnelKind::Gre(gre) => Some(gre),
            TunnelKind::Ipsec(_) => None,
        }
    }

    /// Whether its packets are ESP.
    pub fn is_ipsec(&self) -> bool {
        matches!(self.kind, TunnelKind::Ipsec(_))
    }

    /// How its security associations are negotiated; `None`: they are not.
    pub fn ike(&self) -> Option<&TunnelIke> {
        match &self.kind {
            TunnelKind::Gre(_) => None,
            TunnelKind::Ipsec(ipsec) => ipsec.ike.as_deref(),
        }
    }
}

/// `remote`: where the customer's router is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Remote {
    /// Wherever it negotiates from; only with `ike`.
    Any,
    /// There.
    #[serde(untagged)]
    At(IpAddr),
}

impl Remote {
    /// Its address, if that is known beforehand.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Any => None,
            Self::At(address) => Some(address),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// `type`: the encapsulation of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TunnelKind {
    /// RFC 2784, 2890 and 7676.
    Gre(GreConfig),
    /// ESP in tunnel mode (RFC 4303). Its keys are not configuration: they come with its security associations.
    Ipsec(IpsecConfig),
}

impl TunnelKind {
    /// The word of the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gre(_) => "gre",
            Self::Ipsec(_) => "ipsec",
        }
    }
}

/// The keys of an IPsec tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct IpsecConfig {
    /// How its security associations are negotiated; `None`: they come from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ike: Option<Box<TunnelIke>>,
}

/// The keys of a GRE tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GreConfig {
    /// GRE key, sent and required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Send GRE checksums.
    pub checksum: bool,
    /// GRE keepalives that we send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
}

/// Clamping of the TCP segment size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mss {
    /// What the tunnel's MTU allows, exactly.
    Auto,
    /// Left alone.
    Off,
    /// This many bytes.
    #[serde(untagged)]
    Bytes(u16),
}

/// The outer TTL or hop limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ttl {
    /// Copied from the inner packet.
    Inherit,
    /// Always this.
    #[serde(untagged)]
    Fixed(u8),
}

/// The outer DSCP (RFC 2983).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dscp {
    /// Copied from the inner packet into the tunnel.
    Inherit,
    /// Copied into the tunnel, and back out of it to the inner packet.
    Uniform,
    /// Always this; the inner one crosses unchanged.
    #[serde(untagged)]
    Fixed(u8),
}

/// Outer "don't fragment".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Df {
    /// Always set (RFC 6864: atomic datagrams).
    Set,
    /// The inner packet's; set for inner IPv6.
    Copy,
    /// Never set.
    Clear,
}

/// Which inner sources a tunnel accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceFilter {
    /// The tenant's prefixes, those that it has routes to through tunnels, and the tunnel's own link.
    Tenant,
    /// All.
    Off,
    /// These.
    #[serde(untagged)]
    Prefixes(Vec<IpNet>),
}

/// GRE keepalives that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keepalive {
    /// Seconds between two.
    pub interval_s: u16,
    /// Down after so many without an answer.
    pub retries: u8,
}

/// `tenants.NAME.routes[]`: an inner route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TenantRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Where to.
    pub via: Via,
    /// The lowest wins; equal ones share the flows.
    pub priority: u32,
    /// Share of the flows.
    pub weight: u16,
}

/// Where an inner route leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// Looked up again in the underlay's table.
    Internet,
    /// Discard silently.
    Blackhole,
    /// Discard and tell the sender.
    Unreachable,
    /// To a router on one of the tenant's own links.
    #[serde(untagged)]
    Router(IpAddr),
    /// Into this tunnel of the tenant.
    #[serde(untagged)]
    Tunnel(Name),
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet => f.write_str("internet"),
            Self::Blackhole => f.write_str("blackhole"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::Router(ip) => ip.fmt(f),
            Self::Tunnel(name) => name.fmt(f),
        }
    }
}
