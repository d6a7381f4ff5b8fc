//! Out of an ESP tunnel (RFC 4303 3.4), in steps over the burst: lengths and windows; authentication and decryption of
//! all; windows again; trailer and inner packet, which is then routed in the tenant's table.
//!
//! Nothing of a packet is believed before it is authentic, but the SPI and the sequence number, which only choose what to
//! check it with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;

use super::Esp;
use super::cipher::OpenJob;
use super::replay::ReplayError;
use super::sa::Inbound;
use super::table::SaTable;
use super::trailer::{self, Trailer};
use crate::burst::{Lane, Meta, Next};
use crate::drop_reason::DropReason;
use crate::frame::{BURST, Buffer, Driver};
use crate::ids::TunnelId;
use crate::inner::{admit_v4, admit_v6};
use crate::pipeline::{Context, Event, Pipeline};
use crate::tables::{Snapshot, Tunnel};
use crate::watch::Watch;
use crate::wire::ipv4::Ipv4Header;
use crate::wire::ipv6::{self, Ipv6Header};
use crate::wire::protocol;
use crate::wire::udp::UdpHeader;

/// SPI and sequence number.
const HEADER_LEN: usize = 8;

impl<D: Driver> Pipeline<D> {
    /// Takes a lane, whose packets' associations were found, out of their tunnels to the route lanes.
    #[inline(always)]
    pub(crate) fn open(&mut self, lane: Lane, tables: &Snapshot) {
        self.fetch_inbound(lane, tables);
        self.watch_opening(lane);
        let Decrypted { mut authentic, windowed, failed } = self.decrypt(lane);
        for (i, reason) in failed {
            self.refuse_inbound(usize::from(i), reason);
        }
        if !windowed.is_empty() {
            authentic = self.mark_windows(authentic, windowed);
        }
        self.release(authentic, tables);
    }

    /// Step 1: is it long enough, in one piece, and not old; step 2: authentication and decryption in place.
    #[inline(never)]
    fn decrypt(&mut self, lane: Lane) -> Decrypted {
        let mut failed = ArrayVec::new();
        let (mut fitting, mut windowed) = (Lane::EMPTY, Lane::EMPTY);
        let Esp { table, engine, numbers, .. } = &mut self.esp;
        let mut jobs = ArrayVec::<OpenJob<'_>, BURST>::new();
        for (i, slot) in lane.of(&mut self.slots) {
            let (Some(packet), meta) = (slot, &self.meta[i]) else { continue };
            let Some(sa) = table.inbound(meta.found) else {
                failed.push((i as u8, DropReason::EspSaUnknown));
                continue;
            };
            match check(packet, meta, sa) {
                Ok((number, esp)) => {
                    numbers[i] = number;
                    if sa.replay.is_some() {
                        windowed.push(i);
                    }
                    fitting.push(i);
                    let high = sa.esn.then_some((number >> 32) as u32);
                    jobs.push(OpenJob::new(&sa.cipher, esp, high));
                }
                Err(reason) => failed.push((i as u8, reason)),
            }
        }
        engine.open(&mut jobs);
        let mut authentic = Lane::EMPTY;
        for (i, job) in fitting.zip(&jobs) {
            if job.is_authentic() {
                authentic.push(i);
            } else {
                failed.push((i as u8, DropReason::EspAuth));
            }
        }
        Decrypted { authentic, windowed, failed }
    }

    /// Step 3: an authentic number counts as received; of two packets with the same number one wins.
    #[inline(never)]
    fn mark_windows(&mut self, authentic: Lane, windowed: Lane) -> Lane {
        let mut rest = authentic.within(windowed);
        let mut fresh = authentic;
        while let Some(first) = rest.next() {
            // Packets of one association that follow each other are marked together.
            let found = self.meta[first].found;
            let mut run = Lane::one(first);
            while let Some(next) = rest.first()
                && self.meta[next].found == found
            {
                rest = rest.without(Lane::one(next));
                run.push(next);
            }
            fresh = fresh.without(self.mark_run(run, found));
        }
        fresh
    }

    /// Returns those that lost.
    #[inline(never)]
    fn mark_run(&mut self, run: Lane, found: u32) -> Lane {
        let numbers: ArrayVec<u64, BURST> = run.map(|i| self.esp.numbers[i]).collect();
        let mut accepted = [false; BURST];
        if let Some(window) = self.esp.table.inbound(found).and_then(|sa| sa.replay.as_ref()) {
            window.mark_all(&numbers, &mut accepted);
        }
        let mut lost = Lane::EMPTY;
        for (i, accepted) in run.zip(accepted) {
            if !accepted {
                lost.push(i);
                self.refuse_inbound(i, DropReason::EspReplay);
            }
        }
        lost
    }

