//! Tunnels: their numbers, their identity on the wire, and the prebuilt form that workers use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use penstock_dataplane::ids::{EndpointId, FilterId, TunnelId, VrfId};
use penstock_dataplane::tables::tunnel::{MIN_PATH_MTU_V4, MIN_PATH_MTU_V6, gre_overhead};
use penstock_dataplane::tables::{
    DontFragment, Dscp, Encapsulation, Hop, Mss, Snapshot, Ttl, Tunnel, TunnelError, TunnelSpec,
};

use super::PATH_MTU_AGE;
use super::esp::{EspForm, Peer};
use super::filters::Filter;
use super::links::{Links, first_v4, first_v6};
use super::nexthops::{NextHops, Target};
use super::slots::Slots;
use super::underlay::Underlay;
use crate::config::{self, Auto, Name, TenantConfig, TunnelConfig, TunnelKind};

/// MTU of a path that nothing is known about: Ethernet's.
const DEFAULT_LINK_MTU: u16 = 1500;

/// A path MTU learned from an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathMtu {
    /// Largest outer packet, bytes.
    pub outer: u16,
    /// When it is forgotten.
    pub expires: Instant,
}

/// Where a tunnel stands in the other tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) local: IpAddr,
    pub(super) endpoint: EndpointId,
    pub(super) vrf: VrfId,
}

/// What is computed, beside the configuration, and written into the workers' form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Derived {
    pub(super) mtu: u16,
    underlay: Hop,
    underlay_mtu: u16,
    remote: IpAddr,
    encapsulation: Encapsulation,
    pub(super) filter: Option<FilterId>,
    address_v4: u32,
    address_v6: u128,
}

pub(super) struct TunnelEntry {
    pub(super) tenant: Name,
    pub(super) name: Name,
    pub(super) config: TunnelConfig,
    pub(super) place: Place,
    pub(super) underlay: Target,
    pub(super) path_mtu: Option<PathMtu>,
    pub(super) written: Option<Derived>,
    pub(super) filter: Filter,
    /// What its security associations ask for; unused for GRE.
    pub(super) esp: EspForm,
    /// Where the peer was found, if elsewhere.
    pub(super) peer: Option<Peer>,
    /// Counts the tunnels that had a number, so that counters of an earlier one can be told apart.
    pub(super) incarnation: u64,
}

impl TunnelEntry {
    /// What tells its packets from those of others. A packet of an IPsec tunnel names a security association.
    fn identity(&self) -> Option<(EndpointId, IpAddr, Option<u32>)> {
        self.config.gre().map(|gre| (self.place.endpoint, self.config.remote, gre.key))
    }

    /// Where outer packets go.
    pub(super) fn remote(&self) -> IpAddr {
        self.peer.map_or(self.config.remote, |peer| peer.address)
    }

    fn encapsulation(&self) -> Encapsulation {
        match &self.config.kind {
            TunnelKind::Gre(gre) => Encapsulation::Gre { key: gre.key, checksum: gre.checksum },
            TunnelKind::Ipsec => self.esp.encapsulation(self.peer),
        }
    }

    /// Largest inner packet that a link of `link` bytes takes.
    fn fits(&self, link: u16) -> u16 {
        let v6 = self.config.remote.is_ipv6();
        match &self.config.kind {
            TunnelKind::Gre(gre) => link.saturating_sub(gre_overhead(v6, gre.key.is_some(), gre.checksum)),
            TunnelKind::Ipsec => self.esp.inner_mtu(link, v6),
        }
    }

    fn unbind(&self, tables: &mut Snapshot) {
        if let Some((endpoint, remote, key)) = self.identity() {
            tables.unbind_tunnel(endpoint, remote, key);
        }
        self.forget_remote(tables);
    }

    /// Takes back what [`Tunnels::compile`] made known of an IPsec tunnel's remote.
    fn forget_remote(&self, tables: &mut Snapshot) {
        if let Some(written) = self.written.filter(|_| self.config.gre().is_none()) {
            tables.remove_remote(self.place.endpoint, written.remote);
        }
    }
}

/// All tunnels.
pub(super) struct Tunnels {
    pub(super) slots: Slots,
    pub(super) entries: BTreeMap<TunnelId, TunnelEntry>,
    ids: HashMap<(Name, Name), TunnelId>,
    pub(super) by_remote: BTreeSet<(IpAddr, TunnelId)>,
    pub(super) dirty: BTreeSet<TunnelId>,
    ageing: BTreeSet<(Instant, TunnelId)>,
    incarnations: u64,
}

impl Tunnels {
    pub(super) fn new() -> Self {
        Self {
            slots: Slots::new(0, Hop::SLOTS),
            entries: BTreeMap::new(),
            ids: HashMap::new(),
            by_remote: BTreeSet::new(),
            dirty: BTreeSet::new(),
            ageing: BTreeSet::new(),
            incarnations: 0,
        }
    }

