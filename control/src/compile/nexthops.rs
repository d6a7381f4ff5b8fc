//! Adjacencies and groups, shared by all that lead there and counted, so that each exists exactly as long as
//! something uses it.
//!
//! A neighbour that appears, moves or vanishes changes one adjacency and nothing else.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use penstock_dataplane::ids::{AdjacencyId, GroupId, InterfaceId};
use penstock_dataplane::tables::{Adjacency, Group, Hop, Member, Snapshot};

use super::links::Links;
use super::slots::Slots;
use crate::kernel::resolve::NeighbourKey;

/// Slots of a [`Hop`].
const HOP_SLOTS: u32 = Hop::SLOTS;

/// A neighbour on a link; without an address: whoever the destination is, the kernel finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct AdjacencyKey {
    pub(super) interface: InterfaceId,
    pub(super) ip: Option<IpAddr>,
}

/// One way, before it has a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Leg {
    Adjacency(AdjacencyKey),
    /// A hop that needs nothing from here; its bits.
    Fixed(u32),
}

/// One of several ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Way {
    pub(super) leg: Leg,
    pub(super) weight: u16,
    /// Names the way for as long as it is configured; see [`Member::identity`].
    pub(super) identity: u64,
}

/// A counted use of what a route leads to. Give it back with [`NextHops::release`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    One(Leg),
    Many(Arc<[Way]>),
}

impl Target {
    pub(super) fn fixed(hop: Hop) -> Self {
        Self::One(Leg::Fixed(hop.bits()))
    }

    /// The ways.
    pub(super) fn legs(&self) -> Vec<Leg> {
        match self {
            Self::One(leg) => vec![*leg],
            Self::Many(ways) => ways.iter().map(|way| way.leg).collect(),
        }
    }
}

struct AdjacencyEntry {
    id: AdjacencyId,
    uses: u32,
}

struct GroupEntry {
    id: GroupId,
    uses: u32,
}

/// All adjacencies and groups in use.
pub(super) struct NextHops {
    adjacencies: HashMap<AdjacencyKey, AdjacencyEntry>,
    adjacency_slots: Slots,
    groups: HashMap<Arc<[Way]>, GroupEntry>,
    group_slots: Slots,
    /// The set of neighbours in use is another than when it was last asked for.
    pub(super) wanted_changed: bool,
}

impl NextHops {
    pub(super) fn new() -> Self {
        Self {
            adjacencies: HashMap::new(),
            adjacency_slots: Slots::new(0, HOP_SLOTS),
            groups: HashMap::new(),
            group_slots: Slots::new(0, HOP_SLOTS),
            wanted_changed: false,
        }
    }

    /// Uses these ways, sharing the flows if there are several. No way: no route.
    pub(super) fn acquire(&mut self, links: &Links, tables: &mut Snapshot, mut ways: Vec<Way>) -> Target {
        ways.sort_unstable();
        ways.dedup_by_key(|way| way.leg);
        let target = match ways.as_slice() {
            [] => return Target::fixed(Hop::NO_ROUTE),
            [way] => Target::One(way.leg),
            _ => Target::Many(ways.into()),
        };
        match &target {
            Target::One(leg) => self.use_leg(links, tables, *leg),
            Target::Many(ways) => self.use_group(links, tables, ways),
        }
        target
    }

    fn use_group(&mut self, links: &Links, tables: &mut Snapshot, ways: &Arc<[Way]>) {
        if let Some(group) = self.groups.get_mut(ways) {
            group.uses += 1;
            return;
        }
        for way in ways.iter() {
            self.use_leg(links, tables, way.leg);
        }
        let Some(slot) = self.group_slots.take() else { return };
        let members: Vec<Member> = ways
            .iter()
            .map(|way| Member { hop: self.leg_hop(way.leg), weight: way.weight, identity: way.identity })
            .collect();
        tables.set_group(GroupId(slot), Group::new(&members));
        self.groups.insert(Arc::clone(ways), GroupEntry { id: GroupId(slot), uses: 1 });
    }

    fn use_leg(&mut self, links: &Links, tables: &mut Snapshot, leg: Leg) {
        let Leg::Adjacency(key) = leg else { return };
        if let Some(entry) = self.adjacencies.get_mut(&key) {
            entry.uses += 1;
            return;
        }
        let Some(slot) = self.adjacency_slots.take() else { return };
        self.adjacencies.insert(key, AdjacencyEntry { id: AdjacencyId(slot), uses: 1 });
        self.wanted_changed |= key.ip.is_some();
        self.write(links, tables, key);
    }

