//! Out of a GRE tunnel: which tunnel, is the packet sound, may it come from there; then the outer
//! headers go and the inner packet is routed in the tenant's table.
//!
//! Nothing is changed before every check has passed. Sequence numbers are accepted and not looked at:
//! an anycast endpoint cannot know the order (RFC 2890 2.2 makes ordering optional).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::burst::{Lane, Meta, Next};
use crate::classify::{PULL_UP, ipv4_reason, ipv6_reason, is_invalid_source_v4};
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::ids::{EndpointId, TunnelId};
use crate::inner::{admit_v4, admit_v6, is_accepted_v4};
use crate::pipeline::{Context, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::FETCH_FROM;
use crate::tables::{Snapshot, Tunnel};
use crate::watch::Watch;
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use crate::wire::gre::{self, Gre, GreError, GreHeader};
use crate::wire::ipv4::{Ipv4Header, PlainV4};
use crate::wire::ipv6::Ipv6Header;
use crate::wire::{keepalive, protocol};

/// The outer packet, read.
struct Outer {
    tos: u8,
    header_len: usize,
    gre: Gre,
}

impl Outer {
    /// Bytes before the inner packet.
    #[inline(always)]
    fn len(&self) -> usize {
        self.header_len + self.gre.header_len
    }
}

/// Bytes before the inner packet of a plain packet.
const PLAIN_LEN: usize = Ipv4Header::LEN + GreHeader::LEN;
/// A GRE header without options in front of IPv4.
const PLAIN_GRE: [u8; GreHeader::LEN] = [0, 0, 0x08, 0x00];

impl<D: Driver> Pipeline<D> {
    /// Step 1: the tunnels of plain packets, which is what nearly every packet to an endpoint is: sound IPv4 in GRE
    /// without options in IPv4 without options, so that every place is known beforehand. Returns those.
    #[inline(never)]
    pub(crate) fn find_tunnels(&mut self, lane: Lane, tables: &Snapshot) -> Lane {
        if tables.tunnels.capacity() >= FETCH_FROM {
            self.fetch_identities(lane, tables);
        }
        let mut found = Lane::EMPTY;
        for i in lane {
            let (Some(packet), meta) = (&self.slots[i], &mut self.meta[i]) else { continue };
            if let Some(id) = plain_tunnel(packet, meta, tables) {
                meta.found = id.0;
                found.push(i);
            }
        }
        found
    }

    /// Before step 1, where there are many tunnels: asks for the index's memory, for all packets at once, as waiting for
    /// one after the other takes so much longer.
    fn fetch_identities(&self, lane: Lane, tables: &Snapshot) {
        for i in lane {
            let header = self.slots[i].as_ref().and_then(|packet| Ipv4Header::view(packet.data()));
            if let Some(header) = header {
                tables.tunnel_index.fetch_v4(EndpointId(self.meta[i].slot as u16), header.src.get());
            }
        }
    }

    /// The same for the tunnels themselves, before what needs them.
    #[inline(always)]
    pub(crate) fn fetch_tunnels(&self, lane: Lane, tables: &Snapshot, tunnel_of: impl Fn(&Meta) -> u32) {
        for i in lane {
            let id = TunnelId(tunnel_of(&self.meta[i]));
            if let Some(tunnel) = tables.tunnels.get(id.index()) {
                tunnel.fetch();
            }
            if let Some(counters) = self.cx.stats.tunnel(id) {
                counters.fetch();
            }
        }
    }

    /// Step 2: takes the outer headers off plain packets that may come from their tunnel, and sends what was inside to
    /// be routed. Returns those. The others are as they were: some reason will be found for them.
    #[inline(never)]
    pub(crate) fn strip_plain(&mut self, found: Lane, tables: &Snapshot) -> Lane {
        if tables.tunnels.capacity() >= FETCH_FROM {
            self.fetch_tunnels(found, tables, |meta| meta.found);
        }
        let mut stripped = Lane::EMPTY;
        for i in found {
            let (Some(packet), meta) = (&mut self.slots[i], &mut self.meta[i]) else { continue };
            if let Some(inner_len) = strip_plain(packet, meta, tables) {
                count(meta, &self.cx, inner_len);
                stripped.push(i);
            }
        }
        self.lanes.add(Next::RouteV4, stripped);
        if let Some(watch) = self.cx.watch.recorder() {
            for i in stripped {
                if let Some(packet) = &self.slots[i] {
                    watch.came_out(i, packet, &self.meta[i], D::now());
                }
            }
        }
        stripped
    }
}

#[inline(always)]
fn plain_tunnel<B: Buffer>(packet: &B, meta: &Meta, tables: &Snapshot) -> Option<TunnelId> {
    let start = packet.data().first_chunk::<{ PLAIN_LEN + Ipv4Header::LEN }>()?;
    let outer = Ipv4Header::view(start)?;
    let is_plain = outer.version_ihl == 0x45
        && !outer.is_fragment()
        && outer.protocol == protocol::GRE
        && start[Ipv4Header::LEN..PLAIN_LEN] == PLAIN_GRE
        && meta.tunnel_in().is_none()
        && !meta.v6;
    if !is_plain {
        return None;
    }
    let inner = PlainV4::parse(start.last_chunk()?, packet.total_len().wrapping_sub(PLAIN_LEN))?;
    if is_invalid_source_v4(inner.src) {
        return None;
    }
    tables.tunnel_index.find_v4(EndpointId(meta.slot as u16), outer.src.get(), None)
}

/// Returns the length of the inner packet. `None`, and nothing changed, when something is not as usual.
#[inline(always)]
fn strip_plain<B: Buffer>(packet: &mut B, meta: &mut Meta, tables: &Snapshot) -> Option<usize> {
    let tunnel = tables.tunnels.get(meta.found as usize).filter(|t| t.live)?;
    let start = packet.data().first_chunk::<{ PLAIN_LEN + Ipv4Header::LEN }>()?;
    let (outer, inner) = (Ipv4Header::view(start)?, Ipv4Header::view(&start[PLAIN_LEN..])?);
    let (src, dst, inner_len) = (inner.src.get(), inner.dst.get(), usize::from(inner.total_len.get()));
    let is_usual = dst != tunnel.remote_v4
        && (outer.tos ^ inner.tos) & tunnel.decap_tos_mask == 0
        && is_accepted_v4(tables, tunnel, src);
    if !is_usual || !packet.narrow(PLAIN_LEN, inner_len) {
        return None;
    }
    meta.set_tunnel_in(TunnelId(meta.found));
    meta.vrf = tunnel.vrf;
    meta.dst_v4 = dst;
    meta.mss = tunnel.mss_v4;
    Some(inner_len)
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
    let l3 = packet.data();
    let header = Ipv4Header::view(l3).ok_or(DropReason::HeaderSplit)?;
    let header_len = header.header_len();
    let gre = Gre::parse(l3.get(header_len..).unwrap_or_default()).map_err(gre_reason)?;
    let (remote, tos) = (header.src.get(), header.tos);
    let Some(id) = tables.tunnel_index.find_v4(endpoint, remote, gre.key) else {
        return Err(unknown(tables, endpoint, Ipv4Addr::from(remote).into(), gre.key));
    };
    from_tunnel(packet, meta, cx, tables, id, &Outer { tos, header_len, gre })
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
    if outer.gre.protocol == ETHERTYPE_IPV4 {
        return from_inner_v4(packet, meta, cx, tables, tunnel, outer);
    }
    from_other(packet, meta, cx, tables, tunnel, outer)
}

#[inline(always)]
fn from_inner_v4<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer: &Outer,
) -> Result<Next, DropReason> {
    let packet_len = packet.total_len().wrapping_sub(outer.len());
    let l3 = packet.data_mut().get_mut(outer.len()..).unwrap_or_default();
    let header = Ipv4Header::parse_first(l3, packet_len).map_err(ipv4_reason)?;
    if header.dst.get() == tunnel.remote_v4 && !tunnel.outer_v6 {
        let inner_len = usize::from(header.total_len.get());
        return keepalive_or_loop(packet, meta, cx, tables, tunnel, outer, inner_len);
    }
    let inner_len = admit_v4(l3, packet_len, meta, tables, tunnel, outer.tos)?;
    strip(packet, meta, cx, outer, inner_len);
    Ok(Next::RouteV4)
}

