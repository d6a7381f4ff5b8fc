//! One tunnel on all cores: where a NIC puts all of a tunnel's packets into one queue, its worker hands ESP packets on to
//! workers that have less to do, by their inner flow.
//!
//! Each inner flow keeps its order. Going into a tunnel the flow is there to be read; coming out of one the first bytes
//! are decrypted to see it, which decides only who works on the packet. To spread begins when every packet before has
//! left, and ends when everything that was handed on has. Associations whose peer wants one sender are sealed by their
//! worker alone, whoever receives.

use crate::burst::{Lane, Next};
use crate::drop_reason::DropReason;
use crate::esp::Outbound;
use crate::flow;
use crate::frame::{BURST, Buffer, Driver};
use crate::handoff::{BUSY, Handed, MOST_WAITING, Peers};
use crate::ids::TunnelId;
use crate::pipeline::{Context, Pipeline};
use crate::tables::Snapshot;
use crate::watch::{End, Origin, Watch};

/// Turns over which a worker judges how busy it is.
const WINDOW: u32 = 256;
/// Out of [`BUSY`]: with so many turns that did not empty a queue, it is filled faster than it is emptied.
const OVERLOADED: u32 = 224;
/// With fewer, one worker suffices.
const RELAXED: u32 = 64;
/// Flows are told apart by so many values.
const BUCKETS: usize = 256;

/// When to spread, and who takes what.
pub(crate) struct Spread<B> {
    pub peers: Peers<B>,
    enabled: bool,
    active: bool,
    /// The worker of each bucket of flows, while active.
    owners: [u16; BUCKETS],
    turns: u32,
    full_turns: u32,
}

impl<B> Spread<B> {
    pub fn new(peers: Peers<B>, enabled: bool) -> Self {
        let me = peers.me() as u16;
        Self {
            enabled: enabled && peers.count() > 1,
            peers,
            active: false,
            owners: [me; BUCKETS],
            turns: 0,
            full_turns: 0,
        }
    }

    /// Whether flows are being handed on.
    #[inline(always)]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Takes note of a turn, after it: the most packets that it found in one place. One queue that is not emptied is
    /// enough, however idle the others are.
    #[inline(always)]
    pub fn note(&mut self, most: usize) {
        self.turns += 1;
        self.full_turns += u32::from(most >= BURST);
        if self.turns == WINDOW {
            self.judge();
        }
    }

    #[inline(never)]
    fn judge(&mut self) {
        let load = self.full_turns * BUSY / WINDOW;
        (self.turns, self.full_turns) = (0, 0);
        self.peers.tell_load(load);
        if self.enabled && !self.active && load >= OVERLOADED {
            self.active = self.assign();
        } else if self.active && load < RELAXED && self.peers.is_settled() {
            self.active = false;
        }
    }

    /// Gives buckets to the workers that have time; false when there are none. This one, which receives for all, takes
    /// three quarters of an equal share.
    fn assign(&mut self) -> bool {
        let me = self.peers.me();
        let is_idle = |worker: &usize| *worker != me && self.peers.load_of(*worker) < OVERLOADED / 2;
        let idle = (0..self.peers.count()).filter(is_idle).count();
        if idle == 0 {
            return false;
        }
        let mine = BUCKETS * 3 / 4 / (idle + 1);
        let mut others = (0..self.peers.count()).filter(is_idle).cycle();
        let mut owners = [me as u16; BUCKETS];
        for owner in owners.iter_mut().skip(mine) {
            *owner = others.next().unwrap_or(me) as u16;
        }
        drop(others);
        self.owners = owners;
        true
    }

    #[inline(always)]
    fn owner(&self, hash: u32) -> usize {
        // The low bits choose among equal-cost paths.
        usize::from(self.owners[(hash >> 24) as usize % BUCKETS])
    }

    /// Whether a replay window is wide enough for what workers may have in hand at the same time.
    fn fits(&self, window: u32) -> bool {
        window as usize >= 2 * MOST_WAITING * self.peers.count()
    }
}

impl<D: Driver> Pipeline<D> {
    /// Hands packets of the lane, on their way into ESP tunnels, to their workers. Returns those that stay.
    #[inline(always)]
    pub(crate) fn spread_outbound(&mut self, lane: Lane) -> Lane {
        if self.spread.peers.count() == 1 { lane } else { self.hand_outbound(lane) }
    }

