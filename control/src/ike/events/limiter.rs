//! How often the log may say the same.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The same thing about the same peer is said again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Lines about peers that belong to no tunnel, in [`AGAIN`], all together.
const STRANGERS: u32 = 20;
/// What was said longer ago is forgotten, and how often it was kept back since.
const FORGOTTEN: Duration = Duration::from_secs(2 * AGAIN.as_secs());

/// Who was said what about, when. No larger than there are tunnels, and causes for each, and a few strangers.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    said: HashMap<(String, &'static str), Said>,
    strangers: u32,
    /// Lines that were kept back about strangers, beyond those that `said` counts.
    hidden: u64,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    /// Times that it was kept back since.
    again: u64,
}

impl Limiter {
    /// Whether a line may be printed; the answer is how often it was kept back before. A `known` subject names tunnels
    /// and no address: anybody may send from many.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        subject: &str,
        kind: &'static str,
        known: bool,
    ) -> Option<u64> {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= AGAIN {
            self.since = Some(now);
            self.strangers = 0;
            self.said.retain(|_, said| now.saturating_duration_since(said.at) < FORGOTTEN);
        }
        if !known && self.strangers >= STRANGERS {
            self.hidden += 1;
            return None;
        }
        let said = self.said.entry((subject.to_owned(), kind));
        let mut before = 0;
        if let std::collections::hash_map::Entry::Occupied(entry) = &said {
            before = entry.get().again;
            if now.saturating_duration_since(entry.get().at) < AGAIN {
                said.and_modify(|said| said.again += 1);
                return None;
            }
        }
        said.insert_entry(Said { at: now, again: 0 });
        self.strangers += u32::from(!known);
        Some(before)
    }

    /// What was kept back about strangers since the last time.
    pub(super) fn summary(&mut self, now: Instant) -> Option<String> {
        let quiet = self.since.is_some_and(|since| now.saturating_duration_since(since) < AGAIN);
        if quiet || self.hidden == 0 {
            return None;
        }
        let hidden = std::mem::take(&mut self.hidden);
        Some(format!(
            "IKE: {hidden} more failed negotiations of peers that belong to no tunnel were not logged one by one; if \
             they are not scans, charon's log has them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute_and_counted() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limiter.admit(at(0), "tunnel a/b", "secret", true), Some(0));
        assert_eq!(limiter.admit(at(1), "tunnel a/b", "secret", true), None);
        assert_eq!(limiter.admit(at(2), "tunnel a/b", "selectors", true), Some(0), "something else");
        assert_eq!(limiter.admit(at(30), "tunnel a/b", "secret", true), None);
        assert_eq!(limiter.admit(at(61), "tunnel a/b", "secret", true), Some(2));
    }

    #[test]
    fn a_scanner_gets_twenty_lines_and_tunnels_are_still_heard() {
        let mut limiter = Limiter::default();
        let now = Instant::now();
        let admitted = (0..100_000_u32).filter(|n| limiter.admit(now, &n.to_string(), "x", false).is_some());
        assert_eq!(admitted.count(), 20);
        assert!(limiter.said.len() < 100);
        assert_eq!(limiter.admit(now, "tunnel a/b", "secret", true), Some(0));
        assert_eq!(limiter.summary(now), None, "not yet");
        let later = now + Duration::from_secs(61);
        assert!(limiter.summary(later).unwrap().contains("99980 more"));
        assert_eq!(limiter.summary(later), None);
        assert_eq!(limiter.admit(later, "stranger", "x", false), Some(0), "a new minute");
    }

    #[test]
    fn memory_is_bounded() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        let (tunnels, kinds) = (["a/b", "a/c", "a/d"], ["secret", "selectors"]);
        for n in 0..100_000_u64 {
            let now = start + Duration::from_millis(n * 10);
            limiter.admit(now, &n.to_string(), "x", false);
            limiter.admit(now, tunnels[n as usize % 3], kinds[n as usize % 2], true);
            assert!(limiter.said.len() <= tunnels.len() * kinds.len() + 3 * STRANGERS as usize);
        }
    }
}
