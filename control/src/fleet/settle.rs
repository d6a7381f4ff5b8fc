//! Foreign SAs and the arbiter as one.
//!
//! Nothing is sent under something else before [`Fleet::settle`]: so a call that changes several things switches once.

use std::collections::{BTreeMap, BTreeSet};

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

use super::arbiter::{Arbiter, Arbitrated, OnBoth, Sender};
use super::foreign::{Foreign, Found, Notice, Others, Unusable};
use super::outline::Outline;
use super::record::{SaName, SaRecord};
use crate::ike::protocol::AddSa;
use crate::ike::sad::{Direction, Home, Kinds, Moment, Sa, Sad, Serial, Told, Workers};
use crate::static_sas::TunnelName;

/// A tunnel that negotiates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// The number by which this node's charon names it.
    pub reqid: u32,
    /// Where it stands.
    pub home: Home,
}

/// What came of a look at the whole store.
pub struct Reset<E> {
    /// The records of SAs of this node. What `Sad` does not have of them is to be deleted, and what it has beside them or
    /// otherwise is to be written ([`Outline::says_the_same`]).
    pub own: Vec<(SaName, Outline)>,
    /// The records of other nodes that cannot be worked with.
    pub unusable: Vec<(SaName, Unusable<E>)>,
}

/// What a node of a fleet has beside its `Sad`.
pub struct Fleet<K: Kinds> {
    /// This node's number.
    number: u16,
    /// Names what `Sad` is refilled from; `None` before there is any.
    journal: Option<u64>,
    /// All that the store has was seen once.
    has_looked: bool,
    foreign: Foreign<K>,
    arbiter: Arbiter<K>,
    sites: BTreeMap<TunnelName, Site>,
    by_number: BTreeMap<TunnelId, TunnelName>,
    by_reqid: BTreeMap<u32, TunnelId>,
}

