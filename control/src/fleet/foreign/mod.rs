//! The SAs of other nodes, as the store's log tells them, and what the workers have of them.
//!
//! Inbound ones are received at once, on every node; an outbound one is a *candidate* to send under, and the
//! [`Arbiter`](super::Arbiter) decides between the best candidate and what this node has itself. In detail:
//!
//! 1. A record whose tunnel is not configured here yet waits for it.
//! 2. The hard end is a date; there a node stops an SA by itself, whatever the store says or does not say.
//! 3. A retired inbound SA is received for [`GRACE`] since its owner retired it. A record that vanishes is as good as
//!    retired, unless the store was restored from a backup and has forgotten it: then it goes on to its end.
//! 4. A peer's packet under a pending pair shows that the peer has it: the outbound one is a candidate from then on, without
//!    its owner's word.
//! 5. What went through an SA with a limit in bytes or packets is told to its owner, which ends it by the sum ([`volume`]).
//!
//! An SA here may be one of this node, of a journal that was lost: what the node's own `Sad` does not have is foreign.
//!
//! Knows no clock, store, worker or key, as [`sad`](crate::ike::sad): all are handed in.

mod apply;
mod life;
mod place;
mod rank;
mod sa;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::{EndpointId, TunnelId};

pub use apply::{Found, Unusable};
pub use rank::{Own, Rank};
pub use sa::{ForeignSa, Stage};
pub use volume::Others;

use super::record::{Date, Fingerprint, SaName};
use crate::ike::sad::{Direction, Home, Kinds};
use crate::static_sas::TunnelName;

#[cfg(doc)]
use crate::ike::sad::GRACE;

/// What the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The workers have no room for an inbound SA. It is tried again.
    NoRoom(SaName),
    /// Two SAs have one SPI at one endpoint; the first is received, the second when the first is gone.
    Twice(SaName),
    /// The tunnel ends at another address here than where the SA was negotiated: nodes have different configurations.
    Elsewhere {
        /// The SA.
        name: SaName,
        /// Where it ends, says its owner.
        there: IpAddr,
        /// Where the tunnel ends, says our configuration.
        here: IpAddr,
    },
    /// The store was restored from a backup that does not have so many SAs: they go on to their ends.
    Forgotten(usize),
}

#[derive(Default)]
struct Tunnel {
    /// `None`: it is not configured here.
    home: Option<Home>,
    sas: BTreeSet<SaName>,
}

/// All SAs of other nodes.
pub struct Foreign<K: Kinds> {
    sas: BTreeMap<SaName, ForeignSa<K>>,
    /// Of the configuration, and of SAs.
    tunnels: BTreeMap<TunnelName, Tunnel>,
    by_number: HashMap<TunnelId, TunnelName>,
    by_spi: BTreeMap<Spi, BTreeSet<SaName>>,
    hard_ends: BTreeSet<(Date, SaName)>,
    /// When what is retired or ended goes, by uptime.
    removals: BTreeSet<(Duration, SaName)>,
    /// Outbound ones that wait for the peer's first packet, or their owner's word.
    pending: BTreeSet<SaName>,
    /// Those that have a limit in bytes, packets or sequence numbers.
    limited: BTreeSet<SaName>,
    /// Inbound ones that the workers should have and do not.
    lacking: BTreeSet<SaName>,
    /// Our addresses and SPIs that this node's own inbound SAs have.
    occupied: BTreeSet<(IpAddr, Spi)>,
    /// When to try what is lacking again, by uptime.
    try_again: Duration,
    /// The first numbers to give of outbound SAs that are gone and were sent under here, should they come back.
    spent: BTreeMap<Fingerprint, u64>,
    spent_until: BTreeSet<(Date, Fingerprint)>,
    /// The newest revision of the store that is known here.
    applied: u64,
    /// Counts the SAs that came.
    arrivals: u64,
    /// Tunnels whose best candidate may be another one.
    moved: BTreeSet<TunnelId>,
    reshaped: BTreeSet<TunnelName>,
    /// Records of what is past its hard end, with their revisions, until the store does not have them any more.
    over: BTreeMap<SaName, u64>,
    notices: Vec<Notice>,
}

