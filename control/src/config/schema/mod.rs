//! The configuration as typed values: what each key is called, what it may hold, what it is when not written.
//!
//! [`GatewayConfig`] is what a text says, each value right in itself. Whether the values fit each other is asked by
//! `validate`, which makes a [`super::ValidConfig`] of it. Serialised again, the types give YAML that reads back as
//! the same configuration, with every default written out.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

mod fleet;
mod health;
mod ike;
mod ports;
mod tenants;

pub use fleet::*;
pub use health::*;
pub use ike::*;
pub use ports::*;
pub use tenants::*;

use super::Name;
use super::duration::Period;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayConfig {
    /// This server.
    pub node: NodeConfig,
    /// Memory for packets.
    pub memory: MemoryConfig,
    /// Who runs where.
    pub cores: CoresConfig,
    /// Who encrypts.
    pub crypto: CryptoConfig,
    /// The Ethernet ports, by name.
    pub ports: BTreeMap<Name, PortConfig>,
    /// Static routes of the underlay, put into the kernel's main table of the namespace.
    pub routes: Vec<UnderlayRoute>,
    /// Anycast addresses that tunnels end on.
    pub endpoints: BTreeMap<Name, IpAddr>,
    /// Limits of the ICMP errors that we send.
    pub icmp: IcmpConfig,
    /// What is measured, for Prometheus.
    pub metrics: MetricsConfig,
    /// Who negotiates security associations.
    pub ike: IkeConfig,
    /// The nodes that serve the same endpoints together; `None`: this one is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetConfig>,
    /// The customers.
    pub tenants: BTreeMap<Name, TenantConfig>,
}

impl GatewayConfig {
    /// How long the node goes on forwarding when it is told to stop: long enough in a fleet that routers send elsewhere.
    pub fn drain(&self) -> Period {
        match (self.node.drain, &self.fleet) {
            (Auto::Fixed(period), _) => period,
            (Auto::Auto, Some(_)) => DRAIN_IN_FLEET,
            (Auto::Auto, None) => Period::from_secs(0),
        }
    }
}

/// `node`: this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeConfig {
    /// Its name.
    pub name: Name,
    /// Its number, in the SPIs that it gives out: 0 to 1023, another one for each node.
    pub number: u16,
    /// The network namespace of the twins.
    pub netns: Name,
    /// The unix socket of the API.
    pub socket: PathBuf,
    /// The directory of what must outlive a restart: which sender IDs were ever given out.
    pub state: PathBuf,
    /// How long it goes on forwarding, and says that it is not ready, when it is told to stop.
    pub drain: Auto<Period>,
}

/// How long a node of a fleet drains.
const DRAIN_IN_FLEET: Period = Period::from_secs(5);

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
    /// Whether workers share the packets of one IPsec tunnel that arrive in one queue.
    pub spread: Spread,
    /// What workers do while nothing comes.
    pub idle: IdlePlacement,
}

impl CoresConfig {
    /// What the worker of a core does while nothing comes.
    pub fn idle_policy(&self, core: u16) -> IdlePolicy {
        match &self.idle {
            IdlePlacement::All(policy) => *policy,
            IdlePlacement::ByCore(policies) => policies.get(&core).copied().unwrap_or_default(),
        }
    }
}

/// What a worker does while nothing comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdlePolicy {
    /// It looks again at once.
    #[default]
    Poll,
    /// The processor waits for moments.
    Pause,
    /// The core is the kernel's for moments.
    Sleep,
}

/// Which worker does what while nothing comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum IdlePlacement {
    /// All the same.
    All(IdlePolicy),
    /// By core; those that are not named poll.
    ByCore(BTreeMap<u16, IdlePolicy>),
}

/// Redistribution of IPsec packets over the workers in software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// Where the NIC gives one worker more than its share.
    Auto,
    /// Never: a packet stays with the worker that polled it.
    Off,
}

/// `crypto`: who encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CryptoConfig {
    /// The library.
    pub backend: CryptoBackend,
}

/// A library that encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CryptoBackend {
    /// For each suite the fastest that is there.
    Auto,
    /// intel-ipsec-mb; the start is refused where it is missing.
    #[serde(rename = "ipsec-mb")]
    IpsecMb,
    /// Our own AES-GCM on processors that have VAES; RustCrypto for the rest.
    Vaes,
    /// The portable one, which is always there.
    RustCrypto,
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

/// `metrics`: what is measured, for Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MetricsConfig {
    /// Where it is served over TCP, beside the API's socket; `None`: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
}

/// `icmp`: limits of the ICMP errors that we send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IcmpConfig {
    /// Errors per second and worker.
    pub rate: u32,
    /// Errors at once.
    pub burst: u32,
}
