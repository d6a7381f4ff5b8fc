//! MTU and MSS of tunnels, and the path MTU that is learned.

use std::time::{Duration, Instant};

use super::lab::{Lab, SMALL};
use crate::compile::{PATH_MTU_AGE, PathMtu, PathMtuSource};
use crate::config::Name;

fn size(lab: &Lab) -> String {
    lab.tunnel("acme", "dc1").split(" by ").next().unwrap().to_owned()
}

fn with(keys: &str) -> String {
    SMALL.replace("address: [10.255.0.0/31]", &format!("address: [10.255.0.0/31]\n        {keys}"))
}

#[test]
fn every_row_of_the_table_of_sizes() {
    let v6 = |text: &str| {
        text.replace("203.0.113.1", "2001:db8:ffff::1")
            .replace("remote: 192.0.2.77", "remote: 2001:db8::77")
            .replace("[192.0.2.1/24]", "[192.0.2.1/24, 2001:db8::1/64]")
    };
    for (text, expected) in [
        (SMALL.to_owned(), "mtu 1476 mss 1436/1416"),
        (with("key: 7"), "mtu 1472 mss 1432/1412"),
        (with("checksum: true"), "mtu 1472 mss 1432/1412"),
        (with("key: 0\n        checksum: true"), "mtu 1468 mss 1428/1408"),
        (v6(SMALL), "mtu 1456 mss 1416/1396"),
        (v6(&with("key: 7")), "mtu 1452 mss 1412/1392"),
        (with("mtu: 1400"), "mtu 1400 mss 1360/1340"),
        // More than the link takes cannot be meant.
        (with("mtu: 1490"), "mtu 1476 mss 1436/1416"),
        (with("mss: off"), "mtu 1476 mss off/off"),
        (with("mss: 1360"), "mtu 1476 mss 1360/1360"),
        (SMALL.replace("net_null0", "net_null0\n    mtu: 9000"), "mtu 8976 mss 8936/8916"),
    ] {
        let mut lab = Lab::new(&text);
        lab.wire_up();
        lab.address(2, "2001:db8::1/64");
        lab.route("2001:db8::/64", &[(None, 2, 1)]);
        assert_eq!(size(&lab), expected, "{text}");
    }
}

#[test]
fn the_smallest_link_counts_when_outer_packets_have_several() {
    let text = SMALL.replace(
        "endpoints:",
        "  core0: {device: net_null1, mtu: 1400, addresses: [10.0.0.1/24]}\nendpoints:",
    );
    let mut lab = Lab::new(&text.replace("192.0.2.77", "100.64.0.77"));
    lab.wire_up();
    lab.link(3, "core0");
    assert_eq!(size(&lab), "mtu 1476 mss 1436/1416");
    lab.route("100.64.0.0/10", &[(Some("192.0.2.254"), 2, 1), (Some("10.0.0.2"), 3, 1)]);
    assert_eq!(size(&lab), "mtu 1376 mss 1336/1316");
}

#[test]
fn a_path_mtu_is_learned_and_forgotten() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let name = |text: &str| Name::new(text).unwrap();
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    let start = Instant::now();
    assert!(lab.compiler.learn_path_mtu(id, 1400, start));
    assert!(lab.settle().changed);
    assert_eq!(size(&lab), "mtu 1376 mss 1336/1316");
    // A larger one while that lives says nothing; a smaller one counts, but not below the floor.
    assert!(!lab.compiler.learn_path_mtu(id, 1450, start + Duration::from_secs(1)));
    assert!(lab.compiler.learn_path_mtu(id, 68, start + Duration::from_secs(60)));
    lab.settle();
    assert_eq!(size(&lab), "mtu 552 mss 512/492");
    let view = lab.compiler.tunnels().next().unwrap().path_mtu.unwrap();
    let expires = start + Duration::from_secs(60) + PATH_MTU_AGE;
    assert_eq!(view, PathMtu { outer: 576, source: PathMtuSource::Icmp { expires } });
    assert_eq!(lab.compiler.next_ageing(), Some(expires));
    assert!(!lab.compiler.age_path_mtus(expires - Duration::from_secs(1)));
    assert!(lab.compiler.age_path_mtus(expires));
    assert!(lab.settle().changed);
    assert_eq!(size(&lab), "mtu 1476 mss 1436/1416");
    assert_eq!(lab.compiler.next_ageing(), None);
    // Another remote is another path; and a tunnel that is gone learns nothing.
    assert!(lab.compiler.learn_path_mtu(id, 1300, start));
    lab.configure(&SMALL.replace("192.0.2.77", "192.0.2.78"));
    assert_eq!(size(&lab), "mtu 1476 mss 1436/1416");
    assert_eq!(lab.compiler.next_ageing(), None);
    assert!(!lab.compiler.learn_path_mtu(penstock_dataplane::ids::TunnelId(99), 1300, start));
}

