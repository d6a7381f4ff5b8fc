//! What the store says of SAs, of other nodes' and of this one's.

use penstock_fleet::names::SaName;

use super::on_feed::OnFeed;
use super::sharing::record_name;
use super::{Gear, Negotiated, demand};
use crate::fleet::outbox::Flight;
use crate::fleet::record::{RecordName, SaRecord};
use crate::fleet::{Found, Unusable};
use crate::ike::protocol::Refused;
use crate::ike::sad::Moment;

/// A record of an SA, found in the store.
pub(in crate::runtime) struct InStore {
    /// Whose it is.
    pub(in crate::runtime) name: RecordName,
    /// At which it was written.
    pub(in crate::runtime) revision: u64,
    /// Counts how often it was written.
    pub(in crate::runtime) version: u64,
    /// `None`: it cannot be opened or read, which was said.
    pub(in crate::runtime) record: Option<SaRecord>,
}

impl Negotiated {
    /// Records were written or deleted at a revision. Answered are those that cannot be worked with, and why.
    pub(in crate::runtime) fn changed_in_store(
        &mut self,
        revision: u64,
        puts: Vec<InStore>,
        deletes: &[SaName],
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Vec<(RecordName, String)> {
        let mut unusable = Vec::new();
        let backends = gear.backends;
        for InStore { name, revision, version, record } in puts {
            let Some(record) = record.filter(|_| !self.is_own(&name, version)) else {
                self.fleet.passed(revision);
                continue;
            };
            let workers = &mut OnFeed(gear.feed);
            let expand = |sa: &_| demand::shared(sa, backends);
            if let Err(error) = self.fleet.put(&name, revision, record, expand, workers, now) {
                unusable.push((name, error.to_string()));
            }
        }
        for name in deletes.iter().filter_map(record_name) {
            if !self.is_own(&name, 0) {
                self.fleet.deleted(&name, revision, &mut OnFeed(gear.feed), now);
            }
        }
        self.fleet.passed(revision);
        self.settle(gear);
        unusable
    }

    /// All records that the store has at a revision. `is_restored`: it has lost some that it had.
    pub(in crate::runtime) fn listed_in_store(
        &mut self,
        revision: u64,
        found: Vec<InStore>,
        is_restored: bool,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Vec<(RecordName, String)> {
        let (own, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|found| self.is_own(&found.name, found.version));
        let others =
            others.into_iter().map(|InStore { name, revision, record, .. }| Found { name, revision, record });
        let backends = gear.backends;
        let expand = |sa: &_| demand::shared(sa, backends);
        let workers = &mut OnFeed(gear.feed);
        let unusable = self.fleet.reset(revision, others.collect(), is_restored, expand, workers, now);
        for InStore { name, revision, record, .. } in own {
            let choice = record.and_then(|record| record.choice);
            self.fleet.recall(&name, choice, revision, &self.sad);
        }
        if is_restored {
            self.write_again();
        }
        self.settle(gear);
        let worded = |(name, error): (RecordName, Unusable<Refused>)| (name, error.to_string());
        unusable.into_iter().map(worded).collect()
    }

    /// Records of this node that the store has now, at a revision.
    pub(in crate::runtime) fn landed(&mut self, flights: Vec<Flight>, revision: u64, gear: &mut Gear<'_>) {
        let Some(sharing) = &mut self.sharing else { return };
        let published = sharing.landed(flights, revision);
        for (name, choice) in published {
            self.fleet.published(&name, choice, revision);
        }
        self.settle(gear);
    }

    /// How many SAs of other nodes there are.
    pub(in crate::runtime) fn foreign_count(&self) -> usize {
        self.fleet.foreign().sas().count()
    }

    /// SAs of other nodes: the number of each one's owner, and whether its tunnel is configured here.
    pub(in crate::runtime) fn foreign_owners(&self) -> impl Iterator<Item = (u16, bool)> {
        let is_here = |name: &RecordName| self.tunnels.values().any(|tunnel| tunnel.name == name.tunnel);
        self.fleet.foreign().sas().map(move |sa| (sa.owner.number, is_here(&sa.name)))
    }

    /// How many SAs this node has negotiated.
    pub(in crate::runtime) fn own_count(&self) -> usize {
        self.sad.len()
    }

    /// Records whose SAs are past their hard end, whoever had them.
    pub(in crate::runtime) fn take_over(&mut self) -> Vec<RecordName> {
        self.fleet.take_over().into_iter().collect()
    }

    /// Whether a record is of an SA that `Sad` has, or had until now; the store has this version of it.
    fn is_own(&mut self, name: &RecordName, version: u64) -> bool {
        let Some(sharing) = &mut self.sharing else { return false };
        sharing.seen(name, version)
    }
}
