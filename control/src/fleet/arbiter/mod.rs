//! Who is sent under where there are two: what this node has itself (`Sad`'s *wish*), or an SA of another node.
//!
//! The best is, by [`Rank`]. A choice of this node that the store does not know yet is the newest; with the store's answer
//! it takes its place among the others. Neither comes before what the peer has negotiated with another node since, where dates
//! tell that for sure. A wish that nobody chose, charon or peer, is sent under only where there is nothing
//! better.
//!
//! `Sad` does not know of it: for it this is the workers. What it wants is written down, and done when its call is over
//! and [`Fleet::settle`](super::Fleet::settle) looks at it, so that it is known by then whether that was a choice.

mod held;
mod on_both;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

pub use held::{Arbitrated, Held};
pub use on_both::OnBoth;

use super::foreign::{Foreign, Own, Rank};
use super::record::{Choice, Date, SaName};
use crate::ike::protocol::SaId;
use crate::ike::sad::{Direction, Home, Kinds, Sa, Sad, Workers};

/// What a tunnel sends under on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// What `Sad` has for it.
    Own,
    /// An SA of another node.
    Foreign(SaName),
}

/// What `Sad` wants a tunnel to send under.
struct Wish<K: Kinds> {
    home: Home,
    id: SaId,
    key: K::Key,
    held: Held<K::Handle>,
    /// Counts wishes.
    number: u64,
}

/// What is on the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OnWorkers {
    home: Home,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// The wish of this number.
    Own(u64),
    /// An SA of another node, and which of its name.
    Foreign(SaName, u64),
}

struct Tunnel<K: Kinds> {
    wish: Option<Wish<K>>,
    on_workers: Option<OnWorkers>,
}

/// What is known of the choice of an outbound SA of this node.
#[derive(Clone, Copy, Default)]
struct Chosen {
    /// `None`: it was not chosen.
    choice: Option<Choice>,
    /// At which the store has its record, if it does.
    revision: Option<u64>,
    /// The wish that the choice was for.
    wish: u64,
    /// What `Sad` counted then.
    counted: u64,
    /// When the SA was installed.
    born: Date,
}

/// Decides what tunnels send under.
pub struct Arbiter<K: Kinds> {
    tunnels: HashMap<TunnelId, Tunnel<K>>,
    choices: BTreeMap<(TunnelId, Spi), Chosen>,
    /// Counts the choices of this node.
    count: u64,
    /// Counts wishes.
    wishes: u64,
    /// Tunnels whose wish is new, or went.
    changed: BTreeSet<TunnelId>,
    /// Tunnels with a wish that the peer's first packet makes a choice.
    unconfirmed: BTreeSet<TunnelId>,
    /// SAs whose choice is new, or was published.
    chosen: BTreeSet<(TunnelId, Spi)>,
    switched: BTreeSet<TunnelId>,
}

impl<K: Kinds> Default for Arbiter<K> {
    fn default() -> Self {
        Self {
            tunnels: HashMap::new(),
            choices: BTreeMap::new(),
            count: 0,
            wishes: 0,
            changed: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            chosen: BTreeSet::new(),
            switched: BTreeSet::new(),
        }
    }
}

