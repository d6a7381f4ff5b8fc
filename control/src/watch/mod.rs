//! What workers noted of packets, for people: captures that Wireshark opens, and a packet's way in words.
//!
//! Knows nothing of sockets and threads: what comes out are bytes and rows.

mod describe;
mod filter;
mod frames;
mod merge;
mod pcapng;
mod summary;

pub use describe::{Describer, Prefixes};
pub use filter::{FilterError, PacketFilter};
pub use frames::{Caught, Place, frames};
pub use merge::Merge;
pub use pcapng::CaptureFile;
pub use summary::summary;

use std::time::{Duration, SystemTime};

/// When a cycle counter's value was, by the clock on the wall.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    cycles: u64,
    date: Duration,
    hz: u64,
}

impl Clock {
    /// A clock that is right at `cycles`, which is now. `hz` are cycles a second.
    pub fn at(cycles: u64, hz: u64) -> Self {
        let date = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { cycles, date, hz: hz.max(1) }
    }

    /// Since 1970.
    pub fn date(&self, cycles: u64) -> Duration {
        let passed = |cycles: u64| {
            let nanos = u128::from(cycles) * 1_000_000_000 / u128::from(self.hz);
            Duration::from_nanos(nanos as u64)
        };
        match cycles.checked_sub(self.cycles) {
            Some(later) => self.date + passed(later),
            None => self.date.saturating_sub(passed(self.cycles - cycles)),
        }
    }
}
