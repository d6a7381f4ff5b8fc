//! All routes that the kernel's main table holds per prefix, and which of them is the best.
//!
//! The kernel tells of additions and removals one by one; this follows its rules for where a new route goes
//! among those of the same prefix, so that the right one takes over when the best one goes. Everything is
//! idempotent: events that a dump already showed may be applied again.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use ipnet::IpNet;

use super::state::{IfIndex, NextHop, Route, RouteKind};

/// One of the routes to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) metric: u32,
    pub(crate) kind: RouteKind,
    /// Sorted; empty if `kind` needs none.
    pub(crate) nexthops: Vec<NextHop>,
    pub(crate) protocol: u8,
    /// The next-hop object that it uses, if it uses one.
    pub(crate) object: Option<u32>,
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
    /// How many routes use each next-hop object.
    objects: HashMap<u32, usize>,
}

impl Rib {
    /// Puts a route in. Of two with the same metric the earlier one wins, as in the kernel.
    pub(crate) fn add(&mut self, prefix: IpNet, mut new: Candidate, placement: Placement) {
        let Self { prefixes, objects } = self;
        let candidates = prefixes.entry(prefix).or_default();
        let is_ipv6 = prefix.addr().is_ipv6();
        // 1. Where. IPv6 has no order of its own: the kernel puts a new route behind its equals.
        let replaced = match placement {
            Placement::Replace => position_to_replace(candidates, &new, is_ipv6),
            Placement::First | Placement::Last => None,
        };
        let mut at = match replaced {
            Some(at) => at,
            None if is_ipv6 || placement == Placement::Last => {
                candidates.partition_point(|c| c.metric <= new.metric)
            }
            None => candidates.partition_point(|c| c.metric < new.metric),
        };
        if let Some(at) = replaced {
            release(objects, &candidates.remove(at));
        }
        // 2. A route that the new one contains is the same one, told again or grown by a next hop. It stays
        //    where it
        //    stands, unless something was replaced.
        let is_same: Vec<bool> = candidates.iter().map(|c| new.is_again(c, is_ipv6)).collect();
        match is_same.iter().position(|same| *same) {
            Some(known) if replaced.is_none() => {
                at = known;
                // IPv6 tells the whole set with the protocol of the newest; the route has that of the oldest.
                new.protocol = candidates[known].protocol;
            }
            _ => at -= is_same.iter().take(at).filter(|same| **same).count(),
        }
        let mut same = is_same.into_iter();
        candidates.retain(|c| {
            let goes = same.next().unwrap_or(false);
            if goes {
                release(objects, c);
            }
            !goes
        });
        // 3. In.
        if let Some(object) = new.object {
            *objects.entry(object).or_default() += 1;
        }
        candidates.insert(at, new);
    }

    /// Takes a route out, or some of its next hops: IPv6 tells of those one by one, IPv4 never does.
    pub(crate) fn remove(&mut self, prefix: IpNet, gone: &Candidate) {
        let Self { prefixes, objects } = self;
        let Entry::Occupied(mut entry) = prefixes.entry(prefix) else { return };
        let candidates = entry.get_mut();
        let is_ipv6 = prefix.addr().is_ipv6();
        let matching = |c: &Candidate| {
            c.metric == gone.metric && c.kind == gone.kind && (is_ipv6 || c.protocol == gone.protocol)
        };
        // No match at all: it was gone already when everything was read.
        if let Some(at) = candidates.iter().position(|c| matching(c) && c.has_same_ways(gone)) {
            release(objects, &candidates.remove(at));
        } else if is_ipv6
            && let Some(candidate) = candidates.iter_mut().find(|c| matching(c) && c.covers(gone))
        {
            candidate.nexthops.retain(|hop| !gone.nexthops.iter().any(|g| is_same_way(g, hop)));
        }
        if candidates.is_empty() {
            entry.remove();
        }
    }

    /// The route that packets to this prefix take: the first by metric that has a way out, with its next hops
    /// on interfaces that are up. (The kernel marks the others dead, but tells nobody when it does.)
    pub(crate) fn best(&self, prefix: IpNet, is_up: impl Fn(IfIndex) -> bool) -> Option<Route> {
        let candidates = self.prefixes.get(&prefix)?;
        candidates.iter().find_map(|candidate| {
            let alive = candidate.nexthops.iter().filter(|hop| is_up(hop.interface));
            let nexthops: Vec<NextHop> = alive.copied().collect();
            let Candidate { kind, metric, protocol, .. } = *candidate;
            let has_way = kind != RouteKind::Unicast || !nexthops.is_empty();
            has_way.then_some(Route { prefix, kind, nexthops, metric, protocol })
        })
    }

