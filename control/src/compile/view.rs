//! What the tables say, in the operator's words: for `show`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::{EndpointId, InterfaceId, TunnelId, VrfId};
use penstock_dataplane::tables::{Hop, HopKind};

use super::esp::{EspForm, Peer};
use super::nexthops::{AdjacencyKey, Leg, Target};
use super::path_mtu::PathMtu;
use super::{Compiler, tenants};
use crate::config::{Name, TenantRoute, TunnelConfig, Via};
use crate::kernel::resolve::NeighbourKey;
use crate::kernel::routes::PROTOCOL;
use crate::kernel::state::RouteKind;

/// A tunnel as it runs.
#[derive(Debug, Clone)]
pub struct TunnelView<'a> {
    /// Its number: names its counters.
    pub id: TunnelId,
    /// Differs for every tunnel that ever had this number: take its counters' start values when it changes.
    pub incarnation: u64,
    /// Whose it is.
    pub tenant: &'a Name,
    /// Its name.
    pub name: &'a Name,
    /// As configured.
    pub config: &'a TunnelConfig,
    /// The address of our endpoint.
    pub local: IpAddr,
    /// Where outer packets go; `None`: nobody has negotiated yet.
    pub remote: Option<IpAddr>,
    /// Largest inner packet now, bytes.
    pub mtu: u16,
    /// Segment sizes that SYNs are lowered to, for IPv4 and IPv6; `None`: left alone.
    pub mss: (Option<u16>, Option<u16>),
    /// A smaller path that was found.
    pub path_mtu: Option<PathMtu>,
    /// Where the peer was found, if elsewhere than configured.
    pub peer: Option<Peer>,
    /// What the security associations of an IPsec tunnel ask for.
    pub esp: &'a EspForm,
    /// Our endpoint.
    pub endpoint: EndpointId,
    /// The ways of outer packets; none: there is no route.
    pub underlay: Underlay<'a>,
}

/// The ways of a tunnel's outer packets. Put into words only when it is asked: somebody looks at all tunnels every second.
#[derive(Clone, Copy)]
pub struct Underlay<'a> {
    compiler: &'a Compiler,
    target: &'a Target,
}

impl fmt::Debug for Underlay<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Underlay<'_> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = WayView> {
        self.compiler.ways(self.target).into_iter()
    }

    /// There is no route.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// What a way leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayKind {
    /// Into a tunnel.
    Tunnel,
    /// Out of a port to a neighbour that is resolved.
    Adjacency,
    /// Out of a port to a neighbour that the kernel still has to resolve.
    Unresolved,
    /// Ends on an endpoint.
    Endpoint,
    /// To the kernel.
    Local,
    /// Looked up again in another table.
    Table,
    /// To whichever host on the link.
    Link,
    /// Discarded silently.
    Blackhole,
    /// Discarded, and the sender is told.
    Unreachable,
    /// Nowhere.
    NoRoute,
}

/// One way to a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WayView {
    /// What it is.
    pub kind: WayKind,
    /// Where: a tunnel's name, `edge0 via 192.0.2.254`, an endpoint's name, a tenant's.
    pub via: String,
    /// As configured. With the penalty, the lowest wins.
    pub priority: u32,
    /// Added to the priority, as the tunnel is not healthy.
    pub penalty: u32,
    /// Share of the flows.
    pub weight: u16,
    /// Packets take it.
    pub active: bool,
}

/// Who put a route there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteSource {
    /// The configuration.
    Config,
    /// The kernel, or a daemon in the namespace.
    Kernel,
    /// A resolved neighbour.
    Neighbour,
    /// An address of ours.
    Local,
    /// An endpoint.
    Endpoint,
}

/// One prefix of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteView {
    /// Destination.
    pub prefix: IpNet,
    /// Who put it there.
    pub source: RouteSource,
    /// The ways, best first.
    pub ways: Vec<WayView>,
}

