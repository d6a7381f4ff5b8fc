//! Tenants: each one's routing table and source filter.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::{TunnelId, VrfId};
use penstock_dataplane::tables::{Hop, RouteTable, Snapshot};

use super::error::CompileError;
use super::filters::Filter;
use super::links::{Links, first_v4, first_v6};
use super::nexthops::{AdjacencyKey, Leg, NextHops, Target, Way, identity};
use super::slots::Slots;
use super::table::{Routes, Table};
use super::tunnels::Tunnels;
use super::underlay::{Underlay, add_local, publish};
use crate::config::{Name, TenantConfig, TenantRoute, TunnelConfig, Via};

/// A tenant's tables.
pub(super) struct TenantEntry {
    pub(super) vrf: VrfId,
    pub(super) filter: Filter,
    table: Table,
    /// What its routes use, to give back.
    targets: Vec<Target>,
    /// What is added to the priority of routes into a tunnel, where that is anything.
    penalties: BTreeMap<Name, u32>,
    /// The table must be made again.
    pub(super) dirty: bool,
    /// The filter must be made again.
    pub(super) filter_dirty: bool,
}

impl TenantEntry {
    pub(super) fn new(vrf: VrfId) -> Self {
        Self {
            vrf,
            filter: Filter::default(),
            table: Table::default(),
            targets: Vec::new(),
            penalties: BTreeMap::new(),
            dirty: true,
            filter_dirty: true,
        }
    }

    /// True when it differs from before.
    pub(super) fn set_penalty(&mut self, tunnel: &Name, penalty: u32) -> bool {
        let before = match penalty {
            0 => self.penalties.remove(tunnel),
            _ => self.penalties.insert(tunnel.clone(), penalty),
        };
        before.unwrap_or(0) != penalty
    }

    pub(super) fn penalty(&self, tunnel: &Name) -> u32 {
        self.penalties.get(tunnel).copied().unwrap_or(0)
    }

    /// Forgets those of tunnels that are gone.
    pub(super) fn keep_penalties(&mut self, tunnels: &BTreeMap<Name, TunnelConfig>) {
        self.penalties.retain(|tunnel, _| tunnels.contains_key(tunnel));
    }

    /// What is added to a route's priority.
    pub(super) fn penalty_of(&self, route: &TenantRoute) -> u32 {
        match &route.via {
            Via::Tunnel(tunnel) => self.penalty(tunnel),
            _ => 0,
        }
    }

    /// Makes the table again; true when it changed.
    #[expect(clippy::too_many_arguments, reason = "each is another table that a route may lead to")]
    pub(super) fn compile(
        &mut self,
        name: &Name,
        config: &TenantConfig,
        links: &Links,
        underlay: &Underlay,
        tunnels: &Tunnels,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
        errors: &mut Vec<CompileError>,
    ) -> bool {
        let tunnel_id = |tunnel: &Name| tunnels.id(name, tunnel);
        let mut routes = Routes::default();
        // Rising precedence: the kernel's, the tunnels' links, the configured ones, our own addresses.
        underlay.add_routes(next_hops, self.vrf, &mut routes);
        for (net, id) in tunnel_nets(config, tunnel_id) {
            if net.prefix_len() < net.max_prefix_len() {
                routes.add(net.trunc(), Hop::tunnel(id));
            }
        }
        let mut targets = Vec::new();
        for (prefix, best) in best_routes(&config.routes, |route| self.penalty_of(route)) {
            let ways = best.iter().filter_map(|route| way(name, route, links, tunnel_id)).collect();
            let target = next_hops.acquire(links, tables, ways);
            routes.add(prefix, next_hops.hop(&target));
            // Fixed hops hold nothing: a million routes into one tunnel need no list.
            if !matches!(target, Target::One(Leg::Fixed(_))) {
                targets.push(target);
            }
        }
        add_local(links, self.vrf, &mut routes);
        for (net, id) in tunnel_nets(config, tunnel_id) {
            routes.add_host(net.addr(), Hop::tunnel_address(id));
        }
        let changed = publish(tables, self.vrf, &mut self.table, routes, errors);
        for old in std::mem::replace(&mut self.targets, targets) {
            next_hops.release(tables, &old);
        }
        changed
    }

