//! Too large for the tunnel, over DPDK devices: what is cut before it is sealed, what is cut outside and put together
//! again before it is opened; in every suite and over every outer header.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/devices.rs"]
mod devices;
mod support;

use std::sync::Arc;

use devices::{attach, drops, gateway, read_pcap, write_pcap};
use dpdk::{Mempool, testing};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::*;
use support::esp::*;
use support::*;

/// Sends packets from one gateway to another; returns what the far one delivered, and what both counted.
fn carry(
    name: &str,
    agreement: &Agreement,
    spec: &TunnelSpec,
    packets: &[Vec<u8>],
) -> (Vec<Vec<u8>>, Arc<WorkerStats>, Arc<WorkerStats>) {
    let pool: Mempool = testing::pool(name, 1023);
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    write_pcap(&input, &packets.iter().map(|packet| frame(packet)).collect::<Vec<_>>());
    let (_source, source_rx, _) = attach(&format!("net_pcap_i{name},rx_pcap={}", input.display()), &pool);
    let (_ring, ring_rx, ring_tx) = attach(&format!("net_ring_{name}"), &pool);
    let (sink, _, sink_tx) = attach(&format!("net_pcap_o{name},tx_pcap={}", output.display()), &pool);
    let mut tables = Lab::with(spec).tables;
    let to_far = Adjacency::resolved(InterfaceId(1), PortId(1), None, OUR_MAC, CORE_MAC, 1500);
    tables.set_adjacency(AdjacencyId(1), to_far);
    let mut near = gateway(&pool, &tables, source_rx, vec![None, ring_tx]);
    let mut far = gateway(&pool, &agreement.deaf_with(spec).tables, ring_rx, vec![sink_tx, None]);
    near.feed.set_outbound(&agreement.outbound());
    near.feed.lease(0, lease(1));
    far.feed.add_inbound(&agreement.inbound()).unwrap();
    for _ in 0..packets.len() / 16 + 10 {
        near.worker.turn();
        far.worker.turn();
    }
    let (near_stats, far_stats) = (Arc::clone(&near.stats), Arc::clone(&far.stats));
    for stats in [&near_stats, &far_stats] {
        let (came, went) = stats.balance();
        assert_eq!(came, went, "{:?}", drops(stats));
    }
    // The last owner of a port closes it, and with it the capture.
    drop((near, far, sink));
    testing::assert_no_leak(&pool);
    let came = read_pcap(&output).into_iter().map(|frame| frame[14..].to_vec()).collect();
    (came, near_stats, far_stats)
}

/// All suites, and every outer header.
fn all() -> impl Iterator<Item = (String, Agreement)> {
    Suite::all().enumerate().map(|(number, suite)| {
        let (udp, v6) = (number % 2 == 1, number % 4 > 1);
        (format!("{number}"), Agreement { suite, udp, v6, window: Some(64), ..Agreement::default() })
    })
}

#[test]
fn outer_packets_are_cut_and_put_together_again() {
    let _eal = testing::eal();
    for (number, agreement) in all() {
        let spec = TunnelSpec { df: DontFragment::Clear, ..agreement.spec() };
        // Up to what fills the link, which is more than the tunnel takes; TTL 64 and DF do not matter.
        let mut packets: Vec<_> = (1440..=1472).map(request).collect();
        packets.push(request(10));
        let (came, near, far) = carry(&format!("c{number}"), &agreement, &spec, &packets);
        let expected: Vec<_> = packets.iter().map(|packet| one_hop_less(&one_hop_less(packet))).collect();
        let (mut came, mut expected) = (came, expected);
        came.sort();
        expected.sort();
        assert_eq!(came.len(), expected.len(), "{:?} {:?}", drops(&near), drops(&far));
        assert_eq!(came, expected);
        assert!(far.merged.get() > 0);
        assert_eq!((drops(&near), drops(&far)), (vec![], vec![]));
    }
}

#[test]
fn inner_packets_that_may_be_cut_are_cut_before_they_are_sealed() {
    let _eal = testing::eal();
    for (number, agreement) in all() {
        let packets: Vec<_> = (1440..=1472)
            .map(|len| Ip4 { flags: 0, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(len)))
            .collect();
        let (came, near, far) = carry(&format!("b{number}"), &agreement, &agreement.spec(), &packets);
        let mtu = usize::from(agreement.spec().mtu);
        assert!(came.iter().all(|packet| packet.len() <= mtu));
        let bytes: usize = came.iter().map(|packet| packet.len() - 20).sum();
        assert_eq!(bytes, packets.iter().map(|packet| packet.len() - 20).sum::<usize>());
        assert_eq!((drops(&near), drops(&far)), (vec![], vec![]));
        assert_eq!(far.merged.get(), 0, "nothing is cut outside");
    }
}

#[test]
fn ipv6_of_a_size_that_every_link_takes_is_cut_outside() {
    let _eal = testing::eal();
    for (number, agreement) in all() {
        // RFC 8200 5: 1280 bytes must pass, also where the tunnel's MTU is less.
        let spec = TunnelSpec { mtu: 1200, underlay_mtu: 1280, ..agreement.spec() };
        let six = |len| ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(len));
        let packets: Vec<_> = [1280 - 48, 1201 - 48, 1200 - 48, 10].map(six).into();
        let (mut came, near, far) = carry(&format!("s{number}"), &agreement, &spec, &packets);
        let mut expected: Vec<_> = packets.iter().map(|packet| one_hop_less(&one_hop_less(packet))).collect();
        came.sort();
        expected.sort();
        assert_eq!(came, expected, "{:?} {:?}", drops(&near), drops(&far));
        assert!(far.merged.get() > 0);
    }
}
