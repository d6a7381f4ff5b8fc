//! `ports` and `routes`: devices, addresses, VLANs, static routes of the underlay.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::config::Name;

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
