//! What a polling thread does while nothing comes.
//!
//! A thread that polls takes its whole core. Where the core is wanted for something else, or power is, it rests between
//! two looks once it has found nothing for [`EMPTY_TURNS`] turns; the first packet ends that. A packet that comes during a
//! rest waits for its end, and in the device's ring.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cycles;

/// Turns without work before the first rest: a few microseconds of looking, more with slow virtual devices.
pub const EMPTY_TURNS: u64 = 32;
/// How long one rest of [`IdlePolicy::Pause`] lasts.
pub const PAUSE: Duration = Duration::from_micros(2);
/// How long one rest of [`IdlePolicy::Sleep`] lasts, to which the kernel adds what it takes to wake a thread.
pub const SLEEP: Duration = Duration::from_micros(50);

/// What to do while nothing comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdlePolicy {
    /// Look again at once.
    Poll,
    /// Let the processor wait: TPAUSE where it has that (WAITPKG), else PAUSE. The core stays taken; it needs less power
    /// and leaves more to its other hyperthread.
    Pause,
    /// Give the core back to the kernel for a moment.
    Sleep,
}

/// Calls `turn`, which returns how much work it found, until `stop` is set.
pub fn poll(policy: IdlePolicy, stop: &AtomicBool, mut turn: impl FnMut() -> usize) {
    // One loop for all policies, so that `turn` is compiled into one place: one that only polls never gets to a rest.
    let patience = if policy == IdlePolicy::Poll { u64::MAX } else { EMPTY_TURNS };
    if policy == IdlePolicy::Sleep {
        wake_in_time();
    }
    let pause = (PAUSE.as_secs_f64() * cycles::tsc_hz() as f64) as u64;
    let mut empty = 0u64;
    while !stop.load(Ordering::Relaxed) {
        if turn() != 0 {
            empty = 0;
        } else if empty < patience {
            empty += 1;
            std::hint::spin_loop();
        } else {
            rest(policy, pause);
        }
    }
}

#[cold]
fn rest(policy: IdlePolicy, pause_cycles: u64) {
    match policy {
        IdlePolicy::Poll => {}
        IdlePolicy::Pause => pause_until(cycles::rdtsc() + pause_cycles),
        IdlePolicy::Sleep => std::thread::sleep(SLEEP),
    }
}

/// Waits in the processor.
fn pause_until(end: u64) {
    // SAFETY: takes a number; returns at once with an error where the processor cannot.
    let waited = unsafe { dpdk_sys::penstock_pause_until(end) } == 0;
    while !waited && cycles::rdtsc() < end {
        std::hint::spin_loop();
    }
}

/// The kernel may else add 50 microseconds to every sleep, to wake several threads at once.
fn wake_in_time() {
    // SAFETY: takes a number, changes only the calling thread's timers.
    if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) } != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "idle workers may sleep 50 us longer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Processor time of the calling thread.
    fn cpu_time() -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one timespec.
        assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Turns until `long` is over, and processor time taken.
    fn empty_turns(policy: IdlePolicy, long: Duration) -> (u64, Duration) {
        let stop = AtomicBool::new(false);
        let (began, taken, mut turns) = (Instant::now(), cpu_time(), 0);
        poll(policy, &stop, || {
            turns += 1;
            stop.store(began.elapsed() >= long, Ordering::Relaxed);
            0
        });
        (turns, cpu_time() - taken)
    }

    #[test]
    fn who_sleeps_leaves_the_core_to_others() {
        let long = Duration::from_millis(300);
        let (polled, _) = empty_turns(IdlePolicy::Poll, long);
        let (slept, taken) = empty_turns(IdlePolicy::Sleep, long);
        assert!(taken < long / 3, "{taken:?} of {long:?}");
        assert!((100..=6000 + EMPTY_TURNS).contains(&slept), "{slept} turns");
        assert!(polled > 10 * slept, "{polled} and {slept} turns");
    }

    #[test]
    fn who_pauses_looks_less_often() {
        // Where the test's processor says nothing of its clock, a pause is no time at all.
        let _eal = crate::testing::eal();
        let long = Duration::from_millis(50);
        let (paused, _) = empty_turns(IdlePolicy::Pause, long);
        let most = long.as_nanos() / PAUSE.as_nanos() + u128::from(EMPTY_TURNS) + 1;
        assert!(u128::from(paused) <= most && paused > EMPTY_TURNS, "{paused} of at most {most} turns");
    }

    #[test]
    fn work_ends_the_rest_and_patience_begins_again() {
        let stop = AtomicBool::new(false);
        let (began, mut turns) = (Instant::now(), 0u64);
        poll(IdlePolicy::Sleep, &stop, || {
            turns += 1;
            stop.store(turns == 20_000, Ordering::Relaxed);
            usize::from(turns.is_multiple_of(EMPTY_TURNS))
        });
        let took = began.elapsed();
        assert!(took < SLEEP * 10_000, "{took:?} for 20 000 turns, none of which may sleep");
    }
}
