//! Out of a GRE tunnel: which tunnel, is the packet sound, may it come from there; then the outer
//! headers go and the inner packet is routed in the tenant's table.
//!
//! Nothing is changed before every check has passed. Sequence numbers are accepted and not looked at:
//! an anycast endpoint cannot know the order (RFC 2890 2.2 makes ordering optional).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::burst::{Meta, Next};
use crate::classify::{PULL_UP, ipv4_reason, ipv6_reason, is_invalid_source_v4, is_invalid_source_v6};
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::ids::{EndpointId, TunnelId};
use crate::pipeline::Context;
use crate::route::underlay;
use crate::tables::{Snapshot, Tunnel};
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::wire::gre::{self, Gre, GreError};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{ecn, keepalive};

/// The outer packet, read.
struct Outer {
    tos: u8,
    header_len: usize,
    gre: Gre,
}

/// From an outer IPv4 packet whose header was checked.
#[inline(always)]
pub(crate) fn from_v4<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    endpoint: EndpointId,
) -> Result<Next, DropReason> {
    let header = Ipv4Header::view(packet.data()).ok_or(DropReason::HeaderSplit)?;
    let header_len = header.header_len();
    let gre = Gre::parse(packet.data().get(header_len..).unwrap_or_default()).map_err(gre_reason)?;
    let remote = header.src.get();
    let Some(id) = tables.tunnel_index.find_v4(endpoint, remote, gre.key) else {
        return Err(unknown(tables, endpoint, Ipv4Addr::from(remote).into(), gre.key));
    };
    let outer = Outer { tos: header.tos, header_len, gre };
    from_tunnel(packet, meta, cx, tables, id, &outer)
}

/// From an outer IPv6 packet whose GRE header starts at `offset`.
#[inline(always)]
pub(crate) fn from_v6<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    endpoint: EndpointId,
    offset: usize,
) -> Result<Next, DropReason> {
    let header = Ipv6Header::view(packet.data()).ok_or(DropReason::HeaderSplit)?;
    let gre = Gre::parse(packet.data().get(offset..).unwrap_or_default()).map_err(gre_reason)?;
    let remote = header.src.get();
    let Some(id) = tables.tunnel_index.find_v6(endpoint, remote, gre.key) else {
        return Err(unknown(tables, endpoint, Ipv6Addr::from(remote).into(), gre.key));
    };
    let outer = Outer { tos: header.traffic_class(), header_len: offset, gre };
    from_tunnel(packet, meta, cx, tables, id, &outer)
}

#[inline(always)]
fn from_tunnel<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    id: TunnelId,
    outer: &Outer,
) -> Result<Next, DropReason> {
    let tunnel = tables.tunnels.get(id.index()).filter(|t| t.live).ok_or(DropReason::TunnelGone)?;
    meta.set_tunnel_in(id);
    meta.vrf = tunnel.vrf;
    if outer.gre.checksum {
        verify_checksum(packet, outer)?;
    }
    let front = outer.header_len + outer.gre.header_len;
    let inner_len = match outer.gre.protocol {
        ETHERTYPE_IPV4 => match inner_v4(packet, meta, tables, tunnel, outer, front)? {
            Inner::Packet(len) => len,
            Inner::Keepalive(len) => return answer_keepalive(packet, meta, cx, tables, id, front, len),
        },
        ETHERTYPE_IPV6 => match inner_v6(packet, meta, tables, tunnel, outer, front)? {
            Inner::Packet(len) => len,
            Inner::Keepalive(len) => return answer_keepalive(packet, meta, cx, tables, id, front, len),
        },
        _ if keepalive::is_answer(&outer.gre) => {
            if let Some(counters) = cx.stats.tunnel(id) {
                counters.keepalives_received.add(1);
            }
            return Err(DropReason::GreKeepalive);
        }
        _ => return Err(DropReason::GreProtocol),
    };
    packet.narrow(front, inner_len);
    if let Some(counters) = cx.stats.tunnel(id) {
        counters.decap_packets.add(1);
        counters.decap_bytes.add(inner_len as u64);
    }
    Ok(if meta.v6 { Next::RouteV6 } else { Next::RouteV4 })
}

enum Inner {
    /// A packet of so many bytes to route.
    Packet(usize),
    /// A keepalive request of so many bytes to send back.
    Keepalive(usize),
}

