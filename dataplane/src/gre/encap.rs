//! Into a GRE tunnel: size, TTL, MSS, then the prebuilt outer header in one copy and its variable
//! fields.
//!
//! Never sends sequence numbers: many nodes send into one tunnel.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::flow;
use crate::forward::{clamp, decrement_ttl, too_big_or_expired};
use crate::frame::{Buffer, Driver};
use crate::ids::TunnelId;
use crate::pipeline::{Context, Onward, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::{FETCH_FROM, MIN_PATH_MTU_V6, MSS_OFF};
use crate::tables::{Adjacency, DontFragment, Snapshot, Tunnel};
use crate::wire::checksum;
use crate::wire::ethernet::ETHERTYPE_IPV6;
use crate::wire::gre;
use crate::wire::ipv4::{DONT_FRAGMENT, Ipv4Header};
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

/// What an outer header takes from the inner one.
#[derive(Clone, Copy)]
struct Fields {
    tos: u8,
    ttl: u8,
    flags: u16,
}

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
    let len = packet.total_len();
    let oversize = len > usize::from(tunnel.mtu);
    if oversize && !cut_outside(meta, tunnel, len) {
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
    let mut fields = if shape.inner_v6 { fields_of_v6(l3, tunnel) } else { fields_of_v4(l3, tunnel) };
    if shape.oversize {
        fields.flags = 0;
    }
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    let adjacency = tables.adjacencies.get(meta.slot as usize).ok_or(DropReason::NoRoute)?;
    if shape.outer_v6 {
        wrap_v6(packet, shape.inner_v6, tunnel, fields)?;
    } else {
        wrap_v4(packet, shape.inner_v6, tunnel, fields, &mut cx.next_ip_id)?;
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

/// Whether a packet beyond the tunnel's MTU is encapsulated whole and the outer packet cut: the
/// tunnel says so, or it is IPv6 of a size that no router may refuse (RFC 8200 section 5).
#[inline(never)]
fn cut_outside(meta: &Meta, tunnel: &Tunnel, inner_len: usize) -> bool {
    let outer_len = inner_len + usize::from(tunnel.outer_len);
    let minimal = meta.v6 && inner_len <= usize::from(MIN_PATH_MTU_V6);
    (tunnel.df == DontFragment::Clear || minimal) && outer_len <= usize::from(u16::MAX)
}

#[inline(always)]
fn fields_of_v4(l3: &[u8], tunnel: &Tunnel) -> Fields {
    let (tos, ttl, flags) =
        Ipv4Header::view(l3).map_or((0, 0, 0), |h| (h.tos, h.ttl, h.flags_fragment.get()));
    Fields { tos: tunnel.outer_tos(tos), ttl: tunnel.outer_ttl(ttl), flags: tunnel.outer_flags(flags) }
}

/// An inner IPv6 packet counts as DF=1.
#[inline(always)]
fn fields_of_v6(l3: &[u8], tunnel: &Tunnel) -> Fields {
    let (tos, ttl) = Ipv6Header::view(l3).map_or((0, 0), |h| (h.traffic_class(), h.hop_limit));
    Fields {
        tos: tunnel.outer_tos(tos),
        ttl: tunnel.outer_ttl(ttl),
        flags: tunnel.outer_flags(DONT_FRAGMENT),
    }
}

#[inline(always)]
fn wrap_v4<B: Buffer>(
    packet: &mut B,
    inner_v6: bool,
    tunnel: &Tunnel,
    fields: Fields,
    next_ip_id: &mut u16,
) -> Result<(), DropReason> {
    if !packet.push_block(&tunnel.outer, usize::from(tunnel.outer_len)) {
        return Err(DropReason::NoHeadroom);
    }
    let total_len = packet.total_len() as u16;
    let outer = packet.data_mut();
    if inner_v6 {
        set_protocol_v6(outer, Ipv4Header::LEN);
    }
    let mut ip_id = 0;
    // An atomic datagram's ID means nothing; any other's tells datagrams apart (RFC 6864 4.2).
    if fields.flags == 0 {
        ip_id = *next_ip_id;
        *next_ip_id = ip_id.wrapping_add(1);
    }
    let header = Ipv4Header::view_mut(outer).ok_or(DropReason::NoHeadroom)?;
    header.tos = fields.tos;
    header.total_len.set(total_len);
    header.id.set(ip_id);
    header.flags_fragment.set(fields.flags);
    header.ttl = fields.ttl;
    // These fields are zero in the template that `outer_sum` covers.
    let sum = tunnel.outer_sum
        + u32::from(fields.tos)
        + u32::from(total_len)
        + u32::from(ip_id)
        + u32::from(fields.flags)
        + (u32::from(fields.ttl) << 8);
    header.checksum.set(!checksum::fold_u32(sum));
    Ok(())
}

#[inline(never)]
fn wrap_v6<B: Buffer>(
    packet: &mut B,
    inner_v6: bool,
    tunnel: &Tunnel,
    fields: Fields,
) -> Result<(), DropReason> {
    // RFC 6438: the flow label carries the inner flow, for equal-cost paths on the way.
    let label = if inner_v6 { flow::hash_v6(packet.data()) } else { flow::hash_v4(packet.data()) };
    if !packet.push_block(&tunnel.outer, usize::from(tunnel.outer_len)) {
        return Err(DropReason::NoHeadroom);
    }
    let payload_len = packet.total_len().wrapping_sub(Ipv6Header::LEN) as u16;
    let outer = packet.data_mut();
    if inner_v6 {
        set_protocol_v6(outer, Ipv6Header::LEN);
    }
    let header = Ipv6Header::view_mut(outer).ok_or(DropReason::NoHeadroom)?;
    header.payload_len.set(payload_len);
    header.vtc_flow.set(0x6000_0000 | u32::from(fields.tos) << 20 | (label & 0xf_ffff));
    header.hop_limit = fields.ttl;
    Ok(())
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
