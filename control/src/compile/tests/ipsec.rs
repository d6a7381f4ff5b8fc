//! IPsec tunnels: sizes by suite, UDP, and a peer that moves.

use penstock_dataplane::ids::EndpointId;
use penstock_dataplane::tables::{Hop, UdpPorts};

use super::lab::{Lab, SMALL};
use crate::compile::{EspForm, Peer};
use crate::config::Name;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn ipsec() -> String {
    SMALL.replace("endpoint: gw", "type: ipsec\n        endpoint: gw")
}

fn form(suites: &[&str], udp: bool) -> EspForm {
    EspForm {
        suites: suites.iter().map(|suite| suite.parse().unwrap()).collect(),
        udp: udp.then_some(UdpPorts { local: 4500, remote: 4500 }),
        remote: None,
    }
}

fn set(lab: &mut Lab, form: &EspForm) -> bool {
    let news = lab.compiler.set_esp(&name("acme"), &name("dc1"), form);
    lab.settle();
    news
}

fn size(lab: &Lab) -> String {
    lab.tunnel("acme", "dc1").split(" by ").next().unwrap().to_owned()
}

#[test]
fn every_row_of_the_table_of_sizes() {
    let v6 = |text: &str| {
        text.replace("203.0.113.1", "2001:db8:ffff::1")
            .replace("remote: 192.0.2.77", "remote: 2001:db8::77")
            .replace("[192.0.2.1/24]", "[192.0.2.1/24, 2001:db8::1/64]")
    };
    for (text, suites, udp, expected) in [
        (ipsec(), &["aes128gcm16"][..], false, "mtu 1446 mss 1406/1386"),
        (ipsec(), &["aes128gcm16"], true, "mtu 1438 mss 1398/1378"),
        (ipsec(), &["aes128-sha256"], false, "mtu 1438 mss 1398/1378"),
        (ipsec(), &["aes256-sha256"], true, "mtu 1422 mss 1382/1362"),
        (v6(&ipsec()), &["aes256gcm16"], false, "mtu 1426 mss 1386/1366"),
        (v6(&ipsec()), &["aes256gcm16"], true, "mtu 1418 mss 1378/1358"),
        (ipsec(), &["null-sha256"], false, "mtu 1454 mss 1414/1394"),
        // Without an association AES-GCM is expected; with several the largest packet fits them all.
        (ipsec(), &[], false, "mtu 1446 mss 1406/1386"),
        (ipsec(), &["aes128gcm16", "null-sha256", "aes128-sha256"], false, "mtu 1438 mss 1398/1378"),
        (
            ipsec().replace("remote:", "mtu: 1400\n        remote:"),
            &["aes128gcm16"],
            true,
            "mtu 1400 mss 1360/1340",
        ),
    ] {
        let mut lab = Lab::new(&text);
        lab.wire_up();
        set(&mut lab, &form(suites, udp));
        assert_eq!(size(&lab), expected, "{suites:?} {udp}");
    }
}

#[test]
fn only_news_changes_a_tunnel() {
    let mut lab = Lab::new(&ipsec());
    lab.wire_up();
    assert!(!set(&mut lab, &EspForm::default()));
    assert!(set(&mut lab, &form(&["aes128-sha256"], false)));
    assert!(!set(&mut lab, &form(&["aes128-sha256"], false)));
    assert!(!lab.compiler.set_esp(&name("acme"), &name("dc9"), &form(&[], true)));
    // A path MTU counts with the suite's own overhead.
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    assert!(lab.compiler.learn_path_mtu(id, 1400, std::time::Instant::now()));
    lab.settle();
    assert_eq!(size(&lab), "mtu 1326 mss 1286/1266");
}

