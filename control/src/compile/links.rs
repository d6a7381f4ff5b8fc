//! Our interfaces: their numbers, which of the kernel's interfaces is the twin of which, and what the kernel knows
//! about neighbours behind them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::{InterfaceId, PortId, VrfId};
use penstock_dataplane::tables::{Interface, Interfaces};

use super::slots::Slots;
use crate::config::{InterfaceName, Name, ValidConfig};
use crate::kernel::plan::InterfacePlan;
use crate::kernel::state::{IfIndex, KernelState, Mac};

/// Reserved by 802.1Q: no frame carries it. Marks the numbers of VLANs that are gone.
const NO_VLAN: u16 = 4095;
/// A table that never exists: packets of a VLAN that is gone have no route.
const NO_VRF: VrfId = VrfId(u16::MAX);

/// A port or VLAN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: InterfaceName,
    pub(super) port: PortId,
    pub(super) mac: Mac,
    pub(super) mtu: u16,
    pub(super) tenant: Option<Name>,
    /// The table that its packets are looked up in.
    pub(super) vrf: VrfId,
    /// The table of its neighbours.
    pub(super) neighbours: VrfId,
    pub(super) addresses: Vec<IpNet>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) kernel: KernelState,
    links: Vec<Option<Link>>,
    ids: BTreeMap<InterfaceName, InterfaceId>,
    slots: Slots,
    by_index: HashMap<IfIndex, InterfaceId>,
    index_of: HashMap<InterfaceId, IfIndex>,
}

/// What an interface is made of, in the order of the configuration.
pub(super) struct Wanted<'a> {
    pub(super) name: InterfaceName,
    pub(super) port: PortId,
    pub(super) mtu: u16,
    pub(super) tenant: Option<&'a Name>,
    pub(super) addresses: &'a [IpNet],
}

/// The interfaces that a configuration asks for.
pub(super) fn wanted(config: &ValidConfig) -> impl Iterator<Item = Wanted<'_>> {
    config.ports.iter().enumerate().flat_map(|(i, (name, port))| {
        let id = PortId(i as u16);
        let untagged = Wanted {
            name: InterfaceName { port: name.clone(), vlan: None },
            port: id,
            mtu: port.mtu,
            tenant: port.tenant.as_ref(),
            addresses: &port.addresses,
        };
        let tagged = port.vlans.iter().map(move |(vid, vlan)| Wanted {
            name: InterfaceName { port: name.clone(), vlan: Some(*vid) },
            port: id,
            mtu: vlan.mtu.unwrap_or(port.mtu),
            tenant: vlan.tenant.as_ref(),
            addresses: &vlan.addresses,
        });
        std::iter::once(untagged).chain(tagged)
    })
}

impl Links {
    pub(super) fn new() -> Self {
        Self {
            kernel: KernelState::default(),
            links: Vec::new(),
            ids: BTreeMap::new(),
            slots: Slots::new(0, u32::from(u16::MAX)),
            by_index: HashMap::new(),
            index_of: HashMap::new(),
        }
    }

    /// The number of an interface, given out now if it is new. `None`: there are too many.
    pub(super) fn number(&mut self, name: &InterfaceName) -> Option<InterfaceId> {
        if let Some(id) = self.ids.get(name) {
            return Some(*id);
        }
        let id = InterfaceId(self.slots.take()? as u16);
        self.ids.insert(name.clone(), id);
        Some(id)
    }

    /// Puts an interface in; true when it differs from what was there.
    pub(super) fn set(&mut self, id: InterfaceId, link: Link) -> bool {
        if self.links.len() <= id.index() {
            self.links.resize(id.index() + 1, None);
        }
        match self.links.get_mut(id.index()) {
            Some(Some(old)) if *old == link => false,
            Some(slot) => {
                *slot = Some(link);
                true
            }
            None => false,
        }
    }

    /// Forgets interfaces whose name `keep` refuses, and gives them back.
    pub(super) fn retain(&mut self, keep: impl Fn(&InterfaceName) -> bool) -> Vec<(InterfaceId, Link)> {
        let gone: Vec<_> =
            self.ids.iter().filter(|(name, _)| !keep(name)).map(|(name, id)| (name.clone(), *id)).collect();
        gone.into_iter()
            .filter_map(|(name, id)| {
                self.ids.remove(&name);
                self.slots.release(u32::from(id.0));
                Some((id, self.links.get_mut(id.index())?.take()?))
            })
            .collect()
    }