/// IPv6, and what is not a packet.
#[inline(never)]
fn from_other<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer: &Outer,
) -> Result<Next, DropReason> {
    if outer.gre.protocol != ETHERTYPE_IPV6 {
        if !keepalive::is_answer(&outer.gre) {
            return Err(DropReason::GreProtocol);
        }
        if let Some(counters) = meta.tunnel_in().and_then(|id| cx.stats.tunnel(id)) {
            counters.keepalives_received.add(1);
        }
        return Err(DropReason::GreKeepalive);
    }
    let packet_len = packet.total_len().wrapping_sub(outer.len());
    let l3 = packet.data_mut().get_mut(outer.len()..).unwrap_or_default();
    let header = Ipv6Header::parse_first(l3, packet_len).map_err(ipv6_reason)?;
    if header.dst.get() == tunnel.remote_v6 && tunnel.outer_v6 {
        let inner_len = header.packet_len();
        return keepalive_or_loop(packet, meta, cx, tables, tunnel, outer, inner_len);
    }
    let inner_len = admit_v6(l3, packet_len, meta, tables, tunnel, outer.tos)?;
    strip(packet, meta, cx, outer, inner_len);
    Ok(Next::RouteV6)
}

/// Every check has passed: the outer headers go, and the tunnel counts.
#[inline(always)]
fn strip<D: Driver>(
    packet: &mut D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    outer: &Outer,
    inner_len: usize,
) {
    packet.narrow(outer.len(), inner_len);
    count(meta, cx, inner_len);
}

#[inline(always)]
fn count<D: Driver>(meta: &Meta, cx: &Context<D>, inner_len: usize) {
    if let Some(counters) = meta.tunnel_in().and_then(|id| cx.stats.tunnel(id)) {
        counters.decap_packets.add(1);
        counters.decap_bytes.add(inner_len as u64);
    }
}

/// A packet to the peer itself. If it is a keepalive request, what is inside goes on to the underlay;
/// anything else would come back.
#[inline(never)]
fn keepalive_or_loop<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
    tunnel: &Tunnel,
    outer: &Outer,
    inner_len: usize,
) -> Result<Next, DropReason> {
    let request = packet.data().get(outer.len()..).and_then(|l3| l3.get(..inner_len)).unwrap_or_default();
    let is_request = if tunnel.outer_v6 {
        keepalive::is_request_v6(request, tunnel.local_v6, tunnel.remote_v6)
    } else {
        keepalive::is_request_v4(request, tunnel.local_v4, tunnel.remote_v4)
    };
    if !is_request {
        return Err(DropReason::TunnelLoop);
    }
    packet.narrow(outer.len(), inner_len);
    meta.v6 = tunnel.outer_v6;
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    if let Some(counters) = meta.tunnel_in().and_then(|id| cx.stats.tunnel(id)) {
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
