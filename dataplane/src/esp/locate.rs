//! Which security association does a packet to an endpoint belong to: ESP, or ESP in UDP (RFC 3948), and the SPI.
//!
//! IKE, at UDP 500 or behind four zero bytes at 4500, has a lane of its own; keepalives end here. In a fleet ESP under an
//! SPI that is unknown here, and IKE, may belong to another node.

use super::sa::Spi;
use super::table::SaTable;
use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::ids::EndpointId;
use crate::ike;
use crate::pipeline::Pipeline;
use crate::tables::Fleet;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::protocol;
use crate::wire::udp::{NAT_T_PORT, UdpHeader};

/// One byte instead of a packet (RFC 3948 2.3).
const KEEPALIVE: u8 = 0xff;

const PLAIN_AT: usize = Ipv4Header::LEN;
const PLAIN_UDP_AT: usize = Ipv4Header::LEN + UdpHeader::LEN;

impl<D: Driver> Pipeline<D> {
    /// The packets of an endpoint lane that are ESP in IPv4 without options and belong to an association of ours, which
    /// `found` names from then on. The others are as they were.
    #[inline(never)]
    pub(crate) fn find_associations(&mut self, lane: Lane) -> Lane {
        let mut found = Lane::EMPTY;
        // Packets of a burst mostly share their association.
        let (mut last, mut last_slot) = ((EndpointId(0), 0), None);
        for i in lane {
            let (Some(packet), meta) = (&self.slots[i], &mut self.meta[i]) else { continue };
            let Some((at, spi)) = plain(packet, meta) else { continue };
            let endpoint = EndpointId(meta.slot as u16);
            if last != (endpoint, spi) {
                last = (endpoint, spi);
                last_slot = self.esp.table.find(endpoint, spi);
            }
            if let Some(slot) = last_slot {
                meta.found = slot;
                meta.esp_at = at as u8;
                found.push(i);
            }
        }
        found
    }
}

/// Offset of the ESP header, and the SPI.
#[inline(always)]
fn plain<B: Buffer>(packet: &B, meta: &Meta) -> Option<(usize, u32)> {
    let start = packet.data().first_chunk::<{ PLAIN_UDP_AT + 8 }>()?;
    let outer = Ipv4Header::view(start)?;
    if outer.version_ihl != 0x45 || outer.is_fragment() || meta.v6 || meta.tunnel_in().is_some() {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    if outer.protocol == protocol::ESP {
        return Some((PLAIN_AT, word(PLAIN_AT)));
    }
    let is_nat_t = outer.protocol == protocol::UDP && word(PLAIN_AT) & 0xffff == u32::from(NAT_T_PORT);
    is_nat_t.then(|| (PLAIN_UDP_AT, word(PLAIN_UDP_AT)))
}

/// Any other packet with an ESP header at `at`.
#[inline(never)]
pub(crate) fn from_esp<B: Buffer>(
    packet: &B,
    meta: &mut Meta,
    table: &SaTable,
    fleet: Option<&Fleet>,
    at: usize,
) -> Result<Next, DropReason> {
    let spi = packet.data().get(at..).and_then(|esp| esp.first_chunk()).ok_or(DropReason::EspTruncated)?;
    let spi = u32::from_be_bytes(*spi);
    if spi < Spi::FIRST.0 {
        return Err(DropReason::EspSpiReserved);
    }
    let Some(found) = table.find(EndpointId(meta.slot as u16), spi) else {
        let owner = others(fleet, meta).and_then(|fleet| fleet.owner_of_esp(spi));
        meta.found = u32::from(owner.ok_or(DropReason::EspSaUnknown)?);
        return Ok(Next::Rescue);
    };
    meta.found = found;
    meta.esp_at = u8::try_from(at).map_err(|_| DropReason::EspTruncated)?;
    Ok(Next::Open)
}

/// Any other packet with a UDP header at `at`: ESP, IKE, a keepalive, or another service's.
#[inline(never)]
pub(crate) fn from_udp<B: Buffer>(
    packet: &B,
    meta: &mut Meta,
    table: &SaTable,
    fleet: Option<&Fleet>,
    at: usize,
) -> Result<Next, DropReason> {
    let l4 = packet.data().get(at..).unwrap_or_default();
    if let Some(message) = ike::in_udp(l4) {
        let owner = others(fleet, meta).and_then(|fleet| fleet.owner_of_ike(ike::our_spi(message)?));
        let Some(owner) = owner else { return Ok(Next::Ike) };
        meta.found = u32::from(owner);
        return Ok(Next::Rescue);
    }
    let Some(header) = UdpHeader::view(l4) else { return Ok(Next::Local) };
    if header.dst_port.get() != NAT_T_PORT {
        return Ok(Next::Local);
    }
    match l4.get(UdpHeader::LEN..).unwrap_or_default() {
        [KEEPALIVE] => Err(DropReason::NatTKeepalive),
        _ => from_esp(packet, meta, table, fleet, at + UdpHeader::LEN),
    }
}

/// The nodes that a packet may belong to. What one of them handed over goes no further: two nodes may each believe that
/// the other is the owner.
fn others<'a>(fleet: Option<&'a Fleet>, meta: &Meta) -> Option<&'a Fleet> {
    fleet.filter(|_| !meta.rescued)
}
