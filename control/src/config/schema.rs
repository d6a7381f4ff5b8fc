//! The configuration as typed values: what each key is called, what it may hold, what it is when not written.
//!
//! [`GatewayConfig`] is what a text says, each value right in itself. Whether the values fit each other is asked by
//! `validate`, which makes a [`super::ValidConfig`] of it. Serialised again, the types give YAML that reads back as
//! the same configuration, with every default written out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::name::Name;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayConfig {
    /// This server.
    pub node: NodeConfig,
    /// Memory for packets.
    pub memory: MemoryConfig,
    /// Who runs where.
    pub cores: CoresConfig,
    /// The Ethernet ports, by name.
    pub ports: BTreeMap<Name, PortConfig>,
    /// Static routes of the underlay, put into the kernel's main table of the namespace.
    pub routes: Vec<UnderlayRoute>,
    /// Anycast addresses that tunnels end on.
    pub endpoints: BTreeMap<Name, IpAddr>,
    /// Limits of the ICMP errors that we send.
    pub icmp: IcmpConfig,
    /// The customers.
    pub tenants: BTreeMap<Name, TenantConfig>,
}

/// `node`: this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeConfig {
    /// Its name.
    pub name: Name,
    /// The network namespace of the twins.
    pub netns: Name,
    /// The unix socket of the API.
    pub socket: PathBuf,
}

/// `memory`: memory for packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryConfig {
    /// Hugepages, or (lab, laptop) ordinary memory.
    pub hugepages: bool,
    /// What DPDK may use, MiB.
    pub size_mib: u32,
    /// Packet buffers per NUMA node.
    pub mbufs: Auto<u32>,
    /// Data room of one buffer, bytes, without headroom.
    pub mbuf_size: u16,
}

/// A number, or the choice left to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auto<T> {
    /// Chosen from the circumstances.
    Auto,
    /// This many.
    #[serde(untagged)]
    Fixed(T),
}

/// `cores`: which core does what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoresConfig {
    /// Control, API, kernel mirror and twins.
    pub control: u16,
    /// One worker on each.
    pub workers: Vec<u16>,
    /// Which worker polls which receive queue.
    pub queues: QueuePlacement,
}

/// Which worker polls which receive queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueuePlacement {
    /// Every worker one queue of each port, on the port's NUMA node first.
    Auto,
    /// By core.
    #[serde(untagged)]
    ByHand(BTreeMap<u16, Vec<PortQueue>>),
}

/// A receive queue, written `edge0/3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortQueue {
    /// The port.
    pub port: Name,
    /// The queue, from 0.
    pub queue: u16,
}

impl fmt::Display for PortQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.queue)
    }
}

impl Serialize for PortQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `ports.NAME`: an Ethernet port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortConfig {
    /// PCI address or DPDK virtual device.
    pub device: Device,
    /// Largest layer 3 packet, bytes.
    pub mtu: u16,
    /// Our MAC; the device's own when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Addresses on untagged frames; they are put on the twin.
    pub addresses: Vec<IpNet>,
    /// Whose table packets from here are looked up in; the underlay's when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// Tagged interfaces by VLAN id.
    pub vlans: BTreeMap<u16, VlanConfig>,
    /// Slots of each receive queue.
    pub rx_descriptors: u16,
    /// Slots of each transmit queue.
    pub tx_descriptors: u16,
}

/// `ports.NAME.vlans.ID`: a tagged interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VlanConfig {
    /// Our addresses on it.
    pub addresses: Vec<IpNet>,
    /// Whose table packets from here are looked up in; the underlay's when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// Largest layer 3 packet, bytes; the port's when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

/// A device as DPDK names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// A PCI address in full, with DPDK's device arguments if any.
    Pci(String),
    /// A virtual device: driver, number, arguments.
    Virtual(String),
}

impl Device {
    /// What DPDK is told.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pci(text) | Self::Virtual(text) => text,
        }
    }

    /// The device without its arguments.
    pub fn name(&self) -> &str {
        let text = self.as_str();
        text.split_once(',').map_or(text, |(name, _)| name)
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `routes[]`: a static route of the underlay. Several with one prefix share the flows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnderlayRoute {
    /// Destination.
    pub prefix: IpNet,
    /// Where to.
    pub via: UnderlayVia,
    /// The port (`edge0`) or VLAN (`edge0.100`) to leave by, where the router's address does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<InterfaceName>,
    /// Share of the flows.
    pub weight: u16,
}

/// Where a route of the underlay leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnderlayVia {
    /// Discard silently.
    Blackhole,
    /// Discard and tell the sender.
    Unreachable,
    /// To this router.
    #[serde(untagged)]
    Router(IpAddr),
}

/// The name of a port or of a VLAN of a port, as its twin is called: `edge0`, `edge0.100`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName {
    /// The port.
    pub port: Name,
    /// The VLAN.
    pub vlan: Option<u16>,
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan {
            None => self.port.fmt(f),
            Some(vlan) => write!(f, "{}.{vlan}", self.port),
        }
    }
}

impl Serialize for InterfaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `icmp`: limits of the ICMP errors that we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IcmpConfig {
    /// Errors per second and worker.
    pub rate: u32,
    /// Errors at once.
    pub burst: u32,
}

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
    /// The encapsulation.
    #[serde(rename = "type")]
    pub kind: TunnelKind,
    /// Our end, by name.
    pub endpoint: Name,
    /// The customer's router.
    pub remote: IpAddr,
    /// Our addresses inside the tunnel.
    pub address: Vec<IpNet>,
    /// GRE key, sent and required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<u32>,
    /// Send GRE checksums.
    pub checksum: bool,
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
    /// GRE keepalives that we send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<Keepalive>,
}

/// The encapsulation of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// RFC 2784, 2890 and 7676.
    Gre,
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