impl<K: Kinds> Fleet<K>
where
    K::Key: Clone,
{
    /// Of the node of this number.
    pub fn new(number: u16) -> Self {
        Self {
            number,
            journal: None,
            has_looked: false,
            foreign: Foreign::default(),
            arbiter: Arbiter::default(),
            sites: BTreeMap::new(),
            by_number: BTreeMap::new(),
            by_reqid: BTreeMap::new(),
        }
    }

    /// `Sad` has what this journal has, and nothing else.
    pub fn set_journal(&mut self, journal: u64) {
        self.journal = Some(journal);
    }

    /// The SAs of other nodes.
    pub fn foreign(&self) -> &Foreign<K> {
        &self.foreign
    }

    /// The workers for a call of `Sad`. [`Fleet::settle`] must follow, before the lock is given back.
    pub fn workers<'a, W: Workers<K>>(&'a mut self, workers: &'a mut W) -> OnBoth<'a, K, W> {
        OnBoth { arbiter: &mut self.arbiter, foreign: &mut self.foreign, workers }
    }

    /// Brings what is sent under in line with what `Sad` wants and what is known of other nodes. After each call of `Sad`, and
    /// after each of the calls here that say so; cheap where nothing has changed.
    pub fn settle(&mut self, sad: &Sad<Arbitrated<K>>, workers: &mut impl Workers<K>) {
        let mut touched = self.arbiter.take_changed();
        for tunnel in &touched {
            let site = self.by_number.get(tunnel).and_then(|name| self.sites.get(name));
            self.arbiter.confirm(*tunnel, site.map(|site| site.reqid), sad, workers);
        }
        touched.extend(self.foreign.take_moved());
        for tunnel in touched {
            self.arbiter.decide(tunnel, &mut self.foreign, workers);
        }
    }

    /// Takes the tunnels of the configuration that negotiate. `Sad` takes them after this, then [`Fleet::settle`].
    pub fn set_tunnels(&mut self, sites: &BTreeMap<TunnelName, Site>, workers: &mut impl Workers<K>) {
        let homes: BTreeMap<TunnelName, Home> =
            sites.iter().map(|(name, site)| (name.clone(), site.home)).collect();
        self.foreign.set_tunnels(&homes, workers);
        self.sites.clone_from(sites);
        self.by_reqid = sites.values().map(|site| (site.reqid, site.home.tunnel)).collect();
        self.by_number = homes.into_iter().map(|(name, home)| (home.tunnel, name)).collect();
    }

    /// The store's log: a record was written. One of an SA of this node says at which revision the store has its choice;
    /// one of another's goes to the workers. [`Fleet::settle`] follows.
    ///
    /// # Errors
    /// When the record cannot be worked with. It counts as applied all the same.
    #[expect(clippy::too_many_arguments, reason = "all that a pure state machine does not know is handed in")]
    pub fn put<E>(
        &mut self,
        name: &SaName,
        revision: u64,
        record: SaRecord,
        expand: impl FnOnce(&AddSa) -> Result<K::Key, E>,
        sad: &Sad<Arbitrated<K>>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Result<(), Unusable<E>> {
        if !self.is_own(name, &record, sad) {
            return self.foreign.put(name, revision, record, expand, workers, now);
        }
        if revision >= self.foreign.applied() {
            self.foreign.passed(revision);
            self.found_own(name, &record, revision, sad);
        }
        Ok(())
    }

    /// The store's log: a record was deleted. [`Fleet::settle`] follows.
    pub fn deleted(&mut self, name: &SaName, revision: u64, workers: &mut impl Workers<K>, now: Moment) {
        self.foreign.deleted(name, revision, workers, now);
    }

    /// The store's log: something happened at a revision that is no SA's record, or one that cannot be opened or read.
    pub fn passed(&mut self, revision: u64) {
        self.foreign.passed(revision);
    }

    /// All records that the store has at a revision: at the start, after `Sad` is refilled, and when the log has a gap.
    /// `is_restored`: from a backup since the last look. [`Fleet::settle`] follows.
    #[expect(clippy::too_many_arguments, reason = "all that a pure state machine does not know is handed in")]
    pub fn reset<E>(
        &mut self,
        revision: u64,
        found: Vec<Found>,
        is_restored: bool,
        expand: impl FnMut(&AddSa) -> Result<K::Key, E>,
        sad: &Sad<Arbitrated<K>>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> Reset<E> {
        // What the store has forgotten is told again, as if it had never been.
        if is_restored || revision < self.foreign.applied() {
            self.arbiter.unpublish();
        }
        let is_own = |Found { name, record, .. }: &Found| {
            record.as_ref().is_some_and(|record| self.is_own(name, record, sad))
        };
        let (own, foreign): (Vec<Found>, Vec<Found>) = found.into_iter().partition(is_own);
        let mut outlines = Vec::new();
        for Found { name, revision, record } in own {
            let Some(record) = record else { continue };
            self.found_own(&name, &record, revision, sad);
            outlines.push((name, Outline::written(&record)));
        }
        self.has_looked = true;
        let unusable = self.foreign.reset(revision, foreign, is_restored, expand, workers, now);
        Reset { own: outlines, unusable }
    }

    /// Whether a record is of an SA that `Sad` has, or had. Those of a journal that was lost are as good as another node's:
    /// their peers go on with them.
    fn is_own(&self, name: &SaName, record: &SaRecord, sad: &Sad<Arbitrated<K>>) -> bool {
        record.owner.number == self.number
            && (self.journal == Some(record.owner.journal) || self.in_sad(name, sad).is_some())
    }

    fn in_sad<'s>(&self, name: &SaName, sad: &'s Sad<Arbitrated<K>>) -> Option<&'s Sa<Arbitrated<K>>> {
        let site = self.sites.get(&name.tunnel)?;
        sad.of_tunnel(site.reqid).find(|sa| sa.direction == name.direction && sa.id.spi.0 == name.spi)
    }

    fn found_own(&mut self, name: &SaName, record: &SaRecord, revision: u64, sad: &Sad<Arbitrated<K>>) {
        let Some(site) = self.sites.get(&name.tunnel).filter(|_| name.direction == Direction::Outbound)
        else {
            return;
        };
        let tunnel = site.home.tunnel;
        if self.has_looked {
            self.arbiter.published(tunnel, Spi(name.spi), record.choice, revision);
        } else if let Some(saved) = self.in_sad(name, sad).and_then(|sa| sad.saved(sa.serial)) {
            self.arbiter.recall(tunnel, Spi(name.spi), record.choice, revision, saved.chosen);
        }
    }

    /// Every few milliseconds, after `Sad`'s. [`Fleet::settle`] follows.
    pub fn turn(&mut self, workers: &mut impl Workers<K>, now: Moment) {
        let Self { foreign, arbiter, .. } = self;
        foreign.turn(|tunnel| arbiter.own(tunnel), workers, now);
    }

    /// Once a second: what the owners of SAs are to be told of what went through them here. [`Fleet::settle`] follows.
    pub fn tell_usage(
        &mut self,
        others: &Others<impl Fn(u16) -> Option<u64>>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> BTreeMap<u16, Vec<Told>> {
        self.foreign.tell_usage(others, workers, now)
    }

    /// The sequence numbers of an SA of another node run out here. False: it is not here.
    pub fn numbers_run_out(&mut self, tunnel: TunnelId, spi: Spi) -> bool {
        self.foreign.numbers_run_out(tunnel, spi)
    }

    /// What of an SA of this node goes into its record. `None`: `Sad` does not have it.
    pub fn outline(&self, serial: Serial, sad: &Sad<Arbitrated<K>>, now: Moment) -> Option<Outline> {
        let sa = sad.get(serial)?;
        let tunnel = self.by_reqid.get(&sa.reqid);
        let choice = tunnel.and_then(|tunnel| self.arbiter.choice(*tunnel, sa.id.spi));
        Outline::of(serial, choice, sad, now)
    }

    /// What a tunnel sends under on this node. `None`: nothing.
    pub fn sender(&self, tunnel: TunnelId) -> Option<Sender> {
        self.arbiter.sender(tunnel)
    }

    /// Tunnels whose outside may have to change, beside those that `Sad` names: the suites, the peer's address and port.
    pub fn take_reshaped(&mut self) -> BTreeSet<TunnelName> {
        self.foreign.take_reshaped()
    }

    /// SAs of this node that were chosen since the last time: their records say something else now.
    pub fn take_chosen(&mut self, sad: &Sad<Arbitrated<K>>) -> Vec<Serial> {
        let chosen = self.arbiter.take_chosen();
        let serial = |(tunnel, spi)| {
            let site = self.sites.get(self.by_number.get(&tunnel)?)?;
            let mut sas = sad.of_tunnel(site.reqid);
            sas.find(|sa| sa.direction == Direction::Outbound && sa.id.spi == spi).map(|sa| sa.serial)
        };
        chosen.into_iter().filter_map(serial).collect()
    }

    /// Tunnels that send under something else than before, and under what.
    pub fn take_switched(&mut self) -> Vec<(TunnelName, Option<Sender>)> {
        let switched = self.arbiter.take_switched();
        let named = switched.into_iter().filter_map(|tunnel| {
            let name = self.by_number.get(&tunnel)?.clone();
            Some((name, self.arbiter.sender(tunnel)))
        });
        named.collect()
    }

    /// Records whose SAs are past their hard end, with the revision of each: any node may delete them from the store.
    pub fn over(&self) -> impl Iterator<Item = (&SaName, u64)> {
        self.foreign.over()
    }

    /// The store does not have such a record of this revision any more.
    pub fn over_is_gone(&mut self, name: &SaName, revision: u64) {
        self.foreign.over_is_gone(name, revision);
    }

    /// What the operator should know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.foreign.take_notices()
    }
}
