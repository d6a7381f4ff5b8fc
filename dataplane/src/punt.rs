//! To the kernel twin and back: bounded queues between the workers and the twin's pump.
//!
//! IKE, which anybody may send, has a budget and a queue of its own: neither it nor anything else can take the other's
//! place.
//!
//! The pump, on the control core, sees bytes, never packet buffers.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::burst::Next;
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver, Pool};
use crate::ids::{EndpointId, InterfaceId, PortId};
use crate::ike::{self, Arrival, Standing};
use crate::pipeline::Pipeline;
use crate::tables::Snapshot;
use crate::watch::{End, Watch};
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Frames that wait in each queue: two to the pump, one to each worker.
const QUEUE_LEN: usize = 1024;
/// Layer 2 source of frames made for the twin: locally administered, nobody's.
const PUNT_SOURCE: [u8; 6] = [0x02, 0, 0, 0, 0, 0];
/// Largest frame that goes to the twin.
const MAX_FRAME: usize = 65_536;

struct Punted<B> {
    interface: InterfaceId,
    frame: B,
}

/// What goes to the kernel by a queue of its own.
#[derive(Clone, Copy)]
enum Matter {
    Ike,
    Other,
}

const MATTERS: usize = 2;

type Queues<B> = Arc<[ArrayQueue<Punted<B>>; MATTERS]>;

/// A worker's end of the queues to the kernel.
pub struct PuntSender<B> {
    queues: Queues<B>,
}

impl<B> PuntSender<B> {
    fn is_half_full(&self, matter: Matter) -> bool {
        self.queues[matter as usize].len() >= QUEUE_LEN / 2
    }
}

impl<B> Clone for PuntSender<B> {
    fn clone(&self) -> Self {
        Self { queues: Arc::clone(&self.queues) }
    }
}

/// The pump's end of the queues from all workers.
pub struct PuntReceiver<B> {
    queues: Queues<B>,
    scratch: Vec<u8>,
}

/// Queues from the workers to the pump.
pub fn punt_queue<B>() -> (PuntSender<B>, PuntReceiver<B>) {
    let queues: Queues<B> = Arc::new(std::array::from_fn(|_| ArrayQueue::new(QUEUE_LEN)));
    let scratch = Vec::with_capacity(MAX_FRAME);
    (PuntSender { queues: Arc::clone(&queues) }, PuntReceiver { queues, scratch })
}

impl<B: Buffer> PuntReceiver<B> {
    /// Hands up to `max` frames to `take`, with the interface they are for, from each queue in turn. Frames are as on
    /// the wire, with their VLAN tag. Returns how many there were.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(InterfaceId, &[u8])) -> usize {
        let mut done = 0;
        loop {
            let before = done;
            for queue in &*self.queues {
                if done < max
                    && let Some(punted) = queue.pop()
                {
                    hand_over(&punted, &mut self.scratch, &mut take);
                    done += 1;
                }
            }
            if done == before {
                return done;
            }
        }
    }
}

fn hand_over<B: Buffer>(
    punted: &Punted<B>,
    scratch: &mut Vec<u8>,
    take: &mut impl FnMut(InterfaceId, &[u8]),
) {
    if punted.frame.is_contiguous() {
        return take(punted.interface, punted.frame.data());
    }
    scratch.clear();
    punted.frame.segments().for_each(|segment| scratch.extend_from_slice(segment));
    take(punted.interface, scratch);
}

/// The pump's way to one worker, which sends the frames out of a port.
pub struct Injector<B, P> {
    queue: Producer<(PortId, B)>,
    pool: P,
}

/// A worker's end of an injector.
pub struct InjectReceiver<B> {
    queue: Consumer<(PortId, B)>,
}

/// A frame of the kernel could not be handed to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The worker does not keep up.
    #[error("the worker's inject queue is full")]
    QueueFull,
    /// The pool is empty or the frame too long for its buffers.
    #[error("no packet buffer for a frame of {0} bytes")]
    NoBuffer(usize),
}

/// A queue from the pump to one worker; buffers come from `pool`.
pub fn inject_queue<B, P: Pool<B>>(pool: P) -> (Injector<B, P>, InjectReceiver<B>) {
    let (queue, to_worker) = RingBuffer::new(QUEUE_LEN);
    (Injector { queue, pool }, InjectReceiver { queue: to_worker })
}

impl<B, P: Pool<B>> Injector<B, P> {
    /// Hands a whole frame, as it shall be on the wire, to the worker.
    ///
    /// # Errors
    /// When the queue is full or there is no buffer.
    pub fn inject(&mut self, port: PortId, frame: &[u8]) -> Result<(), InjectError> {
        if self.queue.is_full() {
            return Err(InjectError::QueueFull);
        }
        let buffer = self.pool.copy_of(frame).ok_or(InjectError::NoBuffer(frame.len()))?;
        self.queue.push((port, buffer)).map_err(|_| InjectError::QueueFull)
    }
}

impl<B> InjectReceiver<B> {
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(PortId, B)> {
        self.queue.pop().ok()
    }
}

impl<D: Driver> Pipeline<D> {
    /// Empties the local, IKE and punt lanes into the queues to the kernel.
    #[inline(always)]
    pub(crate) fn punt_local(&mut self, tables: &Snapshot) {
        const FOR_THE_KERNEL: [Next; 3] = [Next::Local, Next::Ike, Next::Punt];
        if FOR_THE_KERNEL.iter().any(|lane| !self.lanes.is_empty(*lane)) {
            self.punt_lanes(tables);
        }
    }

