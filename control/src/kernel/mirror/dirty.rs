//! Which keys changed since the consumer was last told. Each key is held once however often it changes, so
//! what waits for a slow consumer is bounded by what exists in the kernel.

use std::collections::{BTreeSet, HashSet};

use ipnet::IpNet;

use super::super::netlink::convert::Event;
use super::super::resolve::NeighbourKey;
use super::super::state::{Address, Change, IfIndex};
use super::contents::Contents;

#[derive(Debug, Default)]
pub(crate) struct Dirty {
    links: BTreeSet<IfIndex>,
    addresses: BTreeSet<Address>,
    neighbours: HashSet<NeighbourKey>,
    routes: BTreeSet<IpNet>,
}

impl Dirty {
    /// Notes the key that an event is about.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Link(link) => drop(self.links.insert(link.index)),
            Event::LinkGone(index) => drop(self.links.insert(*index)),
            Event::Address(address, _) => drop(self.addresses.insert(*address)),
            Event::Neighbour(n) => drop(self.neighbours.insert((n.interface, n.ip))),
            Event::NeighbourGone(interface, ip) => drop(self.neighbours.insert((*interface, *ip))),
            Event::NextHopObject(_) => {}
            Event::Route(prefix, ..) | Event::RouteGone(prefix, _) => drop(self.routes.insert(*prefix)),
        }
    }

    /// Notes every key whose value differs. Returns the neighbours and the links among them.
    pub(crate) fn note_differences(
        &mut self,
        old: &Contents,
        new: &Contents,
    ) -> (Vec<NeighbourKey>, Vec<IfIndex>) {
        let (a, b) = (&old.state, &new.state);
        let links: Vec<_> = a
            .links
            .keys()
            .chain(b.links.keys())
            .filter(|i| a.links.get(i) != b.links.get(i))
            .copied()
            .collect();
        let keys = a.neighbours.keys().chain(b.neighbours.keys());
        let neighbours: Vec<_> =
            keys.filter(|k| a.neighbours.get(k) != b.neighbours.get(k)).copied().collect();
        self.links.extend(&links);
        self.neighbours.extend(&neighbours);
        self.addresses.extend(a.addresses.symmetric_difference(&b.addresses));
        self.routes.extend(old.rib.differences(&new.rib));
        self.note_routes_through(new, &links);
        (neighbours, links)
    }

    /// Notes the routes that depend on these interfaces: on whether they are up, and on whether they are
    /// `lo`.
    pub(crate) fn note_routes_through(&mut self, now: &Contents, links: &[IfIndex]) {
        if !links.is_empty() {
            self.routes.extend(now.rib.prefixes_through(links));
        }
    }

    /// The changes that bring a consumer up to date, and forgets them.
    pub(crate) fn take(&mut self, now: &Contents) -> Vec<Change> {
        let dirty = std::mem::take(self);
        let state = &now.state;
        let links = dirty.links.into_iter().map(|i| Change::Link(i, state.links.get(&i).cloned()));
        let addresses = dirty.addresses.into_iter().map(|a| Change::Address(a, state.addresses.contains(&a)));
        let neighbours =
            dirty.neighbours.into_iter().map(|k| Change::Neighbour(k, state.neighbours.get(&k).copied()));
        let routes = dirty.routes.into_iter().map(|p| Change::Route(p, now.route(p)));
        links.chain(addresses).chain(neighbours).chain(routes).collect()
    }
}
