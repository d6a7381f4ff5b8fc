//! Into an ESP tunnel (RFC 4303 3.3), in steps over the burst: who seals it and may it go in; numbers, trailer and
//! outer header; encryption of all; out.
//!
//! Nothing leaves in the clear and nothing is sealed without a lease: the IV comes from the worker's sender.

use arrayvec::ArrayVec;

use super::cipher::SealJob;
use super::sa::Outbound;
use super::table::SaTable;
use super::{Esp, trailer};
use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::{clamp, decrement_ttl, too_big_or_expired};
use crate::frame::{BURST, Buffer, Driver};
use crate::ids::TunnelId;
use crate::outer::{self, Fields, is_cut_outside};
use crate::pipeline::{Context, Event, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::{ESP_BLOCK, MSS_OFF, OUTER_LEN};
use crate::tables::{Snapshot, Tunnel};
use crate::wire::checksum::Checksum;
use crate::wire::ipv6::Ipv6Header;
use crate::wire::protocol;
use crate::wire::udp::UdpHeader;

/// What the steps must remember of a packet beside its meta: `found` is its tunnel, `slot` its adjacency.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    fields: Fields,
    inner_len: u16,
    inner_v6: bool,
    oversize: bool,
    flow_label: u32,
}

impl Plan {
    pub const NONE: Self =
        Self { fields: Fields::NONE, inner_len: 0, inner_v6: false, oversize: false, flow_label: 0 };
}

enum Prepared {
    Seal(Plan),
    Lane(Next),
}

impl<D: Driver> Pipeline<D> {
    /// Empties the seal lane.
    #[inline(always)]
    pub(crate) fn seal(&mut self, tables: &Snapshot) {
        if !self.lanes.is_empty(Next::Seal) {
            let lane = self.lanes.take(Next::Seal);
            let lane = self.spread_outbound(lane);
            self.fetch_outbound(lane, tables);
            let ready = self.prepare(lane, tables);
            let sealed = self.encrypt(ready, tables);
            self.leave_sealed(sealed, tables);
        }
    }

    /// Step 1: everything about the inner packet. Returns those that can be sealed.
    #[inline(never)]
    fn prepare(&mut self, lane: Lane, tables: &Snapshot) -> Lane {
        let mut ready = Lane::EMPTY;
        for i in lane {
            let (Some(packet), meta) = (&mut self.slots[i], &mut self.meta[i]) else { continue };
            match prepare(packet, meta, &mut self.cx, &self.esp.table, tables, self.spread.peers.me()) {
                Ok(Prepared::Seal(plan)) => {
                    self.esp.plans[i] = plan;
                    ready.push(i);
                }
                Ok(Prepared::Lane(next)) => self.lanes.push(next, i),
                Err(reason) => self.kill(i, reason),
            }
        }
        ready
    }

    /// Steps 2 and 3: the packets as they will be, and encryption in place. Returns those that succeeded.
    #[inline(never)]
    fn encrypt(&mut self, ready: Lane, tables: &Snapshot) -> Lane {
        let mut failed = ArrayVec::<(usize, DropReason), BURST>::new();
        let mut sealed = Lane::EMPTY;
        {
            let Esp { table, engine, sender, plans, .. } = &mut self.esp;
            let mut jobs = ArrayVec::<SealJob<'_>, BURST>::new();
            for (i, slot) in ready.of(&mut self.slots) {
                let (Some(packet), meta, plan) = (slot, &self.meta[i], &plans[i]) else { continue };
                let id = TunnelId(meta.found);
                let (Some(tunnel), Some(sa)) = (tables.tunnels.get(id.index()), table.outbound(id)) else {
                    failed.push((i, DropReason::EspNoSa));
                    continue;
                };
                let Some(sequence) = sa.next_sequence() else {
                    failed.push((i, DropReason::EspSequence));
                    continue;
                };
                if sa.is_soft_limit_news(sequence) {
                    // A full queue loses the notice; the hard limit is still kept.
                    let _ = self.cx.events.push(Event::SequenceSoftLimit { tunnel: id, spi: sa.spi });
                }
                let Some(sender) = sender else {
                    failed.push((i, DropReason::EspNoLease));
                    continue;
                };
                let Some(iv) = sender.next_iv() else {
                    failed.push((i, DropReason::EspIvExhausted));
                    continue;
                };
                let esp_at = match dress(packet, plan, tunnel, sa, &mut self.cx.next_ip_id) {
                    Ok(esp_at) => esp_at,
                    Err(reason) => {
                        failed.push((i, reason));
                        continue;
                    }
                };
                let Some(esp) = packet.data_mut().get_mut(esp_at..) else { continue };
                if let Some(header) = esp.first_chunk_mut() {
                    *header = (u64::from(sa.spi) << 32 | sequence & 0xffff_ffff).to_be_bytes();
                }
                let high = sa.esn.then_some((sequence >> 32) as u32);
                jobs.push(SealJob::new(&sa.cipher, esp, high, iv));
                sealed.push(i);
            }
            engine.seal(&mut jobs);
            for (i, job) in sealed.zip(&jobs) {
                if !job.is_sealed() {
                    failed.push((i, DropReason::EspTruncated));
                }
            }
        }
        for (i, reason) in failed {
            sealed = sealed.without(Lane::one(i));
            if let Some(sa) = self.esp.table.outbound(TunnelId(self.meta[i].found)) {
                sa.counters.refused.add(1);
            }
            self.kill(i, reason);
        }
        sealed
    }