#[test]
fn a_peer_that_moves_takes_its_packets_along() {
    let mut lab = Lab::new(&ipsec());
    lab.wire_up();
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    let peer = Peer { address: "100.64.0.9".parse().unwrap(), port: 31_000 };
    let way = |lab: &Lab| lab.tunnel("acme", "dc1").split(" by ").nth(1).unwrap().to_owned();
    // Without UDP there is no NAT that could move it.
    assert!(!lab.compiler.learn_peer(id, peer));
    set(&mut lab, &form(&[], true));
    lab.route("100.64.0.0/10", &[(Some("192.0.2.253"), 2, 1)]);
    assert_eq!(way(&lab), "edge0 via 192.0.2.77 unresolved");
    assert!(lab.compiler.learn_peer(id, peer));
    assert!(!lab.compiler.learn_peer(id, peer));
    assert!(lab.settle().changed);
    assert_eq!(way(&lab), "edge0 via 192.0.2.253 unresolved");
    assert_eq!(lab.compiler.tunnels().next().unwrap().peer, Some(peer));
    // A route to where it is now counts.
    lab.route("100.64.0.0/10", &[(Some("192.0.2.252"), 2, 1)]);
    assert_eq!(way(&lab), "edge0 via 192.0.2.252 unresolved");
    // Another family cannot be, and another remote is another peer.
    let v6 = Peer { address: "2001:db8::9".parse().unwrap(), port: 1 };
    assert!(!lab.compiler.learn_peer(id, v6));
    lab.configure(&ipsec().replace("192.0.2.77", "192.0.2.78"));
    assert_eq!(way(&lab), "edge0 via 192.0.2.78 unresolved");
    assert_eq!(lab.compiler.tunnels().next().unwrap().peer, None);
}

/// A tunnel whose router may be anywhere.
fn anywhere() -> String {
    ipsec()
        .replace("remote: 192.0.2.77", "remote: any\n        ike: {psk_file: /x, remote_id: router.example}")
}

fn from(address: &str, udp: bool) -> EspForm {
    EspForm { remote: Some(address.parse().unwrap()), ..form(&["aes128gcm16"], udp) }
}

#[test]
fn a_peer_that_may_be_anywhere_is_nowhere_until_it_comes() {
    let mut lab = Lab::new(&anywhere());
    lab.wire_up();
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    let remote = |lab: &Lab| lab.compiler.tunnels().next().unwrap().remote.map(|ip| ip.to_string());
    // It is there, without a way out: packets find it, and no association.
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1446 mss 1406/1386 by nowhere");
    assert_eq!(lab.find("acme", "198.51.100.1"), "tunnel acme/dc1");
    assert_eq!(lab.compiler.tables().tunnel(id).unwrap().underlay(), Hop::NO_ROUTE);
    assert_eq!(remote(&lab), None);
    // A route that covers no address, or all, does not concern it.
    assert!(lab.compiler.tunnels().next().unwrap().underlay.is_empty());
    // It comes, from behind the default router.
    assert!(set(&mut lab, &from("100.64.0.9", false)));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1446 mss 1406/1386 by edge0 via 192.0.2.254 resolved");
    assert_eq!(remote(&lab), Some("100.64.0.9".into()));
    // A route to where it is counts, and a path MTU.
    lab.route("100.64.0.0/10", &[(Some("192.0.2.253"), 2, 1)]);
    assert!(lab.tunnel("acme", "dc1").ends_with("edge0 via 192.0.2.253 unresolved"));
    assert!(lab.compiler.learn_path_mtu(id, 1400, std::time::Instant::now()));
    lab.settle();
    assert_eq!(size(&lab), "mtu 1346 mss 1306/1286");
    // It comes again from elsewhere: what was learned of the old path is void.
    assert!(set(&mut lab, &from("192.0.2.80", true)));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1438 mss 1398/1378 by edge0 via 192.0.2.80 unresolved");
    let hops = [(Some("192.0.2.252"), 2, 1)];
    lab.route("100.64.0.0/10", &hops);
    assert!(!lab.settle().changed, "a route to where it was");
    // It moves, behind its NAT.
    assert!(lab.compiler.learn_peer(id, Peer { address: "192.0.2.81".parse().unwrap(), port: 31_000 }));
    lab.settle();
    assert_eq!(remote(&lab), Some("192.0.2.81".into()));
    // What else changes in the configuration leaves it where it is.
    lab.configure(&anywhere().replace("psk_file: /x", "psk_file: /x, dpd: 10s"));
    assert_eq!(remote(&lab), Some("192.0.2.81".into()));
    // It is gone.
    assert!(set(&mut lab, &EspForm::default()));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1446 mss 1406/1386 by nowhere");
    assert_eq!(remote(&lab), None);
}