    /// Step 4: the inner packet.
    #[inline(never)]
    fn release(&mut self, fresh: Lane, tables: &Snapshot) {
        let mut failed = ArrayVec::<(u8, DropReason), BURST>::new();
        let (mut v4, mut v6) = (Lane::EMPTY, Lane::EMPTY);
        // Packets of a burst mostly share their association.
        let mut run = Run::NONE;
        for i in fresh {
            let (Some(packet), meta) = (&mut self.slots[i], &mut self.meta[i]) else { continue };
            if run.found != meta.found {
                run.end(&self.cx);
                run = Run::begin(meta.found, &self.esp.table, tables);
            }
            match release(packet, meta, &self.cx, &mut run, self.esp.numbers[i], tables) {
                Ok(Next::RouteV6) => v6.push(i),
                Ok(_) => v4.push(i),
                Err(reason) => failed.push((i as u8, reason)),
            }
        }
        run.end(&self.cx);
        self.lanes.add(Next::RouteV4, v4);
        self.lanes.add(Next::RouteV6, v6);
        if let Some(watch) = self.cx.watch.recorder() {
            for i in v4.chain(v6) {
                if let Some(packet) = &self.slots[i] {
                    watch.came_out(i, packet, &self.meta[i], D::now());
                }
            }
        }
        for (i, reason) in failed {
            self.refuse_inbound(usize::from(i), reason);
        }
    }

    /// Whoever watches wants to know the association of packets that die of it, too.
    #[inline(always)]
    fn watch_opening(&mut self, lane: Lane) {
        let Some(watch) = self.cx.watch.recorder() else { return };
        for i in lane {
            let (Some(packet), meta) = (&self.slots[i], &self.meta[i]) else { continue };
            if let Some(sa) = self.esp.table.inbound(meta.found) {
                watch.opening(i, packet, meta, TunnelId(sa.tunnel));
            }
        }
    }

    fn refuse_inbound(&mut self, i: usize, reason: DropReason) {
        if let Some(sa) = self.esp.table.inbound(self.meta[i].found) {
            sa.counters.refused.add(1);
        }
        self.kill(i, reason);
    }
}

/// What steps 1 and 2 made of a burst.
struct Decrypted {
    authentic: Lane,
    /// Those that have a replay window.
    windowed: Lane,
    failed: ArrayVec<(u8, DropReason), BURST>,
}

/// Returns the whole sequence number, and the packet from its ESP header on.
#[inline(always)]
fn check<'p, B: Buffer>(
    packet: &'p mut B,
    meta: &Meta,
    sa: &Inbound,
) -> Result<(u64, &'p mut [u8]), DropReason> {
    let len = packet.total_len();
    if !packet.is_contiguous() && !packet.pull_up(len) {
        return Err(DropReason::EspSplit);
    }
    let around = HEADER_LEN + usize::from(sa.lengths.iv) + usize::from(sa.lengths.icv);
    let esp = packet.data_mut().get_mut(usize::from(meta.esp_at)..).unwrap_or_default();
    let body_len = esp.len().wrapping_sub(around);
    sa.fits(body_len, len)?;
    let low = esp.get(4..8).and_then(|bytes| bytes.first_chunk()).map_or(0, |low| u32::from_be_bytes(*low));
    let number = match &sa.replay {
        None => u64::from(low),
        Some(window) => window.check(low).map_err(|error| match error {
            ReplayError::Duplicate => DropReason::EspReplay,
            ReplayError::TooOld => DropReason::EspTooOld,
        })?,
    };
    Ok((number, esp))
}

/// Packets of one association, one after the other, and what they share.
struct Run<'a> {
    found: u32,
    /// The association, and its tunnel if that is still the same.
    way: Option<(&'a Inbound, Option<&'a Tunnel>)>,
    packets: u64,
    bytes: u64,
    newest: u64,
}

impl<'a> Run<'a> {
    const NONE: Self = Self { found: u32::MAX, way: None, packets: 0, bytes: 0, newest: 0 };

    #[inline(always)]
    fn begin(found: u32, table: &'a SaTable, tables: &'a Snapshot) -> Self {
        let way = table.inbound(found).map(|sa| {
            let tunnel = tables.tunnels.get(sa.tunnel as usize);
            (sa, tunnel.filter(|tunnel| tunnel.live && tunnel.esp && tunnel.incarnation == sa.incarnation))
        });
        let newest = way.map_or(0, |(sa, _)| sa.counters.sequence.get());
        Self { found, way, packets: 0, bytes: 0, newest }
    }

    #[inline(always)]
    fn end<D: Driver>(&self, cx: &Context<D>) {
        let Some((sa, tunnel)) = self.way else { return };
        sa.counters.sequence.set(self.newest);
        // Whatever was inside, the peer has shown that it lives (RFC 7296 2.4).
        sa.counters.last_used.set(cx.now);
        if sa.replay.is_none() && tunnel.is_some_and(|tunnel| tunnel.udp) {
            sa.newest.fetch_max(self.newest, Ordering::Relaxed);
        }
        if self.packets == 0 {
            return;
        }
        sa.counters.count(self.packets, self.bytes, cx.now);
        if let Some(counters) = cx.stats.tunnel(TunnelId(sa.tunnel)) {
            counters.decap_packets.add(self.packets);
            counters.decap_bytes.add(self.bytes);
        }
    }
}

