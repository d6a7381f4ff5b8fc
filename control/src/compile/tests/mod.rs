//! Configurations and kernel states in, tables out, asked by real look-ups.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

mod fleet;
mod health;
mod incremental;
mod ipsec;
mod lab;
mod sequences;
mod sharing;
mod sizes;
mod underlay;

use lab::{Lab, SMALL};

#[test]
fn a_packet_finds_its_way() {
    let mut lab = Lab::new(SMALL);
    lab.wire_up();
    // From the Internet.
    assert_eq!(lab.find("internet", "203.0.113.1"), "endpoint gw");
    assert_eq!(lab.find("internet", "192.0.2.1"), "local");
    assert_eq!(lab.find("internet", "198.51.100.9"), "tunnel acme/dc1");
    assert_eq!(lab.find("internet", "8.8.8.8"), "edge0 via 192.0.2.254 resolved");
    assert_eq!(lab.find("internet", "192.0.2.254"), "edge0 via 192.0.2.254 resolved");
    assert_eq!(lab.find("internet", "192.0.2.99"), "edge0 unresolved");
    assert_eq!(lab.find("internet", "2001:db8::1"), "no route");
    // From the tenant.
    assert_eq!(lab.find("acme", "198.51.100.9"), "tunnel acme/dc1");
    assert_eq!(lab.find("acme", "10.255.0.0"), "address in acme/dc1");
    assert_eq!(lab.find("acme", "10.255.0.1"), "tunnel acme/dc1");
    assert_eq!(lab.find("acme", "8.8.8.8"), "edge0 via 192.0.2.254 resolved");
    assert_eq!(lab.find("acme", "10.66.0.1"), "blackhole");
    assert_eq!(lab.find("acme", "10.67.0.1"), "unreachable");
    // The tunnel's own packets.
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by edge0 via 192.0.2.77 unresolved");
    lab.neighbour(2, "192.0.2.77", Some(7));
    assert_eq!(lab.tunnel("acme", "dc1"), "mtu 1476 mss 1436/1416 by edge0 via 192.0.2.77 resolved");
}

#[test]
fn tenants_with_the_same_prefixes_are_apart() {
    let mut lab = Lab::new(
        &SMALL.replace(
            "tenants:\n",
            "tenants:\n  beta:\n    tunnels:\n      b1: {endpoint: gw, remote: 192.0.2.80, address: [10.255.0.0/31]}\n    \
             routes:\n      - {prefix: 198.51.100.0/24, via: b1}\n",
        ),
    );
    lab.wire_up();
    assert_eq!(lab.find("beta", "198.51.100.9"), "tunnel beta/b1");
    assert_eq!(lab.find("beta", "10.255.0.0"), "address in beta/b1");
    assert_eq!(lab.find("acme", "198.51.100.9"), "tunnel acme/dc1");
    assert_eq!(lab.find("internet", "198.51.100.9"), "tunnel acme/dc1");
    assert_eq!(lab.find("beta", "8.8.8.8"), "no route");
}

#[test]
fn only_known_sources_come_out_of_a_tunnel() {
    let mut lab = Lab::new(&SMALL.replace(
        "    routes:\n",
        "      open: {endpoint: gw, remote: 192.0.2.81, source_filter: off}\n      \
             own: {endpoint: gw, remote: 192.0.2.82, source_filter: [10.9.0.0/16]}\n      \
             none: {endpoint: gw, remote: 192.0.2.83, source_filter: []}\n    routes:\n      \
             - {prefix: 10.2.0.0/16, via: own}\n",
    ));
    lab.wire_up();
    for (tunnel, source, accepted) in [
        ("dc1", "198.51.100.1", true),
        ("dc1", "10.2.0.1", true),
        ("dc1", "10.255.0.1", true),
        ("dc1", "8.8.8.8", false),
        ("dc1", "2001:db8::1", false),
        ("open", "8.8.8.8", true),
        ("own", "10.9.1.1", true),
        ("own", "198.51.100.1", false),
        ("none", "198.51.100.1", false),
    ] {
        assert_eq!(lab.accepts("acme", tunnel, source), accepted, "{tunnel} {source}");
    }
    // A default route through a tunnel accepts every source of its family.
    lab.configure(&SMALL.replace(
        "routes:\n      -",
        "routes:\n      - {prefix: 0.0.0.0/0, via: dc1, priority: 900}\n      -",
    ));
    assert!(lab.accepts("acme", "dc1", "8.8.8.8"));
    assert!(!lab.accepts("acme", "dc1", "2001:db8::1"));
}

