//! Packets to one of our endpoints: GRE is decapsulated, ICMP about our outer packets is taken note
//! of, fragments are reassembled first, all else (ping, IKE, BGP) is the kernel's.

use std::net::IpAddr;

use crate::burst::{Meta, Next};
use crate::classify::PULL_UP;
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver, Fragmentation, Reassembled};
use crate::gre::decap;
use crate::icmp::too_big::{Quoted, TooBig};
use crate::ids::EndpointId;
use crate::pipeline::{Context, Event, Pipeline};
use crate::tables::Snapshot;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::{ipv6, protocol};

impl<D: Driver> Pipeline<D> {
    /// Empties the endpoint lane; what was inside goes to the route lanes.
    #[inline(always)]
    pub(crate) fn terminate(&mut self, tables: &Snapshot) {
        self.terminate_all(tables);
        if !self.lanes.is_empty(Next::Reassemble) {
            self.reassemble();
            self.terminate_all(tables);
        }
    }

    /// The usual packets in two steps over the burst, then the others one by one.
    #[inline(always)]
    fn terminate_all(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::Endpoint);
        let found = self.find_tunnels(lane, tables);
        let stripped = self.strip_plain(found, tables);
        self.lanes.add(Next::Endpoint, lane.without(stripped));
        if !self.lanes.is_empty(Next::Endpoint) {
            self.terminate_others(tables);
        }
    }

    #[inline(never)]
    fn terminate_others(&mut self, tables: &Snapshot) {
        self.each(Next::Endpoint, |packet, meta, cx| terminate(packet, meta, cx, tables));
    }

    /// Reassembled datagrams join the endpoint lane again.
    #[inline(never)]
    fn reassemble(&mut self) {
        self.each_taken(Next::Reassemble, |this, i, fragment| {
            match this.cx.fragmentation.reassemble(fragment, this.meta[i].v6, this.cx.now) {
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
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    if meta.tunnel_in().is_some() {
        return Err(DropReason::TunnelNested);
    }
    if !packet.is_contiguous() && !packet.pull_up(PULL_UP) {
        return Err(DropReason::HeaderSplit);
    }
    let endpoint = EndpointId(meta.slot as u16);
    if meta.v6 {
        return terminate_v6(packet, meta, cx, tables, endpoint);
    }
    let header = Ipv4Header::view(packet.data()).ok_or(DropReason::HeaderSplit)?;
    if header.is_fragment() {
        return Ok(Next::Reassemble);
    }
    match header.protocol {
        protocol::GRE => decap::from_v4(packet, meta, cx, tables, endpoint),
        protocol::ICMP => note_too_big(packet, cx, tables, endpoint),
        _ => Ok(Next::Local),
    }
}

#[inline(never)]
fn terminate_v6<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    endpoint: EndpointId,
) -> Result<Next, DropReason> {
    let Some(transport) = ipv6::transport(packet.data()) else { return Ok(Next::Local) };
    if transport.fragment.is_some() {
        return Ok(Next::Reassemble);
    }
    match transport.protocol {
        protocol::GRE => decap::from_v6(packet, meta, cx, tables, endpoint, transport.offset),
        protocol::ICMPV6 => note_too_big(packet, cx, tables, endpoint),
        _ => Ok(Next::Local),
    }
}

/// ICMP "too big" that quotes a packet of one of our tunnels is for control; other ICMP is the kernel's.
#[inline(never)]
fn note_too_big<D: Driver>(
    packet: &D::Buffer,
    cx: &mut Context<D>,
    tables: &Snapshot,
    endpoint: EndpointId,
) -> Result<Next, DropReason> {
    let Some(notice) = TooBig::parse(packet.data()) else { return Ok(Next::Local) };
    let Quoted::Gre { key, .. } = notice.quoted else { return Ok(Next::Local) };
    let (local, tunnel) = match (notice.outer_src, notice.outer_dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            (IpAddr::V4(src), tables.tunnel_index.find_v4(endpoint, dst.into(), key))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            (IpAddr::V6(src), tables.tunnel_index.find_v6(endpoint, dst.into(), key))
        }
        _ => return Ok(Next::Local),
    };
    let Some(id) = tunnel else { return Ok(Next::Local) };
    let Some(tunnel) = tables.tunnels.get(id.index()).filter(|tunnel| tunnel.live) else {
        return Ok(Next::Local);
    };
    let ours = match local {
        IpAddr::V4(local) => !tunnel.outer_v6 && tunnel.local_v4 == u32::from(local),
        IpAddr::V6(local) => tunnel.outer_v6 && tunnel.local_v6 == u128::from(local),
    };
    if !ours {
        return Ok(Next::Local);
    }
    if notice.mtu < u32::from(tunnel.outer_mtu) {
        // A full queue loses the notice; the next too large packet brings another.
        let _ = cx.events.push(Event::PathMtu { tunnel: id, mtu: notice.mtu });
    }
    Err(DropReason::TooBigNotice)
}
