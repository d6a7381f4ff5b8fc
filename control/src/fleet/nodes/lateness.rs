//! How long something took, many times over, in a fixed amount of memory.

use std::time::Duration;

/// Bits of a duration that tell buckets of one octave apart.
const SUB_BITS: u32 = 2;
const SUBS: u32 = 1 << SUB_BITS;
/// Octaves of microseconds, up to 67 s. What took longer counts as that.
const OCTAVES: u32 = 26;
const BUCKETS: usize = ((OCTAVES - SUB_BITS + 1) * SUBS) as usize;

/// Durations, each known to a quarter.
#[derive(Clone, Debug)]
pub struct Lateness {
    counts: [u32; BUCKETS],
    total: u64,
    sum_micros: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0, sum_micros: 0 }
    }
}

impl Lateness {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min((1 << OCTAVES) - 1) as u32;
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count = count.saturating_add(1);
            self.total += 1;
            self.sum_micros = self.sum_micros.saturating_add(u64::from(micros));
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// How many there were in each octave of microseconds: the longest that falls into it, and the count.
    pub fn octaves(&self) -> impl Iterator<Item = (Duration, u64)> {
        let octaves = self.counts.chunks(SUBS as usize).enumerate();
        octaves.map(|(octave, counts)| {
            let last = (octave << SUB_BITS) + SUBS as usize - 1;
            (Duration::from_micros(end(last)), counts.iter().map(|count| u64::from(*count)).sum())
        })
    }

    /// So many of a thousand took no longer than this; rounded up to the end of its bucket. `None`: there was none.
    pub fn quantile(&self, permille: u64) -> Option<Duration> {
        let wanted = (self.total * permille.min(1000)).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        })?;
        Some(Duration::from_micros(end(bucket)))
    }
}

/// Which bucket, of microseconds: the first few are one each, then four to an octave.
fn bucket(micros: u32) -> usize {
    if micros < SUBS {
        return micros as usize;
    }
    let octave = micros.ilog2() - SUB_BITS;
    (((octave + 1) << SUB_BITS) + ((micros >> octave) & (SUBS - 1))) as usize
}

/// The largest duration of a bucket, microseconds.
fn end(bucket: usize) -> u64 {
    let (octave, sub) = (bucket as u64 >> SUB_BITS, bucket as u64 & u64::from(SUBS - 1));
    match octave {
        0 => sub,
        octave => ((u64::from(SUBS) + sub + 1) << (octave - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_have_no_gaps_and_are_a_quarter_wide() {
        let mut before = None;
        for micros in 0..1 << 16 {
            let bucket = bucket(micros);
            assert!(u64::from(micros) <= end(bucket), "{micros}");
            assert!(end(bucket) <= u64::from(micros) + u64::from(micros / 4), "{micros}");
            assert!(before.is_none_or(|before| bucket == before || bucket == before + 1), "{micros}");
            before = Some(bucket);
        }
        assert_eq!(bucket((1 << OCTAVES) - 1), BUCKETS - 1);
        assert_eq!(end(BUCKETS - 1), (1 << OCTAVES) - 1);
    }

    #[test]
    fn octaves_hold_everything_and_end_where_buckets_do() {
        let mut lateness = Lateness::default();
        let all: Vec<u64> = (0..20).map(|power| 3 << power).collect();
        all.iter().for_each(|micros| lateness.add(Duration::from_micros(*micros)));
        let octaves: Vec<_> = lateness.octaves().collect();
        assert_eq!(octaves.iter().map(|(_, count)| count).sum::<u64>(), lateness.count());
        assert_eq!(lateness.sum().as_micros() as u64, all.iter().sum::<u64>());
        let mut seen = 0;
        for (end, count) in octaves {
            seen += count;
            let not_longer = all.iter().filter(|micros| u128::from(**micros) <= end.as_micros()).count();
            assert_eq!(seen, not_longer as u64, "{end:?}");
        }
    }

    #[test]
    fn quantiles() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(500), None);
        for millis in 1..=100 {
            lateness.add(Duration::from_millis(millis));
        }
        let within = |permille, low, high| {
            let found = lateness.quantile(permille).unwrap().as_millis();
            assert!((low..=high).contains(&found), "{permille}: {found}");
        };
        within(500, 50, 62);
        within(990, 99, 123);
        within(0, 1, 1);
        assert_eq!(lateness.count(), 100);
        lateness.add(Duration::from_secs(1 << 40));
        assert_eq!(lateness.quantile(1000).unwrap().as_secs(), 67);
    }
}
