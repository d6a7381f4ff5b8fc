//! Searches for a path MTU, along paths that take what they take.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::health::rules::*;
use crate::health::{Outcome, PathEvent, PathSearch, Sizes};

const TRIP: Duration = Duration::from_millis(30);
const RAISE: Duration = Duration::from_secs(600);

/// As GRE over IPv4 on a link of 1500.
const GRE: Sizes = Sizes {
    floor: 552,
    base: 1176,
    most: 1476,
    grain: 1,
    remote: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
};

struct Story {
    start: Instant,
    now: Instant,
    search: PathSearch,
    /// What the path takes.
    path: u16,
    is_up: bool,
    /// Sizes sent.
    sent: Vec<u16>,
    events: Vec<PathEvent>,
}

impl Story {
    fn new(sizes: Sizes, path: u16) -> Self {
        let start = Instant::now();
        let search = PathSearch::new(start, sizes, RAISE);
        Self { start, now: start, search, path, is_up: true, sent: vec![], events: vec![] }
    }

    /// One probe, or the wait for one.
    fn step(&mut self) {
        let Some(size) = self.search.next(self.now) else {
            assert!(self.search.due() > self.now, "it waits for something");
            self.now = self.search.due();
            return;
        };
        self.sent.push(size);
        let (outcome, takes) = match (self.is_up, size <= self.path) {
            (false, _) => (Outcome::Silence, TIMEOUT),
            (true, false) => (Outcome::Lost, TIMEOUT),
            (true, true) => (Outcome::Passed, TRIP),
        };
        self.now += takes;
        let event = self.search.ended(self.now, size, outcome);
        if event != PathEvent::Nothing {
            self.events.push(event);
        }
    }

    /// Until the search is over; returns how long it took.
    fn settle(&mut self) -> Duration {
        let began = self.now;
        for _ in 0..200 {
            if !self.search.is_searching() {
                return self.now - began;
            }
            self.step();
        }
        panic!("the search does not end: {:?}", self.search);
    }

    fn run(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while self.now < end {
            self.step();
        }
    }
}

/// The largest size that is tried on such a path, or the floor.
fn best(sizes: Sizes, path: u16) -> u16 {
    if path >= sizes.most {
        return sizes.most;
    }
    let steps = path.saturating_sub(sizes.floor) / sizes.grain;
    sizes.floor + steps * sizes.grain
}

#[test]
fn a_path_that_takes_all_costs_one_probe() {
    let mut story = Story::new(GRE, 1500);
    assert_eq!(story.search.found(), None);
    assert_eq!(story.settle(), TRIP);
    assert_eq!((story.search.found(), story.sent.as_slice()), (Some(1476), &[1476][..]));
    // Then one every ten seconds.
    story.run(105);
    assert_eq!(story.sent, [1476; 11]);
}

#[test]
fn a_smaller_path_is_found_to_the_byte() {
    let mut story = Story::new(GRE, 1376);
    let took = story.settle();
    assert_eq!(story.search.found(), Some(1376));
    assert_eq!(story.sent[..5], [1476, 1476, 1476, 1176, 1326]);
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert_eq!(story.events, [PathEvent::Found]);
    // What is known to pass is known on the way, so that a black hole harms for a short time.
    let mut story = Story::new(GRE, 1376);
    while story.sent.last() != Some(&1176) {
        story.step();
    }
    assert_eq!(story.search.found(), Some(1176));
    assert!(story.now - story.start < TIMEOUT * 3 + TRIP * 2);
}

#[test]
fn less_than_the_base_is_found_too_and_the_floor_is_the_end() {
    for (path, found) in [(700, 700), (553, 553), (552, 552), (100, 552)] {
        let mut story = Story::new(GRE, path);
        story.settle();
        assert_eq!(story.search.found(), Some(found), "{path}");
        story.run(60);
        assert_eq!((story.search.found(), story.events.len()), (Some(found), 1), "{path}");
    }
}

#[test]
fn a_black_hole_is_seen_within_the_documented_time() {
    let mut story = Story::new(GRE, 1500);
    story.run(35);
    story.path = 1276;
    let began = story.now;
    while story.search.found() == Some(1476) {
        story.step();
    }
    let took = story.now - began;
    assert!(took <= PATH_CONFIRM_EVERY + TIMEOUT * 3 + TRIP * 2, "{took:?}");
    assert_eq!(
        (story.search.found(), story.events.as_slice()),
        (Some(1176), &[PathEvent::Found, PathEvent::BlackHole][..])
    );
    story.settle();
    assert_eq!(story.search.found(), Some(1276));
    assert!(story.now - began < Duration::from_secs(35), "{:?}", story.now - began);
}

#[test]
fn two_lost_probes_are_none() {
    let mut story = Story::new(GRE, 1500);
    story.run(35);
    for lost in [1, 2] {
        story.path = 0;
        let before = story.sent.len();
        while story.sent.len() < before + lost {
            story.step();
        }
        story.path = 1500;
        story.run(40);
        assert_eq!((story.search.found(), story.events.len()), (Some(1476), 1), "{lost}");
    }
}

#[test]
fn a_tunnel_that_is_down_says_nothing_of_its_path() {
    let mut story = Story::new(GRE, 1376);
    story.settle();
    story.is_up = false;
    story.run(3600);
    assert_eq!(story.search.found(), Some(1376));
    story.is_up = true;
    story.run(60);
    assert_eq!((story.search.found(), story.events.as_slice()), (Some(1376), &[PathEvent::Found; 2][..]));
    // Nor at the start.
    let mut story = Story::new(GRE, 1376);
    story.is_up = false;
    story.run(100);
    assert_eq!((story.search.found(), story.sent.last()), (None, Some(&1476)));
}

