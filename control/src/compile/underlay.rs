//! The kernel's routes as tables: the underlay's table (VRF 0), the part of each tenant's table that comes from the
//! kernel, and for each link a small table of the hosts on it.
//!
//! A connected prefix leads to the link's table, where each resolved neighbour has a host route and all other
//! destinations go to the kernel twin, which resolves them. So a new neighbour rebuilds a table of the size of its
//! link, however many routes the underlay has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::{EndpointId, InterfaceId, VrfId};
use penstock_dataplane::tables::{Hop, Snapshot};

use super::error::CompileError;
use super::lengths::PrefixTable;
use super::links::Links;
use super::nexthops::{AdjacencyKey, Leg, NextHops, Target, Way, identity};
use super::table::{Routes, Table};
use crate::kernel::state::{NextHop, Route, RouteKind};

/// The hosts on one link.
#[derive(Debug)]
struct LinkTable {
    glean: Target,
    hosts: BTreeMap<IpAddr, Target>,
    table: Table,
    dirty: bool,
}

/// What tables hold that comes from the kernel.
pub(super) struct Underlay {
    /// The kernel's routes, by the table that they belong to.
    routes: HashMap<VrfId, PrefixTable<Target>>,
    links: BTreeMap<InterfaceId, LinkTable>,
    internet: Table,
    internet_dirty: bool,
    /// Public prefixes and endpoints: what configuration adds to the underlay's table.
    public: BTreeMap<IpNet, VrfId>,
    endpoints: BTreeMap<IpAddr, EndpointId>,
    /// Our address among the fleet's nodes.
    data_address: Option<IpAddr>,
}

impl Underlay {
    pub(super) fn new() -> Self {
        Self {
            routes: HashMap::new(),
            links: BTreeMap::new(),
            internet: Table::default(),
            internet_dirty: true,
            public: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            data_address: None,
        }
    }

    /// Sets what configuration adds.
    pub(super) fn set_config(
        &mut self,
        public: BTreeMap<IpNet, VrfId>,
        endpoints: BTreeMap<IpAddr, EndpointId>,
    ) {
        self.internet_dirty |= public != self.public || endpoints != self.endpoints;
        self.public = public;
        self.endpoints = endpoints;
    }

    /// Sets our address among the fleet's nodes.
    pub(super) fn set_data_address(&mut self, address: Option<IpAddr>) {
        self.internet_dirty |= address != self.data_address;
        self.data_address = address;
    }

    /// An address of ours came or went.
    pub(super) fn address_changed(&mut self) {
        self.internet_dirty = true;
    }

    /// Gives back all that was made of the kernel's state; [`Underlay::route`] and [`Underlay::add_link`] follow.
    pub(super) fn clear(&mut self, next_hops: &mut NextHops, tables: &mut Snapshot) {
        for (_, routes) in self.routes.drain() {
            routes.entries.values().for_each(|target| next_hops.release(tables, target));
        }
        for (_, link) in std::mem::take(&mut self.links) {
            next_hops.release(tables, &link.glean);
            link.hosts.values().for_each(|target| next_hops.release(tables, target));
        }
        self.internet_dirty = true;
    }

    /// Starts the table of a link.
    pub(super) fn add_link(
        &mut self,
        links: &Links,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
        id: InterfaceId,
    ) {
        let glean = next_hops.acquire(links, tables, vec![neighbour(id, None)]);
        let link = LinkTable { glean, hosts: BTreeMap::new(), table: Table::default(), dirty: true };
        self.links.insert(id, link);
    }

