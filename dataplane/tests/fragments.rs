//! Outer fragments over DPDK devices: customers' are put together whatever else comes in pieces.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

#[path = "support/devices.rs"]
mod devices;
mod support;

use devices::{attach, drops, gateway, read_pcap, write_pcap};
use dpdk::testing;
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ike::IkeLimits;
use support::*;

const MORE: u16 = 0x2000;

/// Two fragments of a GRE packet from `REMOTE`, and the packet inside.
fn customers(number: u16) -> ([Vec<u8>; 2], Vec<u8>) {
    let inner = reply(500 + usize::from(number));
    let whole = gre(0, &[], &inner);
    let part = |flags: u16, payload: &[u8]| {
        let mut packet = Ip4 { protocol: 47, flags, ..Ip4::default() }.build(REMOTE, ENDPOINT, payload);
        // The datagram's number, and the header's checksum once more.
        packet[4..6].copy_from_slice(&number.to_be_bytes());
        packet[10..12].fill(0);
        let sum = penstock_dataplane::wire::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        frame(&packet)
    };
    ([part(MORE, &whole[..256]), part(256 / 8, &whole[256..])], inner)
}

/// A fragment whose other parts never come, of another datagram each.
fn alone(number: u32, flags: u16, protocol: u8, port: u16) -> Vec<u8> {
    let mut payload = vec![0x30, 0x39];
    payload.extend_from_slice(&port.to_be_bytes());
    payload.resize(64, 0);
    let source = std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string();
    frame(&Ip4 { protocol, flags, ..Ip4::default() }.build(&source, ENDPOINT, &payload))
}

#[test]
fn no_flood_of_fragments_takes_the_place_of_customers() {
    let _eal = testing::eal();
    let pool = testing::pool("strangers", 2047);
    let directory = tempfile::tempdir().unwrap();
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    // More datagrams that stay incomplete than any table has room for, between the parts of a customer's.
    let (mut frames, mut expected) = (Vec::new(), Vec::new());
    let (rounds, ike, others) = (20u32, 10, 80);
    for round in 0..rounds {
        let ([first, last], inner) = customers(round as u16);
        let number = |n| round * 1000 + n;
        frames.push(first);
        frames.extend((0..ike).map(|n| alone(number(n), MORE, 17, 500)));
        frames.extend((0..others / 2).map(|n| alone(number(100 + n), MORE, 50, 0)));
        frames.extend((0..others / 2).map(|n| alone(number(200 + n), 8, 17, 0)));
        frames.push(last);
        expected.push(one_hop_less(&inner));
    }
    write_pcap(&input, &frames);
    let (_source, rx, _) = attach(&format!("net_pcap_strangers_in,rx_pcap={}", input.display()), &pool);
    let (sink, _, tx) = attach(&format!("net_pcap_strangers_out,tx_pcap={}", output.display()), &pool);
    let mut tables = Lab::new().tables;
    tables.limits.ike = IkeLimits { rate: 400, source_rate: 400 };
    let mut gateway = gateway(&pool, &tables, rx, vec![tx, None]);
    for _ in 0..frames.len() / 16 {
        gateway.worker.turn();
    }
    let stats = gateway.stats.clone();
    let (came, went) = stats.balance();
    assert_eq!(came, went, "{:?}", drops(&stats));
    // Of IKE ten at once, a tenth of a second's first messages, and a few more while the test runs.
    let refused = stats.drops(DropReason::IkeRate);
    assert!(refused > 0 && refused <= u64::from(rounds * ike) - 10, "{:?}", drops(&stats));
    assert!(stats.drops(DropReason::ReassemblyFailed) > 0, "{:?}", drops(&stats));
    drop((gateway, sink));
    let came: Vec<_> = read_pcap(&output).into_iter().map(|frame| frame[14..].to_vec()).collect();
    assert_eq!(came, expected, "{:?}", drops(&stats));
    testing::assert_no_leak(&pool);
}
