//! Buffers on the heap, queues in memory: the pipeline without DPDK.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use arrayvec::ArrayVec;

use super::{BURST, Buffer, Driver, Fragmentation, MAX_FRAGMENTS, Pool, Reassembled, RxQueue, TxQueue};

/// Bytes in front of the data of a new buffer, as in an mbuf.
const HEADROOM: usize = 128;

/// One contiguous packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl HeapBuffer {
    /// A packet with these bytes.
    pub fn new(data: &[u8]) -> Self {
        let mut bytes = vec![0; HEADROOM];
        bytes.extend_from_slice(data);
        Self { bytes, start: HEADROOM }
    }
}

impl Buffer for HeapBuffer {
    fn data(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    fn total_len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn prefetch(&self) {}

    fn narrow(&mut self, front: usize, total_len: usize) -> bool {
        if front + total_len > self.total_len() {
            return false;
        }
        self.start += front;
        self.bytes.truncate(self.start + total_len);
        true
    }

    fn restore(&mut self, front: usize) -> bool {
        match self.start.checked_sub(front) {
            Some(start) => {
                self.start = start;
                true
            }
            None => false,
        }
    }

    fn push_block<const N: usize>(&mut self, block: &[u8; N], len: usize) -> bool {
        if self.start < N || len > N {
            return false;
        }
        self.bytes[self.start - N..self.start].copy_from_slice(block);
        self.start -= len;
        true
    }

    fn append(&mut self, count: usize) -> bool {
        self.bytes.resize(self.bytes.len() + count, 0);
        true
    }

    fn enclose<const N: usize>(&mut self, block: &[u8; N], front: usize, back: usize) -> Option<&mut [u8]> {
        (self.push_block(block, front) && self.append(back)).then(|| self.data_mut())
    }

    fn pull_up(&mut self, _len: usize) -> bool {
        true
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.data())
    }
}

/// A queue that several owners share: what one side sends the other receives.
#[derive(Clone, Debug)]
pub struct HeapQueue {
    frames: Rc<RefCell<VecDeque<HeapBuffer>>>,
    room: Rc<Cell<usize>>,
}

impl Default for HeapQueue {
    fn default() -> Self {
        Self { frames: Rc::default(), room: Rc::new(Cell::new(usize::MAX)) }
    }
}

impl HeapQueue {
    /// Lets no sender add to this many frames.
    pub fn limit(&self, room: usize) {
        self.room.set(room);
    }

    /// Adds a frame.
    pub fn push(&self, frame: &[u8]) {
        self.frames.borrow_mut().push_back(HeapBuffer::new(frame));
    }

    /// Takes the oldest frame.
    pub fn pop(&self) -> Option<Vec<u8>> {
        self.frames.borrow_mut().pop_front().map(|frame| frame.data().to_vec())
    }
}

impl RxQueue<HeapBuffer> for HeapQueue {
    fn receive(&mut self, slots: &mut [Option<HeapBuffer>; BURST]) -> usize {
        let mut queue = self.frames.borrow_mut();
        let count = queue.len().min(BURST);
        for (slot, frame) in slots.iter_mut().zip(queue.drain(..count)) {
            *slot = Some(frame);
        }
        count
    }

    fn waiting(&self) -> Option<u32> {
        u32::try_from(self.frames.borrow().len()).ok()
    }
}

impl TxQueue<HeapBuffer> for HeapQueue {
    fn send(&mut self, frames: &mut ArrayVec<HeapBuffer, BURST>) -> usize {
        let mut queue = self.frames.borrow_mut();
        let sent = frames.len().min(self.room.get().saturating_sub(queue.len()));
        queue.extend(frames.drain(..sent));
        sent
    }
}

/// A pool that is never empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeapPool;

impl Pool<HeapBuffer> for HeapPool {
    fn copy_of(&self, bytes: &[u8]) -> Option<HeapBuffer> {
        Some(HeapBuffer::new(bytes))
    }
}

/// Neither reassembles nor fragments: those are DPDK's `ip_frag`, tested with the DPDK driver. Every
/// fragment counts as dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFragmentation {
    dropped: u64,
}

impl Fragmentation<HeapBuffer> for NoFragmentation {
    fn reassemble(&mut self, _fragment: HeapBuffer, _v6: bool, _now: u64) -> Reassembled<HeapBuffer> {
        self.dropped += 1;
        Reassembled::Taken
    }

    fn expire(&mut self, _now: u64) {}

    fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn fragment(
        &mut self,
        _packet: HeapBuffer,
        _mtu: usize,
        _pieces: &mut ArrayVec<HeapBuffer, MAX_FRAGMENTS>,
    ) -> bool {
        false
    }
}

thread_local! {
    static CLOCK: Cell<u64> = const { Cell::new(0) };
}

/// The heap driver. Its clock stands still until a test moves it.
#[derive(Debug)]
pub struct Heap;

impl Heap {
    /// Moves this thread's clock forward.
    pub fn advance(cycles: u64) {
        CLOCK.set(CLOCK.get() + cycles);
    }
}

impl Driver for Heap {
    type Buffer = HeapBuffer;
    type Rx = HeapQueue;
    type Tx = HeapQueue;
    type Pool = HeapPool;
    type Fragmentation = NoFragmentation;

    fn now() -> u64 {
        CLOCK.get()
    }

    fn free(frames: &mut ArrayVec<HeapBuffer, BURST>) {
        frames.clear();
    }
}
