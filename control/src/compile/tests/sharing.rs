//! Equal next hops: who gets which share, and whose flows move.

use penstock_dataplane::ids::{GroupId, VrfId};
use penstock_dataplane::tables::{Hop, HopKind};

use super::lab::{Lab, SMALL, lookup};
use crate::config::Name;

/// Tunnels t0 to t5 with weights; only those in `routed` share the prefix.
fn text(weights: &[u16; 6], routed: &[usize]) -> String {
    let tunnels: String =
        (0..6).map(|i| format!("      t{i}: {{endpoint: gw, remote: 192.0.2.{}}}\n", 100 + i)).collect();
    let routes: String = routed
        .iter()
        .map(|i| format!("      - {{prefix: 10.1.0.0/16, via: t{i}, weight: {}}}\n", weights[*i]))
        .collect();
    SMALL.replace("    routes:\n", &format!("{tunnels}    routes:\n{routes}"))
}

fn buckets(lab: &Lab) -> Vec<String> {
    let vrf = lab.compiler.vrf(&Name::new("acme").unwrap()).unwrap();
    let ip = "10.1.2.3".parse().unwrap();
    let hop = lookup(lab.compiler.tables().vrf(vrf).unwrap(), ip);
    assert_eq!(hop.kind(), HopKind::Group);
    let group = lab.compiler.tables().group(GroupId(hop.slot())).unwrap();
    group.buckets().iter().map(|hop| lab.follow(*hop, ip)).collect()
}

#[test]
fn only_the_flows_of_the_lost_next_hop_move() {
    let weights = [1, 2, 3, 4, 5, 256];
    let all = [0, 1, 2, 3, 4, 5];
    let mut lab = Lab::new(&text(&weights, &all));
    let before = buckets(&lab);
    for lost in all {
        let left: Vec<usize> = all.into_iter().filter(|i| *i != lost).collect();
        lab.configure(&text(&weights, &left));
        let name = format!("tunnel acme/t{lost}");
        let mut moved = 0;
        for (old, new) in before.iter().zip(buckets(&lab)) {
            assert_ne!(new, name);
            if *old == name {
                moved += 1;
            } else {
                assert_eq!(*old, new);
            }
        }
        assert!(moved > 0 || weights[lost] < 4, "t{lost} had no flows");
        // And all of them come back.
        lab.configure(&text(&weights, &all));
        assert_eq!(buckets(&lab), before);
    }
}

#[test]
fn shares_follow_weights() {
    let weights = [1, 1, 2, 4, 1, 1];
    let lab = Lab::new(&text(&weights, &[0, 1, 2, 3]));
    let buckets = buckets(&lab);
    for (i, weight) in weights.iter().enumerate().take(4) {
        let share = buckets.iter().filter(|b| **b == format!("tunnel acme/t{i}")).count() as f64
            / buckets.len() as f64;
        let fair = f64::from(*weight) / 8.0;
        assert!((share - fair).abs() < 0.04, "t{i}: {share} instead of {fair}");
    }
}

#[test]
fn the_lowest_priority_wins_alone() {
    let with = |extra: &str| {
        SMALL.replace(
            "    routes:\n",
            &format!("      dc2: {{endpoint: gw, remote: 192.0.2.78}}\n    routes:\n{extra}"),
        )
    };
    let mut lab = Lab::new(&with("      - {prefix: 198.51.100.0/24, via: dc2, priority: 200}\n"));
    assert_eq!(lab.find("acme", "198.51.100.9"), "tunnel acme/dc1");
    lab.configure(&with("      - {prefix: 198.51.100.0/24, via: dc2, priority: 50}\n"));
    assert_eq!(lab.find("acme", "198.51.100.9"), "tunnel acme/dc2");
    lab.configure(&with("      - {prefix: 198.51.100.128/25, via: dc2, priority: 900}\n"));
    assert_eq!(lab.find("acme", "198.51.100.9"), "tunnel acme/dc1");
    assert_eq!(lab.find("acme", "198.51.100.129"), "tunnel acme/dc2");
}

#[test]
fn equal_groups_are_one_and_vanish_with_their_last_use() {
    let twice = text(&[1; 6], &[0, 1]).replace(
        "    routes:\n",
        "    routes:\n      - {prefix: 10.2.0.0/16, via: t0}\n      - {prefix: 10.2.0.0/16, via: t1}\n",
    );
    let mut lab = Lab::new(&twice);
    assert_eq!(lab.compiler.next_hops.len().1, 1);
    lab.configure(SMALL);
    assert_eq!(lab.compiler.next_hops.len().1, 0);
    // Nothing is left behind in the tables either.
    assert_eq!(lab.compiler.tables().group(GroupId(0)).unwrap().buckets(), &[] as &[Hop]);
    assert!(lab.compiler.tables().vrf(VrfId::INTERNET).is_some());
}
