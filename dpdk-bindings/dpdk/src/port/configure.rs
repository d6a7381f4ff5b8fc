//! Queues, MTU and offloads of a port.
//!
//! Offloads are taken only where they help and the device has them: scatter and multi-segment (jumbo
//! frames), the IPv4 checksum check, RSS with its hash. The fast-free offload is left out: it needs every
//! packet of a queue to be from one pool and in one segment, which a gateway's queue cannot promise.

use super::error::PortError;
use super::info::driver_name;
use super::{Configured, Port};
use crate::errno::Errno;
use crate::mempool::Mempool;
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};
use std::mem::MaybeUninit;
use std::sync::{MutexGuard, PoisonError};

/// Ethernet header, two VLAN tags.
const L2_OVERHEAD: u32 = 14 + 4 + 4;

/// What a port shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// RX queues, one for each worker that polls.
    pub rx_queues: u16,
    /// TX queues, one for each worker.
    pub tx_queues: u16,
    /// Length of each RX queue; the device may round it.
    pub rx_descriptors: u16,
    /// Length of each TX queue; the device may round it.
    pub tx_descriptors: u16,
    /// Largest IP packet.
    pub mtu: u16,
    /// Accept frames to any MAC address.
    pub promiscuous: bool,
    /// Accept all multicast (ND needs some of it).
    pub all_multicast: bool,
    /// Spread flows over the RX queues, where there are several and the device can.
    pub rss: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self {
            rx_queues: 1,
            tx_queues: 1,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: 1500,
            promiscuous: false,
            all_multicast: true,
            rss: true,
        }
    }
}

impl Port {
    /// Sets the port up; RX queue n takes its buffers from `pools[n]`. Not while it runs.
    ///
    /// # Errors
    /// [`PortError`], which says what to change.
    pub fn configure(&mut self, config: &PortConfig, pools: &[Mempool]) -> Result<(), PortError> {
        if self.running {
            return Err(PortError::Running { device: self.device().to_owned() });
        }
        self.configured = None;
        let info = self.raw_info()?;
        self.check_queues(config, &info, pools)?;
        self.check_mtu(config, &info, pools)?;

        let conf = device_conf(config, &info, pools);
        // SAFETY: a valid, stopped port; the configuration is only read.
        let result =
            unsafe { dpdk_sys::rte_eth_dev_configure(self.id(), config.rx_queues, config.tx_queues, &conf) };
        self.device.check("configuring", result)?;
        self.apply_mtu(config, &info)?;

        let (mut rx_length, mut tx_length) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: a valid port and places for the answers.
        let result =
            unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.id(), &mut rx_length, &mut tx_length) };
        self.device.check("sizing the queues", result)?;
        self.pools().extend_from_slice(pools);
        self.set_up_rx(pools, rx_length, &info, conf.rxmode.offloads)?;
        self.set_up_tx(config.tx_queues, tx_length, &info, conf.txmode.offloads)?;
        *self.pools() = pools.to_vec();

        self.configured = Some(Configured {
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            promiscuous: config.promiscuous,
            all_multicast: config.all_multicast,
        });
        Ok(())
    }

    fn check_queues(
        &self,
        config: &PortConfig,
        info: &rte_eth_dev_info,
        pools: &[Mempool],
    ) -> Result<(), PortError> {
        let check = |direction, offered: u16, needed: u16| {
            if needed <= offered {
                return Ok(());
            }
            let device = self.device().to_owned();
            let hint = queue_hint(&device, needed);
            Err(PortError::Queues { device, direction, offered, needed, hint })
        };
        check("RX", info.max_rx_queues, config.rx_queues)?;
        check("TX", info.max_tx_queues, config.tx_queues)?;
        if pools.len() != usize::from(config.rx_queues) {
            let device = self.device().to_owned();
            return Err(PortError::Pools { device, queues: config.rx_queues, pools: pools.len() });
        }
        Ok(())
    }

    fn check_mtu(
        &self,
        config: &PortConfig,
        info: &rte_eth_dev_info,
        pools: &[Mempool],
    ) -> Result<(), PortError> {
        let mtu = config.mtu;
        let device = || self.device().to_owned();
        if !(info.min_mtu..=info.max_mtu).contains(&mtu) {
            return Err(PortError::Mtu { device: device(), mtu, min: info.min_mtu, max: info.max_mtu });
        }
        let frame = u32::from(mtu) + L2_OVERHEAD;
        let scatter =
            info.rx_offload_capa & dpdk_sys::PENSTOCK_RX_OFFLOAD_SCATTER != 0 || chains_unasked(info);
        match pools.iter().map(Mempool::data_room).min() {
            Some(data_room) if u32::from(data_room) < frame && !scatter => {
                Err(PortError::Buffer { device: device(), mtu, frame, data_room })
            }
            _ => Ok(()),
        }
    }

    /// Tells the device; one that has no MTU of its own is content with the configuration.
    fn apply_mtu(&self, config: &PortConfig, info: &rte_eth_dev_info) -> Result<(), PortError> {
        // SAFETY: a valid, configured port.
        let result = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.id(), config.mtu) };
        match Errno::check(result) {
            Ok(_) => Ok(()),
            Err(cause) if cause.is_unsupported() => Ok(()),
            Err(Errno(libc::EINVAL)) => Err(PortError::Mtu {
                device: self.device().to_owned(),
                mtu: config.mtu,
                min: info.min_mtu,
                max: info.max_mtu.min(config.mtu.saturating_sub(1)),
            }),
            Err(cause) => Err(PortError::Device {
                device: self.device().to_owned(),
                operation: "setting the MTU",
                cause,
            }),
        }
    }

    fn set_up_rx(
        &self,
        pools: &[Mempool],
        length: u16,
        info: &rte_eth_dev_info,
        offloads: u64,
    ) -> Result<(), PortError> {
        let mut conf = info.default_rxconf;
        conf.offloads = offloads;
        for (queue, pool) in (0..).zip(pools) {
            let node = pool.socket().unwrap_or(u32::MAX);
            // SAFETY: a valid, stopped port; the device keeps the pool's pointer, and the port keeps the pool.
            let result = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(self.id(), queue, length, node, &conf, pool.as_ptr())
            };
            self.device.check("setting up an RX queue", result)?;
        }
        Ok(())
    }

    fn set_up_tx(
        &self,
        queues: u16,
        length: u16,
        info: &rte_eth_dev_info,
        offloads: u64,
    ) -> Result<(), PortError> {
        let mut conf = info.default_txconf;
        conf.offloads = offloads;
        // SAFETY: a valid port.
        let node = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id()) };
        for queue in 0..queues {
            // SAFETY: a valid, stopped port.
            let result = unsafe {
                dpdk_sys::rte_eth_tx_queue_setup(self.id(), queue, length, node.cast_unsigned(), &conf)
            };
            self.device.check("setting up a TX queue", result)?;
        }
        Ok(())
    }

    /// The device has pointers into pools until it is closed, or all its queues are set up anew.
    fn pools(&self) -> MutexGuard<'_, Vec<Mempool>> {
        self.device.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn device_conf(config: &PortConfig, info: &rte_eth_dev_info, pools: &[Mempool]) -> rte_eth_conf {
    // SAFETY: all zeros is a valid rte_eth_conf, DPDK's own default.
    let mut conf: rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    conf.rxmode.mtu = u32::from(config.mtu);
    let mut rx = dpdk_sys::PENSTOCK_RX_OFFLOAD_IPV4_CKSUM;
    let frame = u32::from(config.mtu) + L2_OVERHEAD;
    if pools.iter().any(|pool| u32::from(pool.data_room()) < frame) {
        rx |= dpdk_sys::PENSTOCK_RX_OFFLOAD_SCATTER;
    }
    let hash = rss_fields(info.flow_type_rss_offloads);
    if config.rss && config.rx_queues > 1 && hash != 0 {
        rx |= dpdk_sys::PENSTOCK_RX_OFFLOAD_RSS_HASH;
        conf.rxmode.mq_mode = dpdk_sys::PENSTOCK_MQ_RX_RSS;
        conf.rx_adv_conf.rss_conf.rss_hf = hash;
    }
    conf.rxmode.offloads = rx & info.rx_offload_capa;
    conf.txmode.offloads = dpdk_sys::PENSTOCK_TX_OFFLOAD_MULTI_SEGS & info.tx_offload_capa;
    conf
}

