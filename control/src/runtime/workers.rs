//! From the configuration to running workers: DPDK, ports, packet buffers, queues, pinned threads.
//!
//! Everything here happens once, at start. What changes later travels in tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use dpdk::ip_frag::Limits;
use dpdk::{Eal, EalOptions, Mbuf, Mempool, Port, PortInfo, Reassembler, lcore};
use penstock_dataplane::esp::EspParts;
use penstock_dataplane::esp::cipher::Engine;
use penstock_dataplane::esp::feed::SaFeed;
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::{self, Peers};
use penstock_dataplane::ids::PortId;
use penstock_dataplane::ike::IkeGate;
use penstock_dataplane::pipeline::{Event, Parts};
use penstock_dataplane::probe::{ProbeAnswers, ProbeEnd, ProbeSender, probe_answers, probe_queue};
use penstock_dataplane::publish::Publisher;
use penstock_dataplane::punt::{InjectReceiver, PuntSender, inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::worker::Worker;

use super::backends::Backends;
use super::error::RuntimeError;
use super::link::{SharedInterfaces, WorkersLink};
use crate::config::{
    Auto, Device, IdlePolicy, MAX_TUNNELS, Name, PortConfig, PortPlacement, PortQueue, QueuePlacement,
    Spread, ValidConfig, place_queues,
};

/// Buffers that each worker may have in hand: bursts, its pool cache, ICMP errors and fragments.
const MBUFS_PER_WORKER: u32 = 4096;
/// Buffers that wait for the kernel twin, and fragments that wait for their datagram.
const MBUFS_WAITING: u32 = 8192;
/// Buffers that stay with each core.
const POOL_CACHE: u32 = 256;
/// Datagrams of outer fragments that a worker puts together at the same time: of tunnels' remotes, and of all others.
const REASSEMBLIES: u32 = 1024;
const REASSEMBLIES_OF_STRANGERS: u32 = 256;
/// Inbound security associations that a worker has room for: two for each of all tunnels, as at a rekey.
const MAX_ASSOCIATIONS: usize = 2 * MAX_TUNNELS;
/// Notices of the workers that wait for control.
const EVENTS: usize = 1024;

/// A port, for control.
pub(super) struct RunningPort {
    pub(super) name: Name,
    pub(super) port: Port,
    pub(super) info: PortInfo,
    pub(super) mac: [u8; 6],
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
}

/// A worker, for control.
pub(super) struct RunningWorker {
    pub(super) core: u16,
    pub(super) numa: Option<u16>,
    pub(super) queues: Vec<PortQueue>,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) pool: Mempool,
    /// Its health probes go here.
    pub(super) probes: ProbeSender<Mbuf, Mempool>,
    thread: Option<JoinHandle<()>>,
}

/// The data plane, running. Dropping it stops the workers first.
pub(super) struct DataPlane {
    pub(super) workers: Vec<RunningWorker>,
    pub(super) ports: Vec<RunningPort>,
    pub(super) publisher: Publisher,
    pub(super) feed: SaFeed,
    /// What encrypts.
    pub(super) backends: Backends,
    pub(super) events: Arc<ArrayQueue<Event>>,
    /// Answers to health probes.
    pub(super) probe_answers: ProbeAnswers,
    pub(super) interfaces: SharedInterfaces,
    pub(super) dpdk_version: String,
    stop: Arc<AtomicBool>,
    _eal: Eal,
}

