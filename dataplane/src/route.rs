//! Look up the destination in the packet's table and join the lane of what it leads to.
//!
//! Groups and references to other tables are followed here, a bounded number of times.

use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::flow;
use crate::frame::{Buffer, Driver};
use crate::pipeline::Pipeline;
use crate::tables::{Hop, HopKind, RouteTable, Snapshot};
use crate::watch::{LookedUp, Watch};
use crate::wire::ipv6::Ipv6Header;

/// Most passes over the tables that one packet takes; each goes through two.
const MAX_PASSES: usize = 2;
/// Deepest nesting of groups, and one to find that there is no end.
const MAX_GROUPS: usize = 3;

impl<D: Driver> Pipeline<D> {
    /// Empties the two route lanes into the lanes of the hops' kinds.
    #[inline(always)]
    pub(crate) fn route(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::RouteV4);
        if !lane.is_empty() {
            self.route_v4(lane, tables);
        }
        let lane = self.lanes.take(Next::RouteV6);
        if !lane.is_empty() {
            self.route_v6(lane, tables);
        }
    }

    #[inline(never)]
    fn route_v4(&mut self, lane: Lane, tables: &Snapshot) {
        let lookup = |routes: &RouteTable, meta: &Meta, _: &Option<D::Buffer>| routes.v4.lookup(meta.dst_v4);
        self.route_lane(lane, tables, lookup, flow::hash_v4);
    }

    #[inline(never)]
    fn route_v6(&mut self, lane: Lane, tables: &Snapshot) {
        let lookup = |routes: &RouteTable, _: &Meta, packet: &Option<D::Buffer>| {
            let header = packet.as_ref().and_then(|packet| Ipv6Header::view(packet.data()));
            header.map_or(0, |header| routes.v6.lookup(header.dst.get()))
        };
        self.route_lane(lane, tables, lookup, flow::hash_v6);
    }

    /// Looks the lane up in the packets' tables, then what these send on in the tables they name, and so on.
    #[inline(always)]
    fn route_lane(
        &mut self,
        lane: Lane,
        tables: &Snapshot,
        lookup: impl Fn(&RouteTable, &Meta, &Option<D::Buffer>) -> u32,
        hash: fn(&[u8]) -> u32,
    ) {
        let mut again = self.look_up(lane, tables, |meta| meta.vrf, &lookup, hash);
        for _ in 1..MAX_PASSES {
            if again.is_empty() {
                return;
            }
            again = self.look_up(again, tables, |meta| meta.slot as u16, &lookup, hash);
        }
        again.for_each(|i| self.kill(i, DropReason::RouteLoop));
    }

    /// Looks each packet up, and once more in the table that its route may name: a tenant's prefix and a tenant's
    /// default route do. Returns those that yet another table decides on; its number is in `slot`.
    #[inline(always)]
    fn look_up<'a>(
        &mut self,
        lane: Lane,
        tables: &'a Snapshot,
        table_of: impl Fn(&Meta) -> u16,
        lookup: &impl Fn(&RouteTable, &Meta, &Option<D::Buffer>) -> u32,
        hash: fn(&[u8]) -> u32,
    ) -> Lane {
        // Packets of a burst mostly share their tables: keep them at hand.
        let mut current = CurrentTable::none();
        let mut behind = CurrentTable::none();
        let mut again = Lane::EMPTY;
        for i in lane {
            let (packet, meta) = (&self.slots[i], &mut self.meta[i]);
            let vrf = table_of(meta);
            let Some(routes) = current.get(tables, vrf) else {
                self.kill(i, DropReason::NoRoute);
                continue;
            };
            let mut hop = Hop::from_bits(lookup(routes, meta, packet));
            let via = (hop.kind() == HopKind::Vrf).then_some(hop.slot() as u16);
            if hop.kind() == HopKind::Vrf {
                let Some(routes) = behind.get(tables, hop.slot() as u16) else {
                    self.kill(i, DropReason::NoRoute);
                    continue;
                };
                hop = Hop::from_bits(lookup(routes, meta, packet));
            }
            let of_group = hop.kind() == HopKind::Group;
            if hop.is_indirect() {
                hop = match through_groups(hop, packet, tables, hash) {
                    Ok(hop) => hop,
                    Err(reason) => {
                        self.kill(i, reason);
                        continue;
                    }
                };
                if hop.is_indirect() {
                    if let Some(watch) = self.cx.watch.recorder() {
                        let dst = destination(packet, meta);
                        watch.looked_up(i, meta, &LookedUp { vrf, behind: via, dst, hop, of_group });
                    }
                    meta.slot = hop.slot();
                    again.push(i);
                    continue;
                }
            }
            if let Some(watch) = self.cx.watch.recorder() {
                let dst = destination(packet, meta);
                watch.looked_up(i, meta, &LookedUp { vrf, behind: via, dst, hop, of_group });
            }
            meta.slot = hop.slot();
            self.lanes.push_number(hop.lane(), i);
        }
        again
    }
}

/// Where a packet goes, for whoever watches.
fn destination<B: Buffer>(packet: &Option<B>, meta: &Meta) -> u128 {
    if !meta.v6 {
        return u128::from(meta.dst_v4);
    }
    let header = packet.as_ref().and_then(|packet| Ipv6Header::view(packet.data()));
    header.map_or(0, |header| header.dst.get())
}

/// Follows groups, by the packet's flow, to a hop that is none.
#[inline(never)]
fn through_groups<B: Buffer>(
    mut hop: Hop,
    packet: &Option<B>,
    tables: &Snapshot,
    hash: fn(&[u8]) -> u32,
) -> Result<Hop, DropReason> {
    let flow = packet.as_ref().map_or(0, |packet| hash(packet.data()));
    for _ in 0..MAX_GROUPS {
        if hop.kind() != HopKind::Group {
            return Ok(hop);
        }
        let group = tables.groups.get(hop.slot() as usize).ok_or(DropReason::NoRoute)?;
        hop = group.pick(flow);
    }
    Err(DropReason::RouteLoop)
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
