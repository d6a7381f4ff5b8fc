//! Gives out slot numbers of a table, and takes care that a number is not given out again while a worker may still
//! use the table in which it meant something else (its counters, and what waits in queues, are named by it).

use std::collections::VecDeque;

/// Numbers in use, free, and not yet free.
#[derive(Debug)]
pub(super) struct Slots {
    next: u32,
    limit: u32,
    free: VecDeque<u32>,
    /// Released since the last publication.
    released: Vec<u32>,
    /// Released in the publication of this generation.
    parked: VecDeque<(u64, u32)>,
}

impl Slots {
    /// Numbers from `first` to one less than `limit`.
    pub(super) fn new(first: u32, limit: u32) -> Self {
        Self { next: first, limit, free: VecDeque::new(), released: Vec::new(), parked: VecDeque::new() }
    }

    /// A number that nobody uses; the one that was free for longest. `None`: all are in use.
    pub(super) fn take(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop_front() {
            return Some(slot);
        }
        let slot = self.next;
        (slot < self.limit).then(|| self.next += 1)?;
        Some(slot)
    }

    /// Gives a number back.
    pub(super) fn release(&mut self, slot: u32) {
        self.released.push(slot);
    }

    /// What was released until now is absent from the tables of this generation.
    pub(super) fn published(&mut self, generation: u64) {
        self.parked.extend(self.released.drain(..).map(|slot| (generation, slot)));
    }

    /// All workers use tables of this generation or a later one.
    pub(super) fn settled(&mut self, generation: u64) {
        while let Some((parked, slot)) = self.parked.front().copied()
            && parked <= generation
        {
            self.parked.pop_front();
            self.free.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_only_when_all_workers_have_forgotten_it() {
        let mut slots = Slots::new(1, 4);
        assert_eq!(
            [slots.take(), slots.take(), slots.take(), slots.take()],
            [Some(1), Some(2), Some(3), None]
        );
        slots.release(2);
        slots.settled(10);
        assert_eq!(slots.take(), None, "not even published");
        slots.published(11);
        slots.settled(10);
        assert_eq!(slots.take(), None, "a worker still uses generation 10");
        slots.release(1);
        slots.settled(11);
        assert_eq!([slots.take(), slots.take()], [Some(2), None]);
        slots.published(12);
        slots.settled(12);
        assert_eq!(slots.take(), Some(1));
    }
}
