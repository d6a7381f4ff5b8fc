//! Look up the destination in the packet's table and join the lane of what it leads to.
//!
//! Groups and references to other tables are followed here, a bounded number of times.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::flow;
use crate::frame::{Buffer, Driver};
use crate::pipeline::Pipeline;
use crate::tables::{Hop, HopKind, RouteTable, Snapshot};
use crate::wire::ipv6::Ipv6Header;

/// Longest chain of groups and tables behind one route.
const MAX_INDIRECTIONS: usize = 6;

impl<D: Driver> Pipeline<D> {
    /// Empties the two route lanes into the lanes of the hops' kinds.
    #[inline(always)]
    pub(crate) fn route(&mut self, tables: &Snapshot) {
        self.route_v4(tables);
        if !self.lanes.is_empty(Next::RouteV6) {
            self.route_v6(tables);
        }
    }

    #[inline(always)]
    fn route_v4(&mut self, tables: &Snapshot) {
        // Packets of a burst mostly share their table: keep it at hand.
        let mut current = CurrentTable::none();
        let lane = self.lanes.take(Next::RouteV4);
        for i in lane {
            let meta = &mut self.meta[i];
            let Some(routes) = current.get(tables, meta.vrf) else {
                self.kill(i, DropReason::NoRoute);
                continue;
            };
            let mut hop = Hop::from_bits(routes.v4.lookup(meta.dst_v4));
            if hop.is_indirect() {
                let dst = meta.dst_v4;
                match self.follow(i, hop, tables, |routes| routes.v4.lookup(dst), flow::hash_v4) {
                    Ok(end) => hop = end,
                    Err(reason) => {
                        self.kill(i, reason);
                        continue;
                    }
                }
            }
            self.meta[i].slot = hop.slot();
            self.lanes.push_number(hop.lane(), i);
        }
    }

    #[inline(never)]
    fn route_v6(&mut self, tables: &Snapshot) {
        let mut current = CurrentTable::none();
        let lane = self.lanes.take(Next::RouteV6);
        for i in lane {
            let vrf = self.meta[i].vrf;
            let dst =
                self.slot(i).and_then(|p| Ipv6Header::view(p.data())).map_or(0, |header| header.dst.get());
            let Some(routes) = current.get(tables, vrf) else {
                self.kill(i, DropReason::NoRoute);
                continue;
            };
            let mut hop = Hop::from_bits(routes.v6.lookup(dst));
            if hop.is_indirect() {
                match self.follow(i, hop, tables, |routes| routes.v6.lookup(dst), flow::hash_v6) {
                    Ok(end) => hop = end,
                    Err(reason) => {
                        self.kill(i, reason);
                        continue;
                    }
                }
            }
            self.meta[i].slot = hop.slot();
            self.lanes.push_number(hop.lane(), i);
        }
    }

    /// Follows groups and tables to a hop that is neither.
    #[inline(always)]
    fn follow(
        &mut self,
        i: usize,
        mut hop: Hop,
        tables: &Snapshot,
        lookup: impl Fn(&RouteTable) -> u32,
        hash: fn(&[u8]) -> u32,
    ) -> Result<Hop, DropReason> {
        for _ in 0..MAX_INDIRECTIONS {
            hop = match hop.kind() {
                HopKind::Group => {
                    let group = tables.groups.get(hop.slot() as usize).ok_or(DropReason::NoRoute)?;
                    group.pick(self.slot(i).map_or(0, |packet| hash(packet.data())))
                }
                HopKind::Vrf => {
                    let routes = tables.vrfs.get(hop.slot() as usize).ok_or(DropReason::NoRoute)?;
                    Hop::from_bits(lookup(routes))
                }
                _ => return Ok(hop),
            };
        }
        Err(DropReason::RouteLoop)
    }
}

/// Picks the member for an underlay hop; anything but an adjacency is no way out.
#[inline(always)]
pub(crate) fn underlay<B: Buffer>(
    hop: Hop,
    packet: &B,
    meta: &Meta,
    tables: &Snapshot,
) -> Result<u32, DropReason> {
    if hop.lane() == HopKind::Adjacency as usize {
        return Ok(hop.slot());
    }
    underlay_group(hop, packet, meta, tables)
}

#[inline(never)]
fn underlay_group<B: Buffer>(
    hop: Hop,
    packet: &B,
    meta: &Meta,
    tables: &Snapshot,
) -> Result<u32, DropReason> {
    if hop.kind() != HopKind::Group {
        return Err(DropReason::TunnelDown);
    }
    let group = tables.groups.get(hop.slot() as usize).ok_or(DropReason::TunnelDown)?;
    let hash = if meta.v6 { flow::hash_v6(packet.data()) } else { flow::hash_v4(packet.data()) };
    let member = group.pick(hash);
    if member.kind() == HopKind::Adjacency { Ok(member.slot()) } else { Err(DropReason::TunnelDown) }
}

/// The table that the last packet was looked up in.
struct CurrentTable<'a> {
    vrf: u16,
    routes: Option<&'a RouteTable>,
}

impl<'a> CurrentTable<'a> {
    const fn none() -> Self {
        Self { vrf: 0, routes: None }
    }

    #[inline(always)]
    fn get(&mut self, tables: &'a Snapshot, vrf: u16) -> Option<&'a RouteTable> {
        if self.routes.is_none() || self.vrf != vrf {
            *self = Self { vrf, routes: tables.vrfs.get(usize::from(vrf)) };
        }
        self.routes
    }
}