#[test]
fn a_larger_path_is_found_when_it_is_time() {
    let mut story = Story::new(GRE, 1376);
    story.settle();
    let found_at = story.now;
    // As long as it is no larger that costs three probes.
    story.run(RAISE.as_secs() + 30);
    assert_eq!(story.sent.iter().filter(|size| **size == 1377).count(), 6, "once in the search");
    assert_eq!(story.search.found(), Some(1376));
    for path in [1400, 1500] {
        story.path = path;
        let began = story.now;
        story.run(RAISE.as_secs() + 30);
        story.settle();
        assert_eq!(story.search.found(), Some(path.min(1476)), "after {:?}", story.now - began);
    }
    assert!(story.now > found_at);
    // Soon after it was found, where that is wished: not only when it is confirmed.
    let mut story = Story::new(GRE, 1376);
    story.search = PathSearch::new(story.now, GRE, Duration::from_secs(12));
    story.settle();
    story.path = 1500;
    let found_at = story.now;
    while story.search.found() != Some(1476) {
        story.step();
    }
    let took = story.now - found_at;
    assert!((12..13).contains(&took.as_secs()), "{took:?}");
    // All passes: there is nothing to look for.
    story.run(RAISE.as_secs() * 3);
    assert_eq!(story.sent.last(), Some(&1476));
}

#[test]
fn what_a_router_says_is_tried_at_once() {
    let mut story = Story::new(GRE, 1376);
    assert_eq!(story.search.next(story.now), Some(1476));
    story.search.hint(story.now, 1376);
    // What became of the first one does not matter any more.
    assert_eq!(story.search.ended(story.now, 1476, Outcome::Passed), PathEvent::Nothing);
    assert_eq!(story.settle(), TRIP);
    assert_eq!((story.search.found(), story.sent.as_slice()), (Some(1376), &[1376][..]));
    // It says the same again: nothing to do.
    let due = story.search.due();
    story.search.hint(story.now, 1376);
    assert_eq!((story.search.is_searching(), story.search.due()), (false, due));
    // Less, though the path takes more: that counts until it is time to look for more.
    story.search.hint(story.now, 1300);
    story.settle();
    assert_eq!(story.search.found(), Some(1300));
    story.run(RAISE.as_secs() + 30);
    story.settle();
    assert_eq!(story.search.found(), Some(1376));
    // More than the path takes, in the middle of a search.
    let mut story = Story::new(GRE, 1250);
    for _ in 0..5 {
        story.step();
    }
    story.search.hint(story.now, 1300);
    story.settle();
    assert_eq!(story.search.found(), Some(1250));
    // Less than there can be.
    story.search.hint(story.now, 68);
    story.settle();
    assert_eq!(story.search.found(), Some(552));
}

fn any_sizes() -> impl Strategy<Value = Sizes> {
    (500..1300u16, 0..80u16, 0..600u16, prop_oneof![Just(1u16), Just(4), Just(16)], 0..16u16).prop_map(
        |(floor, base, most, grain, off)| Sizes {
            floor,
            base: floor + base * grain,
            most: floor + 1 + most * grain + off,
            grain,
            ..GRE
        },
    )
}

#[derive(Clone, Debug)]
enum Happens {
    Path(u16),
    Down,
    Up,
    Hint(u16),
    Seconds(u64),
}

fn histories() -> impl Strategy<Value = Vec<Happens>> {
    let one = prop_oneof![
        (400..4000u16).prop_map(Happens::Path),
        Just(Happens::Down),
        Just(Happens::Up),
        (0..4000u16).prop_map(Happens::Hint),
        (0..700u64).prop_map(Happens::Seconds),
    ];
    prop::collection::vec(one, 0..24)
}

proptest! {
    #[test]
    fn every_path_is_found_within_bounds(sizes in any_sizes(), path in 400..12_000u16) {
        let mut story = Story::new(sizes, path);
        story.settle();
        prop_assert_eq!(story.search.found(), Some(best(sizes, path)));
        let steps = (sizes.most - sizes.floor) / sizes.grain;
        let halvings = f64::from(steps.max(1)).log2().ceil() as usize + 1;
        prop_assert!(story.sent.len() <= (3 + halvings) * PATH_TRIES as usize, "{:?}", story.sent);
        prop_assert!(story.sent.iter().all(|size| (sizes.floor + 1..=sizes.most).contains(size)));
    }

    /// Whatever happened: once the path stays as it is, the tunnel is up and time passes, it is found.
    #[test]
    fn it_always_comes_to_the_path(sizes in any_sizes(), first in 400..4000u16, history in histories(), last in 400..4000u16) {
        let mut story = Story::new(sizes, first);
        for happens in history {
            match happens {
                Happens::Path(path) => story.path = path,
                Happens::Down => story.is_up = false,
                Happens::Up => story.is_up = true,
                Happens::Hint(size) => story.search.hint(story.now, size),
                Happens::Seconds(seconds) => {
                    let (before, sent) = (story.search.found(), story.sent.len());
                    story.run(seconds);
                    if !story.is_up {
                        prop_assert_eq!(story.search.found(), before, "nothing is learned of what is down");
                        prop_assert!(story.sent.len() - sent <= seconds as usize + 1);
                    }
                }
            }
            if let Some(found) = story.search.found() {
                prop_assert!((sizes.floor..=sizes.most).contains(&found));
            }
        }
        story.path = last;
        story.is_up = true;
        // A black hole, the search below, and then what is larger.
        story.run(2 * RAISE.as_secs() + 300);
        story.settle();
        prop_assert_eq!(story.search.found(), Some(best(sizes, last)));
    }
}