    pub(super) fn id(&self, tenant: &Name, name: &Name) -> Option<TunnelId> {
        self.ids.get(&(tenant.clone(), name.clone())).copied()
    }

    /// Forgets the tunnels that `keep` refuses; they stop to exist on the wire at once.
    pub(super) fn retain(
        &mut self,
        next_hops: &mut NextHops,
        filters: &mut Slots,
        tables: &mut Snapshot,
        keep: impl Fn(&TunnelEntry) -> bool,
    ) -> bool {
        let gone: Vec<TunnelId> =
            self.entries.iter().filter(|(_, entry)| !keep(entry)).map(|(id, _)| *id).collect();
        for id in &gone {
            let Some(mut entry) = self.entries.remove(id) else { continue };
            entry.unbind(tables);
            tables.set_tunnel(*id, Tunnel::default());
            next_hops.release(tables, &entry.underlay);
            entry.filter.remove(filters, tables);
            forget_path_mtu(&mut self.ageing, *id, &mut entry);
            self.by_remote.remove(&(entry.remote(), *id));
            self.dirty.remove(id);
            self.ids.remove(&(entry.tenant, entry.name));
            self.slots.release(id.0);
        }
        !gone.is_empty()
    }

    /// Takes a tunnel's configuration. Its identity is taken off the wire if it changes; [`Tunnels::bind`] puts the
    /// new one there, after all others have let go of theirs. `None`: there is no number left.
    pub(super) fn set(
        &mut self,
        tables: &mut Snapshot,
        tenant: &Name,
        name: &Name,
        config: &TunnelConfig,
        place: Place,
    ) -> Option<()> {
        if let Some(id) = self.id(tenant, name)
            && let Some(entry) = self.entries.get_mut(&id)
        {
            if entry.config == *config && entry.place == place {
                return Some(());
            }
            entry.unbind(tables);
            let (before, remote) = (entry.remote(), entry.config.remote);
            self.by_remote.remove(&(before, id));
            if remote != config.remote || entry.config.kind != config.kind {
                entry.peer = None;
            }
            if remote != config.remote {
                forget_path_mtu(&mut self.ageing, id, entry);
            }
            entry.config = config.clone();
            entry.place = place;
            entry.written = None;
            self.dirty.insert(id);
            return Some(());
        }
        let id = TunnelId(self.slots.take()?);
        self.incarnations += 1;
        let entry = TunnelEntry {
            tenant: tenant.clone(),
            name: name.clone(),
            config: config.clone(),
            place,
            underlay: Target::fixed(Hop::NO_ROUTE),
            path_mtu: None,
            written: None,
            filter: Filter::default(),
            esp: EspForm::default(),
            peer: None,
            incarnation: self.incarnations,
        };
        self.entries.insert(id, entry);
        self.ids.insert((tenant.clone(), name.clone()), id);
        self.dirty.insert(id);
        Some(())
    }

    /// Puts the identities of new and changed tunnels on the wire.
    pub(super) fn bind(&mut self, tables: &mut Snapshot) {
        for id in &self.dirty {
            let Some(entry) = self.entries.get(id) else { continue };
            if let Some((endpoint, remote, key)) = entry.identity() {
                tables.bind_tunnel(endpoint, remote, key, *id);
            }
            self.by_remote.insert((entry.remote(), *id));
        }
    }

