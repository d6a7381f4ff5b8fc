//! The search for the largest packet that passes a tunnel (RFC 8899, for tunnels).
//!
//! ```text
//! searching ── nothing left between what passes and what does not ──> found ── three lost ──> searching, below
//!     ^                                                                 │
//!     └──────── every `raise`: does one step more pass by now? ─────────┘
//! ```
//!
//! Sizes are those of inner packets, bytes. A probe of a size that is lost says something only if a small one beside it is
//! answered: a tunnel that is down loses both. The largest size is tried first, as it mostly passes; then the base, that a
//! black hole harms for a short time only; then what halves the rest.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rules::{PATH_CONFIRM_EVERY, PATH_PAUSE, PATH_TRIES};

/// What a search is among.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Taken to pass without a probe.
    pub floor: u16,
    /// Should pass nearly anywhere.
    pub base: u16,
    /// What the link takes; more than `floor`.
    pub most: u16,
    /// Sizes in between that are less than this apart make outer packets of one size.
    pub grain: u16,
    /// Where the path leads: to another place it is another one.
    pub remote: IpAddr,
}

/// What became of a probe and of the small one beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Passed,
    /// It was not, and the small one was.
    Lost,
    /// Neither was: the tunnel is down, and nothing is known of the size.
    Silence,
}

/// What a probe has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing to tell.
    Nothing,
    /// What passed before is lost now, and no router has said so.
    BlackHole,
    /// The search is over.
    Found,
}

/// One tunnel's search.
#[derive(Clone, Copy, Debug)]
pub struct PathSearch {
    sizes: Sizes,
    raise: Duration,
    /// Largest size that passes, or the floor.
    low: u16,
    /// When a probe passed last.
    passed_at: Instant,
    /// Smallest size that does not pass; above `most`: none is known.
    high: u16,
    /// To be tried before others.
    first: Option<u16>,
    is_searching: bool,
    trying: Option<u16>,
    /// Probes of this size that were lost in a row.
    lost: u32,
    due: Instant,
    raise_at: Instant,
    found: Option<u16>,
}

impl PathSearch {
    /// Begins at once; a larger size than the one found is looked for every `raise`.
    pub fn new(now: Instant, sizes: Sizes, raise: Duration) -> Self {
        Self {
            sizes,
            raise,
            low: sizes.floor,
            passed_at: now,
            high: sizes.most.saturating_add(1),
            first: Some(sizes.most),
            is_searching: true,
            trying: None,
            lost: 0,
            due: now,
            raise_at: now + raise,
            found: None,
        }
    }

    /// What it is among.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Largest size that is known to pass; `None`: none is known yet.
    pub fn found(&self) -> Option<u16> {
        self.found
    }

    /// Whether it is not over.
    pub fn is_searching(&self) -> bool {
        self.is_searching
    }

    /// When the next probe is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The size to send now, if one is due. What became of it is to be told by [`PathSearch::ended`].
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        if now < self.due {
            return None;
        }
        if !self.is_searching && now >= self.raise_at && self.low < self.sizes.most {
            // Where one step more does not pass, nothing larger does.
            self.first = Some(self.low.saturating_add(self.sizes.grain).min(self.sizes.most));
            self.high = self.sizes.most.saturating_add(1);
            self.is_searching = true;
            self.lost = 0;
        }
        let size = if self.is_searching { self.candidate()? } else { self.low };
        self.trying = Some(size);
        Some(size)
    }

    /// A probe of this size has ended. One that is not the last that was asked for says nothing.
    pub fn ended(&mut self, now: Instant, size: u16, outcome: Outcome) -> Event {
        if self.trying != Some(size) {
            return Event::Nothing;
        }
        self.trying = None;
        match outcome {
            Outcome::Silence => {
                self.lost = 0;
                self.due = now + PATH_PAUSE;
                Event::Nothing
            }
            Outcome::Passed => {
                self.lost = 0;
                (self.low, self.passed_at) = (size, now);
                self.found = Some(size);
                self.go_on(now)
            }
            Outcome::Lost => {
                self.lost += 1;
                if self.lost < PATH_TRIES {
                    return Event::Nothing;
                }
                self.lost = 0;
                if self.is_searching {
                    self.high = size;
                    return self.go_on(now);
                }
                if size <= self.sizes.floor {
                    // There is nothing smaller to look for.
                    self.due = now + PATH_CONFIRM_EVERY;
                    return Event::Nothing;
                }
                self.search_below(now, size);
                Event::BlackHole
            }
        }
    }

    /// A router says that the path takes packets up to this size.
    pub fn hint(&mut self, now: Instant, size: u16) {
        let Sizes { floor, grain, .. } = self.sizes;
        let size = floor + size.saturating_sub(floor) / grain.max(1) * grain;
        if size >= self.high || (!self.is_searching && size == self.low) {
            return;
        }
        let low = self.low;
        self.search_below(now, size.saturating_add(1));
        if low <= size {
            self.low = low;
        }
        self.first = Some(size);
        if self.candidate().is_none() {
            self.finish(now);
        }
    }

    fn search_below(&mut self, now: Instant, high: u16) {
        (self.low, self.high) = (self.sizes.floor, high);
        (self.first, self.trying, self.lost) = (None, None, 0);
        self.is_searching = true;
        self.due = now;
    }

    /// After a probe that has told something.
    fn go_on(&mut self, now: Instant) -> Event {
        if !self.is_searching {
            self.rest(now);
            return Event::Nothing;
        }
        if self.candidate().is_some() {
            self.due = now;
            return Event::Nothing;
        }
        self.finish(now);
        Event::Found
    }

    fn finish(&mut self, now: Instant) {
        self.is_searching = false;
        self.first = None;
        self.found = Some(self.low);
        self.raise_at = now + self.raise;
        self.rest(now);
    }

    /// Until what was found is to be confirmed: a search since then does not lengthen the time that black holes may last. Or
    /// until it is time to look for more.
    fn rest(&mut self, now: Instant) {
        let confirm = self.passed_at + PATH_CONFIRM_EVERY;
        let next = if self.low < self.sizes.most { confirm.min(self.raise_at) } else { confirm };
        self.due = now.max(next);
    }

    /// The size to try next, between what passes and what does not; `None`: nothing is left between them.
    fn candidate(&self) -> Option<u16> {
        let Self { low, high, sizes: Sizes { base, most, grain, .. }, .. } = *self;
        let between = |size: &u16| low < *size && *size < high;
        let halfway = || {
            let steps = high.saturating_sub(low) / 2 / grain.max(1);
            Some(low.saturating_add(steps.max(1).saturating_mul(grain))).filter(between)
        };
        let untried = Some(most).filter(|most| high > *most);
        self.first.filter(between).or(Some(base).filter(between)).or(untried.filter(between)).or_else(halfway)
    }
}