    /// A neighbour may have become usable or unusable.
    pub(super) fn neighbour(
        &mut self,
        links: &Links,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
        id: InterfaceId,
        ip: IpAddr,
    ) {
        // Link-local destinations are the kernel's.
        if matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            return;
        }
        let Some(link) = self.links.get_mut(&id) else { return };
        match (links.mac_of(id, ip).is_some(), link.hosts.contains_key(&ip)) {
            (true, false) => {
                let target = next_hops.acquire(links, tables, vec![neighbour(id, Some(ip))]);
                link.hosts.insert(ip, target);
                link.dirty = true;
            }
            (false, true) => {
                if let Some(target) = link.hosts.remove(&ip) {
                    next_hops.release(tables, &target);
                }
                link.dirty = true;
            }
            _ => {}
        }
    }

    /// Takes the kernel's best route to a prefix, or that there is none. Gives back the tables that changed.
    pub(super) fn route(
        &mut self,
        links: &Links,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
        prefix: IpNet,
        route: Option<&Route>,
    ) -> BTreeSet<VrfId> {
        let mut changed = BTreeSet::new();
        let vrf = route.map(|route| vrf_of(links, route));
        let new = route.map(|route| next_hops.acquire(links, tables, ways(links, route)));
        for (id, routes) in &mut self.routes {
            if Some(*id) != vrf
                && let Some(old) = routes.remove(prefix)
            {
                next_hops.release(tables, &old);
                changed.insert(*id);
            }
        }
        if let (Some(vrf), Some(new)) = (vrf, new) {
            let is_new = Some(new.clone());
            let old = self.routes.entry(vrf).or_default().insert(prefix, new);
            if old != is_new {
                changed.insert(vrf);
            }
            if let Some(old) = old {
                next_hops.release(tables, &old);
            }
        }
        self.internet_dirty |= changed.contains(&VrfId::INTERNET);
        changed
    }

    /// The ways that outer packets to `remote` take, as adjacencies, and the smallest MTU among them. Nothing: no
    /// route, or none that the fast path can take.
    pub(super) fn ways_to(&self, links: &Links, remote: IpAddr) -> (Vec<Way>, Option<u16>) {
        let routes = self.routes.get(&VrfId::INTERNET);
        let best = routes.and_then(|routes| routes.longest(remote));
        let route = best.and_then(|(prefix, _)| links.kernel.routes.get(&prefix));
        let Some(route) = route.filter(|route| route.kind == RouteKind::Unicast) else {
            return (vec![], None);
        };
        let mut mtu: Option<u16> = None;
        let ways = route
            .nexthops
            .iter()
            .filter_map(|hop| {
                let id = links.id_of(hop.interface)?;
                let link = links.get(id)?;
                mtu = Some(mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)));
                let key = AdjacencyKey { interface: id, ip: Some(hop.via.unwrap_or(remote)) };
                Some(Way { leg: Leg::Adjacency(key), weight: hop.weight, identity: hop_identity(links, hop) })
            })
            .collect();
        (ways, mtu)
    }

    /// Adds the kernel's part of a tenant's table.
    pub(super) fn add_routes(&self, next_hops: &NextHops, vrf: VrfId, routes: &mut Routes) {
        for (prefix, target) in self.routes.get(&vrf).into_iter().flat_map(|routes| &routes.entries) {
            routes.add(*prefix, next_hops.hop(target));
        }
    }

    /// Builds what changed.
    pub(super) fn compile(
        &mut self,
        links: &Links,
        next_hops: &NextHops,
        tables: &mut Snapshot,
        errors: &mut Vec<CompileError>,
    ) -> bool {
        let mut changed = false;
        for (id, link) in self.links.iter_mut().filter(|(_, link)| link.dirty) {
            let Some(vrf) = links.get(*id).map(|link| link.neighbours) else { continue };
            link.dirty = false;
            let mut routes = Routes::default();
            for everywhere in [IpAddr::V4([0; 4].into()), IpAddr::V6([0; 16].into())] {
                let all = IpNet::new_assert(everywhere, 0);
                routes.add(all, next_hops.hop(&link.glean));
            }
            for (ip, target) in &link.hosts {
                routes.add_host(*ip, next_hops.hop(target));
            }
            changed |= publish(tables, vrf, &mut link.table, routes, errors);
        }
        if self.internet_dirty {
            self.internet_dirty = false;
            let mut routes = Routes::default();
            self.add_routes(next_hops, VrfId::INTERNET, &mut routes);
            for (prefix, vrf) in &self.public {
                routes.add(*prefix, Hop::vrf(*vrf));
            }
            add_local(links, VrfId::INTERNET, &mut routes);
            if let Some(ip) = self.data_address {
                routes.add_host(ip, Hop::FLEET);
            }
            for (ip, id) in &self.endpoints {
                routes.add_host(*ip, Hop::endpoint(*id));
            }
            changed |= publish(tables, VrfId::INTERNET, &mut self.internet, routes, errors);
        }
        changed
    }

    /// The kernel's routes of a table, for `show`.
    pub(super) fn routes(&self, vrf: VrfId) -> impl Iterator<Item = (&IpNet, &Target)> {
        self.routes.get(&vrf).into_iter().flat_map(|routes| &routes.entries)
    }
}

