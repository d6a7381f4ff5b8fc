//! A hundred rekeys by hand under full load: a gateway that seals, a DPDK ring, a gateway that opens. No packet is
//! lost, counted at the far end.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, which says its figures")]

#[path = "support/devices.rs"]
mod devices;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use devices::{attach, drops, gateway, write_pcap};
use dpdk::{lcore, testing};
use penstock_dataplane::esp::sa::{InboundSpec, OutboundSpec, Spi};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::*;
use support::esp::*;
use support::*;

const REKEYS: u32 = 100;
/// Packets that may be in the ring, which holds 1024.
const IN_FLIGHT: u64 = 768;
const PATIENCE: Duration = Duration::from_secs(240);

fn frames() -> Vec<Vec<u8>> {
    (0..128usize).map(|flow| frame(&Ip4::default().build(CLIENT, INSIDE, &udp(flow * 10)))).collect()
}

fn received(stats: &WorkerStats) -> u64 {
    stats.ports[0].rx_packets.get()
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_hundred_rekeys_under_full_load_lose_no_packet() {
    let _eal = testing::eal();
    let pool = testing::pool("rekey", 8191);
    let directory = tempfile::tempdir().unwrap();
    let pcap = directory.path().join("in.pcap");
    write_pcap(&pcap, &frames());
    let source = format!("net_pcap_rekey,rx_pcap={},infinite_rx=1", pcap.display());
    let (_source, source_rx, edge_tx) = attach(&source, &pool);
    // What is sent into it is received from it.
    let (_ring, ring_rx, ring_tx) = attach("net_ring_rekey", &pool);
    let (_sink, _, sink_tx) = attach("net_null_rekey", &pool);

    // Suites in turns; the tunnel's MTU fits all of them.
    let suites: Vec<_> = Suite::all().collect();
    let agreement = |number: u32| Agreement {
        suite: suites[number as usize % suites.len()],
        window: Some(4096),
        ..Agreement::default()
    };
    let spec = TunnelSpec { mtu: 1400, ..agreement(0).spec() };
    let mut tables = Lab::with(&spec).tables;
    let to_far = Adjacency::resolved(InterfaceId(1), PortId(1), None, OUR_MAC, CORE_MAC, 1500);
    tables.set_adjacency(AdjacencyId(1), to_far);
    let mut near = gateway(&pool, &tables, source_rx, vec![edge_tx, ring_tx]);
    let far_tables = agreement(0).deaf_with(&spec).tables;
    let mut far = gateway(&pool, &far_tables, ring_rx, vec![sink_tx, None]);

    let inbound = |number: u32| InboundSpec {
        spi: Spi(0x1000 + number),
        cipher: agreement(number).cipher_of(number as u8),
        ..agreement(number).inbound()
    };
    let outbound = |number: u32| OutboundSpec {
        spi: Spi(0x1000 + number),
        cipher: agreement(number).cipher_of(number as u8),
        ..agreement(number).outbound()
    };
    let mut accepted = far.feed.add_inbound(&inbound(0)).unwrap();
    let mut opened = vec![accepted.clone()];
    let mut sealed = vec![near.feed.set_outbound(&outbound(0))];
    near.feed.lease(0, lease(1));

    let stop = Arc::new(AtomicBool::new(false));
    let (near_stats, far_stats) = (Arc::clone(&near.stats), Arc::clone(&far.stats));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let sealing = {
        let (stop, far_stats, mut worker) = (Arc::clone(&stop), Arc::clone(&far_stats), near.worker);
        let stats = Arc::clone(&near_stats);
        lcore::spawn(cores - 1, "sealing", move || {
            while !stop.load(Ordering::Relaxed) {
                // The source never ends; a network would slow it down.
                if stats.ports[1].tx_packets.get() - received(&far_stats) < IN_FLIGHT - 64 {
                    worker.turn();
                } else {
                    std::thread::yield_now();
                }
            }
        })
        .unwrap()
    };
    let done = Arc::new(AtomicBool::new(false));
    let opening = {
        let (done, mut worker) = (Arc::clone(&done), far.worker);
        lcore::spawn(cores.saturating_sub(2), "opening", move || {
            while !done.load(Ordering::Relaxed) {
                if worker.turn() == 0 {
                    std::thread::yield_now();
                }
            }
        })
        .unwrap()
    };

    // Both threads run before the first change: else it would be taken together with what is there from the start.
    wait("the first one is used", || accepted.total(|counters| &counters.packets) > 100);
    let started = Instant::now();
    for number in 1..=REKEYS {
        // 1. The new association in.
        let next = far.feed.add_inbound(&inbound(number)).unwrap();
        wait("the far end takes the new one", || far.feed.is_applied(far.feed.generation()));
        // 2. Switch.
        sealed.push(near.feed.set_outbound(&outbound(number)));
        wait("the near end switches", || near.feed.is_applied(near.feed.generation()));
        let switched = near_stats.ports[1].tx_packets.get() + IN_FLIGHT;
        wait("what was under way arrives, and the new one is used", || {
            received(&far_stats) >= switched && next.total(|counters| &counters.packets) > 100
        });
        // 3. The old one out.
        far.feed.remove_inbound(&accepted);
        opened.push(next.clone());
        accepted = next;
        far.feed.turn();
        near.feed.turn();
    }
    stop.store(true, Ordering::Relaxed);
    sealing.join().unwrap();
    let sent = near_stats.ports[1].tx_packets.get();
    wait("the ring empties", || received(&far_stats) == sent);
    done.store(true, Ordering::Relaxed);
    opening.join().unwrap();

    let came = far_stats.ports[0].tx_packets.get();
    println!("{REKEYS} rekeys in {:?}, {came} packets", started.elapsed());
    assert_eq!((drops(&near_stats), drops(&far_stats)), (vec![], vec![]));
    assert_eq!((received(&near_stats), sent, came), (came, came, came));
    let packets = |handles: &[penstock_dataplane::esp::feed::SaHandle]| {
        handles.iter().map(|handle| handle.total(|counters| &counters.packets)).collect::<Vec<_>>()
    };
    // Association by association, and each carried traffic.
    assert_eq!(packets(&sealed), packets(&opened));
    assert!(packets(&opened).iter().all(|packets| *packets > 100));
    assert_eq!(packets(&opened).iter().sum::<u64>(), came);
}