    /// Step 4: counters, and out.
    #[inline(never)]
    fn leave_sealed(&mut self, sealed: Lane, tables: &Snapshot) {
        for i in sealed {
            let Some(mut packet) = self.take(i) else { continue };
            let (plan, meta) = (self.esp.plans[i], &mut self.meta[i]);
            let id = TunnelId(meta.found);
            let tunnel = tables.tunnels.get(id.index());
            let adjacency = tables.adjacencies.get(meta.slot as usize);
            let (Some(tunnel), Some(adjacency)) = (tunnel, adjacency) else {
                self.kill_taken(i, packet, DropReason::NoRoute);
                continue;
            };
            let inner_len = usize::from(plan.inner_len);
            if let Some(counters) = self.cx.stats.tunnel(id) {
                counters.encap_packets.add(1);
                counters.encap_bytes.add(inner_len as u64);
            }
            if let Some(sa) = self.esp.table.outbound(id) {
                sa.counters.count(inner_len, self.cx.now);
            }
            if tunnel.outer_v6 && tunnel.udp {
                fill_udp_checksum(packet.data_mut());
            }
            meta.v6 = tunnel.outer_v6;
            if plan.oversize {
                meta.limit = tunnel.piece_len();
                self.put(i, packet);
                self.lanes.push(Next::FragmentOuter, i);
            } else {
                self.leave(i, packet, adjacency, tables);
            }
        }
    }
}

#[inline(always)]
fn prepare<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    table: &SaTable,
    tables: &Snapshot,
    me: usize,
) -> Result<Prepared, DropReason> {
    let id = TunnelId(meta.slot);
    let tunnel = tables.tunnels.get(id.index()).filter(|tunnel| tunnel.live).ok_or(DropReason::TunnelGone)?;
    let sa = table.outbound(id).filter(|sa| sa.incarnation == tunnel.incarnation && sa.is_of(me));
    let sa = sa.ok_or(DropReason::EspNoSa)?;
    let len = packet.total_len();
    let inner_v6 = meta.v6;
    let oversize = len > usize::from(tunnel.mtu);
    if oversize && !is_cut_outside(meta, tunnel, len, sealed_len(len, tunnel, sa)) {
        meta.limit = tunnel.mtu;
        meta.into_tunnel = true;
        return Ok(Prepared::Lane(too_big_or_expired(packet.data(), inner_v6)));
    }
    if !packet.is_contiguous() && !packet.pull_up(len) {
        return Err(DropReason::EspSplit);
    }
    let l3 = packet.data_mut();
    if !sa.selectors.admit_outbound(l3, inner_v6) {
        return Err(DropReason::EspSelector);
    }
    if !decrement_ttl(l3, inner_v6) {
        return Ok(Prepared::Lane(Next::Expired));
    }
    let limit = meta.mss.min(if inner_v6 { tunnel.mss_v6 } else { tunnel.mss_v4 });
    if limit != MSS_OFF
        && clamp(l3, inner_v6, limit)
        && let Some(counters) = cx.stats.tunnel(id)
    {
        counters.clamped.add(1);
    }
    let mut fields = Fields::of(l3, inner_v6, tunnel);
    if oversize {
        fields.allow_fragments();
    }
    let flow_label = if tunnel.outer_v6 { outer::flow_label(l3, inner_v6) } else { 0 };
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    meta.found = id.0;
    sa.announce();
    Ok(Prepared::Seal(Plan { fields, inner_len: len as u16, inner_v6, oversize, flow_label }))
}