    #[inline(never)]
    fn hand_outbound(&mut self, lane: Lane) -> Lane {
        let me = self.spread.peers.me();
        let mut staying = Lane::EMPTY;
        for i in lane {
            let (Some(packet), meta) = (&self.slots[i], &self.meta[i]) else { continue };
            let pinned = match self.esp.table.outbound(TunnelId(meta.slot)) {
                Some(sa) => sa.pinned,
                None => Outbound::ANY_WORKER,
            };
            let owner = if pinned != Outbound::ANY_WORKER {
                usize::from(pinned)
            } else if self.spread.is_active() && !meta.handed {
                self.spread.owner(flow_of(packet.data(), meta.v6))
            } else {
                me
            };
            if owner == me || meta.handed {
                staying.push(i);
            } else {
                self.hand(i, owner, Next::Seal);
            }
        }
        staying
    }

    /// Hands packets of the lane, whose associations were found, to their flows' workers. Returns those that stay.
    #[inline(always)]
    pub(crate) fn spread_inbound(&mut self, lane: Lane) -> Lane {
        if self.spread.is_active() { self.hand_inbound(lane) } else { lane }
    }

    #[inline(never)]
    fn hand_inbound(&mut self, lane: Lane) -> Lane {
        let me = self.spread.peers.me();
        let mut staying = Lane::EMPTY;
        let mut start = [0; 64];
        for i in lane {
            let (Some(packet), meta) = (&self.slots[i], &self.meta[i]) else { continue };
            let mut owner = me;
            if !meta.handed
                && let Some(sa) = self.esp.table.inbound(meta.found)
                && sa.replay.as_ref().is_none_or(|window| self.spread.fits(window.size()))
            {
                let esp = packet.data().get(usize::from(meta.esp_at)..).unwrap_or_default();
                let inner = sa.cipher.peek(esp, &mut start);
                owner = self.spread.owner(flow_of(inner, inner.first().is_some_and(|byte| byte >> 4 == 6)));
            }
            if owner == me {
                staying.push(i);
            } else {
                self.hand(i, owner, Next::Endpoint);
            }
        }
        staying
    }

    fn hand(&mut self, i: usize, to: usize, next: Next) {
        let Some(packet) = self.take(i) else { return };
        let mut meta = self.meta[i];
        meta.handed = true;
        match self.spread.peers.give(to, Handed { packet, meta, next }) {
            Ok(()) => {
                self.cx.stats.handed_out.add(1);
                if let Some(watch) = self.cx.watch.recorder() {
                    watch.end(i, End::HandedOn { worker: to as u16 }, D::now());
                }
            }
            Err(back) => self.kill_taken(i, back.packet, DropReason::HandoffFull),
        }
    }

    /// Sends handed packets on their way; at the end of a burst.
    #[inline(always)]
    pub(crate) fn flush_handed(&mut self) {
        if self.spread.peers.count() > 1 {
            let Context { stats, watch, .. } = &mut self.cx;
            let origin = Origin::HandedIn { worker: self.spread.peers.me() as u16 };
            self.spread.peers.flush(|lost| {
                stats.handed_out.sub(1);
                stats.drop_add(DropReason::HandoffFull, 1);
                if let Some(watch) = watch.recorder() {
                    watch.lose(&lost.packet, origin, DropReason::HandoffFull, D::now());
                }
            });
        }
    }

    /// Works on everything that other workers have handed to this one so far. Returns how many packets.
    #[inline(always)]
    pub fn serve_handed(&mut self, tables: &Snapshot) -> usize {
        match self.spread.peers.waiting() {
            0 => 0,
            bundles => self.serve(bundles, tables),
        }
    }

    #[inline(never)]
    fn serve(&mut self, bundles: usize, tables: &Snapshot) -> usize {
        let mut served = 0;
        for _ in 0..bundles {
            let Some(bundle) = self.spread.peers.take() else { break };
            let count = bundle.packets.len();
            self.cx.stats.handed_in.add(count as u64);
            for (i, Handed { packet, meta, next }) in bundle.packets.into_iter().enumerate() {
                if let Some(watch) = self.cx.watch.recorder() {
                    watch.begin(i, Origin::HandedIn { worker: bundle.from }, &packet, D::now());
                }
                self.put(i, packet);
                self.meta[i] = meta;
                self.lanes.push(next, i);
            }
            self.finish(tables);
            self.spread.peers.acknowledge(bundle.from, count);
            served += count;
        }
        served
    }
}

/// The hash of a packet's flow; of an endpoint's lane too.
#[inline(always)]
fn flow_of(l3: &[u8], v6: bool) -> u32 {
    if v6 { flow::hash_v6(l3) } else { flow::hash_v4(l3) }
}
