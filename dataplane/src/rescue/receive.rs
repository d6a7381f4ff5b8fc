//! From another node: who sends it, does it know the token, and which packet is inside; then that packet's endpoint.
//!
//! Everything else that is sent to the data address is the kernel's, as for any address of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::burst::{Meta, Next};
use crate::classify;
use crate::drop_reason::DropReason;
use crate::esp::{SaTable, locate};
use crate::frame::{Buffer, Driver};
use crate::ids::{EndpointId, InterfaceId, VrfId};
use crate::pipeline::Context;
use crate::tables::{Fleet, Hop, HopKind, Snapshot};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;
use crate::wire::rescue::RescueHeader;
use crate::wire::udp::UdpHeader;

/// What an IP packet is about.
struct Outside {
    source: IpAddr,
    protocol: u8,
    /// Where what follows the IP header is.
    at: usize,
    is_fragment: bool,
}

impl Outside {
    fn of(l3: &[u8], v6: bool) -> Option<Self> {
        if v6 {
            let (header, transport) = (Ipv6Header::view(l3)?, ipv6::transport(l3)?);
            return Some(Self {
                source: Ipv6Addr::from_bits(header.src.get()).into(),
                protocol: transport.protocol,
                at: transport.offset,
                is_fragment: transport.fragment.is_some(),
            });
        }
        let header = Ipv4Header::view(l3)?;
        Some(Self {
            source: Ipv4Addr::from_bits(header.src.get()).into(),
            protocol: header.protocol,
            at: header.header_len(),
            is_fragment: header.is_fragment(),
        })
    }
}

/// A packet to our data address. What a node handed over joins the endpoint lane as the packet that it was there.
#[inline(never)]
pub(crate) fn receive<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &Context<D>,
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    let Some(fleet) = tables.fleet() else { return Ok(Next::Local) };
    let outside = Outside::of(packet.data(), meta.v6).filter(|outside| outside.protocol == protocol::UDP);
    let Some(outside) = outside else { return Ok(Next::Local) };
    let node = fleet.at(outside.source);
    if outside.is_fragment {
        return Ok(if node.is_some() { Next::Reassemble } else { Next::Local });
    }
    let datagram = packet.data().get(outside.at..).unwrap_or_default();
    if UdpHeader::view(datagram).is_none_or(|header| header.dst_port.get() != fleet.port()) {
        return Ok(Next::Local);
    }
    // 1. From a node?
    let node = node.ok_or(DropReason::RescueSource)?;
    check(datagram, packet.total_len() - outside.at, fleet)?;
    // 2. What is inside must be as sound as what comes by the wire.
    let start = outside.at + UdpHeader::LEN + RescueHeader::LEN;
    let inside = unwrap(packet, meta, start).map_err(|_| DropReason::RescueMalformed)?;
    // 3. At which endpoint?
    let endpoint = endpoint_of(packet.data(), &inside, tables).ok_or(DropReason::RescueEndpoint)?;
    *meta = inside;
    meta.slot = u32::from(endpoint.0);
    meta.rescued = true;
    if let Some(counters) = cx.stats.node(node) {
        counters.rescued_in.add(1);
    }
    Ok(Next::Endpoint)
}

/// The headers in front of the packet. `len` is the datagram's length, of which the first bytes are at hand.
fn check(datagram: &[u8], len: usize, fleet: &Fleet) -> Result<(), DropReason> {
    let udp = UdpHeader::view(datagram).ok_or(DropReason::RescueMalformed)?;
    let payload = datagram.get(UdpHeader::LEN..).ok_or(DropReason::RescueMalformed)?;
    let header = RescueHeader::parse(payload).ok_or(DropReason::RescueMalformed)?;
    if !fleet.accepts(&header.token) {
        return Err(DropReason::RescueToken);
    }
    if usize::from(udp.len.get()) == len { Ok(()) } else { Err(DropReason::RescueMalformed) }
}

/// Takes the first `start` bytes off and returns what is known of the packet behind them.
fn unwrap<B: Buffer>(packet: &mut B, meta: &Meta, start: usize) -> Result<Meta, DropReason> {
    let mut inside = Meta::new(InterfaceId(meta.interface), VrfId::INTERNET);
    match packet.data().get(start).map(|byte| byte >> 4) {
        Some(4) => classify::ipv4(packet, &mut inside, start)?,
        Some(6) => classify::ipv6(packet, &mut inside, start)?,
        _ => return Err(DropReason::RescueMalformed),
    };
    Ok(inside)
}

/// The endpoint that a packet is for; not our data address.
fn endpoint_of(l3: &[u8], meta: &Meta, tables: &Snapshot) -> Option<EndpointId> {
    let routes = tables.vrf(VrfId::INTERNET)?;
    let hop = Hop::from_bits(if meta.v6 {
        routes.v6.lookup(Ipv6Header::view(l3)?.dst.get())
    } else {
        routes.v4.lookup(meta.dst_v4)
    });
    let is_endpoint = hop.kind() == HopKind::Endpoint && hop != Hop::FLEET;
    is_endpoint.then_some(EndpointId(hop.slot() as u16))
}

/// A packet that another node handed over, at its endpoint: ESP or IKE and nothing else, and whole, or that node would
/// not have known whose it is.
#[inline(never)]
pub(crate) fn terminate<B: Buffer>(
    packet: &B,
    meta: &mut Meta,
    associations: &SaTable,
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    let outside = Outside::of(packet.data(), meta.v6).filter(|outside| !outside.is_fragment);
    let outside = outside.ok_or(DropReason::RescueMalformed)?;
    let next = match outside.protocol {
        protocol::ESP => locate::from_esp(packet, meta, associations, tables.fleet(), outside.at)?,
        protocol::UDP => locate::from_udp(packet, meta, associations, tables.fleet(), outside.at)?,
        _ => return Err(DropReason::RescueMalformed),
    };
    if next == Next::Local { Err(DropReason::RescueMalformed) } else { Ok(next) }
}
