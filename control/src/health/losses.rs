//! Ended probes of the last five minutes, and how many of them were lost.
//!
//! Counted in slices of five seconds, so that a tunnel takes a few hundred bytes: what is forgotten is between
//! [`LOSS_WINDOW`] and five seconds older.

use std::time::{Duration, Instant};

use super::rules::LOSS_WINDOW;

const SLICE: Duration = Duration::from_secs(5);
/// The slice that is being filled, and those that the window covers whole.
const SLICES: usize = (LOSS_WINDOW.as_secs() / SLICE.as_secs()) as usize + 1;

#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    ended: u16,
    lost: u16,
}

/// The counts of one tunnel.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    since: Instant,
    /// The slice being filled, counted from `since`.
    current: u64,
    slices: [Slice; SLICES],
}

impl Losses {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, current: 0, slices: [Slice::default(); SLICES] }
    }

    pub(super) fn add(&mut self, now: Instant, answered: bool) {
        self.advance(now);
        if let Some(slice) = self.slices.get_mut((self.current % SLICES as u64) as usize) {
            slice.ended = slice.ended.saturating_add(1);
            slice.lost = slice.lost.saturating_add(u16::from(!answered));
        }
    }

    /// How many probes ended, and how many of them were lost.
    pub(super) fn of(&mut self, now: Instant) -> (u64, u64) {
        self.advance(now);
        self.slices.iter().fold((0, 0), |(ended, lost), slice| {
            (ended + u64::from(slice.ended), lost + u64::from(slice.lost))
        })
    }

    fn advance(&mut self, now: Instant) {
        let current = now.saturating_duration_since(self.since).as_secs() / SLICE.as_secs();
        let passed = current.saturating_sub(self.current).min(SLICES as u64);
        for step in 1..=passed {
            if let Some(slice) = self.slices.get_mut(((self.current + step) % SLICES as u64) as usize) {
                *slice = Slice::default();
            }
        }
        // A long time without any: all are empty, whatever their place.
        self.current = self.current.max(current);
    }
}