    /// Gives everything back.
    pub(super) fn remove(mut self, next_hops: &mut NextHops, filters: &mut Slots, tables: &mut Snapshot) {
        self.targets.iter().for_each(|target| next_hops.release(tables, target));
        self.filter.remove(filters, tables);
        tables.set_vrf(self.vrf, RouteTable::default());
    }
}

/// The addresses of a tenant's tunnels with their tunnels.
fn tunnel_nets(
    config: &TenantConfig,
    id: impl Fn(&Name) -> Option<TunnelId>,
) -> impl Iterator<Item = (IpNet, TunnelId)> {
    config
        .tunnels
        .iter()
        .filter_map(move |(name, tunnel)| Some((&tunnel.address, id(name)?)))
        .flat_map(|(nets, id)| nets.iter().map(move |net| (*net, id)))
}

/// For each prefix, the routes of the lowest priority, to which a penalty is added.
pub(super) fn best_routes(
    routes: &[TenantRoute],
    penalty: impl Fn(&TenantRoute) -> u32,
) -> impl Iterator<Item = (IpNet, Vec<&TenantRoute>)> {
    // Wider than both: the largest priority is still less than itself with a penalty.
    let priority = |route: &TenantRoute| u64::from(route.priority) + u64::from(penalty(route));
    let mut sorted: Vec<(IpNet, u64, &TenantRoute)> =
        routes.iter().map(|route| (route.prefix, priority(route), route)).collect();
    sorted.sort_by_key(|(prefix, priority, _)| (*prefix, *priority));
    let mut rest = sorted.into_iter().peekable();
    std::iter::from_fn(move || {
        let (prefix, lowest, first) = rest.next()?;
        let mut best = vec![first];
        while let Some((_, priority, next)) = rest.next_if(|(next, ..)| *next == prefix) {
            if priority == lowest {
                best.push(next);
            }
        }
        Some((prefix, best))
    })
}

fn way(
    tenant: &Name,
    route: &TenantRoute,
    links: &Links,
    tunnel_id: impl Fn(&Name) -> Option<TunnelId>,
) -> Option<Way> {
    let (leg, identity) = match &route.via {
        Via::Internet => (Leg::Fixed(Hop::vrf(VrfId::INTERNET).bits()), 0),
        Via::Blackhole => (Leg::Fixed(Hop::BLACKHOLE.bits()), 0),
        Via::Unreachable => (Leg::Fixed(Hop::UNREACHABLE.bits()), 0),
        Via::Tunnel(tunnel) => {
            (Leg::Fixed(Hop::tunnel(tunnel_id(tunnel)?).bits()), identity(&[b"tunnel", tunnel.as_bytes()]))
        }
        Via::Router(ip) => {
            let interface = links.on_link(tenant, *ip)?;
            (
                Leg::Adjacency(AdjacencyKey { interface, ip: Some(*ip) }),
                identity(&[b"router", ip.to_string().as_bytes()]),
            )
        }
    };
    Some(Way { leg, weight: route.weight, identity })
}

/// Sources of ICMP errors about packets of a tenant's tunnels that have no address: an address on one of the tenant's
/// links, else one of the underlay's, else none.
pub(super) fn icmp_sources(links: &Links, tenant: &Name) -> (u32, u128) {
    let of = |owner: Option<&Name>| {
        let nets: Vec<IpNet> = links
            .iter()
            .filter(|(_, link)| link.tenant.as_ref() == owner)
            .flat_map(|(_, link)| link.addresses.clone())
            .filter(|net| !matches!(net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local()))
            .collect();
        (first_v4(&nets), first_v6(&nets))
    };
    let (own, underlay) = (of(Some(tenant)), of(None));
    (if own.0 != 0 { own.0 } else { underlay.0 }, if own.1 != 0 { own.1 } else { underlay.1 })
}
