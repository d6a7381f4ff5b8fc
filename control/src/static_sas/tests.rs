//! Whole files: what is right, and the words and places of what is wrong.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod changes;
mod files;
mod problems;

use super::{StaticSas, parse_str};
use crate::config::{self, Problem, ValidConfig};

const CONFIG: &str = "\
cores: {control: 0, workers: [1]}
ports: {edge0: {device: net_null0, addresses: [192.0.2.1/24]}}
endpoints: {gw: 203.0.113.1, gw2: 203.0.113.2}
tenants:
  acme:
    tunnels:
      dc1: {type: ipsec, endpoint: gw, remote: 192.0.2.77}
      dc2: {type: ipsec, endpoint: gw, remote: 192.0.2.77}
      dc3: {type: ipsec, endpoint: gw2, remote: 192.0.2.78}
      plain: {endpoint: gw, remote: 192.0.2.77}
      asks: {type: ipsec, endpoint: gw2, remote: 192.0.2.79, ike: {psk_file: /x}}
";

/// Every tunnel of [`CONFIG`] with what it can have.
const FILE: &str = "\
tunnels:
  acme/dc1:
    udp: {remote_port: 31000}
    inbound:
      - {spi: 0x1001, cipher: aes128gcm16, key: 0x00112233445566778899aabbccddeeff01020304, replay_window: 64, esn: true}
      - {spi: 0x1002, cipher: aes128gcm16, key: 0x00112233445566778899aabbccddeeff01020305}
    outbound:
      spi: 0x2001
      cipher: aes128-sha256
      key: 0x00112233445566778899aabbccddeeff
      auth_key: 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
      peer_replay_window: 1024
      soft_packets: 1000
      hard_packets: 2000
    selectors: {local: [0.0.0.0/0, \"::/0\"], remote: [198.51.100.0/24]}
  acme/dc2:
    inbound: [{spi: 0x1003, cipher: null-sha1, auth_key: 0x000102030405060708090a0b0c0d0e0f10111213}]
  acme/dc3:
    outbound: {spi: 0x2001, cipher: chacha20poly1305, key: 0x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff01020304}
";

fn configuration() -> ValidConfig {
    config::parse_str(CONFIG).unwrap()
}

fn read(text: &str) -> Result<StaticSas, Vec<Problem>> {
    parse_str(&mut text.as_bytes().to_vec(), &configuration())
}

fn valid(text: &str) -> StaticSas {
    read(text).unwrap_or_else(|problems| panic!("{:?}", words(&problems)))
}

fn words(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|one| one.to_string().trim_start_matches("configuration:").to_owned()).collect()
}

fn problems(text: &str) -> Vec<String> {
    words(&read(text).err().expect("the text is valid"))
}

fn replace(from: &str, to: &str) -> String {
    assert!(FILE.contains(from), "{from}");
    FILE.replace(from, to)
}

#[test]
fn a_whole_file() {
    let sas = valid(FILE);
    assert_eq!(sas.len(), 5);
    let name = |text| config::Name::new(text).unwrap();
    let dc1 = sas.tunnel(&name("acme"), &name("dc1")).unwrap();
    let udp = dc1.udp.unwrap();
    assert_eq!((udp.local, udp.remote), (4500, 31_000));
    let first = &dc1.inbound[0];
    assert_eq!(
        (first.spi, first.suite.name(), first.replay_window, first.esn),
        (0x1001, "aes128gcm16", 64, true)
    );
    assert_eq!(first.key.bytes()[..4], [0, 0x11, 0x22, 0x33]);
    assert_eq!(first.key.bytes()[16..], [1, 2, 3, 4]);
    assert!(first.keys().is_ok());
    assert_eq!((dc1.inbound[1].replay_window, dc1.inbound[1].esn), (0, false));
    let outbound = dc1.outbound.as_ref().unwrap();
    assert_eq!((outbound.spi, outbound.peer_replay_window), (0x2001, 1024));
    assert_eq!((outbound.soft_packets, outbound.hard_packets), (Some(1000), Some(2000)));
    assert!(outbound.keys().is_ok());
    assert_eq!(dc1.selectors.remote.len(), 1);
    let dc2 = sas.tunnel(&name("acme"), &name("dc2")).unwrap();
    assert!(dc2.inbound[0].key.is_empty() && dc2.inbound[0].auth_key.len() == 20);
    assert_eq!(dc2.selectors.local.len(), 2);
    assert_eq!(
        words(sas.warnings()),
        [
            "17:37: tunnels.acme/dc2.inbound[0].cipher: does not encrypt: everybody on the way can read the packets; write \
          a cipher"
        ]
    );
}

#[test]
fn nothing_prints_a_key() {
    let sas = valid(FILE);
    let first = &sas.tunnels().next().unwrap().1.inbound[0];
    assert_eq!(format!("{:?}", first.key), "(20 bytes)");
}

#[test]
fn the_text_is_crossed_out() {
    let mut text = FILE.as_bytes().to_vec();
    parse_str(&mut text, &configuration()).unwrap_or_else(|_| panic!());
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("0011") && !text.contains("000102"), "{text}");
}
