//! A port: any device DPDK has a driver for, physical or virtual.
//!
//! attach → configure → start, which hands out the queues. The port is the control side (link, counters,
//! addresses); the queues are the data side and belong to workers. The device stays until the port and
//! all its queues are gone. To change the configuration the queues come back first ([`Port::stop`]), so no
//! worker can poll a stopped device.

mod attach;
mod configure;
mod error;
mod info;
mod kernel_link;
mod queue;

pub use configure::PortConfig;
pub use error::PortError;
pub use info::{Link, PortInfo, PortStats};
pub use queue::{RxQueue, TxQueue};

use crate::eal::Running;
use crate::errno::Errno;
use crate::mempool::Mempool;
use kernel_link::KernelLink;
use std::sync::{Arc, Mutex};

/// A port's control side.
#[derive(Debug)]
pub struct Port {
    device: Arc<Device>,
    /// What `configure` did, not yet started or running.
    configured: Option<Configured>,
    running: bool,
}

#[derive(Debug)]
struct Configured {
    rx_queues: u16,
    tx_queues: u16,
    /// For `start`, which is when devices take these.
    promiscuous: bool,
    all_multicast: bool,
}

/// The attached device; ends with its last share.
#[derive(Debug)]
pub(crate) struct Device {
    id: u16,
    /// The string it was attached by.
    text: String,
    /// The pools its queues use, kept until it is closed.
    pools: Mutex<Vec<Mempool>>,
    /// Where the driver does not see the link itself.
    kernel_link: Option<KernelLink>,
    _eal: Arc<Running>,
}

impl Port {
    /// Attaches a device: a PCI address ("0000:3b:00.0") or a virtual device with its arguments
    /// ("net_af_packet0,iface=veth0").
    ///
    /// # Errors
    /// [`PortError`], which says what to do.
    pub fn attach(device: &str) -> Result<Self, PortError> {
        let eal = Running::share()?;
        let id = attach::attach(device)?;
        let device = Device {
            id,
            text: device.to_owned(),
            pools: Mutex::default(),
            kernel_link: KernelLink::of_device(device),
            _eal: eal,
        };
        Ok(Self { device: Arc::new(device), configured: None, running: false })
    }

    /// DPDK's number of the port; packets carry it ([`crate::Mbuf::port`]).
    #[must_use]
    pub fn id(&self) -> u16 {
        self.device.id
    }

    /// The string it was attached by.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device.text
    }

    /// Starts a configured port and hands out its queues, in order.
    ///
    /// # Errors
    /// [`PortError::NotConfigured`], [`PortError::Running`], or what the device says.
    pub fn start(&mut self) -> Result<(Vec<RxQueue>, Vec<TxQueue>), PortError> {
        if self.running {
            return Err(PortError::Running { device: self.device.text.clone() });
        }
        let Some(configured) = &self.configured else {
            return Err(PortError::NotConfigured { device: self.device.text.clone() });
        };
        // SAFETY: a valid port, configured with all its queues.
        self.device.check("start", unsafe { dpdk_sys::rte_eth_dev_start(self.id()) })?;
        self.running = true;
        self.device.reception(configured)?;
        let rx = (0..configured.rx_queues).map(|queue| RxQueue::new(&self.device, queue)).collect();
        let tx = (0..configured.tx_queues).map(|queue| TxQueue::new(&self.device, queue)).collect();
        Ok((rx, tx))
    }

    /// Stops a running port. All its queues are needed for that: whoever holds one could be polling it.
    ///
    /// # Errors
    /// [`PortError::QueuesMissing`] when some are not there; those given are dropped and the port must be
    /// dropped too. Else what the device says.
    pub fn stop(&mut self, rx: Vec<RxQueue>, tx: Vec<TxQueue>) -> Result<(), PortError> {
        let Some(configured) = self.configured.as_ref().filter(|_| self.running) else {
            return Err(PortError::NotConfigured { device: self.device.text.clone() });
        };
        let given = (
            count(rx.iter().map(RxQueue::port_id), self.id()),
            count(tx.iter().map(TxQueue::port_id), self.id()),
        );
        if given != (usize::from(configured.rx_queues), usize::from(configured.tx_queues)) {
            return Err(PortError::QueuesMissing { device: self.device.text.clone() });
        }
        drop((rx, tx));
        // SAFETY: a valid port; its queues are gone, so nobody polls it.
        self.device.check("stop", unsafe { dpdk_sys::rte_eth_dev_stop(self.id()) })?;
        self.running = false;
        Ok(())
    }
}

fn count(ports: impl Iterator<Item = u16>, port: u16) -> usize {
    ports.filter(|one| *one == port).count()
}

impl Device {
    /// Puts the device's name and the operation to an error code.
    fn check(&self, operation: &'static str, returned: i32) -> Result<i32, PortError> {
        Errno::check(returned).map_err(|cause| PortError::Device {
            device: self.text.clone(),
            operation,
            cause,
        })
    }

    /// Which frames the device accepts. A device that knows no filter accepts all.
    fn reception(&self, configured: &Configured) -> Result<(), PortError> {
        let tolerate = |operation, returned| match Errno::check(returned) {
            Err(cause) if !cause.is_unsupported() => {
                Err(PortError::Device { device: self.text.clone(), operation, cause })
            }
            _ => Ok(()),
        };
        if configured.promiscuous {
            // SAFETY: a valid, started port.
            tolerate("promiscuous mode", unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.id) })?;
        } else {
            // SAFETY: a valid, started port.
            tolerate("promiscuous mode", unsafe { dpdk_sys::rte_eth_promiscuous_disable(self.id) })?;
        }
        if configured.all_multicast {
            // SAFETY: a valid, started port.
            tolerate("all-multicast mode", unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.id) })?;
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        attach::detach(self.id, &self.text);
    }
}
