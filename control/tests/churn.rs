//! Tables that change every millisecond while a worker runs at full load over real DPDK devices: no
//! packet of any other tunnel is lost, and no turn of the worker stalls.
//!
//! `PENSTOCK_CHURN_SECONDS` sets how long (default 5).
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: stops at the first surprise, says its figures"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::ip_frag::Limits;
use dpdk::{Mempool, Port, PortConfig, Reassembler, lcore, testing};
use penstock_control::compile::Compiler;
use penstock_control::config::{ValidConfig, parse_str};
use penstock_control::kernel::state::{
    Address, Change, IfIndex, KernelUpdate, Link, Neighbour, NeighbourState, NextHop, Route, RouteKind,
};
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::EspParts;
use penstock_dataplane::frame::dpdk::{Dpdk, IpFrag};
use penstock_dataplane::handoff::peers;
use penstock_dataplane::ids::PortId;
use penstock_dataplane::ike::IkeGate;
use penstock_dataplane::pipeline::Parts;
use penstock_dataplane::probe::{probe_answers, probe_queue};
use penstock_dataplane::publish::{Publisher, Subscriber};
use penstock_dataplane::punt::{inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::wire::checksum;
use penstock_dataplane::worker::Worker;

const EDGE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// Tunnels whose packets must all arrive.
const STEADY: u32 = 1000;
/// Of these, as many as there are flows carry traffic.
const FLOWS: u32 = 256;
const EVERY: Duration = Duration::from_millis(1);

fn remote(tunnel: u32) -> u32 {
    0x0a64_0000 + tunnel
}

/// `changing` is the YAML of one more tenant.
fn config(changing: &str) -> ValidConfig {
    let mut yaml = String::from(
        "cores: {control: 0, workers: [1]}\n\
         ports:\n  edge0: {device: net_null0, addresses: [192.0.2.1/24]}\n\
         endpoints: {gw: 203.0.113.1}\ntenants:\n  steady:\n    prefixes: [198.18.0.0/15]\n    tunnels:\n",
    );
    for tunnel in 0..STEADY {
        let remote = std::net::Ipv4Addr::from(remote(tunnel));
        writeln!(yaml, "      t{tunnel}: {{type: gre, endpoint: gw, remote: {remote}}}").unwrap();
    }
    yaml.push_str("    routes:\n      - {prefix: 0.0.0.0/0, via: internet}\n");
    for tunnel in 0..STEADY {
        let inside = std::net::Ipv4Addr::from(0xc612_0000 + tunnel);
        writeln!(yaml, "      - {{prefix: {inside}/32, via: t{tunnel}}}").unwrap();
    }
    yaml.push_str(changing);
    parse_str(&yaml).unwrap()
}

/// One tunnel comes, changes and goes.
fn variants() -> Vec<ValidConfig> {
    let tenant = |mtu: u32, key: u32| {
        format!(
            "  restless:\n    prefixes: [198.51.100.0/24]\n    tunnels:\n      \
             r: {{type: gre, endpoint: gw, remote: 10.200.0.1, mtu: {mtu}, key: {key}}}\n    \
             routes:\n      - {{prefix: 198.51.100.0/24, via: r}}\n"
        )
    };
    vec![config(""), config(&tenant(1400, 1)), config(&tenant(1300, 2))]
}

fn kernel() -> KernelUpdate {
    let index = IfIndex(2);
    let router: IpAddr = "192.0.2.254".parse().unwrap();
    let hop = |via| NextHop { via, interface: index, weight: 1 };
    let route = |prefix: &str, via| {
        let prefix = prefix.parse().unwrap();
        let route =
            Route { prefix, kind: RouteKind::Unicast, nexthops: vec![hop(via)], metric: 0, protocol: 4 };
        Change::Route(prefix, Some(route))
    };
    let link = Link {
        index,
        name: "edge0".to_owned(),
        mac: Some(EDGE_MAC),
        mtu_bytes: 1500,
        admin_up: true,
        carrier: true,
        running: true,
        loopback: false,
    };
    let neighbour =
        Neighbour { interface: index, ip: router, mac: Some(PEER_MAC), state: NeighbourState::Reachable };
    let changes = vec![
        Change::Link(index, Some(link)),
        Change::Address(Address { interface: index, net: "192.0.2.1/24".parse().unwrap() }, true),
        Change::Neighbour((index, router), Some(neighbour)),
        route("192.0.2.0/24", None),
        route("0.0.0.0/0", Some(router)),
    ];
    KernelUpdate { changes, resync: true }
}

fn ipv4(protocol: u8, src: u32, dst: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&src.to_be_bytes());
    packet.extend_from_slice(&dst.to_be_bytes());
    let sum = checksum::checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// To each steady tunnel and from it.
fn frames() -> Vec<Vec<u8>> {
    let udp = [
        0x30, 0x39, 0, 53, 0, 28, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
    ];
    let on_wire = |packet: Vec<u8>| [&EDGE_MAC[..], &PEER_MAC, &[8, 0], &packet].concat();
    let mut frames = Vec::new();
    for flow in 0..FLOWS {
        let tunnel = flow * (STEADY / FLOWS);
        let inside = 0xc612_0000 + tunnel;
        frames.push(on_wire(ipv4(17, 0x0808_0808, inside, &udp)));
        let inner = ipv4(17, inside, 0x0808_0808, &udp);
        let gre = [&[0, 0, 8, 0][..], &inner].concat();
        frames.push(on_wire(ipv4(47, remote(tunnel), 0xcb00_7101, &gre)));
    }
    frames
}

fn write_pcap(path: &std::path::Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes()).unwrap();
    }
    for frame in frames() {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        file.write_all(&frame).unwrap();
    }
}

