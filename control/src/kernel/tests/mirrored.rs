//! What the mirror shows of what others do in the namespace.

use super::super::state::{NeighbourState, RouteKind};
use super::*;

/// The next hops of the best route as `via@interface*weight`.
fn hops(state: &KernelState, prefix: &str) -> Vec<String> {
    let Some(route) = state.routes.get(&net(prefix)) else { return Vec::new() };
    let name = |index: &IfIndex| state.links.get(index).map_or("?", |l| l.name.as_str());
    let text = |h: &super::super::state::NextHop| {
        format!(
            "{}@{}*{}",
            h.via.map_or_else(|| "-".to_owned(), |v| v.to_string()),
            name(&h.interface),
            h.weight
        )
    };
    let mut hops: Vec<String> = route.nexthops.iter().map(text).collect();
    hops.sort();
    hops
}

#[tokio::test]
async fn routes_of_every_kind_come_change_and_go() {
    let (_kernel, mut watch, name) = started("routes").await;
    let run = |line: &str| sh(&format!("ip -n {name} {line}"));

    run("route add 10.0.0.0/8 via 192.0.2.2 proto bird");
    watch.until("a route", |s| hops(s, "10.0.0.0/8") == ["192.0.2.2@a0*1"]).await;
    assert_eq!(watch.state.routes[&net("10.0.0.0/8")].protocol, 12);

    run(
        "route replace 10.0.0.0/8 proto bird nexthop via 192.0.2.2 weight 1 nexthop via 198.51.100.2 weight 5",
    );
    watch.until("two paths", |s| hops(s, "10.0.0.0/8") == ["192.0.2.2@a0*1", "198.51.100.2@b0*5"]).await;

    run("route replace 10.0.0.0/8 via 192.0.2.3 proto bird");
    watch.until("one path", |s| hops(s, "10.0.0.0/8") == ["192.0.2.3@a0*1"]).await;

    for (kind, expected) in [
        ("blackhole", RouteKind::Blackhole),
        ("unreachable", RouteKind::Unreachable),
        ("prohibit", RouteKind::Unreachable),
    ] {
        run(&format!("route replace {kind} 10.0.0.0/8 proto bird"));
        watch.until(kind, |s| s.routes.get(&net("10.0.0.0/8")).is_some_and(|r| r.kind == expected)).await;
    }
    run("route del 10.0.0.0/8");
    watch.until("gone", |s| !s.routes.contains_key(&net("10.0.0.0/8"))).await;

    run("address add 203.0.113.5/32 dev lo");
    run("route add 203.0.113.64/26 dev lo");
    watch
        .until("what leaves by lo is local", |s| {
            s.routes.get(&net("203.0.113.64/26")).is_some_and(|r| r.kind == RouteKind::Local)
                && s.addresses.iter().any(|a| a.net == net("203.0.113.5/32"))
        })
        .await;

    // Other tables are other people's business.
    run("route add 10.7.0.0/16 via 192.0.2.2 table 77");
    run("route add 10.8.0.0/16 via 192.0.2.2");
    watch.until("the main table", |s| s.routes.contains_key(&net("10.8.0.0/16"))).await;
    assert!(!watch.state.routes.contains_key(&net("10.7.0.0/16")));
    assert!(
        watch
            .state
            .routes
            .keys()
            .all(|p| !p.to_string().starts_with("fe80") && !p.to_string().starts_with("ff"))
    );
}

#[tokio::test]
async fn the_lowest_metric_wins_and_the_next_one_takes_over() {
    let (_kernel, mut watch, name) = started("metric").await;
    let run = |line: &str| sh(&format!("ip -n {name} {line}"));
    run("route add 10.0.0.0/8 via 192.0.2.20 metric 20");
    run("route add 10.0.0.0/8 via 192.0.2.10 metric 10");
    run("route append 10.0.0.0/8 via 192.0.2.11 metric 10");
    run("route add 10.0.0.0/8 via 192.0.2.30 metric 30");
    watch.until("10 wins", |s| hops(s, "10.0.0.0/8") == ["192.0.2.10@a0*1"]).await;
    run("route prepend 10.0.0.0/8 via 192.0.2.9 metric 10");
    watch.until("prepended", |s| hops(s, "10.0.0.0/8") == ["192.0.2.9@a0*1"]).await;
    run("route del 10.0.0.0/8 via 192.0.2.9 metric 10");
    run("route del 10.0.0.0/8 via 192.0.2.10 metric 10");
    watch.until("the appended one", |s| hops(s, "10.0.0.0/8") == ["192.0.2.11@a0*1"]).await;
    run("route del 10.0.0.0/8 via 192.0.2.11");
    watch.until("20", |s| hops(s, "10.0.0.0/8") == ["192.0.2.20@a0*1"]).await;
    run("route del 10.0.0.0/8 via 192.0.2.20");
    watch.until("30", |s| hops(s, "10.0.0.0/8") == ["192.0.2.30@a0*1"]).await;
}

