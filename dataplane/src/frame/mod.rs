//! The packet buffer as the pipeline sees it, and the driver that brings and takes buffers.
//!
//! Two drivers: DPDK ([`dpdk`], feature `dpdk`) and the heap ([`heap`]), so that the pipeline's tests,
//! fuzz targets and miri run anywhere. Everything is statically dispatched.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod heap;

use arrayvec::ArrayVec;

/// Packets a worker takes from a queue at once.
pub const BURST: usize = 64;
/// Most pieces one packet may be cut into: 9000 bytes into 576-byte pieces are 17, of 1280 bytes 8.
pub const MAX_FRAGMENTS: usize = 20;

/// An owned packet buffer with headroom. Dropping it frees it.
pub trait Buffer: Sized {
    /// The bytes of the first segment.
    fn data(&self) -> &[u8];
    /// The bytes of the first segment.
    fn data_mut(&mut self) -> &mut [u8];
    /// Bytes of all segments.
    fn total_len(&self) -> usize;
    /// Whether the first segment is all there is.
    fn is_contiguous(&self) -> bool;
    /// Asks the processor to fetch the first bytes.
    fn prefetch(&self);
    /// Removes `front` bytes from the first segment and cuts the packet to `total_len` bytes.
    /// False, and nothing changed, when they are not there.
    fn narrow(&mut self, front: usize, total_len: usize) -> bool;
    /// Takes back `front` bytes that `narrow` removed, with their content. False without headroom.
    fn restore(&mut self, front: usize) -> bool;
    /// Writes `block` right before the data and makes its last `len` bytes part of the packet.
    /// False, and nothing changed, when the headroom is shorter than the block.
    fn push_block<const N: usize>(&mut self, block: &[u8; N], len: usize) -> bool;
    /// Grows a packet that is in one piece at its end; the new bytes hold whatever was there. False, and nothing
    /// changed, when there is no room.
    fn append(&mut self, count: usize) -> bool;
    /// As `push_block` and `append` together; returns the whole packet.
    fn enclose<const N: usize>(&mut self, block: &[u8; N], front: usize, back: usize) -> Option<&mut [u8]>;
    /// Makes the first `len` bytes (or all, if fewer) lie in the first segment.
    fn pull_up(&mut self, len: usize) -> bool;
    /// The segments in order.
    fn segments(&self) -> impl Iterator<Item = &[u8]>;
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Reassembled<B> {
    /// The whole datagram, without fragment fields.
    Complete(B),
    /// Kept until the rest comes, or given up and counted.
    Taken,
}

/// Reassembly and fragmentation of one worker.
pub trait Fragmentation<B> {
    /// Takes a fragment whose data starts at its IP header. `now` is in cycles.
    fn reassemble(&mut self, fragment: B, v6: bool, now: u64) -> Reassembled<B>;
    /// Frees datagrams whose fragments did not come in time.
    fn expire(&mut self, now: u64);
    /// Fragments freed since the last call, this one's and those kept before.
    fn take_dropped(&mut self) -> u64;
    /// Cuts an IP packet into pieces of at most `mtu` bytes, IPv6 with a fragment header. On failure
    /// nothing is added to `pieces`. The packet is freed.
    fn fragment(&mut self, packet: B, mtu: usize, pieces: &mut ArrayVec<B, MAX_FRAGMENTS>) -> bool;
}

/// Where frames come from.
pub trait RxQueue<B> {
    /// Puts frames into the slots, which are empty, from the first on; returns how many.
    fn receive(&mut self, slots: &mut [Option<B>; BURST]) -> usize;
    /// Frames that wait in the queue; `None` where it cannot tell. Not for the hot path.
    fn waiting(&self) -> Option<u32>;
}

/// Where frames go.
pub trait TxQueue<B> {
    /// Sends from the front of `frames`; what the queue did not take stays. Returns how many went.
    fn send(&mut self, frames: &mut ArrayVec<B, BURST>) -> usize;
}

/// Makes new packet buffers.
pub trait Pool<B> {
    /// A buffer with these bytes and at least 128 bytes of headroom; `None` when the pool is empty or
    /// the bytes do not fit.
    fn copy_of(&self, bytes: &[u8]) -> Option<B>;
}

/// A family of buffer, queues, pool and fragmentation that fit together.
pub trait Driver {
    /// The packet buffer.
    type Buffer: Buffer;
    /// A receive queue.
    type Rx: RxQueue<Self::Buffer>;
    /// A transmit queue.
    type Tx: TxQueue<Self::Buffer>;
    /// The buffer pool.
    type Pool: Pool<Self::Buffer>;
    /// Reassembly and fragmentation.
    type Fragmentation: Fragmentation<Self::Buffer>;

    /// The clock, in cycles.
    fn now() -> u64;
    /// Frees many buffers at once.
    fn free(frames: &mut ArrayVec<Self::Buffer, BURST>);
}