impl<K: Kinds> Default for Foreign<K> {
    fn default() -> Self {
        Self {
            sas: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            by_number: HashMap::new(),
            by_spi: BTreeMap::new(),
            hard_ends: BTreeSet::new(),
            removals: BTreeSet::new(),
            pending: BTreeSet::new(),
            limited: BTreeSet::new(),
            lacking: BTreeSet::new(),
            occupied: BTreeSet::new(),
            try_again: Duration::ZERO,
            spent: BTreeMap::new(),
            spent_until: BTreeSet::new(),
            applied: 0,
            arrivals: 0,
            moved: BTreeSet::new(),
            reshaped: BTreeSet::new(),
            over: BTreeMap::new(),
            notices: Vec::new(),
        }
    }
}

impl<K: Kinds> Foreign<K> {
    /// All of them, by name.
    pub fn sas(&self) -> impl Iterator<Item = &ForeignSa<K>> {
        self.sas.values()
    }

    /// One of them.
    pub fn get(&self, name: &SaName) -> Option<&ForeignSa<K>> {
        self.sas.get(name)
    }

    /// Those of a tunnel, by name.
    pub fn of_tunnel(&self, tunnel: &TunnelName) -> impl Iterator<Item = &ForeignSa<K>> {
        let names = self.tunnels.get(tunnel).into_iter().flat_map(|tunnel| &tunnel.sas);
        names.filter_map(|name| self.sas.get(name))
    }

    /// The inbound one that the workers have under an SPI at an endpoint.
    pub fn inbound(&self, endpoint: EndpointId, spi: Spi) -> Option<&ForeignSa<K>> {
        let is_there = |sa: &&ForeignSa<K>| {
            sa.direction() == Direction::Inbound
                && sa.handle.is_some()
                && sa.home.is_some_and(|home| home.endpoint == endpoint)
        };
        self.with_spi(spi).find(is_there)
    }

    /// Whether an SA here has this SPI: this node must not give it out.
    pub fn is_taken(&self, spi: Spi) -> bool {
        self.with_spi(spi).next().is_some()
    }

    /// The newest revision of the store that is known here. The feed has all that follows from it; whether the workers have
    /// taken it, its generation tells.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Tunnels whose outside may have to change: the suites, the peer's address and port.
    pub fn take_reshaped(&mut self) -> BTreeSet<TunnelName> {
        std::mem::take(&mut self.reshaped)
    }

    /// Records whose SAs are past their hard end, with the revision of each: any node may delete them from the store.
    pub fn over(&self) -> impl Iterator<Item = (&SaName, u64)> {
        self.over.iter().map(|(name, revision)| (name, *revision))
    }

    /// The store does not have such a record of this revision any more.
    pub fn over_is_gone(&mut self, name: &SaName, revision: u64) {
        if self.over.get(name) == Some(&revision) {
            self.over.remove(name);
        }
    }

    /// What the operator should know.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Tunnels whose best candidate may be another one.
    pub(super) fn take_moved(&mut self) -> BTreeSet<TunnelId> {
        std::mem::take(&mut self.moved)
    }

    fn with_spi(&self, spi: Spi) -> impl Iterator<Item = &ForeignSa<K>> {
        let names = self.by_spi.get(&spi).into_iter().flatten();
        names.filter_map(|name| self.sas.get(name))
    }

    /// The best candidate of a tunnel may be another one.
    fn move_tunnel(&mut self, tunnel: &TunnelName) {
        self.reshaped.insert(tunnel.clone());
        let home = self.tunnels.get(tunnel).and_then(|tunnel| tunnel.home);
        self.moved.extend(home.map(|home| home.tunnel));
    }
}

#[cfg(test)]
impl<K: Kinds> Foreign<K> {
    /// Nothing names an SA that is not there.
    pub(super) fn is_clean(&self) -> bool {
        let count = self.sas.len();
        let known = |name: &SaName| self.sas.contains_key(name);
        self.pending.iter().chain(&self.lacking).chain(&self.limited).all(known)
            && self.spent.len() <= self.spent_until.len()
            && self.removals.iter().all(|(_, name)| known(name))
            && self.hard_ends.len() <= count
            && self.hard_ends.iter().all(|(_, name)| known(name))
            && self.by_spi.values().map(BTreeSet::len).sum::<usize>() == count
            && self.tunnels.values().map(|tunnel| tunnel.sas.len()).sum::<usize>() == count
    }
}