/// Builds a table and puts it in; true when it changed.
pub(super) fn publish(
    tables: &mut Snapshot,
    vrf: VrfId,
    table: &mut Table,
    routes: Routes,
    errors: &mut Vec<CompileError>,
) -> bool {
    match table.update(routes) {
        Ok(Some(built)) => {
            tables.set_vrf(vrf, built);
            true
        }
        Ok(None) => false,
        Err(source) => {
            errors.push(CompileError::Table { vrf, source });
            false
        }
    }
}

/// Addresses of ours that the kernel answers for.
pub(super) fn add_local(links: &Links, vrf: VrfId, routes: &mut Routes) {
    for address in &links.kernel.addresses {
        let ip = address.net.addr();
        if !ip.is_loopback() && links.vrf_of(address.interface) == vrf {
            routes.add_host(ip, Hop::LOCAL);
        }
    }
}

fn neighbour(interface: InterfaceId, ip: Option<IpAddr>) -> Way {
    Way { leg: Leg::Adjacency(AdjacencyKey { interface, ip }), weight: 1, identity: 0 }
}

/// The table of a route: that of the link it leaves by.
fn vrf_of(links: &Links, route: &Route) -> VrfId {
    route.nexthops.first().map_or(VrfId::INTERNET, |hop| links.vrf_of(hop.interface))
}

fn ways(links: &Links, route: &Route) -> Vec<Way> {
    let fixed = |hop: Hop| vec![Way { leg: Leg::Fixed(hop.bits()), weight: 1, identity: 0 }];
    match route.kind {
        RouteKind::Local => fixed(Hop::LOCAL),
        RouteKind::Blackhole => fixed(Hop::BLACKHOLE),
        RouteKind::Unreachable => fixed(Hop::UNREACHABLE),
        RouteKind::Unicast => route
            .nexthops
            .iter()
            .map(|hop| {
                let id = links.id_of(hop.interface);
                let link = id.and_then(|id| Some((id, links.get(id)?)));
                let leg = match (link, hop.via) {
                    (Some((interface, _)), Some(ip)) => {
                        Leg::Adjacency(AdjacencyKey { interface, ip: Some(ip) })
                    }
                    (Some((_, link)), None) => Leg::Fixed(Hop::vrf(link.neighbours).bits()),
                    // Something that the operator made in the namespace: the kernel forwards there.
                    (None, _) => Leg::Fixed(Hop::LOCAL.bits()),
                };
                Way { leg, weight: hop.weight, identity: hop_identity(links, hop) }
            })
            .collect(),
    }
}

/// Names a next hop by what does not change when the process restarts.
fn hop_identity(links: &Links, hop: &NextHop) -> u64 {
    let link = links.id_of(hop.interface).and_then(|id| links.get(id));
    let name = link.map(|link| link.name.to_string()).unwrap_or_default();
    let via = match hop.via {
        Some(IpAddr::V4(ip)) => ip.octets().to_vec(),
        Some(IpAddr::V6(ip)) => ip.octets().to_vec(),
        None => Vec::new(),
    };
    identity(&[name.as_bytes(), &via])
}
