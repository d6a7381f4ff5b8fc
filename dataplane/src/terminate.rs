//! Packets to one of our endpoints: GRE is decapsulated, ESP opened, ICMP about our outer packets and answers to our
//! health probes are taken note of, fragments are reassembled first, all else (ping, IKE, BGP) is the kernel's.
//!
//! Packets to our data address in a fleet, which the underlay's table shows as one more endpoint, begin with `rescue`:
//! what another node handed over then ends at its own endpoint.
//!
//! Fragments of tunnels' remotes and of other nodes have a reassembly table of their own, which those of invented sources
//! cannot fill.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::burst::{Meta, Next};
use crate::classify::PULL_UP;
use crate::drop_reason::DropReason;
use crate::esp::{SaTable, locate};
use crate::frame::{Buffer, Driver, Fragmentation, Reassembled};
use crate::gre::decap;
use crate::icmp::too_big::{Quoted, TooBig};
use crate::ids::EndpointId;
use crate::ike::{self, Arrival};
use crate::pipeline::{Context, Event, Pipeline};
use crate::probe;
use crate::rescue;
use crate::tables::Snapshot;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;

impl<D: Driver> Pipeline<D> {
    /// Empties the endpoint lane; what was inside goes to the route lanes.
    #[inline(always)]
    pub(crate) fn terminate(&mut self, tables: &Snapshot) {
        self.terminate_all(tables);
        if !self.lanes.is_empty(Next::Reassemble) {
            self.reassemble(tables);
            self.terminate_all(tables);
        }
    }

    /// The usual packets in two steps over the burst, then the others one by one.
    #[inline(always)]
    fn terminate_all(&mut self, tables: &Snapshot) {
        let mut lane = self.lanes.take(Next::Endpoint);
        if !self.esp.table.is_empty() {
            let found = self.find_associations(lane);
            self.lanes.add(Next::Open, found);
            lane = lane.without(found);
        }
        if !lane.is_empty() {
            let found = self.find_tunnels(lane, tables);
            let stripped = self.strip_plain(found, tables);
            self.lanes.add(Next::Endpoint, lane.without(stripped));
            if !self.lanes.is_empty(Next::Endpoint) {
                self.terminate_others(tables);
            }
        }
        let lane = self.lanes.take(Next::Open);
        let lane = self.spread_inbound(lane);
        if !lane.is_empty() {
            self.open(lane, tables);
        }
    }

    #[inline(never)]
    fn terminate_others(&mut self, tables: &Snapshot) {
        self.terminate_each(tables);
        // What came out of a rescue is at its own endpoint now; nothing comes back a second time.
        if !self.lanes.is_empty(Next::Endpoint) {
            self.terminate_each(tables);
        }
    }

    #[inline(never)]
    fn terminate_each(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::Endpoint);
        for i in lane {
            let (Some(packet), meta) = (&mut self.slots[i], &mut self.meta[i]) else { continue };
            match terminate(packet, meta, &mut self.cx, &self.esp.table, tables) {
                Ok(next) => self.lanes.push(next, i),
                Err(reason) => self.kill(i, reason),
            }
        }
    }

    /// Reassembled datagrams join the endpoint lane again.
    #[inline(never)]
    fn reassemble(&mut self, tables: &Snapshot) {
        self.each_taken(Next::Reassemble, |this, i, fragment| {
            let (cx, meta) = (&mut this.cx, &this.meta[i]);
            let endpoint = EndpointId(meta.slot as u16);
            // IKE has to stay within its budget before it may wait for the rest of it.
            let l3 = fragment.data();
            if let Some(message) = ike::message(l3, meta.v6) {
                let arrival = Arrival { message, l3, v6: meta.v6, to: Some(endpoint), rescued: false };
                if let Err(reason) = cx.ike_budget.admit(&arrival, tables, cx.now) {
                    return this.kill_taken(i, fragment, reason);
                }
            }
            let is_known = endpoint == EndpointId::FLEET || is_from_remote(l3, meta.v6, endpoint, tables);
            let table = if is_known { &mut cx.fragmentation } else { &mut cx.strangers };
            match table.reassemble(fragment, meta.v6, cx.now) {
                Reassembled::Complete(datagram) => {
                    this.put(i, datagram);
                    this.lanes.push(Next::Endpoint, i);
                }
                Reassembled::Taken => this.cx.stats.merged.add(1),
            }
        });
        self.count_lost_fragments(DropReason::ReassemblyFailed);
    }
}

