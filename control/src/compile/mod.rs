//! Configuration and what the kernel knows, compiled to the workers' tables.
//!
//! A [`Compiler`] holds a working [`Snapshot`] and changes in it only what a change concerns: a neighbour changes one
//! adjacency, a route of the kernel changes the underlay's table and the tunnels whose remotes it covers, a tunnel's
//! configuration changes that tunnel, a tenant's routes change that tenant's table. Tables of other tenants are not
//! even looked at.
//!
//! Changes are taken by [`Compiler::configure`], [`Compiler::kernel`], [`Compiler::set_fleet`],
//! [`Compiler::set_penalty`] and [`Compiler::learn_path_mtu`]; [`Compiler::compile`] then makes what is affected, and
//! the caller publishes [`Compiler::tables`] and reports the generation back. Nothing here blocks, waits or talks to
//! anybody.

mod configure;
mod error;
mod esp;
mod filters;
mod fleet;
mod lengths;
mod links;
mod names;
mod nexthops;
mod path_mtu;
mod slots;
mod table;
mod tenants;
mod tunnels;
mod twins;
mod underlay;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use penstock_dataplane::ids::{EndpointId, TunnelId, VrfId};
use penstock_dataplane::tables::Snapshot;
use penstock_dataplane::tables::fleet::Tokens;

pub use error::CompileError;
pub use esp::{EspForm, Peer};
pub use fleet::FleetSpec;
pub use names::Names;
pub use path_mtu::{PathMtu, PathMtuSource};
pub use view::{RouteSource, RouteView, TunnelView, WayKind, WayView};

use crate::config::{Name, SourceFilter, ValidConfig, Via};
use crate::health::{self, Sizes};
use crate::kernel::resolve::NeighbourKey;
use crate::kernel::state::{Change, IfIndex, KernelState, KernelUpdate, Mac};
use fleet::Nodes;
use links::Links;
use nexthops::{AdjacencyKey, NextHops};
use slots::Slots;
use tenants::TenantEntry;
use tunnels::{Surroundings, Tunnels};
use underlay::Underlay;

/// How long a learned path MTU is believed (RFC 1191 6.3, RFC 8201 4: ten minutes).
pub const PATH_MTU_AGE: Duration = Duration::from_secs(600);

/// What [`Compiler::compile`] did.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The tables differ from those before: publish them.
    pub changed: bool,
    /// What could not be made; the old one stays.
    pub errors: Vec<CompileError>,
}

/// Makes tables of configuration and kernel state.
pub struct Compiler {
    config: ValidConfig,
    macs: Vec<Mac>,
    tables: Snapshot,
    links: Links,
    next_hops: NextHops,
    underlay: Underlay,
    tunnels: Tunnels,
    nodes: Nodes,
    tenants: BTreeMap<Name, TenantEntry>,
    endpoints: BTreeMap<Name, EndpointId>,
    vrf_slots: Slots,
    endpoint_slots: Slots,
    filter_slots: Slots,
    /// The tables differ from those of the last [`Compiler::compile`].
    changed: bool,
    errors: Vec<CompileError>,
}

impl Compiler {
    /// A compiler for a configuration. `macs` are those of the ports, in the order of the configuration's names.
    pub fn new(config: ValidConfig, macs: Vec<Mac>) -> Self {
        let mut compiler = Self {
            config: config.clone(),
            macs,
            tables: Snapshot::default(),
            links: Links::new(),
            next_hops: NextHops::new(),
            underlay: Underlay::new(),
            tunnels: Tunnels::new(),
            nodes: Nodes::new(),
            tenants: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            vrf_slots: Slots::new(1, u32::from(u16::MAX)),
            endpoint_slots: Slots::new(0, u32::from(u16::MAX)),
            filter_slots: Slots::new(0, u32::MAX - 1),
            changed: true,
            errors: Vec::new(),
        };
        compiler.configure(config);
        compiler
    }

