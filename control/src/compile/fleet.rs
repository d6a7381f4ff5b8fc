//! The other nodes of the fleet in the workers' tables: each with the way to its data address, which follows the
//! kernel's routes and neighbours as the ways to tunnels' remotes do.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::tables::fleet::{Node, Tokens};
use penstock_dataplane::tables::{Fleet, Hop, Snapshot};

use super::links::Links;
use super::nexthops::{NextHops, Target};
use super::underlay::Underlay;

/// What this node is in its fleet, and which others live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSpec {
    /// This node's number, as in the SPIs that it makes.
    pub number: u16,
    /// This node's data address: one of a port's in the underlay.
    pub address: IpAddr,
    /// The UDP port of packets from node to node.
    pub port: u16,
    /// What shows that a packet comes from a node.
    pub tokens: Tokens,
    /// The data addresses of the nodes that live, by number. This one may be among them.
    pub nodes: BTreeMap<u16, IpAddr>,
}

/// The ways in use, and what they were made of.
pub(super) struct Nodes {
    spec: Option<FleetSpec>,
    ways: BTreeMap<u16, Target>,
    /// What workers have: the hop of each node.
    written: BTreeMap<u16, Hop>,
    /// Something that a way depends on has changed.
    pub(super) dirty: bool,
    /// The workers' table is of another specification.
    differs: bool,
}

impl Nodes {
    pub(super) fn new() -> Self {
        Self { spec: None, ways: BTreeMap::new(), written: BTreeMap::new(), dirty: false, differs: false }
    }

    /// Takes another specification; false when it is the same.
    pub(super) fn set(&mut self, spec: Option<FleetSpec>) -> bool {
        let differs = spec != self.spec;
        self.spec = spec;
        self.differs |= differs;
        self.dirty |= differs;
        differs
    }

    /// The way to these addresses changed.
    pub(super) fn touch(&mut self, prefix: IpNet) {
        let mut addresses = self.spec.iter().flat_map(|spec| spec.nodes.values());
        self.dirty |= addresses.any(|address| prefix.contains(address));
    }

    /// Makes the table again if that is due; true when the workers' form changed.
    pub(super) fn compile(
        &mut self,
        links: &Links,
        underlay: &Underlay,
        next_hops: &mut NextHops,
        tables: &mut Snapshot,
    ) -> bool {
        if !std::mem::take(&mut self.dirty) {
            return false;
        }
        // The new ways are taken before the old ones are let go, so that what both use stays.
        let wanted = self.spec.iter().flat_map(|spec| spec.nodes.iter().map(move |node| (spec, node)));
        let ways = wanted
            .filter(|(spec, (number, _))| **number != spec.number)
            .map(|(_, (number, address))| {
                let (ways, _) = underlay.ways_to(links, *address);
                (*number, next_hops.acquire(links, tables, ways))
            })
            .collect();
        for target in std::mem::replace(&mut self.ways, ways).values() {
            next_hops.release(tables, target);
        }
        let hops = self.ways.iter().map(|(number, target)| (*number, next_hops.hop(target))).collect();
        if !std::mem::take(&mut self.differs) && hops == self.written {
            return false;
        }
        self.written = hops;
        tables.set_fleet(self.spec.as_ref().map(|spec| fleet(spec, &self.written)));
        true
    }
}

fn fleet(spec: &FleetSpec, hops: &BTreeMap<u16, Hop>) -> Fleet {
    let nodes = spec.nodes.iter().filter_map(|(number, address)| {
        Some((*number, Node { address: *address, underlay: *hops.get(number)? }))
    });
    Fleet::new(spec.number, spec.address, spec.port, spec.tokens.clone(), nodes)
}
