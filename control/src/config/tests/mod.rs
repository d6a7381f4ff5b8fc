//! What the whole reader does with whole texts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod any_text;
mod differences;
mod fleet;
mod identities;
mod ike;
mod problems;
mod shared;

use super::{ValidConfig, parse_str};

const BARE_METAL: &str = include_str!("../../../../docs/examples/bare-metal-2x100g.yaml");
const FLEET: &str = include_str!("../../../../docs/examples/fleet.yaml");
const LAPTOP: &str = include_str!("../../../../docs/examples/laptop.yaml");

const IPSEC: &str = include_str!("../../../../docs/examples/ipsec.yaml");

/// A small valid configuration; tests change a line of it.
const SMALL: &str = "\
cores: {control: 0, workers: [1]}
ports:
  edge0:
    device: net_null0
    addresses: [192.0.2.1/24]
endpoints:
  gw: 203.0.113.1
tenants:
  acme:
    prefixes: [198.51.100.0/24]
    tunnels:
      dc1:
        endpoint: gw
        remote: 192.0.2.77
    routes:
      - {prefix: 198.51.100.0/24, via: dc1}
";

/// Every key of `ike`.
const IKE: &str = include_str!("ike.yaml");

fn valid(text: &str) -> ValidConfig {
    parse_str(text).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })
}

/// The problems of a text, without the word that stands for the file's name.
fn problems(text: &str) -> Vec<String> {
    let problems = parse_str(text).expect_err("the text is valid");
    problems.iter().map(|p| p.to_string().trim_start_matches("configuration:").to_owned()).collect()
}

fn replace(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replace(from, to)
}

#[test]
fn the_examples_are_valid_and_warn_of_nothing() {
    for text in [BARE_METAL, LAPTOP, IPSEC, FLEET, SMALL] {
        assert_eq!(valid(text).warnings(), []);
    }
    assert_eq!(valid(BARE_METAL).cores.workers, (2..=9).collect::<Vec<_>>());
}

#[test]
fn what_is_written_out_reads_back_as_the_same() {
    let ipsec = replace("endpoint: gw", "type: ipsec\n        endpoint: gw");
    for text in [BARE_METAL, LAPTOP, IPSEC, FLEET, SMALL, &ipsec, IKE] {
        let config = valid(text);
        let written = config.to_yaml();
        assert_eq!(valid(&written), config, "{written}");
    }
}

/// JSON is YAML, and what the API shows can be a file again.
#[test]
fn json_reads_back_as_the_same() {
    for text in [BARE_METAL, IKE, FLEET] {
        let config = valid(text);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(valid(&json), config);
    }
}

/// What the reader says it knows in a map, it says when it is asked for something that it does not know.
#[test]
fn every_key_is_documented() {
    const DOCS: &str = include_str!("../../../../docs/configuration.md");
    let maps = [
        ("", "cores:", "zzzzzzzz: 1\ncores:"),
        ("node", "ports:", "node: {zzzzzzzz: 1}\nports:"),
        ("memory", "ports:", "memory: {zzzzzzzz: 1}\nports:"),
        ("cores", "workers: [1]", "workers: [1], zzzzzzzz: 1"),
        ("crypto", "ports:", "crypto: {zzzzzzzz: 1}\nports:"),
        ("ike", "ports:", "ike: {zzzzzzzz: 1}\nports:"),
        ("ike", "ports:", "ike: {mode: external, zzzzzzzz: 1}\nports:"),
        (
            "fleet",
            "ports:",
            "fleet: {name: x, key_file: /x, address: 192.0.2.1, zzzzzzzz: 1}\nnode: {name: x, number: 1}\nports:",
        ),
        (
            "fleet.store",
            "ports:",
            "fleet: {name: x, key_file: /x, address: 192.0.2.1, store: {etcd: {endpoints: \"http://[::1]:1\"}, zzzzzzzz: 1}}\nnode: {name: x, number: 1}\nports:",
        ),
        (
            "fleet.store.etcd",
            "ports:",
            "fleet: {name: x, key_file: /x, address: 192.0.2.1, store: {etcd: {endpoints: \"http://[::1]:1\", zzzzzzzz: 1}}}\nnode: {name: x, number: 1}\nports:",
        ),
        ("icmp", "ports:", "icmp: {zzzzzzzz: 1}\nports:"),
        ("ports.edge0", "device:", "zzzzzzzz: 1\n    device:"),
        ("ports.edge0.vlans.1", "device:", "vlans: {1: {zzzzzzzz: 1}}\n    device:"),
        ("routes[0]", "ports:", "routes: [{prefix: 10.0.0.0/8, via: blackhole, zzzzzzzz: 1}]\nports:"),
        ("tenants.acme", "tunnels:", "zzzzzzzz: 1\n    tunnels:"),
        ("tenants.acme.tunnels.dc1", "remote:", "zzzzzzzz: 1\n        remote:"),
        (
            "tenants.acme.tunnels.dc1.ike",
            "remote:",
            "type: ipsec\n        ike: {psk_file: /x, zzzzzzzz: 1}\n        remote:",
        ),
        ("tenants.acme.tunnels.dc1.health", "remote:", "health: {zzzzzzzz: 1}\n        remote:"),
        ("tenants.acme.tunnels.dc1.keepalive", "remote:", "keepalive: {zzzzzzzz: 1}\n        remote:"),
        ("tenants.acme.routes[0]", "via: dc1", "via: dc1, zzzzzzzz: 1"),
    ];
    let mut keys = 0;
    for (path, from, to) in maps {
        let problems = parse_str(&replace(from, to)).unwrap_err();
        assert_eq!((problems.len(), problems[0].path.as_str()), (1, path), "{problems:?}");
        let known = problems[0].fix.strip_prefix("the keys here are: ").unwrap();
        for key in known.split(", ") {
            let in_text = DOCS.contains(&format!("| `{key}` |")) || DOCS.contains(&format!("## `{key}`"));
            assert!(in_text, "{path}: {key} is not in docs/configuration.md");
            keys += 1;
        }
    }
    assert_eq!(keys, 123);
}

#[test]
fn a_hundred_thousand_tunnels_and_routes_are_read() {
    let mut text = replace("    routes:\n      - {prefix: 198.51.100.0/24, via: dc1}\n", "");
    for i in 0..100_000u32 {
        text += &format!("      t{i}: {{endpoint: gw, remote: 192.0.2.77, key: {i}}}\n");
    }
    text += "    routes:\n";
    for i in 0..100_000u32 {
        let prefix = std::net::Ipv4Addr::from((10 << 24) + (i << 4));
        text += &format!("      - {{prefix: {prefix}/28, via: t{i}}}\n");
    }
    let config = valid(&text);
    assert_eq!(config.tenants["acme"].tunnels.len(), 100_001);
    assert_eq!(config.tenants["acme"].routes.len(), 100_000);
}