    /// Finds the twins among the kernel's interfaces again; true when that changed.
    pub(super) fn match_twins(&mut self) -> bool {
        let names: HashMap<String, InterfaceId> =
            self.ids.iter().map(|(name, id)| (name.to_string(), *id)).collect();
        let by_index: HashMap<IfIndex, InterfaceId> = self
            .kernel
            .links
            .values()
            .filter_map(|link| names.get(&link.name).map(|id| (link.index, *id)))
            .collect();
        let changed = by_index != self.by_index;
        self.index_of = by_index.iter().map(|(index, id)| (*id, *index)).collect();
        self.by_index = by_index;
        changed
    }

    pub(super) fn get(&self, id: InterfaceId) -> Option<&Link> {
        self.links.get(id.index())?.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Link)> {
        self.ids.values().filter_map(|id| Some((*id, self.get(*id)?)))
    }

    pub(super) fn id_of(&self, index: IfIndex) -> Option<InterfaceId> {
        self.by_index.get(&index).copied()
    }

    pub(super) fn index_of(&self, id: InterfaceId) -> Option<IfIndex> {
        self.index_of.get(&id).copied()
    }

    /// The hardware address to send to, if the kernel knows one.
    pub(super) fn mac_of(&self, id: InterfaceId, ip: IpAddr) -> Option<Mac> {
        self.kernel.usable_mac(self.index_of(id)?, ip)
    }

    /// The table that packets out of a kernel's interface belong to; what is not ours is the underlay's.
    pub(super) fn vrf_of(&self, index: IfIndex) -> VrfId {
        self.id_of(index).and_then(|id| self.get(id)).map_or(VrfId::INTERNET, |link| link.vrf)
    }

    /// The interface of a tenant on whose link the address is.
    pub(super) fn on_link(&self, tenant: &Name, ip: IpAddr) -> Option<InterfaceId> {
        self.iter()
            .find(|(_, link)| {
                link.tenant.as_ref() == Some(tenant) && link.addresses.iter().any(|net| net.contains(&ip))
            })
            .map(|(id, _)| id)
    }

    /// The workers' view.
    pub(super) fn table(&self) -> Interfaces {
        let mut table = Interfaces::default();
        for link in &self.links {
            table.push(match link {
                Some(link) => Interface {
                    port: link.port,
                    vlan: link.name.vlan,
                    mac: link.mac,
                    vrf: link.vrf,
                    mtu: link.mtu,
                    address_v4: first_v4(&link.addresses),
                    address_v6: first_v6(&link.addresses),
                },
                None => Interface { vlan: Some(NO_VLAN), vrf: NO_VRF, ..Interface::default() },
            });
        }
        table
    }

    /// The twins that the kernel should have.
    pub(super) fn plan(&self) -> Vec<InterfacePlan> {
        self.iter()
            .map(|(id, link)| InterfacePlan {
                interface: id,
                name: link.name.to_string(),
                mac: link.mac,
                mtu_bytes: u32::from(link.mtu),
                vlan: link.name.vlan,
                addresses: link.addresses.clone(),
            })
            .collect()
    }

    pub(super) fn published(&mut self, generation: u64) {
        self.slots.published(generation);
    }

    pub(super) fn settled(&mut self, generation: u64) {
        self.slots.settled(generation);
    }
}

/// The first IPv4 address, or 0.
pub(super) fn first_v4(nets: &[IpNet]) -> u32 {
    let first = nets.iter().find_map(|net| if let IpAddr::V4(ip) = net.addr() { Some(ip) } else { None });
    first.map_or(0, u32::from)
}

/// The first IPv6 address, or 0.
pub(super) fn first_v6(nets: &[IpNet]) -> u128 {
    let first = nets.iter().find_map(|net| if let IpAddr::V6(ip) = net.addr() { Some(ip) } else { None });
    first.map_or(0, u128::from)
}
