//! What came out of a tunnel, whatever the tunnel's kind: is it a sound packet, may it come from there, what becomes of
//! its DSCP and ECN.

use crate::burst::Meta;
use crate::classify::{ipv4_reason, ipv6_reason, is_invalid_source_v4, is_invalid_source_v6};
use crate::drop_reason::DropReason;
use crate::tables::{Snapshot, Tunnel};
use crate::wire::ecn;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;

/// Judges an inner IPv4 packet of at most `packet_len` bytes that starts at `l3`, and makes `meta` say what is to be
/// known of it. Returns its length.
#[inline(always)]
pub(crate) fn admit_v4(
    l3: &mut [u8],
    packet_len: usize,
    meta: &mut Meta,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer_tos: u8,
) -> Result<usize, DropReason> {
    let header = Ipv4Header::parse_first(l3, packet_len).map_err(ipv4_reason)?;
    let (src, dst, tos) = (header.src.get(), header.dst.get(), header.tos);
    let inner_len = usize::from(header.total_len.get());
    if dst == tunnel.remote_v4 && !tunnel.outer_v6 {
        return Err(DropReason::TunnelLoop);
    }
    if is_invalid_source_v4(src) {
        return Err(DropReason::SourceInvalid);
    }
    if !is_accepted_v4(tables, tunnel, src) {
        return Err(DropReason::SourceFilter);
    }
    if (outer_tos ^ tos) & tunnel.decap_tos_mask != 0 {
        let tos = inner_tos(tunnel, tos, outer_tos)?;
        if let Some(header) = Ipv4Header::view_mut(l3) {
            header.set_tos(tos);
        }
    }
    meta.v6 = false;
    meta.dst_v4 = dst;
    meta.mss = tunnel.mss_v4;
    Ok(inner_len)
}

/// As `admit_v4`, for IPv6.
#[inline(never)]
pub(crate) fn admit_v6(
    l3: &mut [u8],
    packet_len: usize,
    meta: &mut Meta,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer_tos: u8,
) -> Result<usize, DropReason> {
    let header = Ipv6Header::parse_first(l3, packet_len).map_err(ipv6_reason)?;
    let (src, dst, tos) = (header.src.get(), header.dst.get(), header.traffic_class());
    let inner_len = header.packet_len();
    if dst == tunnel.remote_v6 && tunnel.outer_v6 {
        return Err(DropReason::TunnelLoop);
    }
    if is_invalid_source_v6(src) {
        return Err(DropReason::SourceInvalid);
    }
    if let Some(filter) = tunnel.filter()
        && tables.filters.get(filter).is_none_or(|accepted| !accepted.accepts_v6(src))
    {
        return Err(DropReason::SourceFilter);
    }
    if (outer_tos ^ tos) & tunnel.decap_tos_mask != 0 {
        let tos = inner_tos(tunnel, tos, outer_tos)?;
        if let Some(header) = Ipv6Header::view_mut(l3) {
            header.set_traffic_class(tos);
        }
    }
    meta.v6 = true;
    meta.mss = tunnel.mss_v6;
    Ok(inner_len)
}

/// The source filter.
#[inline(always)]
pub(crate) fn is_accepted_v4(tables: &Snapshot, tunnel: &Tunnel, src: u32) -> bool {
    let Some(filter) = tunnel.filter() else { return true };
    tables.filters.get(filter).is_some_and(|accepted| accepted.accepts_v4(src))
}

/// The inner TOS after decapsulation: ECN by RFC 6040 4.2, DSCP by RFC 2983.
fn inner_tos(tunnel: &Tunnel, inner: u8, outer: u8) -> Result<u8, DropReason> {
    let ecn = ecn::decap(inner & 3, outer & 3).map_err(|_| DropReason::EcnCongestion)?;
    let from_outer = tunnel.decap_tos_mask & !3;
    Ok((outer & from_outer) | (inner & !from_outer & !3) | ecn)
}
