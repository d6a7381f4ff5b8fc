//! All routes that the kernel's main table holds per prefix, and which of them is the best.
//!
//! The kernel tells of additions and removals one by one; this follows its rules for where a new route goes among
//! those of the same prefix, so that the right one takes over when the best one goes. Everything is idempotent: events
//! that a dump already showed may be applied again.

use std::collections::{BTreeMap, btree_map::Entry};

use ipnet::IpNet;

use super::state::{NextHop, Route, RouteKind};

/// One of the routes to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) metric: u32,
    pub(crate) kind: RouteKind,
    /// Sorted; empty if none is usable, or if `kind` needs none.
    pub(crate) nexthops: Vec<NextHop>,
    pub(crate) protocol: u8,
}

/// Where a new route goes among those of the same prefix and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    First,
    Last,
    Replace,
}

/// The table. A prefix with no candidates is not in it.
#[derive(Debug, Default)]
pub(crate) struct Rib {
    prefixes: BTreeMap<IpNet, Vec<Candidate>>,
}

impl Rib {
    /// Puts a route in. Of two with the same metric the earlier one wins, as in the kernel.
    pub(crate) fn add(&mut self, prefix: IpNet, new: Candidate, placement: Placement) {
        let candidates = self.prefixes.entry(prefix).or_default();
        let same_metric = |c: &Candidate| c.metric == new.metric;
        // 1. Replace: the first of this metric goes.
        if placement == Placement::Replace
            && let Some(at) = candidates.iter().position(same_metric)
        {
            candidates.remove(at);
        }
        // 2. A route that the new one contains is the same one, told again or grown by a next hop (IPv6 sends the
        //    whole set each time). Where it stands is where it stays, unless it was replaced.
        let known = candidates.iter().position(|c| same_metric(c) && new.covers(c));
        candidates.retain(|c| !(same_metric(c) && new.covers(c)));
        // 3. IPv6 has no order of its own: the kernel puts a new route behind its equals.
        let last = placement == Placement::Last || matches!(prefix, IpNet::V6(_));
        let at = match known {
            Some(at) if placement != Placement::Replace => at,
            _ if placement != Placement::Replace && last => {
                candidates.partition_point(|c| c.metric <= new.metric)
            }
            _ => candidates.partition_point(|c| c.metric < new.metric),
        };
        candidates.insert(at, new);
    }

    /// Takes a route out, or some of its next hops: IPv6 tells of those one by one, IPv4 never does.
    pub(crate) fn remove(&mut self, prefix: IpNet, gone: &Candidate) {
        let Entry::Occupied(mut entry) = self.prefixes.entry(prefix) else { return };
        let candidates = entry.get_mut();
        let matching = |c: &Candidate| c.metric == gone.metric && c.kind == gone.kind;
        let exact = candidates.iter().position(|c| matching(c) && c.same_nexthops(gone));
        let part = candidates.iter().position(|c| matching(c) && c.covers(gone));
        match (exact, part) {
            (None, Some(at)) if prefix.addr().is_ipv6() && !gone.nexthops.is_empty() => {
                candidates[at].nexthops.retain(|hop| !gone.nexthops.iter().any(|g| same_way(g, hop)));
            }
            // Without an exact match some next hops were dead when we heard of it: it is the first of its metric.
            _ => {
                let at = exact.or_else(|| candidates.iter().position(matching));
                at.map(|at| candidates.remove(at));
            }
        }
        if candidates.is_empty() {
            entry.remove();
        }
    }

    /// The route that packets to this prefix take: the first by metric that has a way out.
    pub(crate) fn best(&self, prefix: IpNet) -> Option<Route> {
        let candidates = self.prefixes.get(&prefix)?;
        let best = candidates.iter().find(|c| c.kind != RouteKind::Unicast || !c.nexthops.is_empty())?;
        Some(Route {
            prefix,
            kind: best.kind,
            nexthops: best.nexthops.clone(),
            metric: best.metric,
            protocol: best.protocol,
        })
    }

    /// All prefixes, in order.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.prefixes.keys().copied()
    }

    /// Keeps the prefixes for which `keep` says so.
    pub(crate) fn retain(&mut self, keep: impl Fn(&IpNet) -> bool) {
        self.prefixes.retain(|prefix, _| keep(prefix));
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// The prefixes whose candidates differ between two tables.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = IpNet> + 'a {
        let changed = self.prefixes.iter().filter(|(prefix, c)| other.prefixes.get(prefix) != Some(c));
        let new = other.prefixes.keys().filter(|prefix| !self.prefixes.contains_key(prefix));
        changed.map(|(prefix, _)| *prefix).chain(new.copied())
    }
}

impl Candidate {
    /// Every way out of `other` is one of this route's.
    fn covers(&self, other: &Self) -> bool {
        let mine = |hop: &NextHop| self.nexthops.iter().any(|mine| same_way(mine, hop));
        self.kind == other.kind && other.nexthops.iter().all(mine)
    }

    fn same_nexthops(&self, other: &Self) -> bool {
        self.nexthops.len() == other.nexthops.len() && self.covers(other)
    }
}

fn same_way(a: &NextHop, b: &NextHop) -> bool {
    (a.via, a.interface) == (b.via, b.interface)
}