#[test]
fn the_floor_of_ipv6_is_1280() {
    let text = SMALL.replace("203.0.113.1", "2001:db8:ffff::1").replace("192.0.2.77", "2001:db8::77");
    let mut lab = Lab::new(&text);
    let name = |text: &str| Name::new(text).unwrap();
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    assert!(lab.compiler.learn_path_mtu(id, 600, Instant::now()));
    lab.settle();
    assert_eq!(size(&lab), "mtu 1236 mss 1196/1176");
}

#[test]
fn what_was_probed_stays_until_the_next_result() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let name = |text: &str| Name::new(text).unwrap();
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    let start = Instant::now();
    let path = |lab: &Lab| lab.compiler.tunnels().next().unwrap().path_mtu;
    let sizes = lab.compiler.path_sizes(id).unwrap();
    assert_eq!((sizes.floor, sizes.base, sizes.most, sizes.grain), (552, 1176, 1476, 1));
    assert!(lab.compiler.set_probed_mtu(id, Some(1376), start));
    assert!(!lab.compiler.set_probed_mtu(id, Some(1376), start));
    assert!(lab.settle().changed);
    assert_eq!(size(&lab), "mtu 1376 mss 1336/1316");
    assert_eq!(path(&lab), Some(PathMtu { outer: 1400, source: PathMtuSource::Probed { since: start } }));
    assert_eq!(lab.compiler.path_sizes(id), Some(sizes), "what is known is no reason to look for less");
    assert!(!lab.compiler.age_path_mtus(start + PATH_MTU_AGE * 100));
    // A router that says no less says nothing new; one that says less is believed at once, until the next result.
    assert!(!lab.compiler.learn_path_mtu(id, 1400, start));
    assert!(lab.compiler.learn_path_mtu(id, 1300, start));
    lab.settle();
    assert_eq!(size(&lab), "mtu 1276 mss 1236/1216");
    assert_eq!(lab.compiler.inner_mtu(id, 1300), Some(1276));
    assert!(matches!(path(&lab).unwrap().source, PathMtuSource::Icmp { .. }));
    assert!(lab.compiler.set_probed_mtu(id, Some(1376), start));
    lab.settle();
    assert_eq!((size(&lab).as_str(), lab.compiler.next_ageing()), ("mtu 1376 mss 1336/1316", None));
    // All passes; then the tunnel is not probed any more; then it has another remote.
    assert!(lab.compiler.set_probed_mtu(id, None, start));
    lab.settle();
    assert_eq!((size(&lab).as_str(), path(&lab)), ("mtu 1476 mss 1436/1416", None));
    for forget in [0, 1] {
        assert!(lab.compiler.set_probed_mtu(id, Some(1376), start));
        if forget == 0 {
            lab.compiler.keep_probed_mtus(|_| false);
            lab.settle();
        } else {
            lab.configure(&SMALL.replace("192.0.2.77", "192.0.2.78"));
        }
        assert_eq!((size(&lab).as_str(), path(&lab)), ("mtu 1476 mss 1436/1416", None));
    }
}

#[test]
fn sizes_to_probe_follow_the_tunnel() {
    let v6 = SMALL.replace("203.0.113.1", "2001:db8:ffff::1").replace("192.0.2.77", "2001:db8::77");
    for (text, expected) in [
        (with("key: 7"), (548, 1172, 1472, 1)),
        (with("mtu: 1400"), (552, 1176, 1400, 1)),
        // AES-GCM: four bytes are a block.
        (with("type: ipsec"), (522, 1146, 1446, 4)),
        (v6, (1236, 1236, 1456, 1)),
    ] {
        let mut lab = Lab::new(&text);
        lab.wire_up();
        let name = |text: &str| Name::new(text).unwrap();
        let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
        let sizes = lab.compiler.path_sizes(id).unwrap();
        assert_eq!((sizes.floor, sizes.base, sizes.most, sizes.grain), expected, "{text}");
    }
}
