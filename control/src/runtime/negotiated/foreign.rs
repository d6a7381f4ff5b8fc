//! What the store says of SAs, of other nodes' and of this one's.

use std::collections::BTreeMap;

use super::on_feed::OnFeed;
use super::{Gear, Negotiated, demand};
use crate::fleet::outbox::Flight;
use crate::fleet::record::{SaName, SaRecord};
use crate::fleet::{Found, Others};
use crate::ike::sad::{Moment, Serial, Told};

/// A record of an SA, found in the store.
pub(in crate::runtime) struct InStore {
    /// Whose it is.
    pub(in crate::runtime) name: SaName,
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
    ) -> Vec<(SaName, String)> {
        let mut unusable = Vec::new();
        let backends = gear.backends;
        let workers = &mut OnFeed(gear.feed);
        for InStore { name, version, record, .. } in puts {
            if let Some(sharing) = &mut self.sharing {
                sharing.seen(&name, version);
            }
            let Some(record) = record else { continue };
            let expand = |sa: &_| demand::shared(sa, backends);
            if let Err(error) = self.fleet.put(&name, revision, record, expand, &self.sad, workers, now) {
                unusable.push((name, error.to_string()));
            }
        }
        for name in deletes {
            if let Some(sharing) = &mut self.sharing {
                sharing.seen(name, 0);
            }
            self.fleet.deleted(name, revision, workers, now);
        }
        self.fleet.passed(revision);
        self.settle(gear);
        unusable
    }

    /// All records that the store has at a revision. `is_restored`: it has lost some that it had.
    pub(in crate::runtime) fn listed_in_store(
        &mut self,
        revision: u64,
        listed: Vec<InStore>,
        is_restored: bool,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> Vec<(SaName, String)> {
        let versions: std::collections::HashMap<SaName, (u64, u64)> = match &self.sharing {
            Some(sharing) => {
                let own = listed.iter().filter(|found| found.name.owner.0 == sharing.number());
                own.map(|found| (found.name.clone(), (found.version, found.revision))).collect()
            }
            None => Default::default(),
        };
        let found =
            listed.into_iter().map(|InStore { name, revision, record, .. }| Found { name, revision, record });
        let backends = gear.backends;
        let expand = |sa: &_| demand::shared(sa, backends);
        let workers = &mut OnFeed(gear.feed);
        let reset = self.fleet.reset(revision, found.collect(), is_restored, expand, &self.sad, workers, now);
        if let Some(sharing) = &mut self.sharing {
            sharing.start_over(self.sad.sas().map(|sa| sa.serial));
            for (name, outline) in reset.own {
                let (version, revision) = versions.get(&name).copied().unwrap_or_default();
                let reqid = self
                    .tunnels
                    .iter()
                    .find(|(_, tunnel)| tunnel.name == name.tunnel)
                    .map(|(reqid, _)| *reqid);
                let mut sas = reqid.into_iter().flat_map(|reqid| self.sad.of_tunnel(reqid));
                let serial: Option<Serial> = sas
                    .find(|sa| sa.direction == name.direction && sa.id.spi.0 == name.spi)
                    .map(|sa| sa.serial);
                sharing.found(name, outline, version, revision, serial);
            }
        }
        self.settle(gear);
        reset.unusable.into_iter().map(|(name, error)| (name, error.to_string())).collect()
    }

    /// Records of this node that the store has now, at a revision.
    pub(in crate::runtime) fn landed(&mut self, flights: Vec<Flight>, revision: u64) {
        if let Some(sharing) = &mut self.sharing {
            sharing.landed(flights, revision);
        }
    }

    /// What other nodes say went through SAs of this one.
    pub(in crate::runtime) fn used_elsewhere(
        &mut self,
        told: impl IntoIterator<Item = Told>,
        gear: &mut Gear<'_>,
    ) {
        told.into_iter().for_each(|told| self.sad.used_elsewhere(told));
        self.settle(gear);
    }

    /// What the owners of SAs are to be told of what went through them here, by the owner's number.
    pub(in crate::runtime) fn tell_usage(
        &mut self,
        others: &Others<impl Fn(u16) -> Option<u64>>,
        gear: &mut Gear<'_>,
        now: Moment,
    ) -> BTreeMap<u16, Vec<Told>> {
        let told = self.fleet.tell_usage(others, &mut OnFeed(gear.feed), now);
        self.settle(gear);
        told
    }

    /// SAs of other nodes: the number of each one's owner, and whether its tunnel is configured here.
    pub(in crate::runtime) fn foreign_owners(&self) -> impl Iterator<Item = (u16, bool)> {
        self.fleet.foreign().sas().map(move |sa| (sa.owner.number, self.reqid(&sa.name.tunnel).is_some()))
    }

    /// How many SAs this node has negotiated.
    pub(in crate::runtime) fn own_count(&self) -> usize {
        self.sad.len()
    }

    /// So many records whose SAs are past their hard end, whoever had them, with the revision of each.
    pub(in crate::runtime) fn over(&self, most: usize) -> Vec<(SaName, u64)> {
        self.fleet.over().take(most).map(|(name, revision)| (name.clone(), revision)).collect()
    }

    /// The store does not have such a record of this revision any more.
    pub(in crate::runtime) fn over_is_gone(&mut self, name: &SaName, revision: u64) {
        self.fleet.over_is_gone(name, revision);
    }
}