#[tokio::test]
async fn ipv6_paths_come_and_go_one_by_one() {
    let (_kernel, mut watch, name) = started("v6").await;
    let run = |line: &str| sh(&format!("ip -n {name} -6 {line}"));
    let prefix = "2001:db8:100::/48";
    run(&format!("route add {prefix} via 2001:db8:a::2"));
    watch.until("one", |s| hops(s, prefix) == ["2001:db8:a::2@a0*1"]).await;
    run(&format!("route append {prefix} via 2001:db8:b::2"));
    watch.until("grown", |s| hops(s, prefix) == ["2001:db8:a::2@a0*1", "2001:db8:b::2@b0*1"]).await;
    run(&format!("route append {prefix} via 2001:db8:b::3"));
    watch.until("grown again", |s| hops(s, prefix).len() == 3).await;
    run(&format!("route del {prefix} via 2001:db8:a::2"));
    watch.until("shrunk", |s| hops(s, prefix) == ["2001:db8:b::2@b0*1", "2001:db8:b::3@b0*1"]).await;
    run(&format!("route replace {prefix} nexthop via 2001:db8:a::5 weight 2 nexthop via 2001:db8:b::5"));
    watch.until("replaced", |s| hops(s, prefix) == ["2001:db8:a::5@a0*2", "2001:db8:b::5@b0*1"]).await;
    run(&format!("route del {prefix}"));
    watch.until("gone", |s| hops(s, prefix).is_empty()).await;
}

#[tokio::test]
async fn next_hop_objects_are_seen_through() {
    let (_kernel, mut watch, name) = started("nhid").await;
    let run = |line: &str| sh(&format!("ip -n {name} {line}"));
    run("nexthop add id 1 via 192.0.2.2 dev a0");
    run("nexthop add id 2 via 198.51.100.2 dev b0");
    run("nexthop add id 10 group 1/2,3");
    run("route add 10.0.0.0/8 nhid 10");
    watch.until("the group", |s| hops(s, "10.0.0.0/8") == ["192.0.2.2@a0*1", "198.51.100.2@b0*3"]).await;
    run("nexthop del id 1");
    watch.until("a smaller group", |s| hops(s, "10.0.0.0/8") == ["198.51.100.2@b0*1"]).await;
    run("nexthop add id 3 via 198.51.100.3 dev b0");
    run("nexthop replace id 10 group 3");
    watch.until("the changed group", |s| hops(s, "10.0.0.0/8") == ["198.51.100.3@b0*1"]).await;
    run("nexthop del id 10");
    watch.until("gone with its group", |s| !s.routes.contains_key(&net("10.0.0.0/8"))).await;
}

#[tokio::test]
async fn routes_that_the_kernel_drops_without_a_word_are_missed() {
    let (kernel, mut watch, name) = started("silent").await;
    let run = |line: &str| sh(&format!("ip -n {name} {line}"));
    run("route add 10.0.0.0/8 via 192.0.2.2");
    run("route add 10.1.0.0/16 via 198.51.100.2");
    watch.until("both", |s| !hops(s, "10.0.0.0/8").is_empty() && !hops(s, "10.1.0.0/16").is_empty()).await;
    run("link set a0 down");
    watch.until("gone with the link", |s| hops(s, "10.0.0.0/8").is_empty()).await;
    assert!(!hops(&watch.state, "10.1.0.0/16").is_empty(), "the other link's stays");
    run("address del 198.51.100.1/24 dev b0");
    watch.until("gone with the address", |s| hops(s, "10.1.0.0/16").is_empty()).await;
    assert_eq!(kernel.stats().overruns, 0);
    assert_eq!(kernel.stats().unreadable, 0, "this library can read this kernel");
}

#[tokio::test]
async fn neighbours_set_by_hand_are_shown_and_usable() {
    let (_kernel, mut watch, name) = started("neigh").await;
    let index = watch.index("a0");
    sh(&format!("ip -n {name} neigh add 192.0.2.50 lladdr 02:11:22:33:44:55 dev a0"));
    watch
        .until("it is there", |s| {
            s.usable_mac(index, ip("192.0.2.50")) == Some([2, 0x11, 0x22, 0x33, 0x44, 0x55])
                && s.neighbours[&(index, ip("192.0.2.50"))].state == NeighbourState::Permanent
        })
        .await;
    sh(&format!("ip -n {name} neigh del 192.0.2.50 dev a0"));
    watch.until("it is gone", |s| s.usable_mac(index, ip("192.0.2.50")).is_none()).await;
}