#[test]
fn a_tenant_on_a_vlan_has_its_own_links() {
    let text = SMALL
        .replace(
            "[192.0.2.1/24]",
            "[192.0.2.1/24]\n    vlans: {200: {addresses: [10.20.0.1/24], tenant: acme, mtu: 1400}}",
        )
        .replace("    routes:\n", "    routes:\n      - {prefix: 10.3.0.0/16, via: 10.20.0.2}\n");
    let mut lab = Lab::new(&text);
    lab.wire_up();
    lab.link(5, "edge0.200");
    lab.address(5, "10.20.0.1/24");
    lab.route("10.20.0.0/24", &[(None, 5, 1)]);
    assert_eq!(lab.find("acme", "10.3.0.1"), "edge0.200 via 10.20.0.2 unresolved");
    assert_eq!(lab.find("acme", "10.20.0.1"), "local");
    assert_eq!(lab.find("acme", "10.20.0.9"), "edge0.200 unresolved");
    lab.neighbour(5, "10.20.0.2", Some(9));
    assert_eq!(lab.find("acme", "10.3.0.1"), "edge0.200 via 10.20.0.2 resolved");
    assert_eq!(lab.find("acme", "10.20.0.2"), "edge0.200 via 10.20.0.2 resolved");
    // The underlay knows nothing of it.
    assert_eq!(lab.find("internet", "10.20.0.1"), "edge0 via 192.0.2.254 resolved");
    assert_eq!(lab.find("internet", "10.3.0.1"), "edge0 via 192.0.2.254 resolved");
}

#[test]
fn a_vlan_that_comes_or_goes_leaves_the_numbers_of_others() {
    let with =
        |vlans: &str| SMALL.replace("[192.0.2.1/24]", &format!("[192.0.2.1/24]\n    vlans: {{{vlans}}}"));
    let mut lab = Lab::new(&with("100: {}, 200: {}"));
    lab.wire_up();
    let number = |lab: &Lab, name: &str| {
        let plan = lab.compiler.twin_plan();
        plan.interfaces.iter().find(|i| i.name == name).map(|i| i.interface)
    };
    let before = number(&lab, "edge0.200");
    lab.configure(&with("50: {}, 200: {}, 300: {}"));
    assert_eq!(number(&lab, "edge0.200"), before);
    assert_eq!(number(&lab, "edge0.100"), None);
    let table = lab.compiler.tables().interfaces.clone();
    let port = penstock_dataplane::ids::PortId(0);
    assert_eq!(table.tagged(port, 200), before);
    assert_eq!(table.tagged(port, 100), None);
    assert!(table.tagged(port, 300).is_some() && table.untagged(port).is_some());
    assert_eq!(lab.find("internet", "8.8.8.8"), "edge0 via 192.0.2.254 resolved");
}

#[test]
fn the_plan_for_the_kernel() {
    let lab = Lab::new(&SMALL.replace(
        "endpoints:",
        "routes:\n  - {prefix: 0.0.0.0/0, via: 192.0.2.254, weight: 3}\n  - {prefix: 0.0.0.0/0, via: 192.0.2.253}\n  \
         - {prefix: 10.0.0.0/8, via: blackhole}\nendpoints:",
    ));
    let plan = lab.compiler.twin_plan();
    assert_eq!(plan.interfaces.len(), 1);
    assert_eq!((plan.interfaces[0].name.as_str(), plan.interfaces[0].mac), ("edge0", [2, 0, 0, 0, 0, 1]));
    assert_eq!(plan.local_addresses, ["203.0.113.1".parse::<std::net::IpAddr>().unwrap()]);
    let routes: Vec<String> = plan.routes.iter().map(|r| format!("{} {:?}", r.prefix, r.action)).collect();
    assert_eq!(routes.len(), 2);
    assert!(
        routes[0].starts_with("0.0.0.0/0 Forward") && routes[0].matches("weight").count() == 2,
        "{routes:?}"
    );
    assert_eq!(routes[1], "10.0.0.0/8 Blackhole");
}
