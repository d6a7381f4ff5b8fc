//! Random histories of probes, judged by the rules as they are written down: every sample is kept, and each question is
//! asked of all of them.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::health::rules::*;
use crate::health::{Judge, State};

struct Model {
    start: Instant,
    samples: Vec<(Instant, bool)>,
    state: State,
    since: Instant,
}

impl Model {
    /// Losses are counted in slices of five seconds, from the start.
    fn window(&self, now: Instant) -> impl Iterator<Item = bool> {
        let slice = |at: Instant| (at - self.start).as_secs() / 5;
        let oldest = slice(now).saturating_sub(LOSS_WINDOW.as_secs() / 5);
        self.samples.iter().filter(move |(at, _)| slice(*at) >= oldest).map(|(_, answered)| *answered)
    }

    fn judge(&mut self, now: Instant) {
        let ended = self.window(now).count() as u64;
        let lost = self.window(now).filter(|answered| !answered).count() as u64;
        let last_second: Vec<bool> = self
            .samples
            .iter()
            .filter(|(at, _)| now - *at <= DOWN_WITHIN)
            .map(|(_, answered)| *answered)
            .collect();
        let is_down = last_second.len() >= DOWN_SAMPLES && !last_second.contains(&true);
        let answers = self.samples.iter().rev().take_while(|(_, answered)| *answered).count();
        let loss_is_small = lost * 1000 < ended;
        let next = match self.state {
            State::Down if answers >= 3 => State::Degraded,
            State::Down => State::Down,
            _ if is_down => State::Down,
            State::Degraded
                if loss_is_small && ended >= 30 && now - self.since >= Duration::from_secs(300) =>
            {
                State::Healthy
            }
            State::Degraded => State::Degraded,
            _ if lost >= 2 && !loss_is_small => State::Degraded,
            State::Unknown if self.samples.iter().any(|(_, answered)| *answered) => State::Healthy,
            same => same,
        };
        if next != self.state {
            (self.state, self.since) = (next, now);
        }
    }
}

/// Stretches of probes: how many, how far apart in milliseconds, and one in how many is lost (0: all, 255: none).
fn stretches() -> impl Strategy<Value = Vec<(u16, u16, u8)>> {
    let apart = prop_oneof![Just(100u16), Just(333), Just(1000), Just(10_000), 1..3000u16];
    let lost = prop_oneof![Just(0u8), Just(255), Just(2), 3..200u8];
    prop::collection::vec((1..400u16, apart, lost), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_judge_agrees_with_the_rules(stretches in stretches()) {
        let start = Instant::now();
        let mut judge = Judge::new(start);
        let mut model = Model { start, samples: Vec::new(), state: State::Unknown, since: start };
        let mut now = start;
        for (count, apart_ms, one_in) in stretches {
            for number in 0..count {
                now += Duration::from_millis(u64::from(apart_ms));
                let answered = match one_in {
                    0 => false,
                    255 => true,
                    one_in => number % u16::from(one_in) != 0,
                };
                judge.sample(now, answered);
                model.samples.push((now, answered));
                let before = model.state;
                let changed = judge.judge(now);
                model.judge(now);
                prop_assert_eq!(judge.state(), model.state, "at {:?}", now - start);
                prop_assert_eq!(judge.since(), model.since);
                prop_assert_eq!(changed, before != model.state);
            }
        }
    }
}
