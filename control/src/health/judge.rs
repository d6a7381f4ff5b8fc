//! The state of one tunnel, by the probes that have ended.
//!
//! ```text
//! unknown ── an answer ──> healthy ── loss ──> degraded ── no answers ──> down
//!                             ^  └──────── no answers ────────────────────>│
//!                             └── clean for 5 min ── degraded <── 3 answers┘
//! ```

use std::fmt;
use std::time::Instant;

use super::losses::Losses;
use super::rules::*;

/// What a tunnel's probes say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// No probe has been answered or lost for good yet.
    Unknown,
    /// Probes are answered.
    Healthy,
    /// Too many are lost.
    Degraded,
    /// None is answered.
    Down,
}

impl State {
    /// What is added to the priority of routes into the tunnel.
    pub fn penalty(self) -> u32 {
        match self {
            Self::Unknown | Self::Healthy => 0,
            Self::Degraded => DEGRADED_PENALTY,
            Self::Down => DOWN_PENALTY,
        }
    }

    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a tunnel is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is known yet.
    NothingYet,
    /// Probes are answered.
    Answered,
    /// The loss is small again, and has been for long enough.
    Clean,
    /// Of so many ended probes so many were lost.
    Loss {
        /// Unanswered.
        lost: u64,
        /// In all.
        ended: u64,
    },
    /// None of the last second's probes was answered.
    Silence,
    /// It was down, and probes are answered again.
    Back,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingYet => f.write_str("no probe has ended yet"),
            Self::Answered => f.write_str("probes are answered"),
            Self::Clean => f.write_str("less than 0.1 % of the last 5 minutes' probes were lost"),
            Self::Loss { lost, ended } => {
                write!(f, "{lost} of {ended} probes of the last 5 minutes were not answered")
            }
            Self::Silence => f.write_str("no probe of the last second was answered"),
            Self::Back => f.write_str("it was down and answers again; healthy after 5 minutes without loss"),
        }
    }
}

/// Judges one tunnel.
#[derive(Clone, Debug)]
pub struct Judge {
    state: State,
    since: Instant,
    reason: Reason,
    losses: Losses,
    /// When the last probes were lost, the oldest first.
    lost: [Option<Instant>; DOWN_SAMPLES],
    last_answer: Option<Instant>,
    answers_in_a_row: u32,
}

impl Judge {
    /// Of a tunnel that nothing is known of.
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Unknown,
            since: now,
            reason: Reason::NothingYet,
            losses: Losses::new(now),
            lost: [None; DOWN_SAMPLES],
            last_answer: None,
            answers_in_a_row: 0,
        }
    }

    /// A probe has ended.
    pub fn sample(&mut self, now: Instant, answered: bool) {
        self.losses.add(now, answered);
        if answered {
            self.last_answer = Some(now);
            self.answers_in_a_row = self.answers_in_a_row.saturating_add(1);
        } else {
            self.lost.rotate_left(1);
            self.lost[DOWN_SAMPLES - 1] = Some(now);
            self.answers_in_a_row = 0;
        }
    }

    /// Judges, once all probes that ended at a time have been told; true when the state is another one now.
    pub fn judge(&mut self, now: Instant) -> bool {
        let (ended, lost) = self.losses.of(now);
        let is_lossy = lost * LOSS_ONE_IN >= ended;
        let verdict = match self.state {
            State::Down if self.answers_in_a_row < UP_ANSWERS => return false,
            State::Down => (State::Degraded, Reason::Back),
            _ if self.is_silent(now) => (State::Down, Reason::Silence),
            State::Degraded if is_lossy || !self.is_clean(now, ended) => return false,
            State::Degraded => (State::Healthy, Reason::Clean),
            _ if is_lossy && lost >= DEGRADED_FAILURES => (State::Degraded, Reason::Loss { lost, ended }),
            State::Unknown if self.last_answer.is_some() => (State::Healthy, Reason::Answered),
            State::Unknown | State::Healthy => return false,
        };
        (self.state, self.reason) = verdict;
        self.since = now;
        true
    }

    /// All of the last second's probes were lost, and they were enough.
    fn is_silent(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) <= DOWN_WITHIN;
        self.lost[0].is_some_and(is_recent) && !self.last_answer.is_some_and(is_recent)
    }

    fn is_clean(&self, now: Instant, ended: u64) -> bool {
        ended >= HEALTHY_SAMPLES && now.saturating_duration_since(self.since) >= HEALTHY_AFTER
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Of the last five minutes' probes: how many ended, and how many of them were lost.
    pub fn losses(&self, now: Instant) -> (u64, u64) {
        self.losses.clone().of(now)
    }
}