/// Whether the driver spreads large frames over buffers without an offload for it.
fn chains_unasked(info: &rte_eth_dev_info) -> bool {
    matches!(driver_name(info).as_ref(), "net_pcap" | "net_ring" | "net_memif")
}

/// Headers to hash, of those on offer: addresses and ports, ESP's SPI, and inside tunnels where possible.
fn rss_fields(offered: u64) -> u64 {
    use dpdk_sys::{PENSTOCK_RSS_ESP, PENSTOCK_RSS_IP, PENSTOCK_RSS_TCP, PENSTOCK_RSS_UDP};
    let fields = offered & (PENSTOCK_RSS_IP | PENSTOCK_RSS_TCP | PENSTOCK_RSS_UDP | PENSTOCK_RSS_ESP);
    match (fields, offered & dpdk_sys::PENSTOCK_RSS_LEVEL_MASK) {
        (0, _) => 0,
        (_, 0) => fields,
        _ => fields | dpdk_sys::PENSTOCK_RSS_LEVEL_INNERMOST,
    }
}

/// How to get more queues out of a device.
fn queue_hint(device: &str, needed: u16) -> String {
    let name = device.split(',').next().unwrap_or_default();
    let fix = match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "net_af_packet" => format!("add ',qpairs={needed}' to the device"),
        "net_af_xdp" => format!("add ',queue_count={needed}' to the device"),
        "net_pcap" => "name one rx_pcap or rx_iface and one tx_pcap or tx_iface for each queue".to_owned(),
        "net_memif" | "net_ring" => "this driver has as many as its other end".to_owned(),
        _ => return "use fewer workers on this port".to_owned(),
    };
    format!("{fix}, or use fewer workers on this port")
}
