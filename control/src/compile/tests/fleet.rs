//! The ways to the other nodes of the fleet.

use std::collections::BTreeMap;

use penstock_dataplane::tables::fleet::{Token, Tokens};

use super::lab::{Lab, SMALL, no_route};
use crate::compile::FleetSpec;

pub(super) fn spec(nodes: &[(u16, &str)]) -> FleetSpec {
    FleetSpec {
        number: 5,
        address: "192.0.2.1".parse().unwrap(),
        port: 4790,
        tokens: Tokens { current: Token::new([1; 16]), other: None },
        nodes: nodes.iter().map(|(number, ip)| (*number, ip.parse().unwrap())).collect(),
    }
}

fn set(lab: &mut Lab, spec: Option<FleetSpec>) -> bool {
    lab.compiler.set_fleet(spec);
    lab.settle().changed
}

/// Where packets to each node go.
pub(super) fn ways(lab: &Lab) -> BTreeMap<u16, String> {
    let fleet = lab.compiler.tables().fleet().unwrap();
    let node = |number| Some((number, fleet.node(number)?));
    let ways = (0..1024).filter_map(node);
    ways.map(|(number, node)| (number, lab.follow(node.underlay, node.address))).collect()
}

fn way(lab: &Lab, number: u16) -> String {
    ways(lab).remove(&number).unwrap()
}

#[test]
fn ways_follow_routes_and_neighbours() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    assert!(set(&mut lab, Some(spec(&[(5, "192.0.2.1"), (6, "192.0.2.6"), (7, "198.18.7.7")]))));
    assert_eq!(ways(&lab).into_keys().collect::<Vec<_>>(), [6, 7], "this node is not another");
    // On the link, and behind the router.
    assert_eq!(way(&lab, 6), "edge0 via 192.0.2.6 unresolved");
    assert_eq!(way(&lab, 7), "edge0 via 192.0.2.254 resolved");
    let wanted = lab.compiler.take_wanted().unwrap();
    assert!(wanted.iter().any(|(_, ip)| ip.to_string() == "192.0.2.6"), "kept resolved");
    assert!(lab.neighbour(2, "192.0.2.6", Some(6)).changed);
    assert_eq!(way(&lab, 6), "edge0 via 192.0.2.6 resolved");
    // Another route, two of them, and none.
    assert!(lab.route("198.18.0.0/16", &[(Some("192.0.2.253"), 2, 1)]).changed);
    assert_eq!(way(&lab, 7), "edge0 via 192.0.2.253 unresolved");
    lab.neighbour(2, "192.0.2.253", Some(3));
    lab.route("198.18.7.0/24", &[(Some("192.0.2.253"), 2, 1), (Some("192.0.2.254"), 2, 1)]);
    let both = way(&lab, 7);
    for router in ["192.0.2.253", "192.0.2.254"] {
        assert!(both.starts_with('[') && both.contains(&format!("via {router} resolved x")), "{both}");
    }
    lab.change(no_route("198.18.7.0/24"));
    lab.change(no_route("198.18.0.0/16"));
    assert_eq!(way(&lab, 7), "edge0 via 192.0.2.254 resolved");
    lab.change(no_route("0.0.0.0/0"));
    assert_eq!(way(&lab, 7), "no route");
    // Links that are matched again.
    lab.change(super::lab::link(2, None));
    assert_eq!(way(&lab, 6), "no route");
    lab.link(2, "edge0");
    assert_eq!(way(&lab, 6), "edge0 via 192.0.2.6 resolved");
}

#[test]
fn nodes_come_and_go_and_leave_nothing() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let before = lab.compiler.next_hops.len();
    assert!(lab.compiler.tables().fleet().is_none());
    assert_eq!(lab.find("internet", "192.0.2.1"), "local");
    assert!(set(&mut lab, Some(spec(&[(6, "192.0.2.6")]))));
    assert_eq!(lab.find("internet", "192.0.2.1"), "fleet");
    assert_eq!(lab.find("internet", "203.0.113.1"), "endpoint gw");
    let fleet = lab.compiler.tables().fleet().unwrap();
    assert_eq!((fleet.number(), fleet.address().to_string().as_str(), fleet.port()), (5, "192.0.2.1", 4790));
    assert!(!set(&mut lab, Some(spec(&[(6, "192.0.2.6")]))), "the same");
    // A node's address moves; another joins; the token changes.
    assert!(set(&mut lab, Some(spec(&[(6, "192.0.2.66"), (8, "192.0.2.8")]))));
    assert_eq!(way(&lab, 6), "edge0 via 192.0.2.66 unresolved");
    let tokens = Tokens { current: Token::new([2; 16]), other: Some(Token::new([1; 16])) };
    assert!(set(&mut lab, Some(FleetSpec { tokens, ..spec(&[(8, "192.0.2.8")]) })));
    assert_eq!(ways(&lab).len(), 1);
    // Our own address moves, and the fleet goes.
    let address = "203.0.113.99".parse().unwrap();
    assert!(set(&mut lab, Some(FleetSpec { address, ..spec(&[]) })));
    assert_eq!(lab.find("internet", "192.0.2.1"), "local");
    assert_eq!(lab.find("internet", "203.0.113.99"), "fleet");
    assert!(set(&mut lab, None));
    assert!(lab.compiler.tables().fleet().is_none());
    assert_eq!(lab.find("internet", "203.0.113.99"), "edge0 via 192.0.2.254 resolved");
    assert_eq!(lab.compiler.next_hops.len(), before);
}

#[test]
fn a_new_configuration_keeps_the_fleet() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    set(&mut lab, Some(spec(&[(6, "192.0.2.6")])));
    lab.configure(&SMALL.replace("10.66.0.0/16", "10.65.0.0/16"));
    assert_eq!(lab.find("internet", "192.0.2.1"), "fleet");
    assert_eq!(way(&lab, 6), "edge0 via 192.0.2.6 unresolved");
}
