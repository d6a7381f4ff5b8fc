//! Limits in bytes and packets of SAs whose packets all nodes carry: each node tells their owner what went through them
//! here, and the owner has them replaced, or ends them, by the sum.
//!
//! A node tells it each time when it has carried another small part of the limit. Where there is no owner, it holds itself
//! to its share of the limit.

use std::collections::BTreeMap;

use super::{Foreign, ForeignSa, Stage};
use crate::fleet::record::{Date, SaName};
use crate::ike::protocol::{Lifetimes, Limit};
use crate::ike::sad::{Direction, Kinds, Moment, STOPPED_STAYS, Told, Usage, Workers};
use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::TunnelId;

/// All nodes together have not told of one of so many parts of a limit.
const PARTS: u64 = 16;

/// What its owner was told of an SA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    /// Which life of the owner; `None`: none yet.
    to: Option<u64>,
    bytes: u64,
    packets: u64,
    runs_out: bool,
}

/// The other nodes, as far as limits go.
pub struct Others<F> {
    /// How many nodes live, this one too.
    pub nodes: u64,
    /// Tells this life of this node from others.
    pub life: u64,
    /// What tells the life of the node of a number from others; `None`: no other node that lives has it.
    pub owner: F,
}

impl<K: Kinds> Foreign<K> {
    /// Once a second: what the owner of each SA with a limit is to be told. An SA without an owner that has carried this
    /// node's share of its limit is ended. Costs nothing where there are no limits.
    pub fn tell_usage(
        &mut self,
        others: &Others<impl Fn(u16) -> Option<u64>>,
        workers: &mut impl Workers<K>,
        now: Moment,
    ) -> BTreeMap<u16, Vec<Told>> {
        let mut told: BTreeMap<u16, Vec<Told>> = BTreeMap::new();
        let mut spent = Vec::new();
        for name in &self.limited {
            let Some(sa) = self.sas.get_mut(name).filter(|sa| sa.stage == Stage::Live) else { continue };
            let used = sa.usage(workers);
            match (others.owner)(name.owner.0) {
                Some(owner) => {
                    told.entry(name.owner.0).or_default().extend(sa.report(owner, used, others));
                }
                None if sa.has_spent_its_share(used, others.nodes) => spent.push(name.clone()),
                None => {}
            }
        }
        told.retain(|_, told| !told.is_empty());
        for name in spent {
            let Some(sa) = self.sas.get(&name) else { continue };
            let left = sa.hard_end.since(Date::from(now.date));
            self.enter(&name, Stage::Ended { until: now.uptime + left + STOPPED_STAYS }, workers);
        }
        told
    }

    /// The sequence numbers of what a tunnel sends under run out here. False: that is not here.
    pub fn numbers_run_out(&mut self, tunnel: TunnelId, spi: Spi) -> bool {
        let Some(known) = self.by_number.get(&tunnel).and_then(|name| self.tunnels.get(name)) else {
            return false;
        };
        let is_it = |name: &&SaName| name.direction == Direction::Outbound && name.spi == spi.0;
        let Some(name) = known.sas.iter().find(is_it) else { return false };
        if let Some(sa) = self.sas.get_mut(name) {
            sa.runs_out = true;
            self.limited.insert(name.clone());
        }
        true
    }
}

impl<K: Kinds> ForeignSa<K> {
    /// What its owner is to be told, if anything is new enough.
    fn report<F>(&mut self, owner: u64, used: Usage, others: &Others<F>) -> Option<Told> {
        let inbound = match self.direction() {
            Direction::Inbound => Some(Spi(self.name.spi)),
            Direction::Outbound => self.paired.as_ref().map(|paired| Spi(paired.spi)),
        };
        let before = Some(self.reported).filter(|before| before.to == Some(owner)).unwrap_or_default();
        let Lifetimes { bytes, packets, .. } = self.lifetimes;
        let is_due = has_carried_a_part(bytes, used.bytes, before.bytes, others.nodes)
            || has_carried_a_part(packets, used.packets, before.packets, others.nodes)
            || self.runs_out && !before.runs_out;
        let spi = inbound.filter(|_| is_due)?;
        let Usage { bytes, packets, .. } = used;
        self.reported = Reported { to: Some(owner), bytes, packets, runs_out: self.runs_out };
        let (direction, runs_out) = (self.direction(), self.runs_out);
        Some(Told { life: others.life, spi, direction, runs_out, bytes, packets })
    }

    /// The owner, which is no more, has had a share too.
    fn has_spent_its_share(&self, used: Usage, nodes: u64) -> bool {
        let spent = |limit: Limit, used: u64| limit.hard.is_some_and(|hard| used >= hard.get() / (nodes + 1));
        spent(self.lifetimes.bytes, used.bytes) || spent(self.lifetimes.packets, used.packets)
    }
}

fn has_carried_a_part(limit: Limit, used: u64, told: u64, nodes: u64) -> bool {
    let part = |limit: u64| (limit / (PARTS * nodes.max(1))).max(1);
    limit.soft.or(limit.hard).is_some_and(|limit| used.saturating_sub(told) >= part(limit.get()))
}

/// Whether there is a limit that nodes share.
pub(super) fn is_limited(lifetimes: &Lifetimes) -> bool {
    let Lifetimes { bytes, packets, .. } = lifetimes;
    [bytes.soft, bytes.hard, packets.soft, packets.hard].iter().any(Option::is_some)
}
