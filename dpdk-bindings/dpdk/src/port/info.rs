//! What a port is and how it fares: for operators, not for the data path.

use super::error::PortError;
use super::kernel_link::KernelLink;
use super::{Port, attach};
use std::borrow::Cow;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// What the driver says about a port.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// Driver, such as "net_af_packet" or "net_ice".
    pub driver: String,
    /// NUMA node, where the device has one.
    pub socket: Option<u32>,
    /// RX queues it can have.
    pub max_rx_queues: u16,
    /// TX queues it can have.
    pub max_tx_queues: u16,
    /// Least MTU.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// It can spread a large frame over several buffers.
    pub scatter: bool,
    /// It can send a packet of several buffers.
    pub multi_segment: bool,
    /// It checks IPv4 header checksums.
    pub ip_checksum: bool,
    /// It spreads flows over RX queues by hash.
    pub rss: bool,
    /// It can hash the headers inside a tunnel.
    pub rss_inner: bool,
}

/// State of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether there is one.
    pub up: bool,
    /// Megabits per second, where the device knows.
    pub speed_mbps: Option<u32>,
    /// Both directions at once.
    pub full_duplex: bool,
}

/// The device's own counters since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets lost because nobody polled in time.
    pub rx_missed: u64,
    /// Broken packets received.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Times no buffer was free for a packet.
    pub rx_no_buffer: u64,
}

/// The driver's own name.
pub(super) fn driver_name(info: &dpdk_sys::rte_eth_dev_info) -> Cow<'static, str> {
    if info.driver_name.is_null() {
        return Cow::Borrowed("unknown");
    }
    // SAFETY: a driver's name is a static C string.
    unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy()
}

impl Port {
    /// What the driver says about it.
    ///
    /// # Errors
    /// What the device says.
    pub fn info(&self) -> Result<PortInfo, PortError> {
        let info = self.raw_info()?;
        // SAFETY: a valid port.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id()) };
        Ok(PortInfo {
            driver: driver_name(&info).into_owned(),
            socket: u32::try_from(socket).ok(),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            scatter: info.rx_offload_capa & dpdk_sys::PENSTOCK_RX_OFFLOAD_SCATTER != 0,
            multi_segment: info.tx_offload_capa & dpdk_sys::PENSTOCK_TX_OFFLOAD_MULTI_SEGS != 0,
            ip_checksum: info.rx_offload_capa & dpdk_sys::PENSTOCK_RX_OFFLOAD_IPV4_CKSUM != 0,
            rss: info.flow_type_rss_offloads != 0,
            rss_inner: info.flow_type_rss_offloads & dpdk_sys::PENSTOCK_RSS_LEVEL_MASK != 0,
        })
    }

    pub(super) fn raw_info(&self) -> Result<dpdk_sys::rte_eth_dev_info, PortError> {
        attach::info(self.id()).map_err(|cause| PortError::Device {
            device: self.device().to_owned(),
            operation: "asking the driver",
            cause,
        })
    }

    /// State of the link, as last known to the device.
    ///
    /// # Errors
    /// What the device says.
    pub fn link(&self) -> Result<Link, PortError> {
        let mut link = MaybeUninit::zeroed();
        // SAFETY: a valid port and a place for the answer.
        let result = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.id(), link.as_mut_ptr()) };
        self.device.check("reading the link", result)?;
        // SAFETY: filled, as the call succeeded; all zeros is valid too.
        let link: dpdk_sys::rte_eth_link = unsafe { link.assume_init() };
        let speed = link.link_speed;
        Ok(Link {
            up: link.link_status() != 0 && self.device.kernel_link.as_ref().is_none_or(KernelLink::is_up),
            speed_mbps: (speed != 0 && speed != dpdk_sys::PENSTOCK_SPEED_UNKNOWN).then_some(speed),
            full_duplex: link.link_duplex() != 0,
        })
    }

    /// The device's counters.
    ///
    /// # Errors
    /// What the device says.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        let mut stats = MaybeUninit::zeroed();
        // SAFETY: a valid port and a place for the answer.
        let result = unsafe { dpdk_sys::rte_eth_stats_get(self.id(), stats.as_mut_ptr()) };
        self.device.check("reading the counters", result)?;
        // SAFETY: filled, as the call succeeded.
        let stats: dpdk_sys::rte_eth_stats = unsafe { stats.assume_init() };
        Ok(PortStats {
            rx_packets: stats.ipackets,
            tx_packets: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            rx_missed: stats.imissed,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
            rx_no_buffer: stats.rx_nombuf,
        })
    }

    /// The MAC address.
    ///
    /// # Errors
    /// What the device says.
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: a valid port and a place for the answer.
        let result = unsafe { dpdk_sys::rte_eth_macaddr_get(self.id(), &mut address) };
        self.device.check("reading the MAC address", result)?;
        Ok(address.addr_bytes)
    }

    /// Changes the MAC address.
    ///
    /// # Errors
    /// What the device says; some virtual devices cannot.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut address = dpdk_sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: a valid port; the address is only read.
        let result = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.id(), &mut address) };
        self.device.check("setting the MAC address", result).map(|_| ())
    }

    /// The MTU in force.
    ///
    /// # Errors
    /// What the device says.
    pub fn mtu(&self) -> Result<u16, PortError> {
        let mut mtu = 0;
        // SAFETY: a valid port and a place for the answer.
        let result = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.id(), &mut mtu) };
        self.device.check("reading the MTU", result)?;
        Ok(mtu)
    }
}