    /// The prefixes with a route by one of these interfaces.
    pub(crate) fn prefixes_through<'a>(
        &'a self,
        interfaces: &'a [IfIndex],
    ) -> impl Iterator<Item = IpNet> + 'a {
        let uses = |c: &Candidate| c.nexthops.iter().any(|hop| interfaces.contains(&hop.interface));
        self.prefixes
            .iter()
            .filter(move |(_, candidates)| candidates.iter().any(uses))
            .map(|(prefix, _)| *prefix)
    }

    /// Some route uses this next-hop object.
    pub(crate) fn uses_object(&self, object: u32) -> bool {
        self.objects.contains_key(&object)
    }

    /// Forgets all IPv4 or all IPv6 routes.
    pub(crate) fn clear(&mut self, is_ipv4: bool) {
        let Self { prefixes, objects } = self;
        prefixes.retain(|prefix, candidates| {
            let stays = prefix.addr().is_ipv4() != is_ipv4;
            if !stays {
                candidates.iter().for_each(|c| release(objects, c));
            }
            stays
        });
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
    /// `older` is this route, as it was told before. IPv6 has one route for each metric and set of next hops,
    /// and tells the whole set when one is added; IPv4 may have several that differ in anything.
    fn is_again(&self, older: &Self, is_ipv6: bool) -> bool {
        let is_same = if is_ipv6 { self.covers(older) } else { self.has_same_ways(older) };
        self.metric == older.metric
            && self.kind == older.kind
            && is_same
            && (is_ipv6 || self.protocol == older.protocol)
    }

    /// Both have the same next hops with the same weights, or the same next-hop object, whatever it holds
    /// now.
    fn has_same_ways(&self, other: &Self) -> bool {
        match (self.object, other.object) {
            (None, None) => self.nexthops == other.nexthops,
            (mine, theirs) => mine == theirs,
        }
    }

    /// Every way out of `other` is one of this route's.
    fn covers(&self, other: &Self) -> bool {
        let mine = |hop: &NextHop| self.nexthops.iter().any(|mine| is_same_way(mine, hop));
        self.kind == other.kind && other.nexthops.iter().all(mine)
    }

    /// IPv6 joins routes into one if all have a router (`rt6_qualify_for_ecmp`).
    fn is_joinable(&self) -> bool {
        self.object.is_none()
            && !self.nexthops.is_empty()
            && self.nexthops.iter().all(|hop| hop.via.is_some())
    }
}

/// Which route a replacement takes the place of: the first of its metric, in IPv6 preferably one of the same
/// sort (`fib6_add_rt2node`).
fn position_to_replace(candidates: &[Candidate], new: &Candidate, is_ipv6: bool) -> Option<usize> {
    let same_metric = |c: &Candidate| c.metric == new.metric;
    let same_sort = |c: &Candidate| same_metric(c) && c.is_joinable() == new.is_joinable();
    let best = candidates.iter().position(same_sort).filter(|_| is_ipv6);
    best.or_else(|| candidates.iter().position(same_metric))
}

fn release(objects: &mut HashMap<u32, usize>, gone: &Candidate) {
    let Some(object) = gone.object else { return };
    if let Some(users) = objects.get_mut(&object) {
        *users -= 1;
        if *users == 0 {
            objects.remove(&object);
        }
    }
}

fn is_same_way(a: &NextHop, b: &NextHop) -> bool {
    (a.via, a.interface) == (b.via, b.interface)
}

#[cfg(test)]
mod tests {
    use super::super::state::IfIndex;
    use super::*;
    use Placement::{First, Last, Replace};

    /// A route by way of routers known by one number each, on an interface of the same number.
    fn via(metric: u32, routers: &[u8]) -> Candidate {
        let hop = |router: &u8| {
            let via = std::net::Ipv4Addr::new(192, 0, 2, *router);
            NextHop { via: Some(via.into()), interface: IfIndex((*router).into()), weight: 1 }
        };
        let nexthops = routers.iter().map(hop).collect();
        Candidate { metric, kind: RouteKind::Unicast, nexthops, protocol: 4, object: None }
    }