    /// Takes what changed in the kernel.
    pub fn kernel(&mut self, update: KernelUpdate) {
        let (links, others): (Vec<_>, Vec<_>) =
            update.changes.into_iter().partition(|change| matches!(change, Change::Link(..)));
        if !links.is_empty() {
            links.into_iter().for_each(|change| self.links.kernel.apply(change));
            if self.links.match_twins() {
                self.relink();
            }
        }
        for change in others {
            match change {
                Change::Neighbour(key, _) => {
                    let before = self.links.kernel.usable_mac(key.0, key.1);
                    self.links.kernel.apply(change);
                    // Most events only say how fresh the entry is.
                    if before != self.links.kernel.usable_mac(key.0, key.1) {
                        self.neighbour(key.0, key.1);
                    }
                }
                Change::Address(address, _) => {
                    self.links.kernel.apply(change);
                    self.touch_local(self.links.vrf_of(address.interface));
                }
                Change::Route(prefix, _) => {
                    self.links.kernel.apply(change);
                    self.route(prefix);
                }
                Change::Link(..) => {}
            }
        }
    }

    /// A router on the way to a tunnel's remote takes outer packets of at most `mtu` bytes (an event of a worker).
    /// True when the tunnel changes.
    pub fn learn_path_mtu(&mut self, tunnel: TunnelId, mtu: u32, now: Instant) -> bool {
        self.tunnels.learn_path_mtu(tunnel, mtu, now)
    }

    /// Probes have shown the largest inner packet that a tunnel carries; `None`: all that the link takes. True when the
    /// tunnel changes.
    pub fn set_probed_mtu(&mut self, tunnel: TunnelId, inner: Option<u16>, now: Instant) -> bool {
        self.tunnels.set_probed(tunnel, inner, now)
    }

    /// Forgets what probes have shown of the tunnels that `keep` refuses.
    pub fn keep_probed_mtus(&mut self, keep: impl Fn(TunnelId) -> bool) {
        self.tunnels.keep_probed(keep);
    }

    /// The sizes of inner packets among which a tunnel's path MTU is to be found; `None`: there is no way yet, or nothing
    /// to find.
    pub fn path_sizes(&self, tunnel: TunnelId) -> Option<Sizes> {
        self.tunnels.sizes(tunnel)
    }

    /// The largest inner packet of a tunnel whose outer packets may have `mtu` bytes, as a router says.
    pub fn inner_mtu(&self, tunnel: TunnelId, mtu: u32) -> Option<u16> {
        self.tunnels.inner_of(tunnel, mtu)
    }

    /// Takes what the security associations of an IPsec tunnel mean for its outside. True when the tunnel changes.
    pub fn set_esp(&mut self, tenant: &Name, tunnel: &Name, form: &EspForm) -> bool {
        self.tunnels.set_esp(tenant, tunnel, form)
    }

    /// Takes what this node is in its fleet, and which other nodes live. True when it differs from before.
    pub fn set_fleet(&mut self, fleet: Option<FleetSpec>) -> bool {
        self.underlay.set_data_address(fleet.as_ref().map(|fleet| fleet.address));
        self.nodes.set(fleet)
    }

    /// Adds so much to the priority of all routes into a tunnel, for its health. True when that changes a table.
    pub fn set_penalty(&mut self, tenant: &Name, tunnel: &Name, penalty: u32) -> bool {
        let Some(entry) = self.tenants.get_mut(tenant) else { return false };
        if !entry.set_penalty(tunnel, penalty) {
            return false;
        }
        let routes =
            self.config.tenants.get(tenant).map(|tenant| tenant.routes.as_slice()).unwrap_or_default();
        let is_used = routes.iter().any(|route| matches!(&route.via, Via::Tunnel(name) if name == tunnel));
        entry.dirty |= is_used;
        is_used
    }

