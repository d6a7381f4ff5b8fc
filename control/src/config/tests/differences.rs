//! Differences between two configurations, and which of them need a restart.

use super::{BARE_METAL, SMALL, replace, valid};
use crate::config::{ChangeKind, diff};

fn lines(old: &str, new: &str) -> Vec<String> {
    diff(&valid(old), &valid(new)).lines()
}

#[test]
fn equal_ones_do_not_differ() {
    for text in [BARE_METAL, SMALL] {
        assert!(diff(&valid(text), &valid(text)).is_empty());
    }
    // The order of a list without order, and comments, are no difference.
    let other = replace("[192.0.2.1/24]", "[192.0.2.1/24] # ours");
    assert!(diff(&valid(SMALL), &valid(&other)).is_empty());
}

#[test]
fn each_object_has_a_line() {
    let new = SMALL
        .replace(
            "remote: 192.0.2.77",
            "remote: 192.0.2.78\n        key: 5\n      dc2: {endpoint: gw, remote: 192.0.2.79}",
        )
        .replace("via: dc1}", "via: dc1, weight: 7}\n      - {prefix: 10.0.0.0/8, via: dc2}")
        .replace("gw: 203.0.113.1", "gw: 203.0.113.2")
        .replace("192.0.2.1/24", "192.0.2.2/24");
    assert_eq!(
        lines(SMALL, &new),
        [
            "- ports.edge0.addresses: 192.0.2.1/24",
            "+ ports.edge0.addresses: 192.0.2.2/24",
            "~ endpoints.gw: 203.0.113.1 -> 203.0.113.2",
            "+ tenants.acme.tunnels.dc1.key: 5",
            "~ tenants.acme.tunnels.dc1.remote: 192.0.2.77 -> 192.0.2.78",
            "+ tenants.acme.tunnels.dc2: {\"address\":[],\"checksum\":false,\"df\":\"set\",\"dscp\":\"inherit\",\
             \"endpoint\":\"gw\",\"mss\":\"auto\",\"mtu\":\"auto\",\"remote\":\"192.0.2.79\",\
             \"source_filter\":\"tenant\",\"ttl\":64,\"type\":\"gre\"}",
            "~ tenants.acme.routes: {\"prefix\":\"198.51.100.0/24\",\"priority\":100,\"via\":\"dc1\",\"weight\":1} -> \
             {\"prefix\":\"198.51.100.0/24\",\"priority\":100,\"via\":\"dc1\",\"weight\":7}",
            "+ tenants.acme.routes: {\"prefix\":\"10.0.0.0/8\",\"priority\":100,\"via\":\"dc2\",\"weight\":1}",
        ]
    );
    let difference = diff(&valid(SMALL), &valid(&new));
    assert_eq!(difference.live(), Ok(()));
    let back = diff(&valid(&new), &valid(SMALL));
    assert_eq!(back.changes.len(), difference.changes.len());
    assert!(
        back.changes.iter().any(|c| c.kind == ChangeKind::Removed && c.path == "tenants.acme.tunnels.dc2")
    );
}

#[test]
fn what_is_fixed_needs_a_restart() {
    let new = SMALL
        .replace("workers: [1]", "workers: [1, 2]")
        .replace("net_null0", "net_null1")
        .replace("remote: 192.0.2.77", "remote: 192.0.2.78");
    let difference = diff(&valid(SMALL), &valid(&new));
    assert_eq!(
        difference.lines(),
        [
            "~ cores.workers: [1] -> [1,2] (needs a restart)",
            "~ ports.edge0.device: net_null0 -> net_null1 (needs a restart)",
            "~ tenants.acme.tunnels.dc1.remote: 192.0.2.77 -> 192.0.2.78",
        ]
    );
    assert_eq!(
        difference.live().unwrap_err().to_string(),
        "nothing was changed: cores.workers, ports.edge0.device cannot change while the gateway runs; restart it to \
         apply the file, or undo these changes"
    );
    for (from, to) in [
        ("ports:", "memory: {size_mib: 128}\nports:"),
        ("ports:", "node: {netns: other}\nports:"),
        ("ports:", "node: {number: 5}\nports:"),
        ("ports:", "ike: external\nports:"),
        ("ports:", "ike: {run: /run/x}\nports:"),
        ("ports:", "ike: {charon: /x}\nports:"),
        ("ports:", "node: {state: /srv/penstock}\nports:"),
        ("ports:", "crypto: {backend: rustcrypto}\nports:"),
        ("workers: [1]", "workers: [1], spread: off"),
        ("workers: [1]", "workers: [1], idle: sleep"),
        ("device: net_null0", "device: net_null0\n    mtu: 1400"),
        ("device: net_null0", "device: net_null0\n    rx_descriptors: 512"),
        ("ports:", "ports:\n  edge1: {device: net_null1}"),
    ] {
        assert!(diff(&valid(SMALL), &valid(&replace(from, to))).live().is_err(), "{to}");
    }
    for (from, to) in [
        ("device: net_null0", "device: net_null0\n    vlans: {100: {addresses: [10.0.0.1/24]}}"),
        ("endpoint: gw", "endpoint: gw\n        type: ipsec"),
        ("device: net_null0", "device: net_null0\n    tenant: acme"),
        ("ports:", "icmp: {rate: 5}\nports:"),
        ("ports:", "metrics: {listen: 127.0.0.1:9477}\nports:"),
        ("ports:", "node: {drain: 30s}\nports:"),
        ("ports:", "ike: {rate: 5, source_rate: 5}\nports:"),
        ("endpoint: gw", "endpoint: gw\n        type: ipsec\n        ike: {psk_file: /x}"),
        ("ports:", "routes: [{prefix: 0.0.0.0/0, via: 192.0.2.254}]\nports:"),
    ] {
        let difference = diff(&valid(SMALL), &valid(&replace(from, to)));
        assert!(!difference.is_empty() && difference.live().is_ok(), "{to}");
    }
}

#[test]
fn the_machine_form_has_old_and_new() {
    let new = replace("remote: 192.0.2.77", "remote: 192.0.2.78");
    let json = serde_json::to_value(diff(&valid(SMALL), &valid(&new))).unwrap();
    assert_eq!(
        json,
        serde_json::json!({"changes": [{"kind": "changed", "path": "tenants.acme.tunnels.dc1.remote",
            "old": "192.0.2.77", "new": "192.0.2.78", "needs_restart": false}]})
    );
}