impl DataPlane {
    /// Steps: DPDK; the devices; who polls what; packet buffers; queues; workers with empty tables.
    pub(super) fn start(config: &ValidConfig) -> Result<(Self, WorkersLink), RuntimeError> {
        let eal = Eal::init(&eal_options(config))?;
        let mut attached = Vec::new();
        for (name, port) in &config.ports {
            attached.push(attach(name, port)?);
        }
        let placed = place(config, &attached)?;
        let pools = pools(config, &attached, &placed)?;

        let mut ports = Vec::new();
        let mut rx = BTreeMap::new();
        let mut tx: Vec<Vec<Option<dpdk::TxQueue>>> =
            config.cores.workers.iter().map(|_| Vec::new()).collect();
        for ((name, port, info), settings) in attached.into_iter().zip(config.ports.values()) {
            let (running, rx_queues, tx_queues) =
                start_port(name, port, info, settings, config, &placed, &pools)?;
            for (number, queue) in rx_queues.into_iter().enumerate() {
                rx.insert(
                    PortQueue { port: running.name.clone(), queue: number as u16 },
                    (ports.len(), queue),
                );
            }
            for (of_worker, queue) in tx.iter_mut().zip(tx_queues) {
                of_worker.push(Some(queue));
            }
            ports.push(running);
        }

        let all_stats: Vec<_> = config
            .cores
            .workers
            .iter()
            .map(|_| Arc::new(WorkerStats::new(ports.len(), MAX_TUNNELS)))
            .collect();
        let (publisher, subscribers) = Publisher::new(all_stats.iter().cloned());
        let (feed, receivers) = SaFeed::new(all_stats.iter().cloned(), MAX_ASSOCIATIONS);
        let backends = Backends::choose(config.crypto.backend)?;
        let peers = handoff::peers(all_stats.len());
        let (punt, punts) = punt_queue::<Mbuf>();
        let ike = IkeGate::new();
        let events = Arc::new(ArrayQueue::new(EVENTS));
        let probe_answers = probe_answers();
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        let mut injectors = Vec::new();
        let each =
            config.cores.workers.iter().zip(all_stats).zip(subscribers).zip(receivers).zip(tx).zip(peers);
        for (((((core, stats), subscriber), receiver), tx), peers) in each {
            let numa = numa_of_core(*core);
            let pool = pools.of_node(numa.map(u32::from));
            let (injector, injected) = inject_queue(pool.clone());
            injectors.push(injector);
            let (probes, probe_end) = probe_queue(pool.clone(), &probe_answers);
            let queues = placed.get(core).cloned().unwrap_or_default();
            let mut polled = Vec::new();
            for queue in &queues {
                let Some((port, rx)) = rx.remove(queue) else {
                    return Err(RuntimeError::Queue { core: *core, queue: queue.to_string() });
                };
                polled.push((PortId(port as u16), rx));
            }
            let esp = EspParts {
                receiver,
                engine: Engine::new(backends.engine())?,
                associations: MAX_ASSOCIATIONS,
                tunnels: MAX_TUNNELS,
            };
            let spread = config.cores.spread == Spread::Auto;
            let parts = parts(&pool, tx, punt.clone(), probe_end, &ike, &events, &stats, esp, peers, spread)?;
            let idle = config.cores.idle_policy(*core);
            let thread = spawn(*core, parts, polled, injected, subscriber, idle, &stop)?;
            workers.push(RunningWorker {
                core: *core,
                numa,
                queues,
                stats,
                pool,
                probes,
                thread: Some(thread),
            });
        }
        let interfaces = SharedInterfaces::default();
        let link = WorkersLink { punts, injectors, interfaces: interfaces.clone() };
        let dpdk_version = eal.version();
        Ok((
            Self {
                workers,
                ports,
                publisher,
                feed,
                backends,
                events,
                probe_answers,
                interfaces,
                dpdk_version,
                stop,
                _eal: eal,
            },
            link,
        ))
    }

    /// The core of a worker that ended by itself.
    pub(super) fn dead_worker(&self) -> Option<u16> {
        self.workers.iter().find(|w| w.thread.as_ref().is_some_and(JoinHandle::is_finished)).map(|w| w.core)
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(core = worker.core, "the worker panicked");
            }
        }
    }
}

fn eal_options(config: &ValidConfig) -> EalOptions {
    let pci = config.ports.values().filter_map(|port| match &port.device {
        Device::Pci(address) => Some(address.clone()),
        Device::Virtual(_) => None,
    });
    EalOptions {
        hugepages: config.memory.hugepages,
        memory_mib: config.memory.size_mib,
        main_core: Some(usize::from(config.cores.control)),
        pci_devices: pci.collect(),
        ..EalOptions::default()
    }
}