    /// Gives a use back; frees what nobody uses any more.
    pub(super) fn release(&mut self, tables: &mut Snapshot, target: &Target) {
        match target {
            Target::One(leg) => self.release_leg(tables, *leg),
            Target::Many(ways) => {
                let Some(group) = self.groups.get_mut(ways) else { return };
                group.uses -= 1;
                if group.uses == 0 {
                    tables.set_group(group.id, Group::default());
                    self.group_slots.release(group.id.0);
                    self.groups.remove(ways);
                    for way in ways.iter() {
                        self.release_leg(tables, way.leg);
                    }
                }
            }
        }
    }

    fn release_leg(&mut self, tables: &mut Snapshot, leg: Leg) {
        let Leg::Adjacency(key) = leg else { return };
        let Some(entry) = self.adjacencies.get_mut(&key) else { return };
        entry.uses -= 1;
        if entry.uses == 0 {
            tables.set_adjacency(entry.id, Adjacency::default());
            self.adjacency_slots.release(entry.id.0);
            self.adjacencies.remove(&key);
            self.wanted_changed |= key.ip.is_some();
        }
    }

    /// The hop of a target in use.
    pub(super) fn hop(&self, target: &Target) -> Hop {
        match target {
            Target::One(leg) => self.leg_hop(*leg),
            Target::Many(ways) => self.groups.get(ways).map_or(Hop::NO_ROUTE, |group| Hop::group(group.id)),
        }
    }

    fn leg_hop(&self, leg: Leg) -> Hop {
        match leg {
            Leg::Fixed(bits) => Hop::from_bits(bits),
            Leg::Adjacency(key) => {
                self.adjacencies.get(&key).map_or(Hop::NO_ROUTE, |entry| Hop::adjacency(entry.id))
            }
        }
    }

    /// Writes an adjacency again after its neighbour changed; true when it is in use.
    pub(super) fn rewrite(&self, links: &Links, tables: &mut Snapshot, key: AdjacencyKey) -> bool {
        self.adjacencies.contains_key(&key) && {
            self.write(links, tables, key);
            true
        }
    }

    /// Writes all adjacencies again after links changed.
    pub(super) fn rewrite_all(&self, links: &Links, tables: &mut Snapshot) {
        self.adjacencies.keys().for_each(|key| self.write(links, tables, *key));
    }

    fn write(&self, links: &Links, tables: &mut Snapshot, key: AdjacencyKey) {
        let (Some(entry), Some(link)) = (self.adjacencies.get(&key), links.get(key.interface)) else {
            return;
        };
        let mac = key.ip.and_then(|ip| links.mac_of(key.interface, ip));
        let adjacency = match mac {
            Some(mac) => {
                Adjacency::resolved(key.interface, link.port, link.name.vlan, mac, link.mac, link.mtu)
            }
            None => Adjacency::unresolved(key.interface, link.port, link.mtu),
        };
        tables.set_adjacency(entry.id, adjacency);
    }

    /// The neighbours in use: those to keep resolved.
    pub(super) fn wanted(&self, links: &Links) -> HashSet<NeighbourKey> {
        self.adjacencies.keys().filter_map(|key| Some((links.index_of(key.interface)?, key.ip?))).collect()
    }

    /// How many routes, groups and tunnels lead to a neighbour.
    pub(super) fn uses(&self, key: AdjacencyKey) -> u32 {
        self.adjacencies.get(&key).map_or(0, |entry| entry.uses)
    }

    /// All adjacencies with their neighbours.
    pub(super) fn adjacencies(&self) -> impl Iterator<Item = (AdjacencyId, AdjacencyKey)> {
        self.adjacencies.iter().map(|(key, entry)| (entry.id, *key))
    }

    pub(super) fn published(&mut self, generation: u64) {
        self.adjacency_slots.published(generation);
        self.group_slots.published(generation);
    }

    pub(super) fn settled(&mut self, generation: u64) {
        self.adjacency_slots.settled(generation);
        self.group_slots.settled(generation);
    }
}

/// A number for a next hop that is the same on every node and in every version (FNV-1a, 64 bits).
pub(super) fn identity(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
impl NextHops {
    /// The neighbour of an adjacency.
    pub(super) fn key_of(&self, id: AdjacencyId) -> Option<AdjacencyKey> {
        self.adjacencies().find(|(of, _)| *of == id).map(|(_, key)| key)
    }

    /// How many adjacencies and groups there are.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.adjacencies.len(), self.groups.len())
    }
}