#[test]
fn a_peer_of_the_other_family_is_nowhere() {
    let mut lab = Lab::new(&anywhere());
    lab.wire_up();
    set(&mut lab, &from("2001:db8::9", false));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1446 mss 1406/1386 by nowhere");
    let v6 = anywhere().replace("203.0.113.1", "2001:db8:ffff::1");
    let mut lab = Lab::new(&v6.replace("[192.0.2.1/24]", "[192.0.2.1/24, 2001:db8::1/64]"));
    lab.wire_up();
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1426 mss 1386/1366 by nowhere");
    set(&mut lab, &from("2001:db8::9", false));
    assert!(lab.tunnel("acme", "dc1").starts_with("mtu 1426 mss 1386/1366 by "));
    assert_eq!(lab.compiler.tunnels().next().unwrap().remote, Some("2001:db8::9".parse().unwrap()));
}

#[test]
fn a_configured_remote_comes_and_goes() {
    let mut lab = Lab::new(&ipsec());
    lab.wire_up();
    let remote = |lab: &Lab| lab.compiler.tunnels().next().unwrap().remote.map(|ip| ip.to_string());
    lab.configure(&anywhere());
    assert_eq!(remote(&lab), None);
    lab.configure(&ipsec());
    assert_eq!(remote(&lab), Some("192.0.2.77".into()));
    assert_eq!(size(&lab), "mtu 1446 mss 1406/1386");
    lab.configure(&anywhere());
    lab.configure(SMALL);
    assert_eq!(size(&lab), "mtu 1476 mss 1436/1416");
}

#[test]
fn workers_know_where_the_peers_are() {
    let mut lab = Lab::new(&ipsec());
    lab.wire_up();
    let known = |lab: &Lab| -> Vec<&str> {
        let addresses = ["192.0.2.77", "192.0.2.78", "100.64.0.9"];
        let tables = lab.compiler.tables();
        let is_known = |address: &&str| tables.is_remote(EndpointId(0), address.parse().unwrap());
        addresses.into_iter().filter(is_known).collect()
    };
    assert_eq!(known(&lab), ["192.0.2.77"]);
    set(&mut lab, &form(&["aes128-sha256"], true));
    assert_eq!(known(&lab), ["192.0.2.77"]);
    let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
    let peer = Peer { address: "100.64.0.9".parse().unwrap(), port: 31_000 };
    assert!(lab.compiler.learn_peer(id, peer));
    lab.settle();
    assert_eq!(known(&lab), ["100.64.0.9"]);
    lab.configure(&ipsec().replace("192.0.2.77", "192.0.2.78"));
    assert_eq!(known(&lab), ["192.0.2.78"]);
    // As GRE, it is the remote of a tunnel as well; and as IPsec once more.
    for text in [SMALL.to_owned(), ipsec(), SMALL.replace("192.0.2.77", "192.0.2.78"), ipsec()] {
        lab.configure(&text);
        let remote = if text.contains("192.0.2.78") { "192.0.2.78" } else { "192.0.2.77" };
        assert_eq!(known(&lab), [remote]);
    }
}

#[test]
fn a_tunnel_can_change_its_type() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    let is_esp = |lab: &Lab| {
        let id = lab.compiler.tunnel_id(&name("acme"), &name("dc1")).unwrap();
        lab.compiler.tables().tunnel(id).unwrap().is_esp()
    };
    assert!(!is_esp(&lab));
    lab.configure(&ipsec());
    assert!(is_esp(&lab));
    lab.configure(SMALL);
    assert!(!is_esp(&lab));
    assert_eq!(size(&lab), "mtu 1476 mss 1436/1416");
}
