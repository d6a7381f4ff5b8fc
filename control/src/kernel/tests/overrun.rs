//! Events faster than the mirror takes them.

use std::io::Write;
use std::process::Stdio;

use super::super::mirror::{Mirror, MirrorOptions};
use super::*;

#[tokio::test]
async fn lost_events_are_noticed_and_made_good() {
    const ROUTES: u32 = 3000;
    let (_kernel, _watch, name) = started("overrun").await;
    let netns = Netns::open_or_create(&name, true).expect("opened");
    // Room for a handful of events.
    let options = MirrorOptions { receive_bytes: 4096, ..MirrorOptions::default() };
    let (mirror, updates) = Mirror::start(&netns, options).expect("starts");
    let mut watch = Watch::new(updates);
    watch.until("the first reading", |s| s.link_by_name("a0").is_some()).await;

    // The test runs on one thread: while `ip` works, nobody reads the socket.
    let prefix = |i: u32| format!("10.{}.{}.0/24", i >> 8, i & 255);
    let batch = |verb: &str, range: std::ops::Range<u32>| -> String {
        range.map(|i| format!("route {verb} {} via 192.0.2.2\n", prefix(i))).collect()
    };
    let lines = batch("add", 0..ROUTES) + &batch("del", 0..ROUTES / 2);
    let mut ip_batch =
        Command::new("ip").args(["-n", &name, "-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip runs");
    ip_batch.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("written");
    assert!(ip_batch.wait().expect("ended").success());

    let tens = |s: &KernelState| s.routes.keys().filter(|p| p.to_string().starts_with("10.")).count();
    watch.until("exactly the second half", |s| tens(s) == (ROUTES - ROUTES / 2) as usize).await;
    for i in 0..ROUTES {
        assert_eq!(watch.state.routes.contains_key(&net(&prefix(i))), i >= ROUTES / 2, "{}", prefix(i));
    }
    assert!(mirror.stats().overruns >= 1, "the test did not overrun anything: {:?}", mirror.stats());
    assert!(watch.resyncs >= 2, "{}", watch.resyncs);

    // And it goes on living on events.
    sh(&format!("ip -n {name} route add 10.255.0.0/24 via 192.0.2.2"));
    watch.until("one more", |s| s.routes.contains_key(&net("10.255.0.0/24"))).await;
}

#[tokio::test]
async fn a_slow_consumer_gets_the_last_word_only() {
    let (_kernel, mut watch, name) = started("slow").await;
    for via in 2..60 {
        sh(&format!("ip -n {name} route replace 10.0.0.0/8 via 192.0.2.{via}"));
    }
    let mut updates = 0;
    let last = Some(ip("192.0.2.59"));
    let arrived =
        |s: &KernelState| s.routes.get(&net("10.0.0.0/8")).is_some_and(|r| r.nexthops[0].via == last);
    while !arrived(&watch.state) {
        let update = timeout(PATIENCE, watch.updates.recv()).await.expect("in time").expect("alive");
        watch.state.apply_all(update);
        updates += 1;
    }
    assert!(updates <= 4, "{updates} updates for one key");
}
