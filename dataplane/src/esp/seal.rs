//! Into an ESP tunnel (RFC 4303 3.3), in steps over the burst: how many numbers are needed; each packet's own, its
//! trailer and outer header; encryption of all; out.
//!
//! Nothing leaves in the clear and nothing is sealed without a lease: the IV comes from the worker's sender.

use arrayvec::ArrayVec;

use super::cipher::SealJob;
use super::dress::{Header, dress, fill_udp_checksum, sealed_len};
use super::iv::{Iv, Sender};
use super::sa::Outbound;
use super::table::SaTable;
use super::{Esp, plain};
use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::{clamp, decrement_ttl, too_big_or_expired};
use crate::frame::{BURST, Buffer, Driver};
use crate::ids::TunnelId;
use crate::outer::{self, Fields, is_cut_outside};
use crate::pipeline::{Context, Event, Pipeline};
use crate::route::underlay;
use crate::tables::tunnel::MSS_OFF;
use crate::tables::{Adjacency, HopKind, Snapshot, Tunnel};
use crate::watch::Watch;
use crate::wire::protocol;

/// What becomes of a packet in the loop over the burst.
enum Outcome<'p> {
    Seal(SealJob<'p>),
    Lane(Next),
}

/// Slots and why their packets die.
type Failures = ArrayVec<(u8, DropReason), BURST>;

impl<D: Driver> Pipeline<D> {
    /// Moves packets for ESP tunnels from the encap lane to the seal lane.
    #[inline(always)]
    pub(crate) fn sort_out_esp(&mut self, tables: &Snapshot) {
        let lane = self.lanes.get(Next::Encap);
        if !lane.is_empty() && !self.esp.table.is_empty() {
            self.sort_out(lane, tables);
        }
    }

    #[inline(never)]
    fn sort_out(&mut self, lane: Lane, tables: &Snapshot) {
        let mut esp = Lane::EMPTY;
        for i in lane {
            if tables.tunnels.get(self.meta[i].slot as usize).is_some_and(|tunnel| tunnel.esp) {
                esp.push(i);
            }
        }
        self.lanes.take(Next::Encap);
        self.lanes.add(Next::Encap, lane.without(esp));
        self.lanes.add(Next::Seal, esp);
    }

    /// Empties the seal lane.
    #[inline(always)]
    pub(crate) fn seal(&mut self, tables: &Snapshot) {
        if !self.lanes.is_empty(Next::Seal) {
            self.seal_lane(tables);
        }
    }

    fn seal_lane(&mut self, tables: &Snapshot) {
        let lane = self.lanes.take(Next::Seal);
        let lane = self.spread_outbound(lane);
        self.fetch_outbound(lane, tables);
        if let Some(watch) = self.cx.watch.recorder() {
            for i in lane {
                if let Some(packet) = &self.slots[i] {
                    let meta = &self.meta[i];
                    let tunnel = tables.tunnels.get(meta.slot as usize);
                    watch.sealing(i, packet, meta, tunnel, D::now());
                }
            }
        }
        self.announce(lane);
        let (sealed, failed) = self.encrypt(lane, tables);
        if !failed.is_empty() {
            self.refuse_outbound(&failed);
        }
        self.leave_sealed(sealed, tables);
    }

    /// Step 1: associations whose numbers several cores share are told how many will be needed.
    #[inline(always)]
    fn announce(&self, lane: Lane) {
        if self.esp.table.shares_numbers() {
            for i in lane {
                if let Some(sa) = self.esp.table.outbound(TunnelId(self.meta[i].slot)) {
                    sa.announce();
                }
            }
        }
    }