fn attach(name: &Name, settings: &PortConfig) -> Result<(Name, Port, PortInfo), RuntimeError> {
    let of_port = |source| RuntimeError::Port { name: name.to_string(), source };
    let port = Port::attach(settings.device.as_str()).map_err(of_port)?;
    let info = port.info().map_err(of_port)?;
    Ok((name.clone(), port, info))
}

type Placement = BTreeMap<u16, Vec<PortQueue>>;

fn place(config: &ValidConfig, ports: &[(Name, Port, PortInfo)]) -> Result<Placement, RuntimeError> {
    let placed = match &config.cores.queues {
        QueuePlacement::ByHand(placed) => placed.clone(),
        QueuePlacement::Auto => {
            let workers: Vec<_> =
                config.cores.workers.iter().map(|core| (*core, numa_of_core(*core))).collect();
            let ports: Vec<_> = ports
                .iter()
                .map(|(name, _, info)| PortPlacement {
                    port: name.clone(),
                    numa: info.socket.and_then(|node| u16::try_from(node).ok()),
                    max_rx_queues: info.max_rx_queues.min(info.max_tx_queues),
                })
                .collect();
            place_queues(&workers, &ports)
        }
    };
    for (name, ..) in ports {
        let mut numbers = Vec::new();
        for (core, queues) in &placed {
            numbers.extend(queues.iter().filter(|q| q.port == *name).map(|q| (q.queue, *core)));
        }
        numbers.sort_unstable();
        for (wanted, (number, core)) in (0u16..).zip(numbers) {
            if number != wanted {
                return Err(RuntimeError::Queue { core, queue: format!("{name}/{number}") });
            }
        }
    }
    Ok(placed)
}

fn queues_of(placed: &Placement, name: &Name) -> u16 {
    placed.values().flatten().filter(|queue| queue.port == *name).count() as u16
}

/// One pool for each NUMA node that has a port.
struct Pools {
    first: Mempool,
    by_node: BTreeMap<Option<u32>, Mempool>,
}

impl Pools {
    /// The pool of a node, or any where the node has none.
    fn of_node(&self, node: Option<u32>) -> Mempool {
        self.by_node.get(&node).unwrap_or(&self.first).clone()
    }
}

/// How many packet buffers a NUMA node gets whose ports have so many slots in their rings.
pub(crate) fn buffers_of_node(ring_slots: u32, workers: u32) -> u32 {
    let wanted =
        ring_slots.saturating_add(workers.saturating_mul(MBUFS_PER_WORKER)).saturating_add(MBUFS_WAITING);
    // One less than a power of two fills a mempool's ring best.
    wanted.checked_next_power_of_two().map_or(u32::MAX, |power| power - 1)
}

fn pools(
    config: &ValidConfig,
    ports: &[(Name, Port, PortInfo)],
    placed: &Placement,
) -> Result<Pools, RuntimeError> {
    let workers = config.cores.workers.len() as u32;
    let mut nodes: BTreeMap<Option<u32>, u32> = BTreeMap::new();
    for ((name, _, info), settings) in ports.iter().zip(config.ports.values()) {
        let rings = u32::from(settings.rx_descriptors) * u32::from(queues_of(placed, name))
            + u32::from(settings.tx_descriptors) * workers;
        *nodes.entry(info.socket).or_default() += rings;
    }
    let mut by_node = BTreeMap::new();
    let mut first = None;
    for (node, rings) in nodes {
        let count = match config.memory.mbufs {
            Auto::Fixed(count) => count,
            Auto::Auto => buffers_of_node(rings, workers),
        };
        let name = node.map_or_else(|| "packets".to_owned(), |node| format!("packets{node}"));
        let cache = POOL_CACHE.min(count / 4);
        let pool = Mempool::new(&name, count, cache, config.memory.mbuf_size, node)?;
        first.get_or_insert_with(|| pool.clone());
        by_node.insert(node, pool);
    }
    let first = first.ok_or(RuntimeError::NoPorts)?;
    Ok(Pools { first, by_node })
}

