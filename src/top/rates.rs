//! Rates of counters, and how they were of late.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Looks that are remembered: the widest trend.
pub const REMEMBERED: usize = 120;

/// A counter: what it counts in a second now, and before.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    last: Option<u64>,
    history: VecDeque<f32>,
}

impl Rate {
    /// Takes the counter's value, `seconds` after the one before. One that is smaller begins anew: another daemon.
    pub fn take(&mut self, value: u64, seconds: f64) {
        if let Some(last) = self.last
            && seconds > 0.0
        {
            let rate = value.saturating_sub(last) as f64 / seconds;
            self.history.push_back(rate as f32);
            if self.history.len() > REMEMBERED {
                self.history.pop_front();
            }
        }
        self.last = Some(value);
    }

    /// In a second, as of the last look.
    pub fn now(&self) -> f64 {
        self.history.back().copied().unwrap_or_default().into()
    }

    /// The last `width` rates, oldest first, with zeros in front where there are fewer.
    pub fn trend(&self, width: usize) -> Vec<f64> {
        let missing = width.saturating_sub(self.history.len());
        let known = self.history.iter().skip(self.history.len().saturating_sub(width));
        std::iter::repeat_n(0.0, missing).chain(known.map(|rate| f64::from(*rate))).collect()
    }
}

/// Several counters of each of many things.
#[derive(Clone, Debug)]
pub struct Rates<K, const N: usize>(HashMap<K, [Rate; N]>);

impl<K, const N: usize> Default for Rates<K, N> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, const N: usize> Rates<K, N> {
    /// Takes the counters of everything that there is; what is not there any more is forgotten.
    pub fn take(&mut self, rows: impl Iterator<Item = (K, [u64; N])>, seconds: f64) {
        let mut before = std::mem::take(&mut self.0);
        for (key, counters) in rows {
            let mut rates = before.remove(&key).unwrap_or_else(|| std::array::from_fn(|_| Rate::default()));
            for (rate, counter) in rates.iter_mut().zip(counters) {
                rate.take(counter, seconds);
            }
            self.0.insert(key, rates);
        }
    }

    /// The rates of one thing.
    pub fn of(&self, key: &K) -> Option<&[Rate; N]> {
        self.0.get(key)
    }

    /// One rate of one thing, now.
    pub fn now(&self, key: &K, which: usize) -> f64 {
        self.of(key).and_then(|rates| rates.get(which)).map_or(0.0, Rate::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_came_between_two_looks() {
        let mut rate = Rate::default();
        rate.take(1000, 0.0);
        assert_eq!((rate.now(), rate.trend(2)), (0.0, vec![0.0, 0.0]));
        rate.take(1500, 2.0);
        rate.take(1500, 1.0);
        assert_eq!((rate.now(), rate.trend(3)), (0.0, vec![0.0, 250.0, 0.0]));
        // The daemon was started again.
        rate.take(7, 1.0);
        assert_eq!(rate.now(), 0.0);
        rate.take(17, 1.0);
        assert_eq!(rate.now(), 10.0);
        (0..1000).for_each(|n| rate.take(17 + n, 1.0));
        assert_eq!(rate.trend(REMEMBERED + 1).first(), Some(&0.0));
        assert_eq!(rate.trend(REMEMBERED).first(), Some(&1.0));
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut rates: Rates<&str, 1> = Rates::default();
        rates.take([("a", [1]), ("b", [1])].into_iter(), 1.0);
        rates.take([("b", [3])].into_iter(), 1.0);
        assert!(rates.of(&"a").is_none());
        assert_eq!(rates.now(&"b", 0), 2.0);
        rates.take([("a", [9]), ("b", [3])].into_iter(), 1.0);
        assert_eq!(rates.now(&"a", 0), 0.0, "a tunnel that comes has no rate yet");
    }
}
