//! Waits, step by step.

use std::time::{Duration, Instant};

use super::*;
use crate::fleet::nodes::barrier::{Barrier, Late, Live};

const LIMIT: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn live(node: &str, incarnation: u64, applied: u64) -> Live {
    Live { name: name(node), incarnation: Incarnation(incarnation), applied }
}

/// Two others, who have nothing.
fn two(now: Instant) -> Barrier<&'static str> {
    let mut barrier = Barrier::new(LIMIT);
    barrier.set_live(now, [live("a", 1, 0), live("b", 1, 0)]);
    barrier
}

fn over(barrier: &mut Barrier<&'static str>) -> Vec<(&'static str, Duration, Vec<String>)> {
    let late = |names: Vec<Name>| names.iter().map(ToString::to_string).collect();
    barrier
        .take_over()
        .into_iter()
        .map(|(token, outcome)| (token, outcome.took, late(outcome.late)))
        .collect()
}

#[test]
fn a_node_alone_does_not_wait() {
    let now = Instant::now();
    let mut barrier = Barrier::new(LIMIT);
    barrier.wait(now, 7, "one");
    assert_eq!(over(&mut barrier), [("one", Duration::ZERO, vec![])]);
    assert_eq!((barrier.next(), barrier.counters().barriers), (None, 1));
}

#[test]
fn it_is_over_when_all_have_it() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.wait(now, 7, "seven");
    barrier.wait(now, 9, "nine");
    barrier.applied(now + ms(2), &name("a"), Incarnation(1), 9);
    barrier.applied(now + ms(3), &name("b"), Incarnation(1), 6);
    assert_eq!(over(&mut barrier), []);
    barrier.applied(now + ms(4), &name("b"), Incarnation(1), 8);
    assert_eq!(over(&mut barrier), [("seven", ms(4), vec![])]);
    // What comes late and says less changes nothing.
    barrier.applied(now + ms(5), &name("b"), Incarnation(1), 3);
    barrier.applied(now + ms(6), &name("b"), Incarnation(1), 9);
    assert_eq!(over(&mut barrier), [("nine", ms(6), vec![])]);
    // What all have already takes no time.
    barrier.wait(now + ms(7), 5, "five");
    assert_eq!(over(&mut barrier), [("five", Duration::ZERO, vec![])]);
    assert_eq!((barrier.waiting(), barrier.next()), (0, None));
}

#[test]
fn what_a_record_says_counts() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.wait(now, 7, "seven");
    barrier.set_live(now + ms(1), [live("a", 1, 7), live("b", 1, 8)]);
    assert_eq!(over(&mut barrier), [("seven", ms(1), vec![])]);
    // A record is older than what the node said since.
    barrier.set_live(now + ms(2), [live("a", 1, 3), live("b", 1, 3)]);
    barrier.wait(now + ms(3), 7, "again");
    assert_eq!(over(&mut barrier), [("again", Duration::ZERO, vec![])]);
}

#[test]
fn who_goes_or_starts_anew_is_not_waited_for() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.wait(now, 7, "seven");
    barrier.set_live(now + ms(1), [live("b", 1, 0)]);
    assert_eq!(over(&mut barrier), []);
    barrier.set_live(now + ms(2), [live("b", 2, 0)]);
    assert_eq!(over(&mut barrier), [("seven", ms(2), vec![])]);
    // What its former life says counts no longer.
    barrier.wait(now + ms(3), 7, "again");
    barrier.applied(now + ms(4), &name("b"), Incarnation(1), 7);
    barrier.applied(now + ms(4), &name("a"), Incarnation(1), 7);
    assert_eq!((over(&mut barrier), barrier.counters().strangers), (vec![], 2));
    barrier.applied(now + ms(5), &name("b"), Incarnation(2), 7);
    assert_eq!(over(&mut barrier), [("again", ms(2), vec![])]);
}

#[test]
fn who_comes_is_waited_for_from_the_next_on() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.wait(now, 7, "seven");
    barrier.set_live(now, [live("a", 1, 0), live("b", 1, 0), live("c", 1, 0)]);
    barrier.wait(now, 8, "eight");
    for node in ["a", "b"] {
        barrier.applied(now + ms(1), &name(node), Incarnation(1), 8);
    }
    assert_eq!(over(&mut barrier), [("seven", ms(1), vec![])]);
    barrier.applied(now + ms(2), &name("c"), Incarnation(1), 8);
    assert_eq!(over(&mut barrier), [("eight", ms(2), vec![])]);
}