fn start_port(
    name: Name,
    mut port: Port,
    info: PortInfo,
    settings: &PortConfig,
    config: &ValidConfig,
    placed: &Placement,
    pools: &Pools,
) -> Result<(RunningPort, Vec<dpdk::RxQueue>, Vec<dpdk::TxQueue>), RuntimeError> {
    let of_port = |source| RuntimeError::Port { name: name.to_string(), source };
    let rx_queues = queues_of(placed, &name);
    let tx_queues = config.cores.workers.len() as u16;
    let mut promiscuous = false;
    if let Some(mac) = settings.mac
        && let Err(error) = port.set_mac(mac.0)
    {
        tracing::warn!(port = %name, %error, "the device keeps its own MAC address; it is made promiscuous instead");
        promiscuous = true;
    }
    let wanted = dpdk::PortConfig {
        rx_queues,
        tx_queues,
        rx_descriptors: settings.rx_descriptors,
        tx_descriptors: settings.tx_descriptors,
        mtu: settings.mtu,
        promiscuous,
        ..dpdk::PortConfig::default()
    };
    let pool = pools.of_node(info.socket);
    port.configure(&wanted, &vec![pool; usize::from(rx_queues)]).map_err(of_port)?;
    let (rx, tx) = port.start().map_err(of_port)?;
    let mac = match settings.mac {
        Some(mac) => mac.0,
        None => port.mac().map_err(of_port)?,
    };
    tracing::info!(port = %name, driver = info.driver, rx_queues, tx_queues, "port is up");
    Ok((RunningPort { name, port, info, mac, rx_queues, tx_queues }, rx, tx))
}

#[expect(clippy::too_many_arguments, reason = "a worker is made of many parts")]
fn parts(
    pool: &Mempool,
    tx: Vec<Option<dpdk::TxQueue>>,
    punt: PuntSender<Mbuf>,
    probes: ProbeEnd<Mbuf>,
    ike: &IkeGate,
    events: &Arc<ArrayQueue<Event>>,
    stats: &Arc<WorkerStats>,
    esp: EspParts,
    peers: Peers<Mbuf>,
    spread: bool,
) -> Result<Parts<Dpdk>, RuntimeError> {
    let hz = dpdk::cycles::tsc_hz();
    let fragmentation = |datagrams| -> Result<IpFrag, RuntimeError> {
        let limits = Limits { datagrams, timeout_cycles: hz, socket: pool.socket() };
        Ok(IpFrag::new(Reassembler::new(limits)?, pool.clone()))
    };
    Ok(Parts {
        tx,
        pool: pool.clone(),
        fragmentation: fragmentation(REASSEMBLIES)?,
        strangers: fragmentation(REASSEMBLIES_OF_STRANGERS)?,
        punt,
        probes,
        ike: ike.clone(),
        events: Arc::clone(events),
        stats: Arc::clone(stats),
        esp,
        peers,
        spread,
        hz,
    })
}

fn spawn(
    core: u16,
    parts: Parts<Dpdk>,
    queues: Vec<(PortId, dpdk::RxQueue)>,
    injected: InjectReceiver<Mbuf>,
    subscriber: penstock_dataplane::publish::Subscriber,
    idle: IdlePolicy,
    stop: &Arc<AtomicBool>,
) -> Result<JoinHandle<()>, RuntimeError> {
    let stop = Arc::clone(stop);
    let idle = match idle {
        IdlePolicy::Poll => dpdk::idle::IdlePolicy::Poll,
        IdlePolicy::Pause => dpdk::idle::IdlePolicy::Pause,
        IdlePolicy::Sleep => dpdk::idle::IdlePolicy::Sleep,
    };
    let run = move || {
        let mut worker = Worker::new(parts, queues, injected, subscriber);
        dpdk::idle::poll(idle, &stop, || worker.turn());
    };
    Ok(lcore::spawn(usize::from(core), &format!("worker-{core}"), run)?)
}

/// The NUMA node of a core, as the kernel lists it.
fn numa_of_core(core: u16) -> Option<u16> {
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    entries
        .filter_map(Result::ok)
        .find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}
