//! What a worker notes while somebody watches.
//!
//! A packet stays in its slot of the burst from its beginning to its end, so the slot names its journey. Between bursts
//! there are none.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::Watch;
use super::journey::{End, Journey, Origin, Step};
use super::session::{MAX_SESSIONS, Session, WorkerEnd};
use super::synopsis::syn_mss;
use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::forward::{clamp, decrement_ttl};
use crate::frame::{BURST, Buffer};
use crate::ids::{AdjacencyId, TunnelId, VrfId};
use crate::tables::tunnel::ESP_BLOCK;
use crate::tables::{Hop, Tunnel};

/// One session and the packets in hand that it looks at.
struct Attached {
    session: Arc<Session>,
    worker: usize,
    /// There until this is dropped.
    end: Option<Box<WorkerEnd>>,
    held: [Option<Box<Journey>>; BURST],
}

impl Attached {
    fn to(session: &Arc<Session>, worker: usize) -> Option<Self> {
        let end = session.take_end(worker)?;
        let held = std::array::from_fn(|_| None);
        Some(Self { session: Arc::clone(session), worker, end: Some(end), held })
    }

    fn open(&mut self) -> Option<(Box<Journey>, u64)> {
        self.session.open(self.worker, self.end.as_mut()?)
    }

    fn close(&mut self, journey: Box<Journey>) {
        if let Some(end) = &mut self.end {
            self.session.close(self.worker, end, journey);
        }
    }
}

impl Drop for Attached {
    /// Nothing is freed: control does that, with the session.
    fn drop(&mut self) {
        if let Some(mut end) = self.end.take() {
            self.held.iter_mut().filter_map(Option::take).for_each(|journey| end.keep(journey));
            self.session.put_end(self.worker, end);
        }
    }
}

/// What was true of a packet before a stage that may change it.
#[derive(Clone, Copy, Default)]
struct Before {
    slot: u32,
    found: u32,
    len: usize,
    v6: bool,
    mss: Option<u16>,
}

/// A look-up, as the route stage sees it.
pub(crate) struct LookedUp {
    pub vrf: u16,
    pub behind: Option<u16>,
    pub dst: u128,
    pub hop: Hop,
    pub of_group: bool,
}

/// Notes for all sessions what becomes of a worker's packets.
#[derive(Default)]
pub struct Recorder {
    worker: usize,
    attached: ArrayVec<Attached, MAX_SESSIONS>,
    before: Before,
}

impl Watch for Recorder {
    #[inline(always)]
    fn recorder(&mut self) -> Option<&mut Recorder> {
        Some(self)
    }
}

impl Recorder {
    /// A recorder of one worker, between bursts. Sessions beyond [`MAX_SESSIONS`] are not attached.
    pub(crate) fn new(worker: usize, sessions: &[Arc<Session>]) -> Self {
        let mut recorder = Self { worker, ..Self::default() };
        recorder.attach(sessions);
        recorder
    }

    /// Attaches these sessions in place of those before, between bursts.
    pub(crate) fn attach(&mut self, sessions: &[Arc<Session>]) {
        // First those that stay must let go of their rings.
        self.attached.clear();
        let attach = |session| Attached::to(session, self.worker);
        self.attached.extend(sessions.iter().filter_map(attach).take(MAX_SESSIONS));
    }

    /// A packet begins its way in slot `i`.
    pub(crate) fn begin<B: Buffer>(&mut self, i: usize, origin: Origin, packet: &B, now: u64) {
        for attached in &mut self.attached {
            if let Some((mut journey, number)) = attached.open() {
                journey.begin(self.worker as u16, number, origin, now);
                journey.arrived.take(packet, 0, now);
                attached.held[i % BURST] = Some(journey);
            }
        }
    }

    /// The packet in slot `i` has come to its end.
    pub(crate) fn end(&mut self, i: usize, end: End, now: u64) {
        for attached in &mut self.attached {
            if let Some(mut journey) = attached.held[i % BURST].take() {
                (journey.end, journey.ended) = (end, now);
                attached.close(journey);
            }
        }
    }

