//! Workers that measure at the same time: each round of all of them begins together, or what they share would be
//! measured while only one uses it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Looks before a waiting thread lets others have its core.
const PATIENCE: usize = 1 << 14;

/// A meeting point of threads.
pub struct Together {
    threads: usize,
    barrier: Barrier,
    arrived: AtomicUsize,
}

impl Together {
    /// For so many.
    pub fn new(threads: usize) -> Self {
        Self { threads, barrier: Barrier::new(threads), arrived: AtomicUsize::new(0) }
    }

    /// Sleeps until all are here: whoever still works has the machine for itself.
    pub fn rest(&self) {
        if self.threads > 1 {
            self.barrier.wait();
        }
    }

    /// Stays awake until all are here, so that all go on within a few cycles of each other.
    pub fn start(&self) {
        let ticket = self.arrived.fetch_add(1, Ordering::AcqRel);
        let all = (ticket / self.threads + 1) * self.threads;
        let mut looks = 0;
        while self.arrived.load(Ordering::Acquire) < all {
            looks += 1;
            if looks % PATIENCE == 0 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_starts_before_the_last() {
        let together = Together::new(3);
        let started = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..50 {
                        started.fetch_add(1, Ordering::AcqRel);
                        together.start();
                        assert!(started.load(Ordering::Acquire) >= 3 * (round + 1));
                        together.rest();
                    }
                });
            }
        });
        assert_eq!(started.into_inner(), 150);
    }
}
