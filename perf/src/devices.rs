//! DPDK's devices for a scenario, and the packet buffers behind them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use dpdk::eal::LogLevel;
use dpdk::{Eal, EalOptions, Mempool, Port, PortConfig, RxQueue, TxQueue};

use crate::args::Hugepages;
use crate::hugepages::Reservation;
use crate::scenario::{Machine, Scenario};

/// Buffers that a core keeps for itself.
const CACHE: u32 = 512;
/// Buffers on their way, for each worker.
const IN_FLIGHT: usize = 4096;
/// What a buffer takes beside its data: header, headroom, the pool's own.
const BUFFER_OVERHEAD: usize = 384;
/// Bytes of a page that is not huge.
const PAGE: usize = 4096;
/// For everything that is not packet buffers.
const OTHER_MIB: usize = 64;

/// A port with its queues, alive as long as it is held.
pub struct Device {
    _port: Port,
    pub rx: Vec<RxQueue>,
    pub tx: Vec<TxQueue>,
}

/// Packet buffers that a scenario needs: each replaying device keeps one for every frame, and every worker
/// has two of those; several workers are compared with one more.
fn buffers(scenario: &Scenario, machine: &Machine) -> usize {
    let workers = machine.cores.len();
    let alone = if workers > 1 { scenario.flows + IN_FLIGHT } else { 0 };
    workers * (2 * scenario.flows + IN_FLIGHT) + alone + scenario.flows
}

/// DPDK, with memory for a scenario. Fields are dropped in this order.
pub struct Memory {
    _eal: Eal,
    reservation: Option<Reservation>,
}

impl Memory {
    /// Starts DPDK.
    pub fn start(scenario: &Scenario, machine: &Machine) -> Result<Self> {
        let buffer_len = usize::from(machine.mbuf_size) + BUFFER_OVERHEAD;
        let memory_mib = memory_mib(buffers(scenario, machine), buffer_len)?;
        let reservation = match machine.hugepages {
            Hugepages::Off => None,
            Hugepages::Auto => Reservation::new(memory_mib),
            Hugepages::On => Some(Reservation::new(memory_mib).with_context(|| {
                format!(
                    "{memory_mib} MiB of hugepages are not free and could not be reserved: sysctl -w \
                     vm.nr_hugepages={}",
                    memory_mib / 2
                )
            })?),
        };
        let memory_mib = match &reservation {
            Some(_) => memory_mib,
            // A buffer does not cross the border of a page.
            None => self::memory_mib(buffers(scenario, machine), buffer_len.next_multiple_of(PAGE))?,
        };
        let options = EalOptions {
            hugepages: reservation.is_some(),
            memory_mib,
            main_core: machine.cores.first().copied(),
            log_level: LogLevel::Error,
            ..EalOptions::default()
        };
        Ok(Self { _eal: Eal::init(&options)?, reservation })
    }

    /// Whether packets lie in hugepages.
    pub fn in_hugepages(&self) -> bool {
        self.reservation.is_some()
    }
}

fn memory_mib(buffers: usize, buffer_len: usize) -> Result<u32> {
    let bytes = buffers * buffer_len;
    // A fifth more: DPDK rounds pools up and cannot use every page to its end.
    u32::try_from((bytes + bytes / 5) / (1 << 20) + OTHER_MIB)
        .context("more memory than DPDK can be asked for")
}

/// The pool of all packet buffers.
pub fn pool(scenario: &Scenario, machine: &Machine) -> Result<Mempool> {
    let count = u32::try_from(buffers(scenario, machine)).context("too many packet buffers")?;
    Ok(Mempool::new("frames", count, CACHE, machine.mbuf_size, None)?)
}

/// A device that replays the frames for ever.
pub fn replay(name: &str, frames: &Path, pool: &Mempool) -> Result<Device> {
    open(&format!("net_pcap{name},rx_pcap={},infinite_rx=1", frames.display()), 1, 0, pool)
}

/// A device that gives each frame once, and writes down what is sent.
pub fn record(name: &str, frames: &Path, out: &Path, pool: &Mempool) -> Result<Device> {
    let device = format!("net_pcap{name},rx_pcap={},tx_pcap={}", frames.display(), out.display());
    open(&device, 1, 1, pool)
}

/// A device that takes everything, with so many queues.
pub fn sink(queues: usize, pool: &Mempool) -> Result<Device> {
    open("net_null_sink,no-rx=1", 0, queues, pool)
}

fn open(device: &str, rx_queues: u16, tx_queues: usize, pool: &Mempool) -> Result<Device> {
    let mut port = Port::attach(device)?;
    let config = PortConfig {
        rx_queues,
        tx_queues: u16::try_from(tx_queues).context("too many queues")?,
        ..PortConfig::default()
    };
    port.configure(&config, &vec![pool.clone(); usize::from(rx_queues)])?;
    let (rx, tx) = port.start()?;
    Ok(Device { _port: port, rx, tx })
}

/// The only queue of a list.
pub fn only<Q>(queues: &mut Vec<Q>) -> Result<Q> {
    match queues.pop() {
        Some(queue) if queues.is_empty() => Ok(queue),
        _ => bail!("a device has another number of queues than asked for"),
    }
}
