//! Each rule, at its edge.

use std::time::{Duration, Instant};

use crate::health::rules::*;
use crate::health::{ChangesLog, Judge, Reason, State};

/// A tunnel, told of one probe after the other.
struct Story {
    start: Instant,
    now: Instant,
    judge: Judge,
}

impl Story {
    fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start, judge: Judge::new(start) }
    }

    /// One that is healthy.
    fn healthy() -> Self {
        let mut story = Self::new();
        story.after(0, true);
        assert_eq!(story.state(), State::Healthy);
        story
    }

    /// One that was down and answers again.
    fn back() -> Self {
        let mut story = Self::healthy();
        story.after(2000, false).after(300, false).after(300, false);
        assert_eq!(story.state(), State::Down);
        story.after(1000, true).after(1000, true).after(1000, true);
        assert_eq!(story.state(), State::Degraded);
        story
    }

    fn after(&mut self, ms: u64, answered: bool) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self.judge.sample(self.now, answered);
        self.judge.judge(self.now);
        self
    }

    fn many(&mut self, count: usize, ms: u64, answered: bool) -> &mut Self {
        for _ in 0..count {
            self.after(ms, answered);
        }
        self
    }

    fn state(&self) -> State {
        self.judge.state()
    }
}

#[test]
fn the_first_answer_makes_a_tunnel_healthy() {
    let mut story = Story::new();
    assert_eq!((story.state(), story.state().penalty()), (State::Unknown, 0));
    assert_eq!(story.after(5, true).state(), State::Healthy);
    assert_eq!(story.judge.reason(), Reason::Answered);
    assert_eq!(story.judge.since(), story.start + Duration::from_millis(5));
}

#[test]
fn three_lost_within_a_second_and_none_answered_is_down() {
    // Exactly one second between the first and the last.
    let mut story = Story::new();
    assert_eq!(story.after(0, false).state(), State::Unknown);
    story.after(500, false);
    assert_ne!(story.state(), State::Down);
    assert_eq!(story.after(500, false).state(), State::Down);
    assert_eq!((story.judge.reason(), story.state().penalty()), (Reason::Silence, 1_000_000));
    // A millisecond more is too slow.
    let mut story = Story::new();
    assert_ne!(story.many(2, 500, false).after(501, false).state(), State::Down);
    // An answer among them.
    let mut story = Story::new();
    assert_ne!(
        story.after(0, false).after(300, true).after(300, false).after(300, false).state(),
        State::Down
    );
    // One that is older.
    assert_eq!(story.after(300, false).after(101, false).state(), State::Down);
}

#[test]
fn two_lost_and_a_thousandth_is_degraded() {
    // One lost probe, however few there are.
    let mut story = Story::healthy();
    assert_eq!(story.after(1000, false).many(50, 1000, true).state(), State::Healthy);
    assert_eq!(story.after(1000, false).state(), State::Degraded);
    assert_eq!(story.judge.reason(), Reason::Loss { lost: 2, ended: 53 });
    assert_eq!(story.state().penalty(), 500_000);
    // Two in 2 000 are 0.1 %, two in 2 001 less.
    for (answered, state) in [(1997, State::Degraded), (1998, State::Healthy)] {
        let mut story = Story::healthy();
        story.after(100, false).many(answered, 100, true);
        story.after(100, false);
        assert_eq!(story.judge.losses(story.now), (answered as u64 + 3, 2));
        assert_eq!(story.state(), state, "{answered}");
    }
}

#[test]
fn losses_are_forgotten_after_five_minutes() {
    let mut story = Story::healthy();
    story.after(1000, false).many(306, 1000, true);
    assert_eq!(story.judge.losses(story.now).1, 0);
    assert_eq!(story.after(1000, false).state(), State::Healthy, "the other one is too old");
    // But not before.
    let mut story = Story::healthy();
    story.after(1000, false).many(298, 1000, true);
    assert_eq!(story.after(1000, false).state(), State::Degraded);
    // Nor is any counted twice, however long nothing came.
    let mut story = Story::healthy();
    story.after(1000, false).after(100_000_000, true);
    assert_eq!(story.judge.losses(story.now), (1, 0));
}

#[test]
fn three_answers_in_a_row_end_down() {
    let mut story = Story::healthy();
    story.after(2000, false).after(300, false).after(300, false);
    assert_eq!(story.after(1000, true).after(1000, true).state(), State::Down);
    assert_eq!(story.after(1000, false).after(1000, true).after(1000, true).state(), State::Down);
    assert_eq!(story.after(1000, true).state(), State::Degraded);
    assert_eq!(story.judge.reason(), Reason::Back);
}

#[test]
fn degraded_ends_after_five_clean_minutes() {
    let mut story = Story::back();
    let since = story.judge.since();
    // The losses that took it down have to be out of the window, too: that is earlier.
    while story.state() == State::Degraded {
        story.after(1000, true);
    }
    assert_eq!((story.state(), story.judge.reason()), (State::Healthy, Reason::Clean));
    let lasted = story.now - since;
    assert!((HEALTHY_AFTER..HEALTHY_AFTER + Duration::from_secs(2)).contains(&lasted), "{lasted:?}");
    // One lost probe in between puts it off until that is five minutes old.
    let mut story = Story::back();
    story.many(200, 1000, true).after(1000, false);
    let lost_at = story.now;
    while story.state() == State::Degraded {
        story.after(1000, true);
    }
    let waited = story.now - lost_at;
    assert!((LOSS_WINDOW..LOSS_WINDOW + Duration::from_secs(7)).contains(&waited), "{waited:?}");
}

#[test]
fn degraded_ends_after_thirty_probes() {
    // Every twenty seconds: after five minutes there are fifteen, and never thirty.
    let mut story = Story::back();
    assert_eq!(story.many(100, 20_000, true).state(), State::Degraded);
    // Every ten seconds, as at the low rate: there are just thirty.
    let mut story = Story::back();
    let since = story.judge.since();
    while story.state() == State::Degraded {
        story.after(10_000, true);
    }
    assert!(story.now - since <= HEALTHY_AFTER + Duration::from_secs(20), "{:?}", story.now - since);
}

#[test]
fn a_thousandth_of_many_probes_is_no_hindrance() {
    // Ten a second: two of 3 000 are less than 0.1 %.
    let mut story = Story::back();
    let since = story.judge.since();
    let mut count = 0;
    while story.state() == State::Degraded {
        count += 1;
        story.after(100, count % 1600 != 1500);
    }
    let lasted = story.now - since;
    assert!(lasted < HEALTHY_AFTER + Duration::from_secs(6), "{lasted:?}");
}

#[test]
fn only_the_first_changes_of_a_second_are_told() {
    let (mut log, start) = (ChangesLog::default(), Instant::now());
    assert_eq!(log.turn(start), None);
    assert_eq!((0..1000).filter(|_| log.admits()).count(), 20);
    assert_eq!(log.turn(start + Duration::from_millis(999)), None);
    assert!(!log.admits());
    assert_eq!(log.turn(start + Duration::from_secs(1)), Some(981));
    assert!(log.admits());
    assert_eq!(log.turn(start + Duration::from_secs(2)), None);
}