    /// Step 2: each packet as it will be; step 3: encryption in place. Returns those that succeeded, and what became of
    /// others.
    #[inline(never)]
    fn encrypt(&mut self, lane: Lane, tables: &Snapshot) -> (Lane, Failures) {
        let mut failed = Failures::new();
        let mut sealed = Lane::EMPTY;
        let me = self.spread.peers.me();
        let Esp { table, engine, sender, .. } = &mut self.esp;
        let mut jobs = ArrayVec::<SealJob<'_>, BURST>::new();
        // Packets of a burst mostly share their tunnel.
        let mut run = Run::NONE;
        for (i, slot) in lane.of(&mut self.slots) {
            let (Some(packet), meta) = (slot, &mut self.meta[i]) else { continue };
            if run.id.0 != meta.slot {
                run.end(&self.cx);
                run = Run::begin(TunnelId(meta.slot), table, tables, me);
            }
            meta.found = meta.slot;
            // Put together in its place: a job that is copied waits for its own parts to be written.
            if let Some((tunnel, sa)) = run.way
                && is_plain(packet, meta, tunnel, sa)
            {
                let len = packet.total_len();
                let failure = match numbers(sa, sender, run.id, &self.cx) {
                    Ok((sequence, iv)) => {
                        meta.slot = tunnel.underlay.slot();
                        match plain::enclose(packet, len, tunnel, sa, sequence, &mut self.cx.next_ip_id) {
                            Some(esp) => {
                                jobs.push(SealJob::new(&sa.cipher, esp, None, iv));
                                sealed.push(i);
                                run.count(len);
                                continue;
                            }
                            None => DropReason::NoTailroom,
                        }
                    }
                    Err(reason) => reason,
                };
                failed.push((i as u8, failure));
                continue;
            }
            match ready_other(packet, meta, &mut self.cx, sender, &mut run, tables) {
                Ok(Outcome::Seal(job)) => {
                    jobs.push(job);
                    sealed.push(i);
                }
                Ok(Outcome::Lane(next)) => {
                    if let Some(watch) = self.cx.watch.recorder() {
                        watch.turned(i, next, meta);
                    }
                    self.lanes.push(next, i);
                }
                Err(reason) => failed.push((i as u8, reason)),
            }
        }
        run.end(&self.cx);
        engine.seal(&mut jobs);
        let mut done = sealed;
        for (i, job) in sealed.zip(&jobs) {
            if !job.is_sealed() {
                done = done.without(Lane::one(i));
                failed.push((i as u8, DropReason::EspTruncated));
            }
        }
        (done, failed)
    }

    #[inline(never)]
    fn refuse_outbound(&mut self, failed: &Failures) {
        for (i, reason) in failed {
            let i = usize::from(*i);
            if let Some(sa) = self.esp.table.outbound(TunnelId(self.meta[i].found)) {
                sa.counters.refused.add(1);
            }
            self.kill(i, *reason);
        }
    }

    /// Step 4: out.
    #[inline(never)]
    fn leave_sealed(&mut self, sealed: Lane, tables: &Snapshot) {
        for i in sealed {
            let Some(packet) = self.take(i) else { continue };
            let meta = &self.meta[i];
            if let Some(watch) = self.cx.watch.recorder() {
                watch.sealed(i, &packet, meta, tables.tunnels.get(meta.found as usize));
            }
            let Some(adjacency) = tables.adjacencies.get(meta.slot as usize) else {
                self.kill_taken(i, packet, DropReason::NoRoute);
                continue;
            };
            if meta.unfinished {
                self.leave_unfinished(i, packet, adjacency, tables);
            } else {
                self.leave(i, packet, adjacency, tables);
            }
        }
    }

    #[inline(never)]
    fn leave_unfinished(
        &mut self,
        i: usize,
        mut packet: D::Buffer,
        adjacency: &Adjacency,
        tables: &Snapshot,
    ) {
        fill_udp_checksum(packet.data_mut());
        if self.meta[i].limit == 0 {
            self.leave(i, packet, adjacency, tables);
        } else {
            self.put(i, packet);
            self.lanes.push(Next::FragmentOuter, i);
        }
    }
}

/// Packets for one tunnel, one after the other, and what they share.
struct Run<'a> {
    id: TunnelId,
    /// The tunnel, and what this worker seals its packets under.
    way: Option<(&'a Tunnel, &'a Outbound)>,
    packets: u64,
    bytes: u64,
}

impl<'a> Run<'a> {
    const NONE: Self = Self { id: TunnelId(u32::MAX), way: None, packets: 0, bytes: 0 };

    #[inline(always)]
    fn begin(id: TunnelId, table: &'a SaTable, tables: &'a Snapshot, me: usize) -> Self {
        let tunnel = tables.tunnels.get(id.index()).filter(|tunnel| tunnel.live);
        let way = tunnel
            .zip(table.outbound(id))
            .filter(|(tunnel, sa)| sa.incarnation == tunnel.incarnation && sa.is_of(me));
        if let Some((_, sa)) = way {
            sa.take_announced();
        }
        Self { id, way, packets: 0, bytes: 0 }
    }

    #[inline(always)]
    fn count(&mut self, inner_len: usize) {
        self.packets += 1;
        self.bytes += inner_len as u64;
    }

    #[inline(always)]
    fn end<D: Driver>(&self, cx: &Context<D>) {
        let Some((_, sa)) = self.way.filter(|_| self.packets != 0) else { return };
        sa.count(self.packets, self.bytes, cx.now);
        if let Some(counters) = cx.stats.tunnel(self.id) {
            counters.encap_packets.add(self.packets);
            counters.encap_bytes.add(self.bytes);
        }
    }
}

