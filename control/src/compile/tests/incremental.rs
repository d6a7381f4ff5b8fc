//! A change touches what it concerns, and nothing else.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use penstock_dataplane::ids::{TunnelId, VrfId};
use penstock_dataplane::tables::RouteTable;

use super::lab::{Lab, SMALL};
use crate::config::{Name, parse_str};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// SMALL and a tenant `big` with so many tunnels and routes.
fn with_big(tunnels: u32, routes: u32) -> String {
    let mut text = SMALL.to_owned() + "  big:\n    tunnels:\n";
    for i in 0..tunnels {
        writeln!(text, "      b{i}: {{endpoint: gw, remote: 192.0.2.200, key: {i}}}").unwrap();
    }
    text += "    routes:\n";
    for i in 0..routes {
        let prefix = Ipv4Addr::from((10 << 24) + (i << 4));
        writeln!(text, "      - {{prefix: {prefix}/28, via: b{}}}", i % tunnels).unwrap();
    }
    text
}

fn table(lab: &Lab, tenant: &str) -> RouteTable {
    lab.compiler.tables().vrf(lab.compiler.vrf(&name(tenant)).unwrap()).unwrap().clone()
}

fn same(a: &RouteTable, b: &RouteTable) -> bool {
    Arc::ptr_eq(&a.v4, &b.v4) && Arc::ptr_eq(&a.v6, &b.v6)
}

#[test]
fn a_large_table_is_built_again_only_when_its_own_routes_change() {
    let text = with_big(10, 20_000);
    let mut lab = Lab::new(&text);
    lab.wire_up();
    let big = table(&lab, "big");
    let internet = lab.compiler.tables().vrf(VrfId::INTERNET).unwrap().clone();
    // Its neighbours, its tunnels' settings, the other tenant's routes, the kernel's routes.
    lab.neighbour(2, "192.0.2.200", Some(3));
    lab.configure(&text.replace("key: 3}", "key: 300, mtu: 1300}"));
    lab.configure(&text.replace("10.66.0.0/16", "10.65.0.0/16"));
    lab.configure(&text);
    assert!(same(&internet, lab.compiler.tables().vrf(VrfId::INTERNET).unwrap()));
    lab.route("100.64.0.0/10", &[(Some("192.0.2.253"), 2, 1)]);
    assert!(same(&big, &table(&lab, "big")));
    // Its own routes: one family.
    lab.configure(&text.replace("10.0.0.0/28, via: b0", "10.0.0.0/28, via: b1"));
    let after = table(&lab, "big");
    assert!(!Arc::ptr_eq(&big.v4, &after.v4) && Arc::ptr_eq(&big.v6, &after.v6));
    assert_eq!(lab.find("big", "10.0.0.1"), "tunnel big/b1");
}

#[test]
fn nothing_changes_when_nothing_changed() {
    let mut lab = Lab::new(&with_big(10, 100));
    lab.wire_up();
    assert!(!lab.settle().changed);
    assert!(!lab.configure(&with_big(10, 100)).changed);
    assert!(!lab.route("0.0.0.0/0", &[(Some("192.0.2.254"), 2, 1)]).changed);
    assert!(!lab.link(2, "edge0").changed);
    assert!(!lab.neighbour(2, "192.0.2.50", None).changed);
    assert!(!lab.neighbour(2, "192.0.2.254", Some(0xfe)).changed);
}

