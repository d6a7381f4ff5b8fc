//! The clocks of this machine.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::keeper::Machine;

/// This machine.
#[derive(Debug)]
pub(super) struct System {
    began: Instant,
}

impl System {
    pub(super) fn new() -> Self {
        Self { began: Instant::now() }
    }
}

impl Machine for System {
    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn steady(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }

    fn random(&self) -> Option<u64> {
        getrandom::u64().ok()
    }
}
