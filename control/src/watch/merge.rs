//! What several cores noted, in the order of time.
//!
//! A core notes a time and hands its packet over a moment later, so what is newer than that moment waits: something older
//! may still come.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that happened at `at`, and was put in as the `order`th.
struct Entry<T> {
    at: u64,
    order: u64,
    item: T,
}

impl<T> Ord for Entry<T> {
    /// The oldest is the greatest: a heap gives out the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

/// What waits for its turn.
pub struct Merge<T> {
    waiting: BinaryHeap<Entry<T>>,
    put: u64,
}

impl<T> Default for Merge<T> {
    fn default() -> Self {
        Self { waiting: BinaryHeap::new(), put: 0 }
    }
}

impl<T> Merge<T> {
    /// Puts something in that happened at `at`.
    pub fn put(&mut self, at: u64, item: T) {
        self.waiting.push(Entry { at, order: self.put, item });
        self.put += 1;
    }

    /// Takes the oldest out, if it is not newer than `until`; of the same age, the one that was put in first.
    pub fn take(&mut self, until: u64) -> Option<(u64, T)> {
        if self.waiting.peek()?.at > until {
            return None;
        }
        self.waiting.pop().map(|entry| (entry.at, entry.item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_comes_out_is_sorted_and_complete(times in proptest::collection::vec(0u64..50, 0..200), until in 0u64..60) {
            let mut merge = Merge::default();
            for (number, at) in times.iter().enumerate() {
                merge.put(*at, number);
            }
            let out: Vec<_> = std::iter::from_fn(|| merge.take(until)).collect();
            let mut expected: Vec<_> = times.iter().copied().zip(0..).filter(|(at, _)| *at <= until).collect();
            expected.sort_unstable();
            proptest::prop_assert_eq!(out, expected);
            proptest::prop_assert_eq!(merge.waiting.len(), times.iter().filter(|at| **at > until).count());
        }
    }
}
