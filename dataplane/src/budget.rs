//! A token bucket filled by the cycle counter, read once a burst.

/// Allows `rate` events a second, `burst` at once.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Cycles that one event costs.
    cycles_per_event: u64,
    /// Most cycles that can be saved up.
    ceiling: u64,
    saved: u64,
    last: u64,
}

impl Budget {
    /// `hz` is the clock's frequency. A rate of 0 allows nothing.
    pub fn new(rate: u32, burst: u32, hz: u64, now: u64) -> Self {
        let cycles_per_event = if rate == 0 { u64::MAX } else { (hz / u64::from(rate)).max(1) };
        let ceiling = if rate == 0 { 0 } else { cycles_per_event.saturating_mul(u64::from(burst.max(1))) };
        Self { cycles_per_event, ceiling, saved: ceiling, last: now }
    }

    /// Credits the time since the last call.
    #[inline(always)]
    pub fn refill(&mut self, now: u64) {
        self.saved = self.saved.saturating_add(now.wrapping_sub(self.last)).min(self.ceiling);
        self.last = now;
    }

    /// Takes one event; false when none is left.
    #[inline(always)]
    pub fn take(&mut self) -> bool {
        let left = self.saved.checked_sub(self.cycles_per_event);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spends_the_burst_then_the_rate() {
        let mut budget = Budget::new(10, 3, 1000, 0);
        let spent =
            |budget: &mut Budget| std::iter::repeat_with(|| budget.take()).take_while(|ok| *ok).count();
        assert_eq!(spent(&mut budget), 3);
        budget.refill(250);
        assert_eq!(spent(&mut budget), 2);
        budget.refill(1_000_000);
        assert_eq!(spent(&mut budget), 3);
        assert_eq!(spent(&mut Budget::new(0, 100, 1000, 0)), 0);
    }
}
