//! To the kernel twin and back: bounded queues between the workers and the twin's pump.
//!
//! The pump, on the control core, sees bytes, never packet buffers.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::burst::Next;
use crate::drop_reason::DropReason;
use crate::frame::{Buffer, Driver, Pool};
use crate::ids::{InterfaceId, PortId};
use crate::pipeline::Pipeline;
use crate::tables::Snapshot;
use crate::wire::ethernet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6};

/// Frames that wait for the pump, and for each worker.
const QUEUE_LEN: usize = 1024;
/// Layer 2 source of frames made for the twin: locally administered, nobody's.
const PUNT_SOURCE: [u8; 6] = [0x02, 0, 0, 0, 0, 0];
/// Largest frame that goes to the twin.
const MAX_FRAME: usize = 65_536;

struct Punted<B> {
    interface: InterfaceId,
    frame: B,
}

/// A worker's end of the queue to the kernel.
pub struct PuntSender<B> {
    queue: Arc<ArrayQueue<Punted<B>>>,
}

impl<B> Clone for PuntSender<B> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue) }
    }
}

/// The pump's end of the queue from all workers.
pub struct PuntReceiver<B> {
    queue: Arc<ArrayQueue<Punted<B>>>,
    scratch: Vec<u8>,
}

/// A queue from the workers to the pump.
pub fn punt_queue<B>() -> (PuntSender<B>, PuntReceiver<B>) {
    let queue = Arc::new(ArrayQueue::new(QUEUE_LEN));
    (PuntSender { queue: Arc::clone(&queue) }, PuntReceiver { queue, scratch: Vec::with_capacity(MAX_FRAME) })
}

impl<B: Buffer> PuntReceiver<B> {
    /// Hands up to `max` frames to `take`, with the interface they are for. Frames are as on the wire,
    /// with their VLAN tag. Returns how many there were.
    pub fn drain(&mut self, max: usize, mut take: impl FnMut(InterfaceId, &[u8])) -> usize {
        for done in 0..max {
            let Some(punted) = self.queue.pop() else { return done };
            if punted.frame.is_contiguous() {
                take(punted.interface, punted.frame.data());
            } else {
                self.scratch.clear();
                punted.frame.segments().for_each(|segment| self.scratch.extend_from_slice(segment));
                take(punted.interface, &self.scratch);
            }
        }
        max
    }
}

/// The pump's way to one worker, which sends the frames out of a port.
pub struct Injector<B, P> {
    queue: Arc<ArrayQueue<(PortId, B)>>,
    pool: P,
}

/// A worker's end of an injector.
pub struct InjectReceiver<B> {
    queue: Arc<ArrayQueue<(PortId, B)>>,
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
    let queue = Arc::new(ArrayQueue::new(QUEUE_LEN));
    (Injector { queue: Arc::clone(&queue), pool }, InjectReceiver { queue })
}

impl<B, P: Pool<B>> Injector<B, P> {
    /// Hands a whole frame, as it shall be on the wire, to the worker.
    ///
    /// # Errors
    /// When the queue is full or there is no buffer.
    pub fn inject(&self, port: PortId, frame: &[u8]) -> Result<(), InjectError> {
        if self.queue.is_full() {
            return Err(InjectError::QueueFull);
        }
        let buffer = self.pool.copy_of(frame).ok_or(InjectError::NoBuffer(frame.len()))?;
        self.queue.push((port, buffer)).map_err(|_| InjectError::QueueFull)
    }
}

impl<B> InjectReceiver<B> {
    #[inline(always)]
    pub(crate) fn pop(&self) -> Option<(PortId, B)> {
        // Popping nothing costs a fence, and mostly there is nothing.
        if self.queue.is_empty() { None } else { self.queue.pop() }
    }
}

impl<D: Driver> Pipeline<D> {
    /// Empties the local and punt lanes into the queue to the kernel.
    #[inline(always)]
    pub(crate) fn punt_local(&mut self, tables: &Snapshot) {
        if self.lanes.is_empty(Next::Local) && self.lanes.is_empty(Next::Punt) {
            return;
        }
        self.punt_lanes(tables);
    }

    #[inline(never)]
    fn punt_lanes(&mut self, tables: &Snapshot) {
        let local = self.lanes.take(Next::Local);
        for i in local {
            let meta = self.meta[i];
            if meta.tunnel_in().is_some() {
                self.kill(i, DropReason::TunnelAddress);
            } else if self.slot(i).is_some_and(|packet| packet.restore(usize::from(meta.l2_len))) {
                self.lanes.push(Next::Punt, i);
            } else {
                self.kill(i, DropReason::NoHeadroom);
            }
        }
        let whole = self.lanes.take(Next::Punt);
        for i in whole {
            if !self.cx.punt_budget.take() {
                self.kill(i, DropReason::PuntRate);
                continue;
            }
            let interface = InterfaceId(self.meta[i].interface);
            self.punt_frame(i, interface, tables);
        }
    }

    /// Gives a packet without layer 2 header to the twin of `interface`, as if a neighbour had sent it.
    pub(crate) fn punt_packet(&mut self, i: usize, interface: InterfaceId, tables: &Snapshot) {
        let Some(ours) = tables.interfaces.get(interface) else {
            return self.kill(i, DropReason::TxPortMissing);
        };
        let Some(packet) = self.slot(i) else { return };
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
        if packet.push_block(&header, len) {
            self.punt_frame(i, interface, tables);
        } else {
            self.kill(i, DropReason::NoHeadroom);
        }
    }

    fn punt_frame(&mut self, i: usize, interface: InterfaceId, tables: &Snapshot) {
        let port = tables.interfaces.get(interface).map(|interface| interface.port);
        let Some(frame) = self.take(i) else { return };
        match self.cx.punt.queue.push(Punted { interface, frame }) {
            Ok(()) => {
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
