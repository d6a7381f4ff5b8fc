//! Plain forwarding: TTL, MTU and MSS, then on to layer 2. The packet keeps its headers.

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver};
use crate::mss;
use crate::pipeline::{Context, Onward, Pipeline};
use crate::tables::tunnel::{DEFAULT_TTL, MSS_OFF};
use crate::tables::{Adjacency, Snapshot};
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::Ipv6Header;

impl<D: Driver> Pipeline<D> {
    /// Empties the forward lane.
    #[inline(never)]
    pub(crate) fn forward(&mut self, tables: &Snapshot) {
        self.each_leaving(Next::Forward, tables, |packet, meta, cx| forward(packet, meta, cx, tables));
    }
}

#[inline(always)]
fn forward<'a, D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    tables: &'a Snapshot,
) -> Result<Onward<&'a Adjacency>, DropReason> {
    let adjacency = tables.adjacencies.get(meta.slot as usize).ok_or(DropReason::NoRoute)?;
    if packet.total_len() > usize::from(adjacency.mtu) {
        meta.limit = adjacency.mtu;
        meta.into_tunnel = false;
        return Ok(Onward::Lane(too_big_or_expired(packet.data(), meta.v6)));
    }
    let l3 = packet.data_mut();
    if !decrement_ttl(l3, meta.v6) {
        return Ok(Onward::Lane(Next::Expired));
    }
    if meta.mss != MSS_OFF
        && clamp(l3, meta.v6, meta.mss)
        && let Some(counters) = meta.tunnel_in().and_then(|id| cx.stats.tunnel(id))
    {
        counters.clamped.add(1);
    }
    Ok(Onward::Leave(adjacency))
}

/// TTL of a packet that is made here and then forwarded like any other, so that it leaves with 64.
pub(crate) const ORIGIN_TTL: u8 = DEFAULT_TTL + 1;

/// The TTL is judged before the size: both tell the sender, but a loop must end.
#[inline(never)]
pub(crate) fn too_big_or_expired(l3: &[u8], v6: bool) -> Next {
    let ttl = if v6 {
        Ipv6Header::view(l3).map_or(0, |header| header.hop_limit)
    } else {
        Ipv4Header::view(l3).map_or(0, |header| header.ttl)
    };
    if ttl <= 1 { Next::Expired } else { Next::TooBig }
}

/// Takes one hop off; false, and nothing changed, when none is left (RFC 1812 5.3.1).
#[inline(always)]
pub(crate) fn decrement_ttl(l3: &mut [u8], v6: bool) -> bool {
    if v6 {
        match Ipv6Header::view_mut(l3) {
            Some(header) if header.hop_limit > 1 => {
                header.decrement_hop_limit();
                true
            }
            _ => false,
        }
    } else {
        match Ipv4Header::view_mut(l3) {
            Some(header) if header.ttl > 1 => {
                header.decrement_ttl();
                true
            }
            _ => false,
        }
    }
}

/// Clamps the MSS of a SYN; true when it was lowered.
#[inline(always)]
pub(crate) fn clamp(l3: &mut [u8], v6: bool, limit: u16) -> bool {
    if v6 {
        mss::may_be_syn_v6(l3) && mss::clamp_v6(l3, limit) == mss::Clamp::Clamped
    } else {
        mss::may_be_syn_v4(l3) && mss::clamp_v4(l3, limit) == mss::Clamp::Clamped
    }
}
