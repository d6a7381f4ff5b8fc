//! What does not fit the link from node to node, over DPDK devices: cut by one node, put together by the other.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/devices.rs"]
mod devices;
mod support;

use devices::{attach, drops, gateway, read_pcap, write_pcap};
use dpdk::{Mempool, testing};
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::checksum;
use support::esp::*;
use support::fleet::*;
use support::*;

/// Two pieces of an IPv4 packet at layer 3, as a router on the way makes them.
fn pieces(packet: &[u8], number: u16) -> [Vec<u8>; 2] {
    let payload = &packet[20..];
    let at = payload.len() / 2 / 8 * 8;
    let piece = |flags: u16, part: &[u8]| {
        let mut piece = packet[..20].to_vec();
        piece[2..4].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        piece[4..6].copy_from_slice(&number.to_be_bytes());
        piece[6..8].copy_from_slice(&flags.to_be_bytes());
        piece[10..12].fill(0);
        let sum = checksum::checksum(&piece);
        piece[10..12].copy_from_slice(&sum.to_be_bytes());
        [&piece, part].concat()
    };
    [piece(0x2000, &payload[..at]), piece(at as u16 / 8, &payload[at..])]
}

#[test]
fn long_packets_and_fragments_reach_their_owner() {
    let _eal = testing::eal();
    for (name, v6, agreement) in [
        ("r4", false, Agreement::default()),
        ("r6", true, Agreement { udp: true, ..Agreement::default() }),
        ("m4", false, Agreement { v6: true, ..Agreement::default() }),
    ] {
        let pool: Mempool = testing::pool(name, 1023);
        let directory = tempfile::tempdir().unwrap();
        let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
        let mut peer = Forger::of(&agreement);
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        // From what fits to what fills the link that it comes by.
        let most = usize::from(agreement.spec().mtu) - 28;
        for len in [10, 1200].into_iter().chain(most - 100..=most) {
            let arriving = agreement.arriving(&peer.payload(1, &reply(len), 4));
            assert!(arriving.len() <= 1514);
            if len % 5 == 0 && !agreement.v6 {
                frames.extend(pieces(&arriving[14..], len as u16).map(|piece| frame(&piece)));
            } else {
                frames.push(arriving);
            }
            expected.push(one_hop_less(&reply(len)));
        }
        write_pcap(&input, &frames);
        let (_source, source_rx, _) = attach(&format!("net_pcap_i{name},rx_pcap={}", input.display()), &pool);
        let (_ring, ring_rx, ring_tx) = attach(&format!("net_ring_{name}"), &pool);
        let (sink, _, sink_tx) = attach(&format!("net_pcap_o{name},tx_pcap={}", output.display()), &pool);
        let (mut deaf, mut owner) = (Lab::with(&agreement.spec()), Lab::with(&agreement.spec()));
        Site { number: OTHER, v6 }.join(&mut deaf, &[OWNER]);
        Site { number: OWNER, v6 }.join(&mut owner, &[OTHER]);
        let to_owner = Adjacency::resolved(InterfaceId(1), PortId(1), None, OUR_MAC, CORE_MAC, 1500);
        deaf.tables.set_adjacency(AdjacencyId(1), to_owner);
        let mut deaf = gateway(&pool, &deaf.tables, source_rx, vec![None, ring_tx]);
        let mut owner = gateway(&pool, &owner.tables, ring_rx, vec![sink_tx, None]);
        owner.feed.add_inbound(&agreement.inbound()).unwrap();
        for _ in 0..frames.len() / 16 + 10 {
            deaf.worker.turn();
            owner.worker.turn();
        }
        let (deaf_stats, owner_stats) = (deaf.stats.clone(), owner.stats.clone());
        for stats in [&deaf_stats, &owner_stats] {
            let (came, went) = stats.balance();
            assert_eq!(came, went, "{:?}", drops(stats));
            assert_eq!(drops(stats), []);
        }
        assert_eq!(deaf_stats.rescued_out(), expected.len() as u64);
        assert_eq!(owner_stats.rescued_in(), expected.len() as u64);
        assert!(deaf_stats.generated.get() > 30 && owner_stats.merged.get() > 30);
        drop((deaf, owner, sink));
        let mut came: Vec<_> = read_pcap(&output).into_iter().map(|frame| frame[14..].to_vec()).collect();
        came.sort();
        expected.sort();
        assert!(came == expected, "{} of {}", came.len(), expected.len());
        testing::assert_no_leak(&pool);
    }
}
