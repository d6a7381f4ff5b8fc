//! Static routes of the configuration.

use super::*;

fn show(name: &str, family: &str) -> String {
    sh(&format!("ip -n {name} -{family} route show proto 178"))
}

#[tokio::test]
async fn are_installed_changed_and_removed_and_nobody_elses_is_touched() {
    let (mut kernel, mut watch, name) = started("static").await;
    sh(&format!("ip -n {name} route add 10.9.0.0/16 via 192.0.2.99"));
    let mut plan = two_ports();
    plan.routes = vec![
        forward("0.0.0.0/0", &["192.0.2.254"]),
        forward("::/0", &["2001:db8:a::fe"]),
        forward("10.1.0.0/16", &["192.0.2.2", "198.51.100.2"]),
        forward("2001:db8:100::/48", &["2001:db8:a::2", "2001:db8:b::2"]),
        // RFC 8950: an IPv4 prefix behind an IPv6 router.
        forward("10.6.0.0/16", &["2001:db8:a::6"]),
        RoutePlan { prefix: net("10.2.0.0/16"), action: RouteAction::Blackhole, metric: Some(50) },
        RoutePlan { prefix: net("2001:db8:dead::/48"), action: RouteAction::Unreachable, metric: None },
        RoutePlan {
            prefix: net("10.3.0.0/16"),
            action: RouteAction::Forward(vec![NextHopPlan {
                via: None,
                interface: Some("b0".into()),
                weight: 1,
            }]),
            metric: None,
        },
    ];
    if let RouteAction::Forward(hops) = &mut plan.routes[2].action {
        hops[1].weight = 3;
    }
    no_problems(&kernel.apply(&plan).await);
    let first = (show(&name, "4"), show(&name, "6"));
    assert!(first.0.contains("default via 192.0.2.254 dev a0"), "{}", first.0);
    assert!(first.0.contains("blackhole 10.2.0.0/16 metric 50"), "{}", first.0);
    assert!(first.0.contains("nexthop via 198.51.100.2 dev b0 weight 3"), "{}", first.0);
    assert!(first.0.contains("10.6.0.0/16 via inet6 2001:db8:a::6 dev a0"), "{}", first.0);
    assert!(first.0.contains("10.3.0.0/16 dev b0 scope link"), "{}", first.0);
    assert!(first.1.contains("default via 2001:db8:a::fe dev a0"), "{}", first.1);
    assert!(first.1.contains("unreachable 2001:db8:dead::/48"), "{}", first.1);
    assert!(first.1.matches("nexthop via").count() == 2, "{}", first.1);
    watch
        .until("they come back by the mirror", |s| {
            s.routes.get(&net("10.1.0.0/16")).is_some_and(|r| r.nexthops.iter().map(|h| h.weight).eq([1, 3]))
                && s.routes
                    .get(&net("10.6.0.0/16"))
                    .is_some_and(|r| r.nexthops[0].via == Some(ip("2001:db8:a::6")))
                && s.routes.contains_key(&net("::/0"))
        })
        .await;

    let monitor = |line: &str| sh(line);
    no_problems(&kernel.apply(&plan).await);
    assert_eq!((show(&name, "4"), show(&name, "6")), first, "again");

    plan.routes.truncate(2);
    plan.routes[0] = forward("0.0.0.0/0", &["198.51.100.254"]);
    plan.routes[1] = forward("::/0", &["2001:db8:a::fe", "2001:db8:b::fe"]);
    no_problems(&kernel.apply(&plan).await);
    assert_eq!(show(&name, "4").trim(), "default via 198.51.100.254 dev b0");
    assert_eq!(show(&name, "6").matches("nexthop via").count(), 2);
    assert!(monitor(&format!("ip -n {name} route")).contains("10.9.0.0/16 via 192.0.2.99"));
}

#[tokio::test]
async fn one_that_cannot_be_is_explained() {
    let (mut kernel, _watch, name) = started("bad").await;
    sh(&format!("ip -n {name} route add 10.9.0.0/16 via 192.0.2.99"));
    let mut plan = two_ports();
    plan.routes = vec![
        forward("10.1.0.0/16", &["203.0.113.77"]),
        forward("10.9.0.0/16", &["192.0.2.2"]),
        forward("10.2.0.0/16", &["192.0.2.2"]),
        RoutePlan {
            prefix: net("10.3.0.0/16"),
            action: RouteAction::Forward(vec![NextHopPlan {
                via: None,
                interface: Some("c0".into()),
                weight: 1,
            }]),
            metric: None,
        },
    ];
    let problems: Vec<String> = kernel.apply(&plan).await.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    let about = |prefix: &str, hint: &str| problems.iter().any(|p| p.contains(prefix) && p.contains(hint));
    assert!(about("10.1.0.0/16", "inside the prefix"), "{problems:#?}");
    assert!(about("10.9.0.0/16", "another route"), "{problems:#?}");
    assert!(about("10.3.0.0/16", "no interface c0"), "{problems:#?}");
    assert!(show(&name, "4").contains("10.2.0.0/16"));
    assert!(
        sh(&format!("ip -n {name} route")).contains("10.9.0.0/16 via 192.0.2.99"),
        "the operator's stays"
    );
}