fn attach(device: &str, pool: &Mempool) -> (Port, Vec<dpdk::RxQueue>, Vec<dpdk::TxQueue>) {
    let mut port = Port::attach(device).unwrap();
    port.configure(&PortConfig::default(), std::slice::from_ref(pool)).unwrap();
    let (rx, tx) = port.start().unwrap();
    (port, rx, tx)
}

fn worker(
    pool: &Mempool,
    rx: dpdk::RxQueue,
    tx: dpdk::TxQueue,
    stats: &Arc<WorkerStats>,
    subscriber: Subscriber,
) -> Worker<Dpdk> {
    let (punt, _) = punt_queue();
    let (_, injected) = inject_queue::<_, Mempool>(pool.clone());
    let hz = dpdk::cycles::tsc_hz();
    let limits = Limits { datagrams: 64, timeout_cycles: hz, socket: None };
    let parts = Parts {
        tx: vec![Some(tx)],
        pool: pool.clone(),
        fragmentation: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        strangers: IpFrag::new(Reassembler::new(limits).unwrap(), pool.clone()),
        punt,
        probes: probe_queue(pool.clone(), &probe_answers()).1,
        ike: IkeGate::new(),
        events: Arc::new(ArrayQueue::new(16)),
        stats: Arc::clone(stats),
        esp: EspParts::none().unwrap(),
        peers: peers(1).remove(0),
        spread: false,
        hz,
    };
    Worker::new(parts, vec![(PortId(0), rx)], injected, subscriber)
}

#[test]
fn a_change_every_millisecond_loses_no_packet() {
    let seconds = std::env::var("PENSTOCK_CHURN_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(5);
    let _eal = testing::eal();
    let pool = testing::pool("churn", 4095);
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("in.pcap");
    write_pcap(&pcap);
    let source = format!("net_pcap_churn,rx_pcap={},infinite_rx=1", pcap.display());
    let (_source, mut rx, _) = attach(&source, &pool);
    let (_sink, _, mut tx) = attach("net_null_churn", &pool);

    let variants = variants();
    let mut compiler = Compiler::new(variants[0].clone(), vec![EDGE_MAC]);
    compiler.kernel(kernel());
    assert_eq!(compiler.compile().errors, []);
    let stats = Arc::new(WorkerStats::new(1, 4096));
    let (mut publisher, mut subscribers) = Publisher::new([Arc::clone(&stats)]);
    compiler.published(publisher.publish(compiler.tables()));

    let mut worker = worker(&pool, rx.remove(0), tx.remove(0), &stats, subscribers.remove(0));
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let core = std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1);
    let thread = lcore::spawn(core, "churn", move || {
        while !stopped.load(Ordering::Relaxed) {
            worker.turn();
        }
    })
    .unwrap();

    let end = Instant::now() + Duration::from_secs(seconds);
    let mut changes = 0usize;
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let begun = Instant::now();
        compiler.configure(variants[(changes + 1) % variants.len()].clone());
        let compiled = compiler.compile();
        assert!(compiled.changed && compiled.errors.is_empty(), "{:?}", compiled.errors);
        compiler.published(publisher.publish(compiler.tables()));
        publisher.reap();
        compiler.settled(publisher.applied().min().unwrap_or(0));
        changes += 1;
        slowest = slowest.max(begun.elapsed());
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();

    let drops: Vec<_> =
        DropReason::ALL.iter().map(|r| (r.name(), stats.drops(*r))).filter(|d| d.1 > 0).collect();
    let port = stats.port(PortId(0)).unwrap();
    let per_us = dpdk::cycles::tsc_hz() as f64 / 1e6;
    println!(
        "{changes} changes in {seconds} s (slowest {slowest:?}), {} packets, longest turn {:.0} us",
        port.rx_packets.get(),
        stats.longest_turn.get() as f64 / per_us
    );
    assert_eq!(drops, []);
    assert_eq!(port.rx_packets.get(), port.tx_packets.get());
    assert!(port.rx_packets.get() > 100_000, "there was hardly any load");
    assert!(changes as u64 > seconds * 20, "only {changes} changes: control is far too slow");
    assert!(stats.generation.get() > changes as u64 / 2, "the worker did not take the changes over");
}
