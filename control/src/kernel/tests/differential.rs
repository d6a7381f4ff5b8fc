//! The mirror that lived on events against one that has just read everything: after any number of changes
//! they must agree, or the rules for where the kernel puts a route were read wrong.

use std::io::Write;
use std::process::Stdio;

use super::super::mirror::{Mirror, MirrorOptions};
use super::*;

/// A small generator, so that a failure can be run again (Numerical Recipes' LCG).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

/// One change; it may be one that the kernel refuses.
fn change(random: &mut Random) -> String {
    let is_ipv4 = random.below(2) == 0;
    let (prefixes, vias): (&[&str], &[&str]) = if is_ipv4 {
        (&["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"], &["192.0.2.2", "192.0.2.3", "198.51.100.2"])
    } else {
        (
            &["2001:db8:1::/48", "2001:db8:2::/48", "::/0"],
            &["2001:db8:a::2", "2001:db8:a::3", "2001:db8:b::2"],
        )
    };
    let (prefix, via) = (random.pick(prefixes), random.pick(vias));
    let metric = random.pick(&["", "metric 5", "metric 7"]);
    let verb = random.pick(&["add", "add", "append", "prepend", "replace", "replace", "del", "del", "del"]);
    match random.below(8) {
        0 => format!("route {verb} blackhole {prefix} {metric}"),
        1 if verb != "del" => {
            let (other, weight) = (random.pick(vias), random.below(5) + 1);
            format!("route {verb} {prefix} {metric} nexthop via {via} nexthop via {other} weight {weight}")
        }
        2 if verb == "del" => format!("route del {prefix}"),
        3 => format!("route {verb} {prefix} via {via} {metric} proto bird"),
        _ => format!("route {verb} {prefix} via {via} {metric}"),
    }
}

#[tokio::test]
async fn living_on_events_and_reading_everything_agree() {
    let (kernel, mut watch, name) = started("differ").await;
    // Let the readings that the new links asked for pass: from here on there are to be events only.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let resyncs = kernel.stats().resyncs;
    let netns = Netns::open_or_create(&name, true).expect("opened");
    let mut random = Random(2784);
    for round in 0..60 {
        let changes: Vec<String> = (0..10).map(|_| change(&mut random)).collect();
        let mut ip_batch = Command::new("ip")
            .args(["-n", &name, "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip runs");
        ip_batch.stdin.take().expect("piped").write_all(changes.join("\n").as_bytes()).expect("written");
        let _ = ip_batch.wait().expect("ended");
        // A mark that comes after all the rest.
        sh(&format!("ip -n {name} address add 172.16.{round}.1/32 dev lo"));
        let mark = net(&format!("172.16.{round}.1/32"));
        watch.until("the mark", |s| s.addresses.iter().any(|a| a.net == mark)).await;

        let (_fresh, updates) = Mirror::start(&netns, MirrorOptions::default()).expect("starts");
        let mut fresh = Watch::new(updates);
        fresh.until("a first reading", |s| s.link_by_name("a0").is_some()).await;
        let is = &watch.state.routes;
        let should = &fresh.state.routes;
        let list = || sh(&format!("ip -n {name} route; ip -n {name} -6 route"));
        for prefix in is.keys().chain(should.keys()) {
            assert_eq!(
                is.get(prefix),
                should.get(prefix),
                "round {round}, {prefix}\n{}\n{}",
                changes.join("\n"),
                list()
            );
        }
    }
    assert_eq!(kernel.stats().resyncs, resyncs, "readings would have hidden mistakes");
}