/// Whether a packet can take the shortest way.
#[inline(always)]
fn is_plain<B: Buffer>(packet: &B, meta: &Meta, tunnel: &Tunnel, sa: &Outbound) -> bool {
    tunnel.plain_esp
        && sa.plain
        && !meta.v6
        && packet.total_len() <= usize::from(tunnel.mtu)
        && tunnel.underlay.lane() == HopKind::Adjacency as usize
        && packet.is_contiguous()
        && plain::is_plain(packet.data())
}

/// A packet's number and its IV.
#[inline(always)]
fn numbers<D: Driver>(
    sa: &Outbound,
    sender: &mut Option<Sender>,
    tunnel: TunnelId,
    cx: &Context<D>,
) -> Result<(u64, Iv), DropReason> {
    // Where the queue is full, the next packet tries again.
    let notify = || cx.events.push(Event::SequenceSoftLimit { tunnel, spi: sa.spi }).is_ok();
    let sender = sender.as_mut().ok_or(DropReason::EspNoLease)?;
    let sequence = sa.next_sequence(notify)?;
    let iv = sender.next_iv().ok_or(DropReason::EspIvExhausted)?;
    Ok((sequence, iv))
}

/// Everything that is not as usual: IPv6 on either side, UDP, ESN, CBC, selectors, SYNs, what does not fit.
#[inline(never)]
fn ready_other<'p, D: Driver>(
    packet: &'p mut D::Buffer,
    meta: &mut Meta,
    cx: &mut Context<D>,
    sender: &mut Option<Sender>,
    run: &mut Run<'p>,
    tables: &Snapshot,
) -> Result<Outcome<'p>, DropReason> {
    let Some((tunnel, sa)) = run.way else { return Err(DropReason::EspNoSa) };
    // 1. The inner packet.
    let len = packet.total_len();
    let inner_v6 = meta.v6;
    let oversize = len > usize::from(tunnel.mtu) && !meta.probe;
    if oversize && !is_cut_outside(meta, tunnel, len, sealed_len(len, tunnel, sa)) {
        meta.limit = tunnel.mtu;
        meta.into_tunnel = true;
        return Ok(Outcome::Lane(too_big_or_expired(packet.data(), inner_v6)));
    }
    if !packet.is_contiguous() && !packet.pull_up(len) {
        return Err(DropReason::EspSplit);
    }
    let l3 = packet.data_mut();
    if !sa.selectors.admit_outbound(l3, inner_v6) {
        return Err(DropReason::EspSelector);
    }
    if !decrement_ttl(l3, inner_v6) {
        return Ok(Outcome::Lane(Next::Expired));
    }
    let limit = meta.mss.min(if inner_v6 { tunnel.mss_v6 } else { tunnel.mss_v4 });
    if limit != MSS_OFF
        && clamp(l3, inner_v6, limit)
        && let Some(counters) = cx.stats.tunnel(run.id)
    {
        counters.clamped.add(1);
    }
    let mut fields = Fields::of(l3, inner_v6, tunnel);
    meta.limit = 0;
    if oversize {
        fields.allow_fragments();
        meta.limit = tunnel.piece_len();
    }
    let flow_label = if tunnel.outer_v6 { outer::flow_label(l3, inner_v6) } else { 0 };
    meta.slot = underlay(tunnel.underlay, packet, meta, tables)?;
    meta.v6 = tunnel.outer_v6;
    meta.unfinished = oversize || (tunnel.udp && tunnel.outer_v6);
    // 2. Its number and its IV.
    let (sequence, iv) = numbers(sa, sender, run.id, cx)?;
    // 3. What is around it.
    let next_header = if inner_v6 { protocol::IPV6 } else { protocol::IPV4 };
    let header = Header { fields, flow_label, next_header };
    let esp_at = dress(packet, len, &header, tunnel, sa, &mut cx.next_ip_id)?;
    let esp = packet.data_mut().get_mut(esp_at..).ok_or(DropReason::NoHeadroom)?;
    if let Some(header) = esp.first_chunk_mut() {
        *header = (u64::from(sa.spi) << 32 | sequence & 0xffff_ffff).to_be_bytes();
    }
    let high = sa.esn.then_some((sequence >> 32) as u32);
    run.count(len);
    Ok(Outcome::Seal(SealJob::new(&sa.cipher, esp, high, iv)))
}