impl Compiler {
    /// All tunnels.
    pub fn tunnels(&self) -> impl Iterator<Item = TunnelView<'_>> {
        self.tunnels_with(|_| true)
    }

    /// Those whose configuration is such. The others cost next to nothing.
    pub fn tunnels_with(
        &self,
        is_wanted: impl Fn(&TunnelConfig) -> bool,
    ) -> impl Iterator<Item = TunnelView<'_>> {
        let wanted = self.tunnels.entries.iter().filter(move |(_, entry)| is_wanted(&entry.config));
        wanted.map(|(id, entry)| TunnelView {
            id: *id,
            incarnation: entry.incarnation,
            tenant: &entry.tenant,
            name: &entry.name,
            config: &entry.config,
            local: entry.place.local,
            remote: entry.remote(),
            mtu: entry.written.map_or(0, |written| written.mtu),
            mss: self.tables.tunnel(*id).map_or((None, None), |tunnel| tunnel.mss()),
            path_mtu: entry.path.smaller(),
            peer: entry.peer,
            esp: &entry.esp,
            endpoint: entry.place.endpoint,
            underlay: Underlay { compiler: self, target: &entry.underlay },
        })
    }

    /// The number of a tunnel.
    pub fn tunnel_id(&self, tenant: &Name, tunnel: &Name) -> Option<TunnelId> {
        self.tunnels.id(tenant, tunnel)
    }

    /// The table of a tenant.
    pub fn vrf(&self, tenant: &Name) -> Option<VrfId> {
        self.tenants.get(tenant).map(|entry| entry.vrf)
    }

    /// The name of an interface: `edge0`, `edge0.100`.
    pub fn interface_name(&self, id: InterfaceId) -> Option<String> {
        self.links.get(id).map(|link| link.name.to_string())
    }

    /// How many routes and tunnels lead to a neighbour.
    pub fn neighbour_uses(&self, (interface, ip): NeighbourKey) -> u32 {
        let id = self.links.id_of(interface);
        id.map_or(0, |interface| self.next_hops.uses(AdjacencyKey { interface, ip: Some(ip) }))
    }

    /// All routes of the underlay's table.
    pub fn internet_routes(&self) -> Vec<RouteView> {
        let config = &self.config;
        let mut routes = self.kernel_routes(VrfId::INTERNET);
        for (name, tenant) in &config.tenants {
            let way = way(WayKind::Table, name.to_string());
            routes
                .extend(tenant.prefixes.iter().map(|prefix| one(*prefix, RouteSource::Config, way.clone())));
        }
        routes.extend(self.local_routes(VrfId::INTERNET));
        for (name, ip) in &config.endpoints {
            routes.push(one(
                IpNet::from(*ip),
                RouteSource::Endpoint,
                way(WayKind::Endpoint, name.to_string()),
            ));
        }
        routes
    }

    /// All routes of a tenant's table.
    pub fn tenant_routes(&self, tenant: &Name) -> Vec<RouteView> {
        let (Some(vrf), Some(config)) = (self.vrf(tenant), self.config.tenants.get(tenant)) else {
            return vec![];
        };
        let mut routes = self.kernel_routes(vrf);
        let penalty =
            |route: &TenantRoute| self.tenants.get(tenant).map_or(0, |entry| entry.penalty_of(route));
        let priority = |route: &TenantRoute| u64::from(route.priority) + u64::from(penalty(route));
        let mut sorted: Vec<_> = config.routes.iter().collect();
        sorted.sort_by_key(|route| (route.prefix, priority(route)));
        let best: Vec<_> = tenants::best_routes(&config.routes, penalty).map(|(_, best)| best).collect();
        for (all, best) in sorted.chunk_by(|a, b| a.prefix == b.prefix).zip(best) {
            let lowest = best.first().map_or(0, |route| priority(route));
            let ways = all.iter().map(|route| {
                let (kind, via) = self.via(tenant, &route.via);
                WayView {
                    kind,
                    via,
                    priority: route.priority,
                    penalty: penalty(route),
                    weight: route.weight,
                    active: priority(route) == lowest,
                }
            });
            let prefix = all.first().map(|route| route.prefix);
            routes.extend(prefix.map(|prefix| RouteView {
                prefix,
                source: RouteSource::Config,
                ways: ways.collect(),
            }));
        }
        routes.extend(self.local_routes(vrf));
        for (name, tunnel) in &config.tunnels {
            for net in &tunnel.address {
                routes.push(one(
                    IpNet::from(net.addr()),
                    RouteSource::Local,
                    way(WayKind::Local, name.to_string()),
                ));
                if net.prefix_len() < net.max_prefix_len() {
                    routes.push(one(
                        net.trunc(),
                        RouteSource::Config,
                        way(WayKind::Tunnel, name.to_string()),
                    ));
                }
            }
        }
        routes
    }

    fn kernel_routes(&self, vrf: VrfId) -> Vec<RouteView> {
        self.underlay
            .routes(vrf)
            .map(|(prefix, target)| {
                let route = self.links.kernel.routes.get(prefix);
                let ours = route.is_some_and(|route| route.protocol == PROTOCOL);
                let source = if ours { RouteSource::Config } else { RouteSource::Kernel };
                let mut ways = self.ways(target);
                let metric = route.map_or(0, |route| route.metric);
                ways.iter_mut().for_each(|way| way.priority = metric);
                // A connected prefix: name the link, not the table behind it.
                if let Some(route) = route.filter(|route| route.kind == RouteKind::Unicast) {
                    for (way, hop) in
                        ways.iter_mut().filter(|way| way.kind == WayKind::Link).zip(&route.nexthops)
                    {
                        let name = self.links.kernel.links.get(&hop.interface).map(|link| link.name.clone());
                        way.via = name.unwrap_or_default();
                    }
                }
                RouteView { prefix: *prefix, source, ways }
            })
            .collect()
    }

    fn local_routes(&self, vrf: VrfId) -> Vec<RouteView> {
        let kernel = &self.links.kernel;
        let ours = |ip: IpAddr| self.config.endpoints.values().any(|endpoint| *endpoint == ip);
        kernel
            .addresses
            .iter()
            .filter(|a| {
                !a.net.addr().is_loopback() && !ours(a.net.addr()) && self.links.vrf_of(a.interface) == vrf
            })
            .map(|address| {
                let name = kernel.links.get(&address.interface).map(|link| link.name.clone());
                let way = way(WayKind::Local, name.unwrap_or_default());
                one(IpNet::from(address.net.addr()), RouteSource::Local, way)
            })
            .collect()
    }

    fn ways(&self, target: &Target) -> Vec<WayView> {
        let weights: Vec<u16> = match target {
            Target::One(_) => vec![1],
            Target::Many(ways) => ways.iter().map(|way| way.weight).collect(),
        };
        target
            .legs()
            .into_iter()
            .zip(weights)
            .map(|(leg, weight)| {
                let (kind, via) = self.leg(leg);
                WayView { kind, via, priority: 0, penalty: 0, weight, active: true }
            })
            .filter(|way| way.kind != WayKind::NoRoute)
            .collect()
    }

    fn leg(&self, leg: Leg) -> (WayKind, String) {
        match leg {
            Leg::Adjacency(AdjacencyKey { interface, ip }) => {
                let name = self.interface_name(interface).unwrap_or_default();
                let resolved = ip.is_some_and(|ip| self.links.mac_of(interface, ip).is_some());
                let kind = if resolved { WayKind::Adjacency } else { WayKind::Unresolved };
                (kind, ip.map_or_else(|| name.clone(), |ip| format!("{name} via {ip}")))
            }
            Leg::Fixed(bits) => match Hop::from_bits(bits).kind() {
                HopKind::Vrf => (WayKind::Link, String::new()),
                HopKind::Local => (WayKind::Local, "kernel".into()),
                HopKind::Blackhole => (WayKind::Blackhole, String::new()),
                HopKind::Unreachable => (WayKind::Unreachable, String::new()),
                _ => (WayKind::NoRoute, String::new()),
            },
        }
    }

    fn via(&self, tenant: &Name, via: &Via) -> (WayKind, String) {
        match via {
            Via::Internet => (WayKind::Table, "internet".into()),
            Via::Blackhole => (WayKind::Blackhole, String::new()),
            Via::Unreachable => (WayKind::Unreachable, String::new()),
            Via::Tunnel(name) => (WayKind::Tunnel, name.to_string()),
            Via::Router(ip) => match self.links.on_link(tenant, *ip) {
                Some(interface) => self.leg(Leg::Adjacency(AdjacencyKey { interface, ip: Some(*ip) })),
                None => (WayKind::NoRoute, ip.to_string()),
            },
        }
    }
}

fn way(kind: WayKind, via: String) -> WayView {
    WayView { kind, via, priority: 0, penalty: 0, weight: 1, active: true }
}

fn one(prefix: IpNet, source: RouteSource, way: WayView) -> RouteView {
    RouteView { prefix, source, ways: vec![way] }
}
