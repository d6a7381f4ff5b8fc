//! Interfaces, addresses and sysctls.

use super::super::KernelError;
use super::*;

#[tokio::test]
async fn a_twin_has_the_ports_mac_mtu_and_addresses_at_once() {
    let name = unique("twin");
    let (mut kernel, _updates) = Kernel::start(&name, false).expect("starts");
    let mut plan = two_ports();
    plan.interfaces[0].mtu_bytes = 9000;
    plan.local_addresses = vec![ip("203.0.113.1"), ip("2001:db8:ffff::1")];
    let applied = kernel.apply(&plan).await;
    no_problems(&applied);
    assert_eq!(applied.ports.len(), 2);

    let link = sh(&format!("ip -n {name} link show a0"));
    assert!(
        link.contains("mtu 9000") && link.contains("02:00:00:00:00:0a") && link.contains(",UP"),
        "{link}"
    );
    let addresses = sh(&format!("ip -n {name} address show"));
    for address in
        ["192.0.2.1/24", "2001:db8:a::1/64", "198.51.100.1/24", "203.0.113.1/32", "2001:db8:ffff::1/128"]
    {
        assert!(addresses.contains(address), "{address} in {addresses}");
    }
    assert!(!addresses.contains("tentative"), "{addresses}");
    // What `ip netns exec` shows is what a daemon in there will find.
    for (file, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/a0/forwarding", "1"),
        ("ipv4/conf/a0/accept_local", "1"),
        ("ipv4/conf/a0/rp_filter", "0"),
        ("ipv4/conf/a0/send_redirects", "0"),
        ("ipv6/conf/a0/accept_ra", "0"),
        ("ipv6/conf/a0/accept_dad", "0"),
    ] {
        let now = sh(&format!("ip netns exec {name} cat /proc/sys/net/{file}"));
        assert_eq!(now.trim(), value, "{file}");
    }
    kernel.close().expect("closes");
}

#[tokio::test]
async fn applying_again_changes_nothing_and_less_takes_away() {
    let (mut kernel, mut watch, name) = started("again").await;
    no_problems(&kernel.apply(&two_ports()).await);

    // Ours goes, the operator's own stays.
    sh(&format!("ip -n {name} address add 192.0.2.77/24 dev a0"));
    let mut plan = two_ports();
    plan.interfaces[0].addresses = vec![net("2001:db8:a::1/64"), net("192.0.2.9/24")];
    plan.local_addresses = vec![ip("203.0.113.1")];
    no_problems(&kernel.apply(&plan).await);
    let addresses = sh(&format!("ip -n {name} address show"));
    assert!(!addresses.contains("192.0.2.1/24") && addresses.contains("192.0.2.9/24"), "{addresses}");
    assert!(addresses.contains("192.0.2.77/24") && addresses.contains("203.0.113.1/32"), "{addresses}");

    plan.local_addresses.clear();
    plan.interfaces.remove(1);
    let applied = kernel.apply(&plan).await;
    no_problems(&applied);
    assert_eq!(applied.ports.len(), 1);
    assert!(fails(&format!("ip -n {name} link show b0")));
    assert!(!sh(&format!("ip -n {name} address show dev lo")).contains("203.0.113.1"));
    watch
        .until("b0 is gone", |s| {
            s.link_by_name("b0").is_none() && !s.routes.contains_key(&net("198.51.100.0/24"))
        })
        .await;
}

#[tokio::test]
async fn a_twin_that_somebody_deleted_is_made_again() {
    let (mut kernel, mut watch, name) = started("deleted").await;
    let before = watch.index("a0");
    sh(&format!("ip -n {name} link del a0"));
    watch.until("a0 is gone", |s| s.link_by_name("a0").is_none()).await;
    no_problems(&kernel.apply(&two_ports()).await);
    watch.until("a0 is back", |s| s.link_by_name("a0").is_some_and(|l| l.is_up() && l.index != before)).await;
    assert!(sh(&format!("ip -n {name} address show dev a0")).contains("192.0.2.1/24"));
}

#[tokio::test]
async fn what_fails_is_reported_and_the_rest_is_done() {
    let name = unique("fails");
    let (mut kernel, _updates) = Kernel::start(&name, false).expect("starts");
    sh(&format!("ip -n {name} link add b0 type veth peer name b1"));
    let mut plan = two_ports();
    plan.interfaces[0].mtu_bytes = 10;
    plan.interfaces.push(interface(2, "not a name", MAC_A, &[]));
    let applied = kernel.apply(&plan).await;
    let problems: Vec<String> = applied.problems.iter().map(ToString::to_string).collect();
    assert!(problems.iter().any(|p| p.contains("b0") && p.contains("exists")), "{problems:#?}");
    assert!(problems.iter().any(|p| p.contains("a0") && p.contains("MTU 10")), "{problems:#?}");
    assert!(applied.problems.iter().any(|p| matches!(p, KernelError::InterfaceName(_))), "{problems:#?}");
    assert!(sh(&format!("ip -n {name} address show dev a0")).contains("192.0.2.1/24"));
}

#[tokio::test]
async fn carrier_follows_the_port() {
    let (kernel, mut watch, _name) = started("carrier").await;
    kernel.set_carrier("a0", false).expect("switched off");
    watch.until("no carrier", |s| !s.link_by_name("a0").expect("there").carrier).await;
    watch.until("its routes rest", |s| !s.routes.contains_key(&net("192.0.2.0/24"))).await;
    kernel.set_carrier("a0", true).expect("switched on");
    watch
        .until("its routes are back", |s| {
            s.link_by_name("a0").expect("there").carrier && s.routes.contains_key(&net("192.0.2.0/24"))
        })
        .await;
    assert!(watch.state.routes.contains_key(&net("198.51.100.0/24")), "the other port's never went");
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let (kernel, watch, name) = started("nothing").await;
    drop(watch);
    kernel.close().expect("closes");
    assert!(!std::path::Path::new("/run/netns").join(&name).exists());
    assert!(fails("ip link show a0"), "the twin is not to appear anywhere else");

    // In a namespace that stays, the twins and what is on them go with the process.
    let name = unique("stays");
    let _gone = Gone(name.clone());
    sh(&format!("ip netns add {name}"));
    let (mut kernel, _updates) = Kernel::start(&name, false).expect("starts");
    let mut plan = two_ports();
    plan.routes = vec![forward("0.0.0.0/0", &["192.0.2.254"])];
    plan.local_addresses = vec![ip("203.0.113.1")];
    no_problems(&kernel.apply(&plan).await);
    kernel.close().expect("closes");
    assert!(!sh(&format!("ip -n {name} link")).contains("a0"));
    assert_eq!(sh(&format!("ip -n {name} route")).trim(), "");

    // A fresh start finds its own leftovers on lo and takes them away.
    let (mut kernel, _updates) = Kernel::start(&name, false).expect("starts again");
    no_problems(&kernel.apply(&two_ports()).await);
    assert!(!sh(&format!("ip -n {name} address show dev lo")).contains("203.0.113.1"));
}