    /// The packet in slot `i` is dropped: perhaps by the checks of a tunnel that it has not come out of yet.
    pub(crate) fn dropped(&mut self, i: usize, reason: DropReason, meta: &Meta, now: u64) {
        let of_tunnel = meta.tunnel_in();
        self.of(i, |journey| journey.tunnel_in = journey.tunnel_in.or(of_tunnel));
        self.end(i, End::Dropped(reason), now);
    }

    /// A packet that is in no slot any more is dropped.
    pub(crate) fn lose<B: Buffer>(&mut self, packet: &B, origin: Origin, reason: DropReason, now: u64) {
        for attached in &mut self.attached {
            if let Some((mut journey, number)) = attached.open() {
                journey.begin(self.worker as u16, number, origin, now);
                journey.arrived.take(packet, 0, now);
                journey.end = End::Dropped(reason);
                attached.close(journey);
            }
        }
    }

    /// Fragments whose bytes are gone are dropped.
    pub(crate) fn lose_fragments(&mut self, count: u64, reason: DropReason, now: u64) {
        for attached in &mut self.attached {
            for _ in 0..count {
                let Some((mut journey, number)) = attached.open() else { break };
                journey.begin(self.worker as u16, number, Origin::Fragment, now);
                journey.end = End::Dropped(reason);
                attached.close(journey);
            }
        }
    }

    /// A stage has decided.
    pub(crate) fn note(&mut self, i: usize, step: Step) {
        self.of(i, |journey| journey.note(step));
    }

    /// The packet, a frame by now, is about to leave.
    pub(crate) fn leaving<B: Buffer>(&mut self, i: usize, frame: &B, now: u64) {
        self.of(i, |journey| journey.left.take(frame, 0, now));
    }

    /// The packet has been looked up.
    pub(crate) fn looked_up(&mut self, i: usize, meta: &Meta, look: &LookedUp) {
        let step = Step::LookedUp {
            vrf: VrfId(look.vrf),
            behind: look.behind.map(VrfId),
            dst: look.dst,
            v6: meta.v6,
            hop: look.hop,
            of_group: look.of_group,
        };
        self.note(i, step);
    }

    /// The packet has come out of the tunnel that `meta` names.
    pub(crate) fn came_out<B: Buffer>(&mut self, i: usize, packet: &B, meta: &Meta, now: u64) {
        let Some(tunnel) = meta.tunnel_in() else { return };
        let len = packet.total_len() as u16;
        self.of(i, |journey| {
            journey.note(Step::CameOut { tunnel, len });
            journey.came_out.take(packet, 0, now);
        });
    }

    /// What a packet to an endpoint turned out to be.
    pub(crate) fn terminated<B: Buffer>(&mut self, i: usize, next: Next, packet: &B, meta: &Meta, now: u64) {
        match next {
            Next::RouteV4 | Next::RouteV6 => self.came_out(i, packet, meta, now),
            Next::Forward => self.note(i, Step::KeepaliveAnswered),
            Next::Reassemble => self.note(i, Step::Reassembling),
            Next::Endpoint => self.note(i, Step::RescuedIn),
            Next::Local | Next::Ike => self.note(i, Step::ForKernel),
            _ => {}
        }
    }

    /// A stage that works on single packets is about to look at this one.
    pub(crate) fn before<B: Buffer>(&mut self, packet: &B, meta: &Meta) {
        self.before = Before {
            slot: meta.slot,
            found: meta.found,
            len: packet.total_len(),
            v6: meta.v6,
            mss: syn_mss(packet.data(), meta.v6),
        };
    }

    /// The stage of `lane` is done with the packet, which goes on to `next`, or leaves.
    pub(crate) fn passed<B: Buffer>(
        &mut self,
        i: usize,
        lane: Next,
        next: Option<Next>,
        packet: &B,
        meta: &Meta,
        now: u64,
    ) {
        match next {
            None | Some(Next::FragmentOuter) => self.went_on(i, lane, packet, meta, now),
            Some(next) => self.turned(i, next, meta),
        }
    }

