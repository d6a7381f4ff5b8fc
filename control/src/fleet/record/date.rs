//! A moment by the wall clock, as nodes tell one another.

use std::time::{Duration, SystemTime};

/// Milliseconds since 1970. Nodes' clocks agree within seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date(pub u64);

impl Date {
    /// So much later; the end of time if that is too much.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(milliseconds(time)))
    }

    /// So much earlier; 1970 if that is too much.
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(milliseconds(time)))
    }

    /// How long ago an earlier one was; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Date {
    fn from(time: SystemTime) -> Self {
        Self(milliseconds(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
