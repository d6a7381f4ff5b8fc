//! When leases end.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tracing::warn;

use super::super::entry::LeaseId;
use super::Inner;

/// Shorter ones are as long, as they are with etcd.
const LEAST_TTL: Duration = Duration::from_secs(1);
/// Longest: a year. Keeps sums of times in range.
const MOST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
/// Until what the disk refused is tried again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
}

/// Those that have not ended.
#[derive(Debug)]
pub(super) struct Leases(BTreeMap<LeaseId, Lease>);

impl Leases {
    /// Leases that were in the file. How long they had not been kept is not known, so they begin anew.
    pub(super) fn new(ttls: Vec<(LeaseId, Duration)>, now: Instant) -> Self {
        let lease = |ttl: Duration| Lease { ttl, ends: now + ttl.min(MOST_TTL) };
        Self(ttls.into_iter().map(|(id, ttl)| (id, lease(ttl))).collect())
    }

    /// A new one, which `write` makes known to the file.
    pub(super) fn grant(
        &mut self,
        ttl: Duration,
        write: impl FnOnce(LeaseId, Duration) -> Result<(), redb::Error>,
    ) -> Result<LeaseId, redb::Error> {
        let ttl = ttl.clamp(LEAST_TTL, MOST_TTL);
        let id = loop {
            let random =
                getrandom::u64().map_err(|e| redb::Error::Corrupted(format!("no random numbers: {e}")))?;
            let id = LeaseId((random >> 1).cast_signed());
            if id.0 != 0 && !self.0.contains_key(&id) {
                break id;
            }
        };
        write(id, ttl)?;
        self.0.insert(id, Lease { ttl, ends: Instant::now() + ttl });
        Ok(id)
    }

    pub(super) fn lives(&self, id: LeaseId, now: Instant) -> bool {
        self.0.get(&id).is_some_and(|lease| lease.ends > now)
    }

    /// For another TTL, unless it has ended.
    pub(super) fn keep(&mut self, id: LeaseId, now: Instant) -> bool {
        let lease = self.0.get_mut(&id).filter(|lease| lease.ends > now);
        lease.map(|lease| lease.ends = now + lease.ttl).is_some()
    }

    /// One that nobody kept.
    pub(super) fn due(&self, now: Instant) -> Option<LeaseId> {
        self.0.iter().find(|(_, lease)| lease.ends <= now).map(|(id, _)| *id)
    }

    /// When the next one ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|lease| lease.ends).min()
    }

    pub(super) fn remove(&mut self, id: LeaseId) {
        self.0.remove(&id);
    }
}

/// Ends leases of the store when they are due, until the store is closed.
pub(super) async fn end_in_time(store: Weak<Inner>, changed: Arc<Notify>) {
    while let Some(inner) = store.upgrade() {
        // Also lets go of the store before the wait.
        let ended = tokio::task::spawn_blocking(move || inner.end_due()).await;
        let next = match ended {
            Ok(Ok(next)) => next,
            Ok(Err(e)) => {
                warn!("cannot delete the keys of a lease that has ended: {e}");
                Some(Instant::now() + AGAIN)
            }
            Err(_) => return,
        };
        match next {
            Some(at) => {
                let _ = tokio::time::timeout_at(at.into(), changed.notified()).await;
            }
            None => changed.notified().await,
        }
    }
}