/// The length that a packet will have.
fn sealed_len(inner_len: usize, tunnel: &Tunnel, sa: &Outbound) -> usize {
    let lengths = sa.lengths;
    let body = inner_len + trailer::pad_len(inner_len, lengths.block_mask) + 2;
    usize::from(tunnel.outer_len) - ESP_BLOCK + 8 + usize::from(lengths.iv) + body + usize::from(lengths.icv)
}

/// Adds the trailer, room for IV and ICV, and the outer headers. Returns where the ESP header is, all zero.
#[inline(always)]
fn dress<B: Buffer>(
    packet: &mut B,
    plan: &Plan,
    tunnel: &Tunnel,
    sa: &Outbound,
    next_ip_id: &mut u16,
) -> Result<usize, DropReason> {
    // 1. Behind the packet.
    let inner_len = usize::from(plan.inner_len);
    let pad_len = trailer::pad_len(inner_len, sa.lengths.block_mask);
    let next_header = if plan.inner_v6 { protocol::IPV6 } else { protocol::IPV4 };
    let has_room = packet.append(pad_len + 2 + usize::from(sa.lengths.icv))
        && packet
            .data_mut()
            .get_mut(inner_len..)
            .is_some_and(|tail| trailer::write(tail, pad_len, next_header));
    if !has_room {
        return Err(DropReason::NoTailroom);
    }
    // 2. In front of it. The tunnel's block ends in an ESP header and eight bytes of IV.
    let outer_len = usize::from(tunnel.outer_len);
    let esp_at = outer_len - ESP_BLOCK;
    match sa.lengths.iv {
        8 => push(packet, &tunnel.outer, outer_len, plan, tunnel, next_ip_id)?,
        0 => {
            let mut block = [0; OUTER_LEN];
            block[8..].copy_from_slice(&tunnel.outer[..OUTER_LEN - 8]);
            push(packet, &block, outer_len - 8, plan, tunnel, next_ip_id)?;
        }
        _ => {
            if !packet.push_block(&[0; 8], 8) {
                return Err(DropReason::NoHeadroom);
            }
            push(packet, &tunnel.outer, outer_len, plan, tunnel, next_ip_id)?;
        }
    }
    if tunnel.udp {
        set_udp_len(packet, esp_at);
    }
    Ok(esp_at)
}

#[inline(always)]
fn push<B: Buffer>(
    packet: &mut B,
    block: &[u8; OUTER_LEN],
    len: usize,
    plan: &Plan,
    tunnel: &Tunnel,
    next_ip_id: &mut u16,
) -> Result<(), DropReason> {
    if tunnel.outer_v6 {
        outer::push_v6(packet, block, len, plan.fields, plan.flow_label)
    } else {
        outer::push_v4(packet, block, len, tunnel, plan.fields, next_ip_id)
    }
}

/// RFC 3948 2.1.
#[inline(always)]
fn set_udp_len<B: Buffer>(packet: &mut B, esp_at: usize) {
    let udp_at = esp_at.wrapping_sub(UdpHeader::LEN);
    let len = packet.total_len().wrapping_sub(udp_at) as u16;
    if let Some(field) = packet.data_mut().get_mut(udp_at + 4..udp_at + 6) {
        field.copy_from_slice(&len.to_be_bytes());
    }
}

/// Over IPv4 the checksum is left out (RFC 3948 2.1); over IPv6 kernels insist on it (RFC 8200 8.1).
#[inline(never)]
fn fill_udp_checksum(outer: &mut [u8]) {
    let Some(header) = Ipv6Header::view(outer) else { return };
    let (src, dst) = (header.src.get(), header.dst.get());
    let Some(datagram) = outer.get_mut(Ipv6Header::LEN..) else { return };
    let mut sum = Checksum::pseudo_v6(src, dst, protocol::UDP, datagram.len() as u32);
    sum.add_bytes(datagram);
    let value = match !sum.sum() {
        0 => 0xffff,
        value => value,
    };
    if let Some(field) = datagram.get_mut(6..8) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