#[test]
fn nothing_waits_longer_than_the_limit() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.wait(now, 7, "seven");
    barrier.wait(now + ms(100), 8, "eight");
    barrier.applied(now + ms(100), &name("a"), Incarnation(1), 8);
    barrier.turn(now + ms(999));
    assert_eq!(over(&mut barrier), []);
    barrier.turn(now + ms(1000));
    assert_eq!(over(&mut barrier), [("seven", ms(1000), vec!["b".into()])]);
    barrier.turn(now + ms(1100));
    assert_eq!(over(&mut barrier), [("eight", ms(1000), vec!["b".into()])]);
    let (a, b) = (name("a"), name("b"));
    let nodes: Vec<_> = barrier.nodes().collect();
    assert_eq!((nodes[0].0, nodes[1].0), (&a, &b));
    assert_eq!((nodes[0].1.timeouts, nodes[1].1.timeouts), (0, 2));
    assert!(nodes[0].1.lateness.quantile(990).unwrap() >= ms(100));
    assert!(nodes[1].1.lateness.quantile(500).unwrap() >= ms(1000));
    assert_eq!((barrier.counters().barriers, barrier.counters().timeouts), (2, 2));
    assert_eq!(barrier.next(), None, "nobody is asked for what nobody waits for");
}

#[test]
fn a_late_node_is_named_once_a_minute() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.applied(now, &name("b"), Incarnation(1), 1_000_000);
    for i in 0..65 {
        let at = now + Duration::from_secs(i * 2);
        barrier.wait(at, 7 + i, "x");
        barrier.turn(at + LIMIT);
    }
    let late = |revision, times| Late { node: name("a"), revision, applied: 0, times };
    assert_eq!(barrier.take_late(), [late(7, 1), late(37, 30), late(67, 30)]);
}

#[test]
fn late_nodes_are_asked() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.applied(now, &name("b"), Incarnation(1), 100);
    barrier.wait(now, 7, "seven");
    let mut asked = Vec::new();
    for millis in 0..1000 {
        let at = now + ms(millis);
        let due = barrier.next().unwrap() <= at;
        for (node, revision) in barrier.asks(at) {
            assert!(due, "it said when");
            assert_eq!((node, revision), (name("a"), 7));
            asked.push(millis);
        }
    }
    assert_eq!(asked, [20, 60, 180, 400, 800]);
}

#[test]
fn the_highest_revision_is_asked_for_and_progress_is_heard() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.applied(now, &name("b"), Incarnation(1), 100);
    for i in 0..10 {
        barrier.wait(now + ms(i), 10 + i, "x");
    }
    assert_eq!(barrier.asks(now + ms(20)), [(name("a"), 19)]);
    assert_eq!(barrier.asks(now + ms(21)), []);
    // It gets on: it is asked 20 ms later for the rest.
    barrier.applied(now + ms(50), &name("a"), Incarnation(1), 15);
    assert_eq!(barrier.asks(now + ms(69)), []);
    assert_eq!(barrier.asks(now + ms(70)), [(name("a"), 19)]);
    barrier.applied(now + ms(71), &name("a"), Incarnation(1), 19);
    assert_eq!((barrier.asks(now + ms(500)), barrier.next()), (vec![], None));
    assert_eq!(over(&mut barrier).len(), 10);
}

#[test]
fn another_store_begins_anew() {
    let now = Instant::now();
    let mut barrier = two(now);
    barrier.applied(now, &name("a"), Incarnation(1), 100);
    barrier.wait(now, 100, "x");
    barrier.forget(now + ms(1));
    assert_eq!(over(&mut barrier), [("x", ms(1), vec!["b".into()])]);
    barrier.wait(now + ms(2), 1, "y");
    assert_eq!(over(&mut barrier), [], "what a had was of the other store");
}

#[test]
fn waits_are_bounded() {
    let now = Instant::now();
    let mut barrier = two(now);
    for _ in 0..20_000 {
        barrier.wait(now, u64::MAX, "x");
    }
    assert_eq!(barrier.waiting(), 16_384);
    assert_eq!(over(&mut barrier).len(), 20_000 - 16_384);
    for node in ["a", "b"] {
        barrier.applied(now, &name(node), Incarnation(1), u64::MAX);
    }
    assert_eq!((barrier.waiting(), over(&mut barrier).len(), barrier.next()), (0, 16_384, None));
}
