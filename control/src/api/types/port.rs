//! `show ports`.

use serde::{Deserialize, Serialize};

/// One port: the device, its link and what crossed it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortRow {
    /// Name in the configuration.
    pub name: String,
    /// The `device:` string: a PCI address or a DPDK virtual device.
    pub device: String,
    /// DPDK driver, for example `net_ice`.
    pub driver: String,
    /// Hardware address.
    pub mac: String,
    /// NUMA node of the device; absent for virtual devices.
    pub numa: Option<u32>,
    /// Largest IP packet.
    pub mtu: u16,
    /// Tenant whose packets come in here; absent: the Internet.
    pub tenant: Option<String>,
    /// The kernel's twin of this port.
    pub twin: String,
    /// Addresses that we put on the twin.
    pub addresses: Vec<String>,
    /// State of the cable.
    pub link: Link,
    /// Receive queues in use.
    pub rx_queues: u16,
    /// Transmit queues in use.
    pub tx_queues: u16,
    /// What crossed the port.
    pub counters: PortCounters,
}

/// State of the cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Link {
    /// Carrier is there.
    pub up: bool,
    /// Speed, where the device knows it.
    pub speed_mbps: Option<u32>,
}

/// Counters of the device itself, not of the workers: what the NIC lost before a worker saw it is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortCounters {
    /// Packets given to workers.
    pub rx_packets: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Lost because the receive ring was full: the workers are too slow or too few.
    pub rx_missed: u64,
    /// Broken on the wire.
    pub rx_errors: u64,
    /// Lost because no packet buffer was free: raise `memory.mbufs`.
    pub rx_no_buffer: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// The device refused to send.
    pub tx_errors: u64,
}
