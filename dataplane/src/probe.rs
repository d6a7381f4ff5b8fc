//! Health probes: control's way into a tunnel, and the answers' way back to control.
//!
//! A probe goes straight into its tunnel, whatever the routes say, before anything that a turn of the worker receives. One
//! that is larger than the tunnel's MTU goes, too, in one piece: whether it passes is the question. Its
//! answer comes to our address inside the tunnel, or plain to an endpoint; it is known by its keyed hash, and goes to
//! control by a queue that nothing else can fill.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::burst::{Meta, Next};
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver, Pool};
use crate::ids::{InterfaceId, TunnelId, VrfId};
use crate::pipeline::{Context, Pipeline};
use crate::punt::InjectError;
use crate::tables::Snapshot;
use crate::watch::{End, Origin, Watch};
use crate::wire::probe::Probe;

/// Probes that wait for one worker.
const QUEUE_LEN: usize = 1024;
/// Answers of one worker that wait for control: of more than a hundred thousand tunnels in the time between its looks.
const ANSWERS: usize = 8192;
/// Probes sent in one turn.
const PROBE_BURST: usize = 16;

/// The answer to a probe, of this node or of another one of its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Which probe it was.
    pub probe: Probe,
    /// The tunnel that it came out of; `None`: it came plain.
    pub via: Option<TunnelId>,
    /// When, as [`Driver::now`] counts.
    pub at: u64,
}

struct Order<B> {
    tunnel: TunnelId,
    incarnation: u32,
    packet: B,
}

/// Control's way to one worker, and what comes back.
pub struct ProbeLink<B, P> {
    orders: Producer<Order<B>>,
    answers: Consumer<ProbeAnswer>,
    pool: P,
}

/// A worker's end.
pub struct ProbeEnd<B> {
    orders: Consumer<Order<B>>,
    answers: Producer<ProbeAnswer>,
}

impl<B> ProbeEnd<B> {
    /// Of a pipeline that nobody sends probes by.
    pub(crate) fn nobodys() -> Self {
        Self { orders: RingBuffer::new(1).1, answers: RingBuffer::new(1).0 }
    }
}

/// Queues from control to one worker and back; buffers come from `pool`.
pub fn probe_queues<B, P: Pool<B>>(pool: P) -> (ProbeLink<B, P>, ProbeEnd<B>) {
    let (orders, to_worker) = RingBuffer::new(QUEUE_LEN);
    let (from_worker, answers) = RingBuffer::new(ANSWERS);
    (ProbeLink { orders, answers, pool }, ProbeEnd { orders: to_worker, answers: from_worker })
}

impl<B, P: Pool<B>> ProbeLink<B, P> {
    /// Sends an inner packet, from its IP header on, into a tunnel: the one that has this incarnation, no other one that
    /// has its number meanwhile.
    ///
    /// # Errors
    /// When the queue is full or there is no buffer.
    pub fn send(&mut self, tunnel: TunnelId, incarnation: u32, l3: &[u8]) -> Result<(), InjectError> {
        if self.orders.is_full() {
            return Err(InjectError::QueueFull);
        }
        let packet = self.pool.copy_of(l3).ok_or(InjectError::NoBuffer(l3.len()))?;
        self.orders.push(Order { tunnel, incarnation, packet }).map_err(|_| InjectError::QueueFull)
    }

    /// How many answers wait.
    pub fn waiting(&self) -> usize {
        self.answers.slots()
    }

    /// The next answer that has come to the worker.
    pub fn answer(&mut self) -> Option<ProbeAnswer> {
        self.answers.pop().ok()
    }
}

impl<D: Driver> Pipeline<D> {
    /// Sends what control wants to be sent; between bursts. Returns how many there were.
    #[inline(always)]
    pub(crate) fn send_probes(&mut self, tables: &Snapshot) -> usize {
        if self.cx.probes.orders.is_empty() { 0 } else { self.send_waiting_probes(tables) }
    }

    #[inline(never)]
    fn send_waiting_probes(&mut self, tables: &Snapshot) -> usize {
        let mut sent = 0;
        for _ in 0..PROBE_BURST {
            let Ok(Order { tunnel: id, incarnation, packet }) = self.cx.probes.orders.pop() else { break };
            self.cx.stats.generated.add(1);
            if let Some(watch) = self.cx.watch.recorder() {
                watch.begin(sent, Origin::Probe, &packet, D::now());
            }
            let tunnel = tables.tunnels.get(id.index());
            let tunnel = tunnel.filter(|tunnel| tunnel.live && tunnel.incarnation == incarnation);
            // Every slot is free.
            let Some(tunnel) = tunnel else {
                self.meta[sent] = Meta::EMPTY;
                self.kill_taken(sent, packet, DropReason::TunnelGone);
                continue;
            };
            let mut meta = Meta::new(InterfaceId(0), VrfId(tunnel.vrf));
            meta.v6 = packet.data().first().is_some_and(|byte| byte >> 4 == 6);
            meta.slot = id.0;
            meta.probe = true;
            self.meta[sent] = meta;
            self.put(sent, packet);
            self.lanes.push(Next::Encap, sent);
            sent += 1;
        }
        self.finish(tables);
        sent
    }

    /// Empties the lane of answers that control has been told of.
    #[inline(always)]
    pub(crate) fn retire_answers(&mut self) {
        if !self.lanes.is_empty(Next::ProbeAnswer) {
            self.each_taken(Next::ProbeAnswer, |this, i, packet| {
                this.cx.stats.probe_answers.add(1);
                if let Some(watch) = this.cx.watch.recorder() {
                    watch.end(i, End::ProbeAnswer, D::now());
                }
                this.retire(packet);
            });
        }
    }
}

/// Tells control, if this packet answers a probe; `None`: it does not.
#[inline(never)]
pub(crate) fn note_answer<D: Driver>(
    packet: &D::Buffer,
    meta: &Meta,
    cx: &mut Context<D>,
    tables: &Snapshot,
) -> Option<Result<Next, DropReason>> {
    let probe = Probe::answered(packet.data(), meta.v6, tables.probe_keys.as_ref()?)?;
    let answer = ProbeAnswer { probe, via: meta.tunnel_in(), at: cx.now };
    Some(match cx.probes.answers.push(answer) {
        Ok(()) => Ok(Next::ProbeAnswer),
        Err(_) => Err(DropReason::ProbeQueueFull),
    })
}
