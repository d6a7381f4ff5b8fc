//! Keeps the neighbours that forwarding uses resolved.
//!
//! Control says which neighbours it wants ([`Resolver::set_wanted`]); for each one that the kernel does not
//! know, or is not sure of any more, the kernel is asked to use it (`NTF_USE`), which makes it send ARP or ND
//! and report. Nothing is polled: a request is repeated only when an event says that the entry went stale,
//! failed or vanished, and after a failure the next try waits from one second up to thirty.
//!
//! This file decides *when* to ask. The mirror feeds it events and sends what it returns.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::state::{IfIndex, NeighbourState};

/// The key of a neighbour.
pub type NeighbourKey = (IfIndex, IpAddr);

const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is known of a wanted neighbour's last failure.
#[derive(Debug, Clone, Copy, Default)]
struct Wanted {
    /// When to try again, if the last try failed.
    retry_at: Option<Instant>,
    /// How long the next wait after a failure is.
    backoff: Duration,
}

/// The neighbours in use, and when to ask the kernel for them.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    wanted: HashMap<NeighbourKey, Wanted>,
    /// No retry is due before this. May be too early, when what it was for succeeded meanwhile.
    next_due: Option<Instant>,
}

impl Resolver {
    /// Replaces the set of neighbours in use. Returns those to ask for now: the new ones that the kernel does
    /// not have in a fresh state.
    pub(crate) fn set_wanted(
        &mut self,
        wanted: &HashSet<NeighbourKey>,
        known: impl Fn(NeighbourKey) -> Option<NeighbourState>,
    ) -> Vec<NeighbourKey> {
        self.wanted.retain(|key, _| wanted.contains(key));
        let mut ask = Vec::new();
        for &key in wanted {
            if let Entry::Vacant(entry) = self.wanted.entry(key) {
                entry.insert(Wanted::default());
                if needs_request(known(key)) {
                    ask.push(key);
                }
            }
        }
        ask
    }

    /// Takes note of an event about a neighbour (`None`: it is gone). True: ask the kernel for it now.
    pub(crate) fn on_neighbour(
        &mut self,
        key: NeighbourKey,
        state: Option<NeighbourState>,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.wanted.get_mut(&key) else { return false };
        match state {
            Some(NeighbourState::Stale) => true,
            // Gone for good reasons (garbage collection) or bad ones (its link went): both wait, the second
            // would be refused at once and the first costs a second at most.
            Some(NeighbourState::Failed) | None => {
                if entry.retry_at.is_none() {
                    entry.backoff = (entry.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
                    let at = now + entry.backoff;
                    entry.retry_at = Some(at);
                    self.next_due = Some(self.next_due.map_or(at, |next| next.min(at)));
                }
                false
            }
            Some(NeighbourState::Reachable | NeighbourState::Permanent) => {
                *entry = Wanted::default();
                false
            }
            Some(NeighbourState::Incomplete | NeighbourState::Delay | NeighbourState::Probe) => false,
        }
    }

    /// The link came up: ask for all neighbours in use on it.
    pub(crate) fn on_link_up(&mut self, interface: IfIndex) -> Vec<NeighbourKey> {
        let on_it = self.wanted.iter_mut().filter(|((index, _), _)| *index == interface);
        on_it
            .map(|(key, entry)| {
                *entry = Wanted::default();
                *key
            })
            .collect()
    }

    /// The neighbours whose wait after a failure is over.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<NeighbourKey> {
        if self.next_due.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (key, entry) in &mut self.wanted {
            if entry.retry_at.is_some_and(|at| at <= now) {
                // If the kernel cannot even start (no such interface) no event follows: keep trying, slower.
                entry.backoff = (entry.backoff * 2).clamp(RETRY_MIN, RETRY_MAX);
                entry.retry_at = Some(now + entry.backoff);
                due.push(*key);
            }
        }
        self.next_due = self.wanted.values().filter_map(|entry| entry.retry_at).min();
        due
    }

    /// When to call [`Resolver::due`] next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.next_due
    }
}

fn needs_request(state: Option<NeighbourState>) -> bool {
    !matches!(
        state,
        Some(
            NeighbourState::Reachable
                | NeighbourState::Permanent
                | NeighbourState::Delay
                | NeighbourState::Probe
                | NeighbourState::Incomplete
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use NeighbourState::{Failed, Reachable, Stale};

    const KEY: NeighbourKey = (IfIndex(2), IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    fn wanting(key: NeighbourKey) -> Resolver {
        let mut resolver = Resolver::default();
        resolver.set_wanted(&HashSet::from([key]), |_| None);
        resolver
    }

    #[test]
    fn asks_once_for_what_is_new_and_not_fresh() {
        let mut resolver = Resolver::default();
        let wanted = HashSet::from([KEY]);
        assert_eq!(resolver.set_wanted(&wanted, |_| None), [KEY]);
        assert_eq!(resolver.set_wanted(&wanted, |_| None), []);
        assert_eq!(wanting(KEY).set_wanted(&HashSet::new(), |_| None), []);
        assert_eq!(Resolver::default().set_wanted(&wanted, |_| Some(Reachable)), []);
        assert_eq!(Resolver::default().set_wanted(&wanted, |_| Some(Stale)), [KEY]);
        assert_eq!(Resolver::default().set_wanted(&wanted, |_| Some(Failed)), [KEY]);
    }

    #[test]
    fn keeps_alive_only_what_is_in_use() {
        let now = Instant::now();
        assert!(wanting(KEY).on_neighbour(KEY, Some(Stale), now));
        assert!(!Resolver::default().on_neighbour(KEY, Some(Stale), now));
    }

    #[test]
    fn waits_longer_after_each_failure_and_not_at_all_after_success() {
        let mut now = Instant::now();
        let mut resolver = wanting(KEY);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert!(!resolver.on_neighbour(KEY, Some(Failed), now));
            assert_eq!(resolver.due(now), [], "not before its time");
            let at = resolver.next_due().expect("a retry is planned");
            waits.push((at - now).as_secs());
            now = at;
            assert_eq!(resolver.due(now), [KEY]);
        }
        assert_eq!(waits[0], 1);
        assert!(waits.is_sorted() && waits[6] == 30, "{waits:?}");
        resolver.on_neighbour(KEY, Some(Reachable), now);
        assert_eq!(resolver.due(now + RETRY_MAX * 2), []);
        assert_eq!(resolver.next_due(), None);
    }

    #[test]
    fn asks_again_when_the_link_comes_back() {
        let mut resolver = wanting(KEY);
        resolver.on_neighbour(KEY, None, Instant::now());
        assert_eq!(resolver.on_link_up(IfIndex(9)), []);
        assert_eq!(resolver.on_link_up(KEY.0), [KEY]);
        assert_eq!(resolver.due(Instant::now() + RETRY_MAX), []);
    }
}