impl<K: Kinds> Arbiter<K>
where
    K::Key: Clone,
{
    /// What a tunnel sends under. `None`: nothing.
    pub(super) fn sender(&self, tunnel: TunnelId) -> Option<Sender> {
        let on_workers = self.tunnels.get(&tunnel)?.on_workers.as_ref()?;
        Some(match &on_workers.what {
            What::Own(_) => Sender::Own,
            What::Foreign(name, _) => Sender::Foreign(name.clone()),
        })
    }

    /// When this node chose an outbound SA, for its record.
    pub(super) fn choice(&self, tunnel: TunnelId, spi: Spi) -> Option<Choice> {
        self.choices.get(&(tunnel, spi))?.choice
    }

    /// What this node has itself. `None`: it has nothing, or what it has is over.
    pub(super) fn own(&self, tunnel: TunnelId) -> Option<Own> {
        let wish = self.tunnels.get(&tunnel)?.wish.as_ref().filter(|wish| !wish.held.is_stopped())?;
        let chosen = self.choices.get(&(tunnel, wish.id.spi)).copied().unwrap_or_default();
        let rank = match chosen.choice {
            Some(Choice { revision: Some(revision), .. }) => Rank::Chosen { revision, shown: false },
            Some(Choice { count, revision: None }) => Rank::Unpublished(count),
            None => Rank::Default(chosen.revision.unwrap_or(u64::MAX)),
        };
        Some(Own { rank, born: chosen.born })
    }

    /// The store has the record of an outbound SA of this node.
    pub(super) fn published(&mut self, tunnel: TunnelId, spi: Spi, choice: Option<Choice>, revision: u64) {
        let known = self.choices.entry((tunnel, spi)).or_default();
        known.revision = Some(revision);
        if let (Some(known), Some(published)) = (&mut known.choice, choice)
            && known.count == published.count
        {
            known.revision = Some(published.revision.unwrap_or(revision));
        }
        self.changed.insert(tunnel);
    }

    /// The store has had the record of an outbound SA since before this start of the node, or this look at the store.
    pub(super) fn recall(
        &mut self,
        tunnel: TunnelId,
        spi: Spi,
        choice: Option<Choice>,
        revision: u64,
        counted: u64,
    ) {
        let wish = self.tunnels.get(&tunnel).and_then(|tunnel| tunnel.wish.as_ref());
        let wish = wish.filter(|wish| wish.id.spi == spi).map_or(0, |wish| wish.number);
        self.count = self.count.max(choice.map_or(0, |choice| choice.count));
        let choice = choice.map(|choice| Choice {
            revision: Some(choice.revision.unwrap_or(revision).min(revision)),
            ..choice
        });
        // When it was installed is seen when it is confirmed.
        let chosen = Chosen { choice, revision: Some(revision), wish, counted, born: Date(0) };
        self.choices.insert((tunnel, spi), chosen);
        self.changed.insert(tunnel);
    }

    /// The store counts from anew: what it knew is to be told again.
    pub(super) fn unpublish(&mut self) {
        for ((tunnel, _), chosen) in &mut self.choices {
            chosen.revision = None;
            if let Some(choice) = &mut chosen.choice {
                choice.revision = None;
            }
            self.changed.insert(*tunnel);
        }
    }

    /// Tunnels whose wish may be a choice by now.
    pub(super) fn take_changed(&mut self) -> BTreeSet<TunnelId> {
        let mut changed = std::mem::take(&mut self.changed);
        changed.extend(&self.unconfirmed);
        changed
    }

    /// Sees whether a wish is a choice: charon's, or the peer's by its first packet under the inbound SA of the pair.
    pub(super) fn confirm(
        &mut self,
        tunnel: TunnelId,
        reqid: Option<u32>,
        sad: &Sad<Arbitrated<K>>,
        workers: &impl Workers<K>,
    ) {
        self.unconfirmed.remove(&tunnel);
        let is_there = |spi: Spi| {
            let mut sas = reqid.into_iter().flat_map(|reqid| sad.of_tunnel(reqid));
            sas.any(|sa| sa.direction == Direction::Outbound && sa.id.spi == spi)
        };
        let of_tunnel = (tunnel, Spi(0))..=(tunnel, Spi(u32::MAX));
        let gone: Vec<_> =
            self.choices.range(of_tunnel).map(|(key, _)| *key).filter(|(_, spi)| !is_there(*spi)).collect();
        for key in gone {
            self.choices.remove(&key);
        }
        let wish = self.tunnels.get(&tunnel).and_then(|tunnel| tunnel.wish.as_ref());
        let (Some(wish), Some(sa)) = (wish, reqid.and_then(|reqid| sad.current(reqid))) else { return };
        let (number, key) = (wish.number, (tunnel, wish.id.spi));
        let Some(saved) = sad.saved(sa.serial) else { return };
        let chosen = self.choices.entry(key).or_default();
        // charon puts policies back for other reasons too: what is chosen already is no new choice.
        let by_charon = saved.chosen > chosen.counted && (chosen.choice.is_none() || chosen.wish != number);
        let pair = saved.pair.and_then(|pair| sad.get(pair));
        let by_peer = chosen.choice.is_none() && pair.is_some_and(|pair| is_used(pair, workers));
        (chosen.counted, chosen.born) = (saved.chosen, Date::from(sa.born.date));
        if by_charon || by_peer {
            self.count += 1;
            chosen.choice = Some(Choice { count: self.count, revision: None });
            chosen.wish = number;
            self.chosen.insert(key);
        } else if chosen.choice.is_none() {
            self.unconfirmed.insert(tunnel);
        }
    }

    /// Has a tunnel send under the best that there is.
    pub(super) fn decide(
        &mut self,
        tunnel: TunnelId,
        foreign: &mut Foreign<K>,
        workers: &mut impl Workers<K>,
    ) {
        let best = foreign.best(tunnel, self.own(tunnel)).and_then(|(_, foreign)| foreign);
        let better = best.map(|(home, name)| (home, name.clone()));
        if better.is_none() && !self.tunnels.contains_key(&tunnel) {
            return;
        }
        let known = self.tunnels.entry(tunnel).or_insert(Tunnel { wish: None, on_workers: None });
        let wanted = match (better, &known.wish) {
            (Some((home, name)), _) => {
                let arrival = foreign.arrival(&name).unwrap_or(0);
                Some(OnWorkers { home, what: What::Foreign(name, arrival) })
            }
            // What is over stays, so that what is dropped has that reason.
            (None, Some(wish)) => Some(OnWorkers { home: wish.home, what: What::Own(wish.number) }),
            (None, None) => None,
        };
        if known.on_workers == wanted {
            return;
        }
        let before = std::mem::replace(&mut known.on_workers, wanted);
        if let Some(before) = before
            && known.on_workers.as_ref().is_none_or(|wanted| wanted.home != before.home)
        {
            workers.stop_sending(&before.home);
        }
        match (&known.on_workers, &known.wish) {
            (Some(OnWorkers { home, what: What::Foreign(name, _) }), _) => foreign.send(name, home, workers),
            (Some(OnWorkers { home, what: What::Own(_) }), Some(wish)) => {
                wish.held.send(home, &wish.id, &wish.key, workers);
            }
            _ => {}
        }
        self.switched.insert(tunnel);
        if known.wish.is_none() && known.on_workers.is_none() {
            self.tunnels.remove(&tunnel);
        }
    }

    /// SAs of this node that were chosen: their records say something else now.
    pub(super) fn take_chosen(&mut self) -> BTreeSet<(TunnelId, Spi)> {
        std::mem::take(&mut self.chosen)
    }

    /// Tunnels that send under something else than before.
    pub(super) fn take_switched(&mut self) -> BTreeSet<TunnelId> {
        std::mem::take(&mut self.switched)
    }
}

fn is_used<K: Kinds>(inbound: &Sa<Arbitrated<K>>, workers: &impl Workers<K>) -> bool {
    inbound.handle.as_ref().is_some_and(|held| held.usage(workers).packets > 0)
}