    /// What is added to the priority of routes into a tunnel.
    pub fn penalty(&self, tenant: &Name, tunnel: &Name) -> u32 {
        self.tenants.get(tenant).map_or(0, |entry| entry.penalty(tunnel))
    }

    /// Takes the keys that genuine answers to health probes are made with; `None`: nothing is probed. True when they
    /// differ from those before.
    pub fn set_probe_keys(&mut self, keys: Option<Tokens>) -> bool {
        let differs = self.tables.probe_keys() != keys.as_ref();
        if differs {
            self.tables.set_probe_keys(keys);
            self.changed = true;
        }
        differs
    }

    /// The peer of an IPsec tunnel in UDP sends from elsewhere (an event of a worker). True when the tunnel changes.
    pub fn learn_peer(&mut self, tunnel: TunnelId, peer: Peer) -> bool {
        self.tunnels.learn_peer(tunnel, peer)
    }

    /// Forgets path MTUs that are too old; true when a tunnel changes.
    pub fn age_path_mtus(&mut self, now: Instant) -> bool {
        self.tunnels.age_path_mtus(now)
    }

    /// When to call [`Compiler::age_path_mtus`] next.
    pub fn next_ageing(&self) -> Option<Instant> {
        self.tunnels.next_ageing()
    }

    /// Makes what the changes since the last call concern.
    #[must_use = "changed tables must be published"]
    pub fn compile(&mut self) -> Compiled {
        let config = self.config.clone();
        for (name, entry) in self.tenants.iter_mut().filter(|(_, entry)| entry.filter_dirty) {
            entry.filter_dirty = false;
            let Some(tenant) = config.tenants.get(name) else { continue };
            let (slots, tables, errors) = (&mut self.filter_slots, &mut self.tables, &mut self.errors);
            let renumbered = if filters::is_used(tenant) {
                entry.filter.accept(&filters::of_tenant(tenant), name, slots, tables, errors)
            } else {
                entry.filter.remove(slots, tables)
            };
            self.changed = true;
            if renumbered {
                self.tunnels.touch_tenant(name, tenant);
            }
        }
        self.compile_tunnels();
        self.changed |=
            self.nodes.compile(&self.links, &self.underlay, &mut self.next_hops, &mut self.tables);
        let (links, tables) = (&self.links, &mut self.tables);
        self.changed |= self.underlay.compile(links, &self.next_hops, tables, &mut self.errors);
        for (name, entry) in self.tenants.iter_mut().filter(|(_, entry)| entry.dirty) {
            entry.dirty = false;
            let Some(tenant) = config.tenants.get(name) else { continue };
            self.changed |= entry.compile(
                name,
                tenant,
                &self.links,
                &self.underlay,
                &self.tunnels,
                &mut self.next_hops,
                &mut self.tables,
                &mut self.errors,
            );
        }
        Compiled { changed: std::mem::take(&mut self.changed), errors: std::mem::take(&mut self.errors) }
    }

    /// The tables, as of the last [`Compiler::compile`].
    pub fn tables(&self) -> &Snapshot {
        &self.tables
    }

    /// The running configuration.
    pub fn config(&self) -> &ValidConfig {
        &self.config
    }

    /// What the kernel knows, as far as it was told.
    pub fn kernel_state(&self) -> &KernelState {
        &self.links.kernel
    }

    /// The tables were published with this generation.
    pub fn published(&mut self, generation: u64) {
        for slots in
            [&mut self.vrf_slots, &mut self.endpoint_slots, &mut self.filter_slots, &mut self.tunnels.slots]
        {
            slots.published(generation);
        }
        self.links.published(generation);
        self.next_hops.published(generation);
    }

    /// All workers use this generation or a later one: numbers that it no longer uses may be given out again.
    pub fn settled(&mut self, generation: u64) {
        for slots in
            [&mut self.vrf_slots, &mut self.endpoint_slots, &mut self.filter_slots, &mut self.tunnels.slots]
        {
            slots.settled(generation);
        }
        self.links.settled(generation);
        self.next_hops.settled(generation);
    }

