//! What the service manager (systemd) is told, by sd_notify(3); nothing where none asks for it.
//!
//! The watchdog's sign of life is given only when every worker has turned since the last one: a gateway whose control
//! lives but whose packets stand still is restarted, too.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// How long a worker may stand still before it is an error in the log.
const STANDSTILL: Duration = Duration::from_secs(5);
/// What a stop takes beside the time to drain: charon and the fleet get their last words.
const STOP: Duration = Duration::from_secs(30);

/// Who is told.
#[derive(Debug)]
pub(super) struct ServiceManager {
    ready: bool,
    workers: Vec<Turns>,
}

/// A worker's turns.
#[derive(Debug)]
struct Turns {
    seen: u64,
    since: Instant,
    /// Since the last sign of life.
    turned: bool,
    complained: bool,
}

impl ServiceManager {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        let now = Instant::now();
        let fresh = || Turns { seen: 0, since: now, turned: false, complained: false };
        Self { ready: false, workers: std::iter::repeat_with(fresh).take(workers).collect() }
    }

    /// The start is over. Told once.
    pub(super) fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            tell(&[NotifyState::Ready, NotifyState::Status("forwarding")]);
        }
    }

    /// A reload begins; it ends with [`Self::reloaded`].
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "systemd is not told of the reload: there is no clock"),
        }
    }

    /// A reload is over; whether it succeeded is told to whoever asked for it.
    pub(super) fn reloaded(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// The gateway stops after `drain`.
    pub(super) fn stopping(&self, drain: Duration) {
        let longest = u32::try_from((drain + STOP).as_micros()).unwrap_or(u32::MAX);
        let status = if drain.is_zero() { "stopping" } else { "draining: forwarding, but not ready" };
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest), NotifyState::Status(status)]);
    }

    /// Once a second, with how many turns each worker has made, by its core.
    pub(super) fn look(&mut self, turns: impl Iterator<Item = (u16, u64)>, now: Instant) {
        if self.all_turn(turns, now) {
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Whether all have turned since the last time this was true.
    fn all_turn(&mut self, turns: impl Iterator<Item = (u16, u64)>, now: Instant) -> bool {
        for (worker, (core, turns)) in self.workers.iter_mut().zip(turns) {
            if turns != worker.seen {
                *worker = Turns { seen: turns, since: now, turned: true, complained: false };
            } else if now.duration_since(worker.since) > STANDSTILL && !worker.complained {
                worker.complained = true;
                tracing::error!(core, "the worker stands still: something else has its core, or it is stuck");
            }
        }
        let all = self.workers.iter().all(|worker| worker.turned);
        if all {
            self.workers.iter_mut().for_each(|worker| worker.turned = false);
        }
        all
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_stands_still_gives_no_sign_of_life() {
        let start = Instant::now();
        let mut manager = ServiceManager::new(2);
        let mut look = |turns: [u64; 2], second| {
            let turns = [2, 3].into_iter().zip(turns);
            manager.all_turn(turns, start + Duration::from_secs(second))
        };
        assert!(look([10, 10], 1));
        assert!(look([20, 20], 2));
        assert!(!look([30, 20], 3), "the second worker stands still");
        assert!(!look([40, 20], 9));
        assert!(look([40, 21], 10), "the first one turned meanwhile, the second does again");
        assert!(!look([40, 21], 11));
        assert!(look([41, 22], 12));
    }
}
