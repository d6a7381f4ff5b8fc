//! Into a GRE tunnel: size, TTL, MSS, then the prebuilt outer header in one copy and its variable
//! fields.
//!
//! Never sends sequence numbers: many nodes send into one tunnel.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::{clamp, decrement_ttl, too_big_or_expired};
use crate::frame::{Buffer, Driver};
use crate::ids::TunnelId;
use crate::outer::{self, Fields, is_cut_outside};
use crate::pipeline::{Context, Onward, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::{FETCH_FROM, MSS_OFF};
use crate::tables::{Adjacency, Snapshot, Tunnel};
use crate::wire::ethernet::ETHERTYPE_IPV6;
use crate::wire::gre;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;

impl<D: Driver> Pipeline<D> {
    /// Empties the encap lane.
    #[inline(never)]
    pub(crate) fn encap(&mut self, tables: &Snapshot) {
        if tables.tunnels.capacity() >= FETCH_FROM {
            self.fetch_tunnels(self.lanes.get(Next::Encap), tables, |meta| meta.slot);
        }
        self.each_leaving(Next::Encap, tables, |packet, meta, cx| encap(packet, meta, cx, tables));
    }
}

/// What is true of a packet and its tunnel. Known beforehand for nearly all packets, so that their way into the tunnel
/// has no branch for anything else.
#[derive(Clone, Copy)]
struct Shape {
    inner_v6: bool,
    outer_v6: bool,
    checksum: bool,
    oversize: bool,
}

/// IPv4 in GRE in IPv4, and it fits.
const PLAIN: Shape = Shape { inner_v6: false, outer_v6: false, checksum: false, oversize: false };

#[inline(always)]
fn encap<'a, D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &'a Snapshot,
) -> Result<Onward<&'a Adjacency>, DropReason> {
    let tunnel = tables.tunnels.get(meta.slot as usize).ok_or(DropReason::TunnelGone)?;
    if tunnel.plain && !meta.v6 && packet.total_len() <= usize::from(tunnel.mtu) {
        return wrap(packet, meta, cx, tables, tunnel, PLAIN);
    }
    encap_other(packet, meta, cx, tables, tunnel)
}

#[inline(never)]
fn encap_other<'a, D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &'a Snapshot,
    tunnel: &Tunnel,
) -> Result<Onward<&'a Adjacency>, DropReason> {
    if !tunnel.live {
        return Err(DropReason::TunnelGone);
    }
    if tunnel.esp {
        // There is no association at all, or it would not be here.
        return Err(DropReason::EspNoSa);
    }
    let len = packet.total_len();
    let oversize = len > usize::from(tunnel.mtu) && !meta.probe;
    if oversize && !is_cut_outside(meta, tunnel, len, len + usize::from(tunnel.outer_len)) {
        meta.limit = tunnel.mtu;
        meta.into_tunnel = true;
        return Ok(Onward::Lane(too_big_or_expired(packet.data(), meta.v6)));
    }
    let shape =
        Shape { inner_v6: meta.v6, outer_v6: tunnel.outer_v6, checksum: tunnel.send_checksum, oversize };
    wrap(packet, meta, cx, tables, tunnel, shape)
}

#[inline(always)]
fn wrap<'a, D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &'a Snapshot,
    tunnel: &Tunnel,
    shape: Shape,
) -> Result<Onward<&'a Adjacency>, DropReason> {
    let len = packet.total_len();
    let l3 = packet.data_mut();
    if !decrement_ttl(l3, shape.inner_v6) {
        return Ok(Onward::Lane(Next::Expired));
    }
    let counters = cx.stats.tunnel(TunnelId(meta.slot));
    let limit = meta.mss.min(if shape.inner_v6 { tunnel.mss_v6 } else { tunnel.mss_v4 });
    if limit != MSS_OFF
        && clamp(l3, shape.inner_v6, limit)
        && let Some(counters) = counters
    {
        counters.clamped.add(1);
    }
    let mut fields = Fields::of(l3, shape.inner_v6, tunnel);
    if shape.oversize {
        fields.allow_fragments();
    }
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    let adjacency = tables.adjacencies.get(meta.slot as usize).ok_or(DropReason::NoRoute)?;
    let outer_len = usize::from(tunnel.outer_len);
    if shape.outer_v6 {
        let label = outer::flow_label(packet.data(), shape.inner_v6);
        outer::push_v6(packet, &tunnel.outer, outer_len, fields, label)?;
    } else {
        outer::push_v4(packet, &tunnel.outer, outer_len, tunnel, fields, &mut cx.next_ip_id)?;
    }
    if shape.inner_v6 {
        set_protocol_v6(packet.data_mut(), if shape.outer_v6 { Ipv6Header::LEN } else { Ipv4Header::LEN });
    }
    meta.v6 = shape.outer_v6;
    if shape.checksum {
        fill_checksum(packet, tunnel);
    }
    if let Some(counters) = counters {
        counters.encap_packets.add(1);
        counters.encap_bytes.add(len as u64);
    }
    if shape.oversize {
        meta.limit = tunnel.piece_len();
        return Ok(Onward::Lane(Next::FragmentOuter));
    }
    Ok(Onward::Leave(adjacency))
}

/// The prebuilt GRE header says that IPv4 follows.
#[inline(never)]
fn set_protocol_v6(outer: &mut [u8], gre_at: usize) {
    if let Some(protocol) = outer.get_mut(gre_at + 2..gre_at + 4) {
        protocol.copy_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
    }
}

/// RFC 2784 2.5: over the GRE header, its checksum field zero, and the payload.
#[inline(never)]
fn fill_checksum<B: Buffer>(packet: &mut B, tunnel: &Tunnel) {
    let gre_at = if tunnel.outer_v6 { Ipv6Header::LEN } else { Ipv4Header::LEN };
    let mut skip = gre_at;
    let value = gre::checksum_of(packet.segments().map(|segment| {
        let rest = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        rest
    }));
    if let Some(field) = packet.data_mut().get_mut(gre_at + 4..gre_at + 6) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