#[inline(always)]
fn inner_v4<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer: &Outer,
    front: usize,
) -> Result<Inner, DropReason> {
    let packet_len = packet.total_len().wrapping_sub(front);
    let l3 = packet.data_mut().get_mut(front..).unwrap_or_default();
    let header = Ipv4Header::parse_first(l3, packet_len).map_err(ipv4_reason)?;
    let (src, dst) = (header.src.get(), header.dst.get());
    let inner_len = usize::from(header.total_len.get());
    if !tunnel.outer_v6 && dst == tunnel.remote_v4 {
        let request = l3.get(..inner_len).unwrap_or_default();
        if keepalive::is_request_v4(request, tunnel.local_v4, tunnel.remote_v4) {
            meta.v6 = false;
            return Ok(Inner::Keepalive(inner_len));
        }
        return Err(DropReason::TunnelLoop);
    }
    if is_invalid_source_v4(src) {
        return Err(DropReason::SourceInvalid);
    }
    if let Some(filter) = tunnel.filter()
        && tables.filters.get(filter).is_none_or(|accepted| accepted.v4.lookup(src) == 0)
    {
        return Err(DropReason::SourceFilter);
    }
    let tos = header.tos;
    if (outer.tos ^ tos) & tos_mask(tunnel) != 0 {
        let tos = inner_tos(tunnel, tos, outer.tos)?;
        if let Some(header) = Ipv4Header::view_mut(l3) {
            header.set_tos(tos);
        }
    }
    meta.v6 = false;
    meta.dst_v4 = dst;
    meta.mss = tunnel.mss_v4;
    Ok(Inner::Packet(inner_len))
}

#[inline(always)]
fn inner_v6<B: Buffer>(
    packet: &mut B,
    meta: &mut Meta,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer: &Outer,
    front: usize,
) -> Result<Inner, DropReason> {
    let packet_len = packet.total_len().wrapping_sub(front);
    let l3 = packet.data_mut().get_mut(front..).unwrap_or_default();
    let header = Ipv6Header::parse_first(l3, packet_len).map_err(ipv6_reason)?;
    let (src, dst) = (header.src.get(), header.dst.get());
    let inner_len = header.packet_len();
    if tunnel.outer_v6 && dst == tunnel.remote_v6 {
        let request = l3.get(..inner_len).unwrap_or_default();
        if keepalive::is_request_v6(request, tunnel.local_v6, tunnel.remote_v6) {
            meta.v6 = true;
            return Ok(Inner::Keepalive(inner_len));
        }
        return Err(DropReason::TunnelLoop);
    }
    if is_invalid_source_v6(src) {
        return Err(DropReason::SourceInvalid);
    }
    if let Some(filter) = tunnel.filter()
        && tables.filters.get(filter).is_none_or(|accepted| accepted.v6.lookup(src) == 0)
    {
        return Err(DropReason::SourceFilter);
    }
    let tos = header.traffic_class();
    if (outer.tos ^ tos) & tos_mask(tunnel) != 0 {
        let tos = inner_tos(tunnel, tos, outer.tos)?;
        if let Some(header) = Ipv6Header::view_mut(l3) {
            header.set_traffic_class(tos);
        }
    }
    meta.v6 = true;
    meta.mss = tunnel.mss_v6;
    Ok(Inner::Packet(inner_len))
}

/// The bits of outer and inner TOS that may not differ silently: ECN, and DSCP in the uniform model.
#[inline(always)]
fn tos_mask(tunnel: &Tunnel) -> u8 {
    if tunnel.uniform_dscp { 0xff } else { 0x03 }
}

/// The inner TOS after decapsulation: ECN by RFC 6040 4.2, DSCP by RFC 2983.
fn inner_tos(tunnel: &Tunnel, inner: u8, outer: u8) -> Result<u8, DropReason> {
    let ecn = ecn::decap(inner & 3, outer & 3).map_err(|_| DropReason::EcnCongestion)?;
    let dscp = if tunnel.uniform_dscp { outer } else { inner };
    Ok((dscp & !3) | ecn)
}

/// The request is a packet to the peer itself: strip the outer headers and send it on to the underlay.
#[inline(never)]
fn answer_keepalive<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    id: TunnelId,
    front: usize,
    len: usize,
) -> Result<Next, DropReason> {
    let tunnel = tables.tunnels.get(id.index()).ok_or(DropReason::TunnelGone)?;
    packet.narrow(front, len);
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    if let Some(counters) = cx.stats.tunnel(id) {
        counters.keepalives_answered.add(1);
    }
    Ok(Next::Forward)
}

/// RFC 2784 2.5: over the GRE header and the payload.
#[inline(never)]
fn verify_checksum<B: Buffer>(packet: &B, outer: &Outer) -> Result<(), DropReason> {
    let mut skip = outer.header_len;
    let payload = packet.segments().map(|segment| {
        let rest = segment.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(segment.len());
        rest
    });
    if gre::checksum_is_valid(payload) { Ok(()) } else { Err(DropReason::GreChecksum) }
}

fn gre_reason(error: GreError) -> DropReason {
    match error {
        GreError::Truncated => DropReason::GreTruncated,
        GreError::Version => DropReason::GreVersion,
        GreError::Reserved => DropReason::GreReserved,
    }
}

/// Why no tunnel was found.
#[inline(never)]
fn unknown(tables: &Snapshot, endpoint: EndpointId, remote: IpAddr, key: Option<u32>) -> DropReason {
    match (tables.tunnel_index.any_between(endpoint, remote), key) {
        (false, _) => DropReason::GreTunnelUnknown,
        (true, None) => DropReason::GreKeyMissing,
        (true, Some(_)) => DropReason::GreKeyWrong,
    }
}

const _: () = assert!(PULL_UP >= 60 + 16 + 60, "outer header, GRE header and inner header are joined");
