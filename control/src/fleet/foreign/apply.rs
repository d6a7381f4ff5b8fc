//! What the store's log says: records that come, change and go.

use std::collections::BTreeSet;
use std::net::IpAddr;

use penstock_dataplane::esp::sa::Spi;

use super::rank::SURELY_LATER;
use super::volume::{Reported, is_limited};
use super::{Foreign, ForeignSa, Notice, Stage};
use crate::fleet::MAX_SHARED_KEY_LIFE;
use crate::fleet::record::{Date, SaName, SaRecord, State};
use crate::ike::protocol::AddSa;
use crate::ike::sad::{Direction, GRACE, Kinds, Moment, STOPPED_STAYS, Usage, Workers};

/// A record that cannot be worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable<E> {
    /// It has the name of another SA.
    #[error("it does not belong under its name in the store")]
    Misnamed,
    /// Its key cannot be expanded.
    #[error(transparent)]
    Key(E),
}

/// What a look at the whole store found under a name.
pub struct Found {
    /// The name.
    pub name: SaName,
    /// At which it was written.
    pub revision: u64,
    /// `None`: it cannot be opened or read. What is known of it stays as it is.
    pub record: Option<SaRecord>,
}

impl<K: Kinds> Foreign<K> {
    /// A record was written. `expand` is asked only where the keys are not known yet.
    ///
    /// # Errors
    /// When the record cannot be worked with. It counts as applied all the same.
    pub fn put<E>(
        &mut self,
        name: &SaName,
        revision: u64,
        record: SaRecord,
        expand: impl FnOnce(&AddSa) -> Result<K::Key, E>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Unusable<E>> {
        if revision < self.applied {
            return Ok(());
        }
        self.applied = revision;
        self.take(name, revision, record, expand, workers, now)
    }

    /// A record was deleted.
    pub fn deleted(&mut self, name: &SaName, revision: u64, workers: &mut impl Workers<K>, now: Moment) {
        if revision < self.applied {
            return;
        }
        self.applied = revision;
        self.vanish(name, workers, now);
    }

    /// The store has come to a revision, by something that is not an SA's record, or that cannot be read.
    pub fn passed(&mut self, revision: u64) {
        self.applied = self.applied.max(revision);
    }

    /// All that is in the store at a revision. `is_restored`: it was restored from a backup since the last look, so what it
    /// does not have it may have forgotten; a revision that is less than before says the same.
    ///
    /// Returned are the records that cannot be worked with.
    pub fn reset<E>(
        &mut self,
        revision: u64,
        found: Vec<Found>,
        is_restored: bool,
        mut expand: impl FnMut(&AddSa) -> Result<K::Key, E>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Vec<(SaName, Unusable<E>)> {
        let counts_anew = revision < self.applied;
        self.applied = revision;
        let there: BTreeSet<&SaName> = found.iter().map(|found| &found.name).collect();
        let is_missing = |sa: &&ForeignSa<K>| sa.is_recorded && !there.contains(&sa.name);
        let missing: Vec<SaName> = self.sas.values().filter(is_missing).map(|sa| sa.name.clone()).collect();
        self.over.retain(|name, _| there.contains(name));
        if counts_anew {
            self.count_anew();
        }
        if is_restored || counts_anew {
            self.forget_records(&missing, counts_anew);
        } else {
            for name in &missing {
                self.vanish(name, workers, now);
            }
        }
        let mut unusable = Vec::new();
        for Found { name, revision, record } in found {
            let Some(record) = record else { continue };
            if let Err(error) = self.take(&name, revision, record, &mut expand, workers, now) {
                unusable.push((name, error));
            }
        }
        unusable
    }

    /// What was seen of peers counts as of now.
    fn count_anew(&mut self) {
        for sa in self.sas.values_mut() {
            sa.shown = sa.shown.map(|_| self.applied);
            sa.lost_at = (!sa.is_recorded).then_some(self.applied);
        }
    }

    fn forget_records(&mut self, missing: &[SaName], counts_anew: bool) {
        for name in missing {
            let Some(sa) = self.sas.get_mut(name) else { continue };
            (sa.is_recorded, sa.lost_at) = (false, counts_anew.then_some(self.applied));
            self.move_tunnel(&name.tunnel);
        }
        if !missing.is_empty() {
            self.notices.push(Notice::Forgotten(missing.len()));
        }
    }

    fn take<E>(
        &mut self,
        name: &SaName,
        revision: u64,
        record: SaRecord,
        expand: impl FnOnce(&AddSa) -> Result<K::Key, E>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Unusable<E>> {
        if record.name() != *name {
            return Err(Unusable::Misnamed);
        }
        let fingerprint = record.fingerprint();
        let is_another =
            |known: &ForeignSa<K>| known.fingerprint != fingerprint || known.local() != local(&record);
        if self.sas.get(name).is_some_and(is_another) {
            self.remove(name, workers);
        }
        if !self.sas.contains_key(name) {
            if hard_end(&record) <= Date::from(now.date) {
                self.over.insert(name.clone(), revision);
                return Ok(());
            }
            if record.state == State::Ended {
                return Ok(());
            }
            let key = expand(&record.sa).map_err(Unusable::Key)?;
            self.insert(name, &record, key, Date::from(now.date));
        }
        self.update(name, revision, &record, workers, now);
        Ok(())
    }

    fn insert(&mut self, name: &SaName, record: &SaRecord, key: K::Key, date: Date) {
        self.arrivals += 1;
        let fingerprint = record.fingerprint();
        let sa = ForeignSa {
            name: name.clone(),
            owner: record.owner,
            id: record.sa.id,
            encap: record.sa.flags.encap,
            state: record.state,
            stage: Stage::Live,
            // A clock that is ahead gives nothing precedence for longer than others need to notice.
            born: if record.born.since(date) > SURELY_LATER { date } else { record.born },
            hard_end: hard_end(record),
            key,
            handle: None,
            is_recorded: true,
            paired: None,
            fingerprint,
            arrival: self.arrivals,
            home: None,
            revision: 0,
            chosen: None,
            shown: None,
            lost_at: None,
            earlier: Usage::default(),
            lifetimes: record.sa.lifetimes,
            runs_out: false,
            reported: Reported::default(),
            first: self.spent.get(&fingerprint).copied().unwrap_or(1),
        };
        if is_limited(&sa.lifetimes) {
            self.limited.insert(name.clone());
        }
        self.hard_ends.insert((sa.hard_end, name.clone()));
        self.by_spi.entry(Spi(name.spi)).or_default().insert(name.clone());
        self.tunnels.entry(name.tunnel.clone()).or_default().sas.insert(name.clone());
        self.sas.insert(name.clone(), sa);
    }

    /// Takes over what may be different from before.
    fn update(
        &mut self,
        name: &SaName,
        revision: u64,
        record: &SaRecord,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) {
        let Some(sa) = self.sas.get_mut(name) else { return };
        (sa.owner, sa.state, sa.born) = (record.owner, record.state, record.born.min(sa.born));
        (sa.id, sa.encap) = (record.sa.id, record.sa.flags.encap);
        (sa.is_recorded, sa.lost_at, sa.revision) = (true, None, revision);
        // A revision that the store has not come to yet is from before it was restored.
        sa.chosen = record.choice.map(|choice| choice.revision.unwrap_or(revision).min(revision));
        let other = match name.direction {
            Direction::Inbound => Direction::Outbound,
            Direction::Outbound => Direction::Inbound,
        };
        sa.paired = record.paired.map(|spi| SaName { direction: other, spi: spi.0, ..name.clone() });
        if sa.state == State::Pending && sa.paired.is_some() {
            self.pending.insert(name.clone());
        } else {
            sa.shown = None;
            self.pending.remove(name);
        }
        let before = std::mem::replace(&mut sa.hard_end, hard_end(record));
        // What it was is gone with what it is now; if that is over too, it is found to be below.
        self.over.remove(name);
        let is_over = sa.hard_end <= Date::from(now.date) || record.state == State::Ended;
        let stage = match (record.state, name.direction, sa.stage) {
            (_, _, ended @ Stage::Ended { .. }) if is_over => ended,
            _ if is_over => Stage::Ended { until: now.uptime + STOPPED_STAYS },
            (State::Retiring { since }, Direction::Inbound, _) => {
                let age = Date::from(now.date).since(since).min(GRACE);
                Stage::Retiring { until: now.uptime + (GRACE - age) }
            }
            _ => Stage::Live,
        };
        self.hard_ends.remove(&(before, name.clone()));
        self.hard_ends.insert((sa.hard_end, name.clone()));
        self.enter(name, stage, workers);
        self.settle_home(name, workers);
        self.end_what_is_over(workers, now);
        self.move_tunnel(&name.tunnel);
    }

    /// Its record is gone.
    fn vanish(&mut self, name: &SaName, workers: &mut impl Workers<K>, now: Moment) {
        self.over.remove(name);
        let Some(sa) = self.sas.get_mut(name) else { return };
        sa.is_recorded = false;
        match (name.direction, sa.stage) {
            (Direction::Outbound, _) => self.remove(name, workers),
            (Direction::Inbound, Stage::Live) => {
                self.enter(name, Stage::Retiring { until: now.uptime + GRACE }, workers);
            }
            (Direction::Inbound, Stage::Retiring { .. } | Stage::Ended { .. }) => {}
        }
    }
}

fn local(record: &SaRecord) -> IpAddr {
    let id = record.sa.id;
    if record.sa.flags.inbound { id.dst.ip() } else { id.src.ip() }
}

/// No key is older than the senders' rule allows, whatever a record says.
fn hard_end(record: &SaRecord) -> Date {
    record.hard_end.min(record.born.after(MAX_SHARED_KEY_LIFE))
}