#[test]
fn tunnels_may_swap_their_identities() {
    let with = |a: u32, b: u32| {
        SMALL.replace(
            "    routes:\n",
            &format!(
                "      x: {{endpoint: gw, remote: 192.0.2.9, key: {a}}}\n      y: {{endpoint: gw, remote: 192.0.2.9, key: \
                 {b}}}\n    routes:\n"
            ),
        )
    };
    let mut lab = Lab::new(&with(1, 2));
    let ids = [
        lab.compiler.tunnel_id(&name("acme"), &name("x")),
        lab.compiler.tunnel_id(&name("acme"), &name("y")),
    ];
    lab.configure(&with(2, 1));
    let after = [
        lab.compiler.tunnel_id(&name("acme"), &name("x")),
        lab.compiler.tunnel_id(&name("acme"), &name("y")),
    ];
    assert_eq!(ids, after, "a tunnel keeps its number");
    assert_eq!(lab.compiler.tables().bound_tunnels(), 3);
    lab.configure(SMALL);
    assert_eq!(lab.compiler.tables().bound_tunnels(), 1);
}

#[test]
fn a_number_is_not_used_again_while_a_worker_may_know_it() {
    let with = |n: u32| {
        SMALL.replace(
            "    routes:\n",
            &format!("      x{n}: {{endpoint: gw, remote: 192.0.2.9}}\n    routes:\n"),
        )
    };
    let mut lab = Lab::new(&with(0));
    let id = |lab: &Lab, n: u32| lab.compiler.tunnel_id(&name("acme"), &name(&format!("x{n}"))).unwrap();
    let first = id(&lab, 0);
    lab.compiler.configure(parse_str(&with(1)).unwrap());
    let _ = lab.compiler.compile();
    assert_ne!(id(&lab, 1), first);
    lab.compiler.published(1000);
    lab.compiler.configure(parse_str(&with(2)).unwrap());
    assert_ne!(id(&lab, 2), first, "published, but not taken by all");
    let _ = lab.compiler.compile();
    lab.compiler.published(1001);
    lab.compiler.settled(1000);
    let incarnation =
        |lab: &Lab, id: TunnelId| lab.compiler.tunnels().find(|t| t.id == id).unwrap().incarnation;
    lab.compiler.configure(parse_str(&with(3)).unwrap());
    assert_eq!(id(&lab, 3), first);
    assert_eq!(incarnation(&lab, first), 5, "the fifth tunnel ever");
}

/// With a thousand tunnels a change takes microseconds of an optimised build (the test prints how many); a debug build
/// on a busy machine has to stay within a tenth of a second.
#[test]
fn a_change_among_a_thousand_tunnels_is_quick() {
    let text = with_big(1000, 1000);
    let mut lab = Lab::new(&text);
    lab.wire_up();
    let other = parse_str(&text.replace("key: 77}", "key: 7777}")).unwrap();
    let same = parse_str(&text).unwrap();
    let start = Instant::now();
    for round in 0..100 {
        lab.compiler.configure(if round % 2 == 0 { other.clone() } else { same.clone() });
        assert!(lab.settle().changed);
    }
    let configure = start.elapsed() / 100;
    let start = Instant::now();
    for round in 0..100u8 {
        assert!(lab.neighbour(2, "192.0.2.254", Some(round)).changed);
    }
    let neighbour = start.elapsed() / 100;
    let start = Instant::now();
    for round in 0..100u8 {
        let via = format!("192.0.2.{}", 100 + round);
        assert!(lab.route("192.0.2.192/26", &[(Some(&via), 2, 1)]).changed);
    }
    let reroute_all = start.elapsed() / 100;
    println!("configuration {configure:?}, neighbour {neighbour:?}, route of 1000 tunnels {reroute_all:?}");
    for cost in [configure, neighbour, reroute_all] {
        assert!(cost.as_millis() < 100, "{cost:?}");
    }
}

#[test]
fn limits_follow_the_configuration() {
    let mut lab = Lab::new(SMALL);
    lab.configure(&format!("{SMALL}\nike: {{rate: 1234, source_rate: 56}}\nicmp: {{rate: 7, burst: 8}}\n"));
    let limits = lab.compiler.tables().limits;
    assert_eq!((limits.ike.rate, limits.ike.source_rate), (1234, 56));
    assert_eq!((limits.icmp_rate, limits.icmp_burst), (7, 8));
}
