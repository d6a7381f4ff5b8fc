//! What time it is, by both clocks. Whoever compares ages gets it handed in.

use std::time::{Duration, Instant, SystemTime};

use crate::ike::boot_time::BootTime;
use crate::ike::sad::Moment;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// By the clock that nobody sets. It stands still while the machine is suspended.
    pub(super) steady: Instant,
    /// By the clock that files are dated and sender IDs made by. It may be set.
    pub(super) date: SystemTime,
}

impl Now {
    /// This moment.
    pub(super) fn read() -> Self {
        Self { steady: Instant::now(), date: SystemTime::now() }
    }

    /// How long ago that was, by the clock that says more.
    pub(super) fn since(self, earlier: Self) -> Duration {
        let by_date = self.date.duration_since(earlier.date).unwrap_or_default();
        self.steady.saturating_duration_since(earlier.steady).max(by_date)
    }
}

/// This moment, as the life of a negotiated SA is counted.
pub(super) fn moment() -> Moment {
    Moment { uptime: BootTime::read().0, date: SystemTime::now() }
}

#[cfg(test)]
impl std::ops::Add<Duration> for Now {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self { steady: self.steady + time, date: self.date + time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_makes_time_shorter() {
        let (start, hour) = (Now::read(), Duration::from_secs(3600));
        assert_eq!((start + hour).since(start), hour);
        assert_eq!(Now { date: start.date - hour, ..start + hour }.since(start), hour, "set back");
        assert_eq!(Now { steady: start.steady, ..start + hour }.since(start), hour, "suspended");
        assert_eq!(start.since(start + hour), Duration::ZERO);
    }
}
