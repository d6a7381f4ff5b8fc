//! Into a GRE tunnel: size, TTL, MSS, then the prebuilt outer header in one copy and its variable
//! fields.
//!
//! Never sends sequence numbers: many nodes send into one tunnel.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::flow;
use crate::forward::{clamp, decrement_ttl, ttl};
use crate::frame::{Buffer, Driver};
use crate::ids::TunnelId;
use crate::pipeline::{Context, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::{MIN_PATH_MTU_V6, MSS_OFF};
use crate::tables::{DontFragment, Snapshot, Tunnel};
use crate::wire::checksum;
use crate::wire::ethernet::ETHERTYPE_IPV6;
use crate::wire::gre;
use crate::wire::ipv4::{DONT_FRAGMENT, Ipv4Header};
use crate::wire::ipv6::Ipv6Header;

impl<D: Driver> Pipeline<D> {
    /// Empties the encap lane.
    #[inline(always)]
    pub(crate) fn encap(&mut self, tables: &Snapshot) {
        if self.lanes.is_empty(Next::Encap) {
            return;
        }
        self.each(Next::Encap, |packet, meta, cx| encap(packet, meta, cx, tables));
    }
}

#[inline(always)]
fn encap<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    let id = TunnelId(meta.slot);
    let tunnel = tables.tunnels.get(id.index()).filter(|t| t.live).ok_or(DropReason::TunnelGone)?;
    let inner_len = packet.total_len();
    let oversize = inner_len > usize::from(tunnel.mtu);
    if oversize && !cut_outside(packet, meta, tunnel, inner_len) {
        meta.limit = tunnel.mtu;
        meta.into_tunnel = true;
        return Ok(if ttl(packet, meta.v6) <= 1 { Next::Expired } else { Next::TooBig });
    }
    if !decrement_ttl(packet, meta.v6) {
        return Ok(Next::Expired);
    }
    let limit = meta.mss.min(if meta.v6 { tunnel.mss_v6 } else { tunnel.mss_v4 });
    if limit != MSS_OFF
        && clamp(packet, meta.v6, limit)
        && let Some(counters) = cx.stats.tunnel(id)
    {
        counters.clamped.add(1);
    }
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    if tunnel.outer_v6 {
        wrap_v6(packet, meta, tunnel, inner_len)?;
    } else {
        wrap_v4(packet, meta, cx, tunnel, inner_len, oversize)?;
    }
    if tunnel.send_checksum {
        fill_checksum(packet, tunnel);
    }
    if let Some(counters) = cx.stats.tunnel(id) {
        counters.encap_packets.add(1);
        counters.encap_bytes.add(inner_len as u64);
    }
    if oversize {
        meta.limit = tunnel.underlay_mtu;
        return Ok(Next::FragmentOuter);
    }
    Ok(Next::Egress)
}

/// Whether a packet beyond the tunnel's MTU is encapsulated whole and the outer packet cut: the
/// tunnel says so, or it is IPv6 of a size that no router may refuse (RFC 8200 section 5).
#[inline(never)]
fn cut_outside<B: Buffer>(_packet: &B, meta: &Meta, tunnel: &Tunnel, inner_len: usize) -> bool {
    let outer_len = inner_len + usize::from(tunnel.outer_len);
    let minimal = meta.v6 && inner_len <= usize::from(MIN_PATH_MTU_V6);
    (tunnel.df == DontFragment::Clear || minimal) && outer_len <= usize::from(u16::MAX)
}

#[inline(always)]
fn wrap_v4<D: Driver>(
    packet: &mut D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    tunnel: &Tunnel,
    inner_len: usize,
    oversize: bool,
) -> Result<(), DropReason> {
    let (tos, ttl, inner_df) = inner_fields(packet, meta.v6);
    let total_len = (inner_len + usize::from(tunnel.outer_len)) as u16;
    let tos = tunnel.outer_tos(tos);
    let ttl = tunnel.outer_ttl(ttl);
    if !packet.push_block(&tunnel.outer, usize::from(tunnel.outer_len)) {
        return Err(DropReason::NoHeadroom);
    }
    let dont_fragment = match tunnel.df {
        _ if oversize => false,
        DontFragment::Set => true,
        DontFragment::Copy => inner_df,
        DontFragment::Clear => false,
    };
    let flags = if dont_fragment { DONT_FRAGMENT } else { 0 };
    // An atomic datagram's ID means nothing; any other's tells datagrams apart (RFC 6864 4.2).
    let ip_id = if dont_fragment { 0 } else { cx.next_ip_id };
    cx.next_ip_id = cx.next_ip_id.wrapping_add(u16::from(!dont_fragment));
    let header = Ipv4Header::view_mut(packet.data_mut()).ok_or(DropReason::NoHeadroom)?;
    header.tos = tos;
    header.total_len.set(total_len);
    header.id.set(ip_id);
    header.flags_fragment.set(flags);
    header.ttl = ttl;
    // These fields are zero in the template that `outer_sum` covers.
    let sum = tunnel.outer_sum
        + u32::from(tos)
        + u32::from(total_len)
        + u32::from(ip_id)
        + u32::from(flags)
        + (u32::from(ttl) << 8);
    header.checksum.set(!checksum::fold(u64::from(sum)));
    if meta.v6 {
        set_protocol_v6(packet, 20);
    }
    Ok(())
}

#[inline(always)]
fn wrap_v6<B: Buffer>(
    packet: &mut B,
    meta: &Meta,
    tunnel: &Tunnel,
    inner_len: usize,
) -> Result<(), DropReason> {
    let (tos, ttl, _) = inner_fields(packet, meta.v6);
    // RFC 6438: the flow label carries the inner flow, for equal-cost paths on the way.
    let label = if meta.v6 { flow::hash_v6(packet.data()) } else { flow::hash_v4(packet.data()) };
    if !packet.push_block(&tunnel.outer, usize::from(tunnel.outer_len)) {
        return Err(DropReason::NoHeadroom);
    }
    let header = Ipv6Header::view_mut(packet.data_mut()).ok_or(DropReason::NoHeadroom)?;
    header.payload_len.set((inner_len + usize::from(tunnel.outer_len) - Ipv6Header::LEN) as u16);
    header.vtc_flow.set(0x6000_0000 | u32::from(tunnel.outer_tos(tos)) << 20 | (label & 0xf_ffff));
    header.hop_limit = tunnel.outer_ttl(ttl);
    if meta.v6 {
        set_protocol_v6(packet, Ipv6Header::LEN);
    }
    Ok(())
}

/// TOS, TTL (after the decrement) and DF of the inner packet.
#[inline(always)]
fn inner_fields<B: Buffer>(packet: &B, v6: bool) -> (u8, u8, bool) {
    if v6 {
        Ipv6Header::view(packet.data()).map_or((0, 0, true), |h| (h.traffic_class(), h.hop_limit, true))
    } else {
        Ipv4Header::view(packet.data()).map_or((0, 0, true), |h| (h.tos, h.ttl, h.dont_fragment()))
    }
}

#[inline(always)]
fn set_protocol_v6<B: Buffer>(packet: &mut B, gre_at: usize) {
    if let Some(protocol) = packet.data_mut().get_mut(gre_at + 2..gre_at + 4) {
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
