//! Time since the machine's start: what the life of an SA is measured by.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A moment, as time since the machine's start. Nobody sets this clock, it counts the time that the machine is
/// suspended, and it goes on when we are restarted; so it means the same to who reads a moment back from the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// This moment. Should the kernel not say, it is the end of time: keys are better given up than kept for ever.
    pub fn read() -> Self {
        Self(clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from))
    }

    /// How long ago `earlier` was; zero when it was not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The moment so much later.
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_machines_uptime() {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let now = BootTime::read();
        assert!((now.0.as_secs_f64() - uptime).abs() < 5.0, "{now:?} {uptime}");
        let second = Duration::from_secs(1);
        assert_eq!(now.after(second).since(now), second);
        assert_eq!(now.since(now.after(second)), Duration::ZERO);
    }
}