    /// All tunnels must be made again.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.entries.keys());
    }

    /// All tunnels of a tenant must be made again.
    pub(super) fn touch_tenant(&mut self, name: &Name, tenant: &TenantConfig) {
        let ids: Vec<_> = tenant.tunnels.keys().filter_map(|tunnel| self.id(name, tunnel)).collect();
        self.dirty.extend(ids);
    }

    /// The way to these remotes changed.
    pub(super) fn touch_remotes(&mut self, prefix: IpNet) {
        let first = (prefix.network(), TunnelId(0));
        let last = (prefix.broadcast(), TunnelId(u32::MAX));
        self.dirty.extend(self.by_remote.range(first..=last).map(|(_, id)| *id));
    }

    /// A router cannot forward outer packets larger than this. False: nothing new.
    pub(super) fn learn_path_mtu(&mut self, id: TunnelId, mtu: u32, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        let floor = if entry.config.remote.is_ipv6() { MIN_PATH_MTU_V6 } else { MIN_PATH_MTU_V4 };
        let outer = u16::try_from(mtu).unwrap_or(u16::MAX).max(floor);
        let expires = now + PATH_MTU_AGE;
        if let Some(old) = entry.path_mtu.filter(|old| old.expires > now) {
            // A larger value while a smaller one lives is another path, or a late message.
            if outer > old.outer {
                return false;
            }
            self.ageing.remove(&(old.expires, id));
        }
        entry.path_mtu = Some(PathMtu { outer, expires });
        self.ageing.insert((expires, id));
        self.dirty.insert(id);
        true
    }

    /// Forgets path MTUs that are too old.
    pub(super) fn age_path_mtus(&mut self, now: Instant) -> bool {
        let mut changed = false;
        while let Some((expires, id)) = self.ageing.first().copied()
            && expires <= now
        {
            self.ageing.remove(&(expires, id));
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.path_mtu = None;
                self.dirty.insert(id);
                changed = true;
            }
        }
        changed
    }

    pub(super) fn next_ageing(&self) -> Option<Instant> {
        self.ageing.first().map(|(expires, _)| *expires)
    }

    /// Makes a tunnel again; true when the workers' form changed.
    pub(super) fn compile(
        &mut self,
        id: TunnelId,
        links: &Links,
        underlay: &Underlay,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
        surroundings: Surroundings,
    ) -> Result<bool, (Name, Name, TunnelError)> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(false) };
        // 1. The way of outer packets. The new one is taken before the old one is let go, so that what both use stays.
        let (ways, link_mtu) = underlay.ways_to(links, entry.remote());
        let target = next_hops.acquire(links, tables, ways);
        let before = std::mem::replace(&mut entry.underlay, target);
        next_hops.release(tables, &before);
        // 2. Sizes: what the link takes, what the path was found to take, what the operator says.
        let path = entry.path_mtu.map_or(u16::MAX, |path| path.outer);
        let underlay_mtu = link_mtu.unwrap_or(DEFAULT_LINK_MTU).min(path);
        let fits = entry.fits(underlay_mtu);
        let mtu = match entry.config.mtu {
            Auto::Auto => fits,
            Auto::Fixed(mtu) => mtu.min(fits),
        };
        let derived = Derived {
            mtu,
            underlay: next_hops.hop(&entry.underlay),
            underlay_mtu,
            remote: entry.remote(),
            encapsulation: entry.encapsulation(),
            filter: surroundings.filter,
            address_v4: or_else(first_v4(&entry.config.address), surroundings.address_v4),
            address_v6: or_else(first_v6(&entry.config.address), surroundings.address_v6),
        };
        if entry.written == Some(derived) {
            return Ok(false);
        }
        let spec = spec(entry, &derived);
        match Tunnel::new(&spec) {
            Ok(tunnel) => tables.set_tunnel(id, tunnel),
            Err(error) => return Err((entry.tenant.clone(), entry.name.clone(), error)),
        }
        entry.forget_remote(tables);
        if entry.config.gre().is_none() {
            tables.add_remote(entry.place.endpoint, derived.remote);
        }
        entry.written = Some(derived);
        Ok(true)
    }
}

fn forget_path_mtu(ageing: &mut BTreeSet<(Instant, TunnelId)>, id: TunnelId, entry: &mut TunnelEntry) {
    if let Some(old) = entry.path_mtu.take() {
        ageing.remove(&(old.expires, id));
    }
}

/// What a tunnel takes from its tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    pub(super) filter: Option<FilterId>,
    /// Source of ICMP errors when the tunnel has no address of its own.
    pub(super) address_v4: u32,
    pub(super) address_v6: u128,
}

fn or_else<T: Default + PartialEq>(value: T, other: T) -> T {
    if value == T::default() { other } else { value }
}

fn spec(entry: &TunnelEntry, derived: &Derived) -> TunnelSpec {
    let config = &entry.config;
    TunnelSpec {
        local: entry.place.local,
        remote: derived.remote,
        encapsulation: derived.encapsulation,
        incarnation: entry.incarnation as u32,
        ttl: match config.ttl {
            config::Ttl::Inherit => Ttl::Inherit,
            config::Ttl::Fixed(ttl) => Ttl::Fixed(ttl),
        },
        dscp: match config.dscp {
            config::Dscp::Inherit => Dscp::Inherit,
            config::Dscp::Uniform => Dscp::Uniform,
            config::Dscp::Fixed(dscp) => Dscp::Fixed(dscp),
        },
        df: match config.df {
            config::Df::Set => DontFragment::Set,
            config::Df::Copy => DontFragment::Copy,
            config::Df::Clear => DontFragment::Clear,
        },
        mtu: derived.mtu,
        mss: match config.mss {
            config::Mss::Auto => Mss::Auto,
            config::Mss::Off => Mss::Off,
            config::Mss::Bytes(mss) => Mss::Fixed(mss),
        },
        vrf: entry.place.vrf,
        filter: derived.filter,
        underlay: derived.underlay,
        underlay_mtu: derived.underlay_mtu,
        address_v4: derived.address_v4,
        address_v6: derived.address_v6,
    }
}