#[inline(always)]
fn terminate<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    associations: &SaTable,
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    let endpoint = EndpointId(meta.slot as u16);
    if meta.tunnel_in().is_some() {
        let is_ours = endpoint == EndpointId::FLEET;
        return if is_ours { Ok(Next::Local) } else { Err(DropReason::TunnelNested) };
    }
    if !packet.is_contiguous() && !packet.pull_up(PULL_UP) {
        return Err(DropReason::HeaderSplit);
    }
    if endpoint == EndpointId::FLEET {
        return rescue::receive(packet, meta, cx, tables);
    }
    if meta.rescued {
        return rescue::terminate(packet, meta, associations, tables);
    }
    if meta.v6 {
        return terminate_v6(packet, meta, cx, associations, tables, endpoint);
    }
    let header = Ipv4Header::view(packet.data()).ok_or(DropReason::HeaderSplit)?;
    if header.is_fragment() {
        return Ok(Next::Reassemble);
    }
    match header.protocol {
        protocol::GRE => decap::from_v4(packet, meta, cx, tables, endpoint),
        protocol::ESP => {
            let at = header.header_len();
            locate::from_esp(packet, meta, associations, tables.fleet(), at)
        }
        protocol::UDP => {
            let at = header.header_len();
            locate::from_udp(packet, meta, associations, tables.fleet(), at)
        }
        protocol::ICMP => note_icmp(packet, meta, cx, associations, tables, endpoint),
        _ => Ok(Next::Local),
    }
}

#[inline(never)]
fn terminate_v6<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    associations: &SaTable,
    tables: &Snapshot,
    endpoint: EndpointId,
) -> Result<Next, DropReason> {
    let Some(transport) = ipv6::transport(packet.data()) else { return Ok(Next::Local) };
    if transport.fragment.is_some() {
        return Ok(Next::Reassemble);
    }
    match transport.protocol {
        protocol::GRE => decap::from_v6(packet, meta, cx, tables, endpoint, transport.offset),
        protocol::ESP => locate::from_esp(packet, meta, associations, tables.fleet(), transport.offset),
        protocol::UDP => locate::from_udp(packet, meta, associations, tables.fleet(), transport.offset),
        protocol::ICMPV6 => note_icmp(packet, meta, cx, associations, tables, endpoint),
        _ => Ok(Next::Local),
    }
}

/// Whether a packet to an endpoint says that it comes from the remote end of a tunnel there.
pub(crate) fn is_from_remote(l3: &[u8], v6: bool, endpoint: EndpointId, tables: &Snapshot) -> bool {
    let source = if v6 {
        Ipv6Header::view(l3).map(|header| IpAddr::from(Ipv6Addr::from_bits(header.src.get())))
    } else {
        Ipv4Header::view(l3).map(|header| IpAddr::from(Ipv4Addr::from_bits(header.src.get())))
    };
    source.is_some_and(|source| tables.is_remote(endpoint, source))
}

/// ICMP "too big" that quotes a packet of one of our tunnels is for control, as the answer to a health probe is; other
/// ICMP is the kernel's.
#[inline(never)]
fn note_icmp<D: Driver>(
    packet: &D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    associations: &SaTable,
    tables: &Snapshot,
    endpoint: EndpointId,
) -> Result<Next, DropReason> {
    let Some(notice) = TooBig::parse(packet.data()) else {
        return probe::note_answer(packet, meta, cx, tables).unwrap_or(Ok(Next::Local));
    };
    let id = match (notice.quoted, notice.outer_dst) {
        (Quoted::Gre { key, .. }, IpAddr::V4(dst)) => tables.tunnel_index.find_v4(endpoint, dst.into(), key),
        (Quoted::Gre { key, .. }, IpAddr::V6(dst)) => tables.tunnel_index.find_v6(endpoint, dst.into(), key),
        (Quoted::Esp { spi }, dst) => associations.quoted(dst, spi),
    };
    let Some(id) = id else { return Ok(Next::Local) };
    let Some(tunnel) = tables.tunnels.get(id.index()).filter(|tunnel| tunnel.live) else {
        return Ok(Next::Local);
    };
    if !tunnel.is_local(notice.outer_src) || !tunnel.is_remote(notice.outer_dst) {
        return Ok(Next::Local);
    }
    if notice.mtu < u32::from(tunnel.outer_mtu) {
        // A full queue loses the notice; the next too large packet brings another.
        let _ = cx.events.push(Event::PathMtu { tunnel: id, mtu: notice.mtu });
    }
    Err(DropReason::TooBigNotice)
}
