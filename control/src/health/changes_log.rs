//! A line for each change of a tunnel's state, unless there are too many: then for the first of each second, and one that
//! says how many there were.

use std::time::{Duration, Instant};

/// Lines of one period.
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(1);

/// Which changes get a line.
#[derive(Debug, Default)]
pub struct ChangesLog {
    began: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl ChangesLog {
    /// Whether the next change gets a line of its own.
    pub fn admits(&mut self) -> bool {
        if self.lines < LINES {
            self.lines += 1;
            return true;
        }
        self.untold += 1;
        false
    }

    /// Begins a new period, if the last one is over; call it before each turn. Returns how many changes of the last one
    /// got no line.
    pub fn turn(&mut self, now: Instant) -> Option<u64> {
        if self.began.is_some_and(|began| now.saturating_duration_since(began) < PERIOD) {
            return None;
        }
        self.began = Some(now);
        self.lines = 0;
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}