    #[inline(never)]
    fn punt_lanes(&mut self, tables: &Snapshot) {
        let local = self.lanes.take(Next::Local);
        for i in local {
            let Some(packet) = &self.slots[i] else { continue };
            if self.meta[i].tunnel_in().is_some() {
                self.kill(i, DropReason::TunnelAddress);
            } else if ike::message(packet.data(), self.meta[i].v6).is_some() {
                self.punt_ike(i, None, tables);
            } else if self.restore_frame(i) {
                self.lanes.push(Next::Punt, i);
            }
        }
        let to_endpoints = self.lanes.take(Next::Ike);
        for i in to_endpoints {
            self.punt_ike(i, Some(EndpointId(self.meta[i].slot as u16)), tables);
        }
        let whole = self.lanes.take(Next::Punt);
        for i in whole {
            if !self.cx.punt_budget.take() {
                self.kill(i, DropReason::PuntRate);
                continue;
            }
            let interface = InterfaceId(self.meta[i].interface);
            self.punt_frame(i, interface, Matter::Other, tables);
        }
    }

    /// IKE to an endpoint or to another address of ours.
    fn punt_ike(&mut self, i: usize, to: Option<EndpointId>, tables: &Snapshot) {
        let (Some(packet), meta) = (&self.slots[i], &self.meta[i]) else { return };
        let (l3, interface) = (packet.data(), InterfaceId(meta.interface));
        let message = ike::message(l3, meta.v6).unwrap_or_default();
        let arrival = Arrival { message, l3, v6: meta.v6, to, rescued: meta.rescued };
        match self.cx.ike_budget.admit(&arrival, tables, self.cx.now) {
            // A pump that falls behind still has room for customers.
            Ok(standing) if standing != Standing::Known && self.cx.punt.is_half_full(Matter::Ike) => {
                self.kill(i, DropReason::PuntQueueFull);
            }
            Ok(_) if self.frame_again(i, interface, tables) => {
                self.punt_frame(i, interface, Matter::Ike, tables)
            }
            Ok(_) => {}
            Err(reason) => self.kill(i, reason),
        }
    }

    /// Gives a packet a layer 2 header: its own, or, where that was around what another node handed over, a new one.
    fn frame_again(&mut self, i: usize, interface: InterfaceId, tables: &Snapshot) -> bool {
        if self.meta[i].rescued { self.push_frame(i, interface, tables) } else { self.restore_frame(i) }
    }

    /// Gives a packet its layer 2 header back; without it the packet is dropped.
    fn restore_frame(&mut self, i: usize) -> bool {
        let l2_len = usize::from(self.meta[i].l2_len);
        let restored = self.slot(i).is_some_and(|packet| packet.restore(l2_len));
        if !restored {
            self.kill(i, DropReason::NoHeadroom);
        }
        restored
    }

    /// Gives a packet without layer 2 header to the twin of `interface`, as if a neighbour had sent it.
    pub(crate) fn punt_packet(&mut self, i: usize, interface: InterfaceId, tables: &Snapshot) {
        if self.push_frame(i, interface, tables) {
            self.punt_frame(i, interface, Matter::Other, tables);
        }
    }

    /// Gives a packet the layer 2 header of a neighbour that sends to us; without it the packet is dropped.
    fn push_frame(&mut self, i: usize, interface: InterfaceId, tables: &Snapshot) -> bool {
        let Some(ours) = tables.interfaces.get(interface) else {
            self.kill(i, DropReason::TxPortMissing);
            return false;
        };
        let Some(packet) = self.slot(i) else { return false };
        let v6 = packet.data().first().is_some_and(|byte| byte >> 4 == 6);
        let ethertype = if v6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        let mut header = [0; 18];
        let len = if ours.vlan.is_some() { 18 } else { 14 };
        header[18 - len..24 - len].copy_from_slice(&ours.mac);
        header[24 - len..30 - len].copy_from_slice(&PUNT_SOURCE);
        if let Some(vid) = ours.vlan {
            header[12..14].copy_from_slice(&0x8100u16.to_be_bytes());
            header[14..16].copy_from_slice(&vid.to_be_bytes());
        }
        header[16..18].copy_from_slice(&ethertype.to_be_bytes());
        let pushed = packet.push_block(&header, len);
        if !pushed {
            self.kill(i, DropReason::NoHeadroom);
        }
        pushed
    }

    fn punt_frame(&mut self, i: usize, interface: InterfaceId, matter: Matter, tables: &Snapshot) {
        let port = tables.interfaces.get(interface).map(|interface| interface.port);
        let Some(frame) = self.take(i) else { return };
        match self.cx.punt.queues[matter as usize].push(Punted { interface, frame }) {
            Ok(()) => {
                if let Some(watch) = self.cx.watch.recorder() {
                    watch.end(i, End::Punted { interface }, D::now());
                }
                if let Some(counters) = port.and_then(|port| self.cx.stats.port(port)) {
                    counters.punted.add(1);
                }
            }
            Err(punted) => {
                self.put(i, punted.frame);
                self.kill(i, DropReason::PuntQueueFull);
            }
        }
    }
}
