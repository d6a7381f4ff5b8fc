//! Packets read from a file, forwarded, and written to another are the same bytes.

use arrayvec::ArrayVec;
use dpdk::testing::{assert_no_leak, pool};
use dpdk::{Mbuf, Port, PortConfig};
use std::fs;
use std::path::Path;

/// A classic pcap file with these packets.
fn write_pcap(path: &Path, packets: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let len = u32::try_from(packet.len()).expect("small");
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    fs::write(path, file).expect("a pcap file");
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).expect("a pcap file");
    let mut rest = &file[24..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().expect("four bytes")) as usize;
        packets.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    packets
}

#[test]
fn forwards_every_packet_unchanged_jumbo_chains_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let (input, output) = (directory.path().join("in.pcap"), directory.path().join("out.pcap"));
    // Every size around the buffer's 2048, and a chain of five buffers.
    let sizes = (60..2100).step_by(7).chain([2047, 2048, 2049, 9000]);
    let packets: Vec<Vec<u8>> =
        sizes.map(|size| (0..size).map(|byte| (byte * 31 + size) as u8).collect()).collect();
    write_pcap(&input, &packets);

    let pool = pool("pcap", 4095);
    {
        let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", input.display(), output.display());
        let mut port = Port::attach(&device).expect("net_pcap");
        let config = PortConfig { mtu: 9000, ..PortConfig::default() };
        port.configure(&config, std::slice::from_ref(&pool)).expect("configured");
        let (mut rx, mut tx) = port.start().expect("started");
        let mut burst = ArrayVec::<Mbuf, 32>::new();
        while rx[0].rx_burst(&mut burst) > 0 {
            while !burst.is_empty() {
                tx[0].tx_burst(&mut burst);
            }
        }
        let stats = port.stats().expect("counters");
        assert_eq!(stats.rx_packets, packets.len() as u64);
        assert_eq!(stats.tx_packets, packets.len() as u64);
    }
    assert_no_leak(&pool);
    assert_eq!(read_pcap(&output), packets);
}

#[test]
fn a_missing_file_is_named() {
    let _pool = pool("pcap-missing", 15);
    let error = Port::attach("net_pcap9,rx_pcap=/nowhere/in.pcap").expect_err("no file").to_string();
    assert!(error.contains("/nowhere/in.pcap"), "{error}");
}