    /// The neighbours to keep resolved, if the set changed since the last call.
    pub fn take_wanted(&mut self) -> Option<HashSet<NeighbourKey>> {
        std::mem::take(&mut self.next_hops.wanted_changed).then(|| self.next_hops.wanted(&self.links))
    }

    fn neighbour(&mut self, interface: IfIndex, ip: IpAddr) {
        let Some(id) = self.links.id_of(interface) else { return };
        let key = AdjacencyKey { interface: id, ip: Some(ip) };
        self.changed |= self.next_hops.rewrite(&self.links, &mut self.tables, key);
        self.underlay.neighbour(&self.links, &mut self.next_hops, &mut self.tables, id, ip);
    }

    fn route(&mut self, prefix: IpNet) {
        let route = self.links.kernel.routes.get(&prefix);
        let changed = self.underlay.route(&self.links, &mut self.next_hops, &mut self.tables, prefix, route);
        for vrf in changed {
            if vrf == VrfId::INTERNET {
                self.tunnels.touch_remotes(prefix);
                self.nodes.touch(prefix);
            } else {
                self.touch_vrf(vrf);
            }
        }
    }

    fn touch_local(&mut self, vrf: VrfId) {
        if vrf == VrfId::INTERNET {
            self.underlay.address_changed();
        } else {
            self.touch_vrf(vrf);
        }
    }

    fn touch_vrf(&mut self, vrf: VrfId) {
        let tenant = self.tenants.values_mut().find(|entry| entry.vrf == vrf);
        tenant.into_iter().for_each(|entry| entry.dirty = true);
    }

    fn compile_tunnels(&mut self) {
        let mut sources: HashMap<Name, (u32, u128)> = HashMap::new();
        while let Some(id) = self.tunnels.dirty.pop_first() {
            let Some(entry) = self.tunnels.entries.get_mut(&id) else { continue };
            let tenant = entry.tenant.clone();
            let filter = match &entry.config.source_filter {
                SourceFilter::Tenant => {
                    entry.filter.remove(&mut self.filter_slots, &mut self.tables);
                    self.tenants.get(&tenant).and_then(|tenant| tenant.filter.id())
                }
                SourceFilter::Off => {
                    entry.filter.remove(&mut self.filter_slots, &mut self.tables);
                    None
                }
                SourceFilter::Prefixes(prefixes) => {
                    let answers = health::target_inside(&entry.config).map(IpNet::from);
                    let prefixes: Vec<_> = prefixes.iter().copied().chain(answers).collect();
                    let owner = format!("tunnel {} of {tenant}", entry.name);
                    let (slots, tables) = (&mut self.filter_slots, &mut self.tables);
                    entry.filter.accept(&prefixes, &owner, slots, tables, &mut self.errors);
                    entry.filter.id()
                }
            };
            let (of_links_v4, of_links_v6) =
                *sources.entry(tenant.clone()).or_insert_with(|| tenants::icmp_sources(&self.links, &tenant));
            let (local_v4, local_v6) = match entry.place.local {
                IpAddr::V4(ip) => (u32::from(ip), 0),
                IpAddr::V6(ip) => (0, u128::from(ip)),
            };
            let surroundings = Surroundings {
                filter,
                address_v4: if of_links_v4 != 0 { of_links_v4 } else { local_v4 },
                address_v6: if of_links_v6 != 0 { of_links_v6 } else { local_v6 },
            };
            let (links, underlay) = (&self.links, &self.underlay);
            let made = self.tunnels.compile(
                id,
                links,
                underlay,
                &mut self.next_hops,
                &mut self.tables,
                surroundings,
            );
            match made {
                Ok(changed) => self.changed |= changed,
                Err((tenant, tunnel, source)) => {
                    self.errors.push(CompileError::Tunnel { tenant, tunnel, source });
                }
            }
        }
    }
}
