//! Routes and neighbours of the kernel.

use super::lab::{Lab, SMALL, no_route, route};
use crate::kernel::state::{IfIndex, RouteKind};

#[test]
fn neighbours_come_move_and_go() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    assert_eq!(lab.find("internet", "192.0.2.9"), "edge0 unresolved");
    assert!(lab.neighbour(2, "192.0.2.9", Some(9)).changed);
    assert_eq!(lab.find("internet", "192.0.2.9"), "edge0 via 192.0.2.9 resolved");
    let rewrite =
        |lab: &Lab| format!("{:?}", lab.compiler.tables().adjacency(penstock_dataplane::ids::AdjacencyId(3)));
    let before = rewrite(&lab);
    assert!(lab.neighbour(2, "192.0.2.9", Some(10)).changed);
    assert_ne!(rewrite(&lab), before, "another MAC is another rewrite");
    assert!(lab.neighbour(2, "192.0.2.9", None).changed);
    assert_eq!(lab.find("internet", "192.0.2.9"), "edge0 unresolved");
    // The router of a route stays an adjacency of its own when it does not answer.
    lab.neighbour(2, "192.0.2.254", None);
    assert_eq!(lab.find("internet", "8.8.8.8"), "edge0 via 192.0.2.254 unresolved");
    assert_eq!(lab.find("internet", "192.0.2.254"), "edge0 unresolved");
}

#[test]
fn what_is_in_use_is_wanted() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let wanted = |lab: &mut Lab| {
        let mut wanted: Vec<String> =
            lab.compiler.take_wanted()?.iter().map(|(_, ip)| ip.to_string()).collect();
        wanted.sort();
        Some(wanted.join(" "))
    };
    assert_eq!(wanted(&mut lab).as_deref(), Some("192.0.2.254 192.0.2.77"));
    assert_eq!(wanted(&mut lab), None);
    lab.neighbour(2, "192.0.2.254", Some(1));
    assert_eq!(wanted(&mut lab), None, "the same neighbours are in use");
    lab.change(no_route("0.0.0.0/0"));
    lab.neighbour(2, "192.0.2.254", None);
    assert_eq!(wanted(&mut lab).as_deref(), Some("192.0.2.77"));
    lab.configure(&SMALL.replace("192.0.2.77", "192.0.2.78"));
    assert_eq!(wanted(&mut lab).as_deref(), Some("192.0.2.78"));
}

#[test]
fn a_longer_route_inside_a_connected_prefix_wins_over_a_host() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    lab.neighbour(2, "192.0.2.200", Some(3));
    assert_eq!(lab.find("internet", "192.0.2.200"), "edge0 via 192.0.2.200 resolved");
    lab.route("192.0.2.192/26", &[(Some("192.0.2.254"), 2, 1)]);
    assert_eq!(lab.find("internet", "192.0.2.200"), "edge0 via 192.0.2.254 resolved");
}

#[test]
fn other_kinds_of_routes() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    for (kind, expected) in [
        (RouteKind::Blackhole, "blackhole"),
        (RouteKind::Unreachable, "unreachable"),
        (RouteKind::Local, "local"),
    ] {
        lab.change(route("100.64.0.0/10", kind, &[]));
        assert_eq!(lab.find("internet", "100.64.0.1"), expected);
    }
    // Something that is no twin: the kernel forwards.
    lab.link(9, "wg0");
    lab.route("100.64.0.0/10", &[(Some("100.64.0.2"), 9, 1)]);
    assert_eq!(lab.find("internet", "100.64.0.1"), "local");
    lab.change(no_route("100.64.0.0/10"));
    assert_eq!(lab.find("internet", "100.64.0.1"), "edge0 via 192.0.2.254 resolved");
    // IPv4 by an IPv6 router.
    lab.route("100.64.0.0/10", &[(Some("fe80::1"), 2, 1)]);
    lab.neighbour(2, "fe80::1", Some(4));
    assert_eq!(lab.find("internet", "100.64.0.1"), "edge0 via fe80::1 resolved");
}

#[test]
fn a_tunnel_follows_the_routes_to_its_remote() {
    let mut lab = Lab::new(&SMALL.replace("192.0.2.77", "100.64.0.77"));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by no route");
    lab.wire_up();
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by edge0 via 192.0.2.254 resolved");
    lab.route("100.64.0.0/10", &[(Some("192.0.2.253"), 2, 1)]);
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by edge0 via 192.0.2.253 unresolved");
    lab.change(route("100.64.0.64/26", RouteKind::Blackhole, &[]));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by no route");
    lab.change(no_route("100.64.0.64/26"));
    assert!(!lab.route("100.65.0.0/16", &[(Some("192.0.2.252"), 2, 1)]).errors.iter().any(|_| true));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by edge0 via 192.0.2.253 unresolved");
    lab.route("100.64.0.0/10", &[(Some("192.0.2.253"), 2, 1), (Some("192.0.2.254"), 2, 1)]);
    let both = lab.tunnel("acme", "dc1");
    assert!(
        both.contains("[edge0 via 192.0.2.253 unresolved x") && both.contains("via 192.0.2.254 resolved x"),
        "{both}"
    );
}

#[test]
fn a_twin_that_is_made_anew_is_found_again() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    for change in [super::lab::link(2, None), super::lab::link(7, Some("edge0"))] {
        lab.change(change);
    }
    lab.address(7, "192.0.2.1/24");
    lab.route("192.0.2.0/24", &[(None, 7, 1)]);
    lab.route("0.0.0.0/0", &[(Some("192.0.2.254"), 7, 1)]);
    lab.neighbour(7, "192.0.2.254", Some(1));
    assert_eq!(lab.find("internet", "8.8.8.8"), "edge0 via 192.0.2.254 resolved");
    let wanted = lab.compiler.take_wanted().unwrap();
    assert!(wanted.iter().all(|(index, _)| *index == IfIndex(7)), "{wanted:?}");
}
