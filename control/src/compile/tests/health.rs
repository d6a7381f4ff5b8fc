//! What a tunnel's health does to routes: they come after others, and never vanish.

use penstock_dataplane::ids::{GroupId, VrfId};
use penstock_dataplane::tables::HopKind;
use penstock_dataplane::tables::fleet::{Token, Tokens};

use super::lab::{Lab, SMALL, lookup};
use crate::config::Name;
use crate::health::rules::{DEGRADED_PENALTY, DOWN_PENALTY};

const NETWORK: &str = "10.1.2.3";

/// Tunnels t0 to t5; routes as written.
fn text(routes: &str) -> String {
    let tunnels: String =
        (0..6).map(|i| format!("      t{i}: {{endpoint: gw, remote: 192.0.2.{}}}\n", 100 + i)).collect();
    SMALL.replace("    routes:\n", &format!("{tunnels}    routes:\n{routes}"))
}

fn ways(priorities: &[u32]) -> String {
    let one = |(i, priority)| format!("      - {{prefix: 10.1.0.0/16, via: t{i}, priority: {priority}}}\n");
    priorities.iter().enumerate().map(one).collect()
}

fn set(lab: &mut Lab, tunnel: &str, penalty: u32) -> bool {
    let changed = lab.compiler.set_penalty(&name("acme"), &name(tunnel), penalty);
    assert!(!lab.settle().changed || changed, "a table is made again only when something differs");
    changed
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn buckets(lab: &Lab) -> Vec<String> {
    let vrf = lab.compiler.vrf(&name("acme")).unwrap();
    let ip = NETWORK.parse().unwrap();
    let hop = lookup(lab.compiler.tables().vrf(vrf).unwrap(), ip);
    assert_eq!(hop.kind(), HopKind::Group);
    let group = lab.compiler.tables().group(GroupId(hop.slot())).unwrap();
    group.buckets().iter().map(|hop| lab.follow(*hop, ip)).collect()
}

#[test]
fn the_penalty_is_added_to_the_priority() {
    let mut lab = Lab::new(&text(&ways(&[100, 200])));
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
    assert!(set(&mut lab, "t0", DEGRADED_PENALTY));
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t1");
    // The same again is nothing.
    assert!(!set(&mut lab, "t0", DEGRADED_PENALTY));
    // Both degraded: as configured. The better one down: the other.
    set(&mut lab, "t1", DEGRADED_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
    set(&mut lab, "t0", DOWN_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t1");
    // All down: routes stay.
    set(&mut lab, "t1", DOWN_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
    set(&mut lab, "t1", 0);
    set(&mut lab, "t0", 0);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
}

#[test]
fn the_only_route_stays_and_so_does_a_less_specific_one() {
    let mut lab =
        Lab::new(&text("      - {prefix: 10.1.0.0/16, via: t0}\n      - {prefix: 10.0.0.0/8, via: t1}\n"));
    set(&mut lab, "t0", DOWN_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
}

#[test]
fn priorities_at_the_very_end_are_still_told_apart() {
    let mut lab = Lab::new(&text(&ways(&[u32::MAX - 1, u32::MAX])));
    set(&mut lab, "t0", DEGRADED_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t1");
    // A priority that is larger by more than the penalty is not reached.
    let mut lab = Lab::new(&text(&ways(&[100, 600_101])));
    set(&mut lab, "t0", DEGRADED_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
    set(&mut lab, "t0", DOWN_PENALTY);
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t1");
}

#[test]
fn only_the_flows_of_a_sick_tunnel_move_and_they_come_back() {
    let mut lab = Lab::new(&text(&ways(&[100; 6])));
    let before = buckets(&lab);
    for sick in ["t0", "t3", "t5"] {
        let its = format!("tunnel acme/{sick}");
        set(&mut lab, sick, DEGRADED_PENALTY);
        let mut moved = 0;
        for (old, new) in before.iter().zip(buckets(&lab)) {
            assert_ne!(new, its);
            moved += usize::from(*old != new);
            assert!(*old == new || *old == its, "{old} -> {new}");
        }
        assert_eq!(moved, before.iter().filter(|way| **way == its).count());
        // A sixth, within what 512 buckets can say.
        assert!((60..=115).contains(&moved), "{moved} of 512");
        set(&mut lab, sick, 0);
        assert_eq!(buckets(&lab), before);
    }
}

#[test]
fn others_are_not_even_looked_at() {
    let routes = ways(&[100, 200]);
    let two = text(&routes)
        + "  beta:\n    tunnels: {t0: {endpoint: gw, remote: 192.0.2.200}}\n    routes: [{prefix: 10.1.0.0/16, via: t0}]\n";
    let mut lab = Lab::new(&two);
    let table = |lab: &Lab, tenant: &str| {
        let vrf = lab.compiler.vrf(&name(tenant)).unwrap();
        std::sync::Arc::as_ptr(&lab.compiler.tables().vrf(vrf).unwrap().v4)
    };
    let (acme, beta) = (table(&lab, "acme"), table(&lab, "beta"));
    let internet = std::sync::Arc::as_ptr(&lab.compiler.tables().vrf(VrfId::INTERNET).unwrap().v4);
    assert!(set(&mut lab, "t0", DOWN_PENALTY));
    assert_ne!(table(&lab, "acme"), acme);
    assert_eq!(table(&lab, "beta"), beta);
    assert_eq!(std::sync::Arc::as_ptr(&lab.compiler.tables().vrf(VrfId::INTERNET).unwrap().v4), internet);
    // Nor is a table made again for a tunnel without routes, or one that is not there.
    assert!(!set(&mut lab, "t4", DOWN_PENALTY));
    assert!(!set(&mut lab, "nobody", DOWN_PENALTY));
}

#[test]
fn a_reload_keeps_penalties_of_tunnels_that_stay() {
    let mut lab = Lab::new(&text(&ways(&[100, 200])));
    set(&mut lab, "t0", DOWN_PENALTY);
    lab.configure(&text(&ways(&[101, 200, 300])));
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t1");
    let views = lab.compiler.tenant_routes(&name("acme"));
    let view = views.iter().find(|view| view.prefix == "10.1.0.0/16".parse().unwrap()).unwrap();
    let ways: Vec<_> =
        view.ways.iter().map(|way| (&*way.via, way.priority, way.penalty, way.active)).collect();
    assert_eq!(ways, [("t1", 200, 0, true), ("t2", 300, 0, false), ("t0", 101, DOWN_PENALTY, false)]);
    // A tunnel that goes and comes is a new one.
    lab.configure(SMALL);
    lab.configure(&text(&self::ways(&[100, 200])));
    assert_eq!(lab.find("acme", NETWORK), "tunnel acme/t0");
}

#[test]
fn who_answers_probes_may_send_from_there() {
    let tunnel = |health: &str, filter: &str| {
        SMALL.replace(
            "        address: [10.255.0.0/31]\n",
            &format!("        address: [10.255.0.1/24]\n{filter}{health}"),
        )
    };
    let own = "        source_filter: [10.9.0.0/16]\n";
    let mut lab = Lab::new(&tunnel("", own));
    assert!(!lab.accepts("acme", "dc1", "10.255.0.9"));
    lab.configure(&tunnel("        health: {target: 10.255.0.9}\n", own));
    assert!(lab.accepts("acme", "dc1", "10.255.0.9") && lab.accepts("acme", "dc1", "10.9.1.1"));
    assert!(!lab.accepts("acme", "dc1", "10.255.0.8"));
    // The tenant's filter, as well.
    lab.configure(&tunnel("", ""));
    assert!(!lab.accepts("acme", "dc1", "192.0.2.77"));
    lab.configure(&tunnel("        health: on\n", ""));
    assert!(lab.accepts("acme", "dc1", "192.0.2.77"));
    // Answers by the Internet do not come out of it.
    lab.configure(&tunnel("        health: {direction: unidirectional}\n", ""));
    assert!(!lab.accepts("acme", "dc1", "192.0.2.77"));
}

#[test]
fn keys_are_there_only_while_something_is_probed() {
    let mut lab = Lab::new(SMALL);
    let keys = Tokens { current: Token::new([1; 16]), other: None };
    assert!(lab.compiler.set_probe_keys(Some(keys.clone())));
    assert!(lab.settle().changed);
    assert!(!lab.compiler.set_probe_keys(Some(keys)));
    assert!(!lab.settle().changed);
    assert!(lab.compiler.set_probe_keys(None));
    assert!(lab.settle().changed);
}