#[inline(always)]
fn release<D: Driver>(
    packet: &mut D::Buffer,
    meta: &mut Meta,
    cx: &Context<D>,
    run: &mut Run<'_>,
    number: u64,
    tables: &Snapshot,
) -> Result<Next, DropReason> {
    let Some((sa, tunnel)) = run.way else { return Err(DropReason::EspSaUnknown) };
    let tunnel = tunnel.ok_or(DropReason::TunnelGone)?;
    meta.set_tunnel_in(TunnelId(sa.tunnel));
    meta.vrf = tunnel.vrf;
    meta.handed = false;
    if tunnel.udp && usize::from(meta.esp_at) > UdpHeader::LEN {
        note_peer(packet.data(), meta, cx, sa, tunnel, number, run.newest);
    }
    run.newest = run.newest.max(number);
    // 1. What is around the payload.
    let tos = outer_tos(packet.data(), meta.v6);
    let data = packet.data_mut();
    let start = usize::from(meta.esp_at) + HEADER_LEN + usize::from(sa.lengths.iv);
    let end = data.len().wrapping_sub(usize::from(sa.lengths.icv));
    let body = data.get_mut(start..end).ok_or(DropReason::EspTruncated)?;
    let trailer = trailer::read(body).ok_or(DropReason::EspPadding)?;
    let inner = body.get_mut(..trailer.payload_len).ok_or(DropReason::EspPadding)?;
    // 2. The inner packet. TFC padding may follow it (RFC 4303 2.7).
    let (inner_len, next) = if trailer.next_header == protocol::IPV4 {
        if !sa.selectors.admit_inbound(inner, false) {
            return Err(DropReason::EspSelector);
        }
        (admit_v4(inner, trailer.payload_len, meta, tables, tunnel, tos)?, Next::RouteV4)
    } else {
        (release_other(inner, meta, sa, tunnel, trailer, tos, tables)?, Next::RouteV6)
    };
    if !packet.narrow(start, inner_len) {
        return Err(DropReason::EspTruncated);
    }
    run.packets += 1;
    run.bytes += inner_len as u64;
    Ok(next)
}

/// IPv6, and what is not a packet.
#[inline(never)]
fn release_other(
    inner: &mut [u8],
    meta: &mut Meta,
    sa: &Inbound,
    tunnel: &Tunnel,
    trailer: Trailer,
    tos: u8,
    tables: &Snapshot,
) -> Result<usize, DropReason> {
    match trailer.next_header {
        protocol::IPV6 if !sa.selectors.admit_inbound(inner, true) => Err(DropReason::EspSelector),
        protocol::IPV6 => admit_v6(inner, trailer.payload_len, meta, tables, tunnel, tos),
        protocol::NO_NEXT_HEADER => Err(DropReason::EspDummy),
        _ => Err(DropReason::EspNextHeader),
    }
}

#[inline(always)]
fn outer_tos(outer: &[u8], v6: bool) -> u8 {
    if v6 {
        Ipv6Header::view(outer).map_or(0, Ipv6Header::traffic_class)
    } else {
        Ipv4Header::view(outer).map_or(0, |header| header.tos)
    }
}

/// An authentic packet from another address or port than the tunnel's: the NAT in front of the peer has moved (RFC 7296
/// 2.23). Control is told, and sends there. Only the newest packet counts, so that nobody moves a tunnel by sending an
/// old one again.
#[inline(always)]
fn note_peer<D: Driver>(
    outer: &[u8],
    meta: &Meta,
    cx: &Context<D>,
    sa: &Inbound,
    tunnel: &Tunnel,
    number: u64,
    newest: u64,
) {
    let udp_at = usize::from(meta.esp_at) - UdpHeader::LEN;
    let Some(udp) = outer.get(udp_at..).and_then(UdpHeader::view) else { return };
    let port = udp.src_port.get();
    let from = if meta.v6 {
        ipv6::transport(outer).zip(Ipv6Header::view(outer)).map(|(transport, header)| {
            (transport.protocol, IpAddr::from(Ipv6Addr::from_bits(header.src.get())))
        })
    } else {
        Ipv4Header::view(outer)
            .map(|header| (header.protocol, IpAddr::from(Ipv4Addr::from_bits(header.src.get()))))
    };
    // ESP without UDP may come at any time (RFC 7296 2.23), and has no ports.
    let Some((protocol::UDP, address)) = from else { return };
    if (tunnel.is_remote(address) && port == tunnel.udp_remote_port())
        || !is_newest(sa, number, newest)
        || !same_family(address, tunnel)
    {
        return;
    }
    // A full queue loses the notice; the next packet brings another.
    let _ = cx.events.push(Event::PeerMoved { tunnel: TunnelId(sa.tunnel), spi: sa.spi, address, port });
}

/// The window knows what all workers received. It has this number already; what is kept in its place has not.
fn is_newest(sa: &Inbound, number: u64, newest: u64) -> bool {
    match &sa.replay {
        Some(window) => number >= window.newest(),
        None => number > newest.max(sa.newest.load(Ordering::Relaxed)),
    }
}

fn same_family(address: IpAddr, tunnel: &Tunnel) -> bool {
    address.is_ipv6() == tunnel.outer_v6
}
