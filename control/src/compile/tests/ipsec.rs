//! IPsec tunnels: sizes by suite, UDP, and a peer that moves.

use penstock_dataplane::ids::EndpointId;
use penstock_dataplane::tables::UdpPorts;

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