    /// The packet does not go on as it would have, but to `next`.
    pub(crate) fn turned(&mut self, i: usize, next: Next, meta: &Meta) {
        match next {
            Next::TooBig => {
                self.note(i, Step::TooBig { mtu: meta.limit, into_tunnel: meta.into_tunnel });
            }
            Next::Expired => self.note(i, Step::Expired),
            Next::RouteV4 | Next::RouteV6 => self.note(i, Step::PingAnswered),
            _ => {}
        }
    }

    fn went_on<B: Buffer>(&mut self, i: usize, lane: Next, packet: &B, meta: &Meta, now: u64) {
        let before = self.before;
        // What is new is in front.
        let front = packet.total_len().saturating_sub(before.len);
        let inner = packet.data().get(front..).unwrap_or_default();
        let mss = before.mss.zip(syn_mss(inner, before.v6));
        match lane {
            Next::Forward => self.note(i, Step::Forwarded { adjacency: AdjacencyId(before.slot), mss }),
            Next::Encap => self.of(i, |journey| {
                journey.note(Step::IntoTunnel { tunnel: TunnelId(before.slot), mss });
                journey.went_in.take(packet, front, now);
                journey.note(Step::Encapsulated {
                    adjacency: AdjacencyId(meta.slot),
                    len: packet.total_len() as u16,
                });
            }),
            Next::Rescue => self.note(i, Step::RescuedOut { node: before.found as u16 }),
            _ => {}
        }
    }

    /// The packet is about to be sealed. What the tunnel changes in it is done to the copy too: once it is encrypted
    /// nobody can see it.
    pub(crate) fn sealing<B: Buffer>(
        &mut self,
        i: usize,
        packet: &B,
        meta: &Meta,
        tunnel: Option<&Tunnel>,
        now: u64,
    ) {
        let of_tunnel = tunnel.map_or(u16::MAX, |tunnel| if meta.v6 { tunnel.mss_v6 } else { tunnel.mss_v4 });
        let limit = meta.mss.min(of_tunnel);
        let mss = syn_mss(packet.data(), meta.v6).map(|mss| (mss, mss.min(limit)));
        self.of(i, |journey| {
            journey.note(Step::IntoTunnel { tunnel: TunnelId(meta.slot), mss });
            journey.went_in.take(packet, 0, now);
            decrement_ttl(journey.went_in.bytes_mut(), meta.v6);
            clamp(journey.went_in.bytes_mut(), meta.v6, limit);
        });
    }

    /// The packet is sealed; its ESP header shows under what.
    pub(crate) fn sealed<B: Buffer>(&mut self, i: usize, packet: &B, meta: &Meta, tunnel: Option<&Tunnel>) {
        let esp_at = tunnel.map_or(0, |tunnel| usize::from(tunnel.outer_len)).saturating_sub(ESP_BLOCK);
        let Some((spi, sequence)) = esp_header(packet.data(), esp_at) else { return };
        let len = packet.total_len() as u16;
        self.note(i, Step::Sealed { adjacency: AdjacencyId(meta.slot), spi, sequence, len });
    }

    /// The association of a packet that is about to be opened.
    pub(crate) fn opening<B: Buffer>(&mut self, i: usize, packet: &B, meta: &Meta, tunnel: TunnelId) {
        let Some((spi, sequence)) = esp_header(packet.data(), usize::from(meta.esp_at)) else { return };
        self.note(i, Step::Association { tunnel, spi, sequence });
    }

    fn of(&mut self, i: usize, mut change: impl FnMut(&mut Journey)) {
        for Attached { held, .. } in &mut self.attached {
            if let Some(journey) = &mut held[i % BURST] {
                change(journey);
            }
        }
    }
}

fn esp_header(outer: &[u8], at: usize) -> Option<(u32, u32)> {
    let word = |at: usize| outer.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
    Some((word(at)?, word(at + 4)?))
}