    fn prefixes() -> (IpNet, IpNet) {
        let parse = |text: &str| text.parse().expect("a prefix");
        (parse("10.0.0.0/8"), parse("2001:db8::/32"))
    }

    fn best(rib: &Rib, prefix: IpNet) -> Vec<u8> {
        best_without(rib, prefix, &[])
    }

    fn best_without(rib: &Rib, prefix: IpNet, down: &[u32]) -> Vec<u8> {
        let last = |hop: &NextHop| match hop.via {
            Some(std::net::IpAddr::V4(ip)) => ip.octets()[3],
            _ => 0,
        };
        rib.best(prefix, |index| !down.contains(&index.0))
            .map(|route| route.nexthops.iter().map(last).collect())
            .unwrap_or_default()
    }

    #[test]
    fn a_removal_that_was_read_already_takes_nothing_else() {
        let (v4, v6) = prefixes();
        for prefix in [v4, v6] {
            let mut rib = Rib::default();
            rib.add(prefix, via(5, &[2, 3]), Last);
            rib.remove(prefix, &via(5, &[1]));
            assert_eq!(best(&rib, prefix), [2, 3], "{prefix}");
        }
    }

    #[test]
    fn a_next_hop_behind_a_link_that_is_down_is_none() {
        let (v4, v6) = prefixes();
        for prefix in [v4, v6] {
            let mut rib = Rib::default();
            rib.add(prefix, via(5, &[1, 2]), Last);
            rib.add(prefix, via(9, &[7]), Last);
            assert_eq!(best_without(&rib, prefix, &[1]), [2]);
            assert_eq!(best_without(&rib, prefix, &[1, 2]), [7], "the next metric takes over");
            assert!(best_without(&rib, prefix, &[1, 2, 7]).is_empty());
            assert_eq!(rib.prefixes_through(&[IfIndex(7)]).collect::<Vec<_>>(), [prefix]);
            assert_eq!(rib.prefixes_through(&[IfIndex(8)]).count(), 0);
        }
    }

    #[test]
    fn ipv4_keeps_its_order_among_equals() {
        let (v4, _) = prefixes();
        let mut rib = Rib::default();
        rib.add(v4, via(0, &[1]), First);
        rib.add(v4, via(0, &[2]), Last);
        rib.add(v4, via(0, &[3]), First);
        assert_eq!(best(&rib, v4), [3]);
        rib.add(v4, via(0, &[4]), Replace);
        assert_eq!(best(&rib, v4), [4]);
        for (gone, next) in [(4, vec![1]), (1, vec![2]), (2, vec![])] {
            rib.remove(v4, &via(0, &[gone]));
            assert_eq!(best(&rib, v4), next);
        }
    }

    #[test]
    fn ipv6_grows_and_shrinks_one_route() {
        let (_, v6) = prefixes();
        let mut rib = Rib::default();
        rib.add(v6, via(0, &[1]), First);
        rib.add(v6, via(0, &[1, 2]), Last);
        rib.add(v6, via(0, &[1, 2, 3]), Last);
        assert_eq!(best(&rib, v6), [1, 2, 3]);
        rib.remove(v6, &via(0, &[2]));
        assert_eq!(best(&rib, v6), [1, 3]);
        rib.remove(v6, &via(0, &[1, 3]));
        assert_eq!(rib.len(), 0);
    }

    #[test]
    fn counts_who_uses_a_next_hop_object() {
        let (v4, v6) = prefixes();
        let mut rib = Rib::default();
        let with = |object| Candidate { object: Some(object), ..via(0, &[1]) };
        rib.add(v4, with(7), First);
        rib.add(v4, with(7), First);
        rib.add(v6, with(7), First);
        rib.remove(v4, &with(7));
        assert!(rib.uses_object(7));
        rib.clear(true);
        assert!(rib.uses_object(7), "the other family's");
        rib.add(v6, with(8), Replace);
        assert!(!rib.uses_object(7) && rib.uses_object(8));
        rib.clear(false);
        assert!(!rib.uses_object(8));
    }
}
