//! Tunnels: their numbers, their identity on the wire, and the prebuilt form that workers use.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ipnet::IpNet;
use penstock_dataplane::ids::{EndpointId, FilterId, TunnelId, VrfId};
use penstock_dataplane::tables::tunnel::gre_overhead;
use penstock_dataplane::tables::{
    DontFragment, Dscp, Encapsulation, Hop, Mss, Snapshot, Ttl, Tunnel, TunnelError, TunnelSpec,
};

use super::esp::{EspForm, Peer};
use super::filters::Filter;
use super::links::{Links, first_v4, first_v6};
use super::nexthops::{NextHops, Target};
use super::path_mtu::Path;
use super::slots::Slots;
use super::underlay::Underlay;
use crate::config::{self, Auto, Name, TenantConfig, TunnelConfig, TunnelKind};

/// MTU of a path that nothing is known about: Ethernet's.
const DEFAULT_LINK_MTU: u16 = 1500;

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
    /// What is known of its size.
    pub(super) path: Path,
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
        let gre = self.config.gre()?;
        Some((self.place.endpoint, self.config.remote.address()?, gre.key))
    }

    /// Where outer packets go: where the peer was found, or negotiated from, or is configured. `None`: nobody knows
    /// yet, and nothing is sent.
    pub(super) fn remote(&self) -> Option<IpAddr> {
        let found = self.peer.map(|peer| peer.address);
        let known = found.or(self.esp.remote.filter(|_| self.config.is_ipsec()));
        known.or(self.config.remote.address()).filter(|ip| ip.is_ipv4() == self.place.local.is_ipv4())
    }

    fn encapsulation(&self) -> Encapsulation {
        match &self.config.kind {
            TunnelKind::Gre(gre) => Encapsulation::Gre { key: gre.key, checksum: gre.checksum },
            TunnelKind::Ipsec(_) => self.esp.encapsulation(self.peer),
        }
    }

    /// Largest inner packet that a link of `link` bytes takes.
    pub(super) fn fits(&self, link: u16) -> u16 {
        let v6 = self.place.local.is_ipv6();
        match &self.config.kind {
            TunnelKind::Gre(gre) => link.saturating_sub(gre_overhead(v6, gre.key.is_some(), gre.checksum)),
            TunnelKind::Ipsec(_) => self.esp.inner_mtu(link, v6),
        }
    }

    /// Largest inner packet on such a link, as configured.
    pub(super) fn inner_mtu(&self, link: u16) -> u16 {
        let fits = self.fits(link);
        match self.config.mtu {
            Auto::Auto => fits,
            Auto::Fixed(mtu) => mtu.min(fits),
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
    /// Those that have a remote.
    by_remote: BTreeSet<(IpAddr, TunnelId)>,
    pub(super) dirty: BTreeSet<TunnelId>,
    pub(super) ageing: BTreeSet<(Instant, TunnelId)>,
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
            entry.path.forget(&mut self.ageing, *id);
            if let Some(remote) = entry.remote() {
                self.by_remote.remove(&(remote, *id));
            }
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
            self.rehome(id, |entry| {
                if entry.config.remote != config.remote || entry.config.is_ipsec() != config.is_ipsec() {
                    entry.peer = None;
                }
                entry.config = config.clone();
                entry.place = place;
                entry.written = None;
            });
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
            path: Path::of_link(DEFAULT_LINK_MTU),
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

    /// Changes a tunnel in a way that may change where its packets go. A path MTU that was learned of another path is
    /// forgotten.
    pub(super) fn rehome(&mut self, id: TunnelId, change: impl FnOnce(&mut TunnelEntry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = entry.remote();
        change(entry);
        let after = entry.remote();
        if before == after {
            return;
        }
        entry.path.forget(&mut self.ageing, id);
        if let Some(remote) = before {
            self.by_remote.remove(&(remote, id));
        }
        if let Some(remote) = after {
            self.by_remote.insert((remote, id));
        }
    }

    /// Puts the identities of new and changed tunnels on the wire.
    pub(super) fn bind(&mut self, tables: &mut Snapshot) {
        for id in &self.dirty {
            let Some(entry) = self.entries.get(id) else { continue };
            if let Some((endpoint, remote, key)) = entry.identity() {
                tables.bind_tunnel(endpoint, remote, key, *id);
            }
            if let Some(remote) = entry.remote() {
                self.by_remote.insert((remote, *id));
            }
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
        let remote = entry.remote();
        let (target, link_mtu) = match remote {
            Some(remote) => {
                let (ways, link_mtu) = underlay.ways_to(links, remote);
                (next_hops.acquire(links, tables, ways), link_mtu)
            }
            None => (Target::fixed(Hop::NO_ROUTE), None),
        };
        let before = std::mem::replace(&mut entry.underlay, target);
        next_hops.release(tables, &before);
        // 2. Sizes: what the link takes, what the path was found to take, what the operator says.
        entry.path.link = link_mtu.unwrap_or(DEFAULT_LINK_MTU);
        let underlay_mtu = entry.path.mtu();
        let mtu = entry.inner_mtu(underlay_mtu);
        let derived = Derived {
            mtu,
            underlay: next_hops.hop(&entry.underlay),
            underlay_mtu,
            // Nothing is sent there: a tunnel without a peer has no association either.
            remote: remote.unwrap_or(unspecified(entry.place.local)),
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

/// No address, of this one's family.
fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
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
