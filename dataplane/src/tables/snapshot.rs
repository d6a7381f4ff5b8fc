//! All tables of one generation. Control keeps a working copy, changes it, and publishes clones.

use std::net::IpAddr;
use std::sync::Arc;

use super::adjacency::Adjacency;
use super::fib::{Fib4, Fib6};
use super::filter::SourceFilter;
use super::fleet::{Fleet, Tokens};
use super::group::Group;
use super::interface::Interfaces;
use super::paged::Paged;
use super::tunnel::Tunnel;
use super::tunnel_index::TunnelIndex;
use crate::ids::{AdjacencyId, EndpointId, FilterId, GroupId, TunnelId, VrfId};
use crate::ike::IkeLimits;

/// Routes of both families. As a VRF the values are [`super::Hop`] bits; as a source filter any
/// value but 0 means "accepted".
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    /// IPv4 routes.
    pub v4: Arc<Fib4>,
    /// IPv6 routes.
    pub v6: Arc<Fib6>,
}

/// Budgets for what is not forwarding: of each worker, packets per second and burst, but for IKE's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// ICMP errors a second.
    pub icmp_rate: u32,
    /// ICMP errors at once.
    pub icmp_burst: u32,
    /// Packets to the kernel twin a second, but IKE.
    pub punt_rate: u32,
    /// Packets to the kernel twin at once, but IKE.
    pub punt_burst: u32,
    /// IKE to the kernel twin, of all workers together.
    pub ike: IkeLimits,
    /// ESP of tunnels' remotes handed to the nodes it belongs to, a second. A twentieth of it comes at once.
    pub rescue_rate: u32,
    /// The same of anybody else.
    pub rescue_rate_strangers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            icmp_rate: 1000,
            icmp_burst: 100,
            punt_rate: 20_000,
            punt_burst: 1000,
            ike: IkeLimits::default(),
            rescue_rate: 500_000,
            rescue_rate_strangers: 50_000,
        }
    }
}

/// The tables that a burst is looked up in. Immutable while a worker holds it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts publications; set by the publisher.
    pub generation: u64,
    /// Budgets.
    pub limits: Limits,
    /// Interfaces by port and VLAN.
    pub interfaces: Arc<Interfaces>,
    pub(crate) vrfs: Paged<RouteTable>,
    pub(crate) filters: Paged<SourceFilter>,
    pub(crate) adjacencies: Paged<Adjacency>,
    pub(crate) groups: Paged<Group>,
    pub(crate) tunnels: Paged<Tunnel>,
    pub(crate) tunnel_index: TunnelIndex,
    pub(crate) fleet: Option<Arc<Fleet>>,
    pub(crate) probe_keys: Option<Tokens>,
}

impl Snapshot {
    /// Replaces a routing table.
    pub fn set_vrf(&mut self, id: VrfId, routes: RouteTable) {
        self.vrfs.set(id.index(), routes);
    }

    /// A routing table.
    pub fn vrf(&self, id: VrfId) -> Option<&RouteTable> {
        self.vrfs.get(id.index())
    }

    /// Replaces a source filter.
    pub fn set_filter(&mut self, id: FilterId, accepted: SourceFilter) {
        self.filters.set(id.index(), accepted);
    }

    /// A source filter.
    pub fn filter(&self, id: FilterId) -> Option<&SourceFilter> {
        self.filters.get(id.index())
    }

    /// Replaces an adjacency.
    pub fn set_adjacency(&mut self, id: AdjacencyId, adjacency: Adjacency) {
        self.adjacencies.set(id.index(), adjacency);
    }

    /// An adjacency.
    pub fn adjacency(&self, id: AdjacencyId) -> Option<&Adjacency> {
        self.adjacencies.get(id.index())
    }

    /// Replaces a group.
    pub fn set_group(&mut self, id: GroupId, group: Group) {
        self.groups.set(id.index(), group);
    }

    /// A group.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id.index())
    }

    /// Replaces a tunnel's slot; [`Tunnel::default`] frees it.
    pub fn set_tunnel(&mut self, id: TunnelId, tunnel: Tunnel) {
        self.tunnels.set(id.index(), tunnel);
    }

    /// A tunnel's slot, live or free.
    pub fn tunnel(&self, id: TunnelId) -> Option<&Tunnel> {
        self.tunnels.get(id.index())
    }

    /// Makes received packets of this identity belong to the tunnel.
    pub fn bind_tunnel(&mut self, endpoint: EndpointId, remote: IpAddr, key: Option<u32>, id: TunnelId) {
        self.tunnel_index.insert(endpoint, remote, key, id);
    }

    /// Forgets an identity; false when it was not bound.
    pub fn unbind_tunnel(&mut self, endpoint: EndpointId, remote: IpAddr, key: Option<u32>) -> bool {
        self.tunnel_index.remove(endpoint, remote, key)
    }

    /// Makes an address known as the remote end of an IPsec tunnel at an endpoint; once for each such tunnel.
    pub fn add_remote(&mut self, endpoint: EndpointId, remote: IpAddr) {
        self.tunnel_index.add_remote(endpoint, remote);
    }

    /// Takes back one [`Snapshot::add_remote`].
    pub fn remove_remote(&mut self, endpoint: EndpointId, remote: IpAddr) {
        self.tunnel_index.remove_remote(endpoint, remote);
    }

    /// Whether an address is the remote end of any tunnel at an endpoint.
    pub fn is_remote(&self, endpoint: EndpointId, address: IpAddr) -> bool {
        self.tunnel_index.is_remote(endpoint, address)
    }

    /// Replaces what is known of the fleet. The route to our data address, [`super::Hop::FLEET`], is the underlay table's.
    pub fn set_fleet(&mut self, fleet: Option<Fleet>) {
        self.fleet = fleet.map(Arc::new);
    }

    /// The fleet, if this node is of one.
    pub fn fleet(&self) -> Option<&Fleet> {
        self.fleet.as_deref()
    }

    /// Replaces the keys that show which answers to health probes are genuine; `None`: no packet is such an answer.
    pub fn set_probe_keys(&mut self, keys: Option<Tokens>) {
        self.probe_keys = keys;
    }

    /// The keys that show which answers to health probes are genuine.
    pub fn probe_keys(&self) -> Option<&Tokens> {
        self.probe_keys.as_ref()
    }

    /// How many tunnel identities are bound.
    pub fn bound_tunnels(&self) -> usize {
        self.tunnel_index.len()
    }
}
