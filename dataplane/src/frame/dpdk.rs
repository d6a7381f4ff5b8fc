//! The DPDK driver: mbufs, ethdev queues, mempool, `ip_frag`.

use arrayvec::ArrayVec;
use dpdk::{Mbuf, Mempool};

use super::{BURST, Buffer, Driver, Fragmentation, MAX_FRAGMENTS, Pool, Reassembled, RxQueue, TxQueue};

impl Buffer for Mbuf {
    #[inline(always)]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    #[inline(always)]
    fn data_mut(&mut self) -> &mut [u8] {
        Mbuf::data_mut(self)
    }

    #[inline(always)]
    fn total_len(&self) -> usize {
        Mbuf::total_len(self)
    }

    #[inline(always)]
    fn is_contiguous(&self) -> bool {
        Mbuf::is_contiguous(self)
    }

    #[inline(always)]
    fn prefetch(&self) {
        self.prefetch_data();
    }

    #[inline(always)]
    fn narrow(&mut self, front: usize, total_len: usize) -> bool {
        Mbuf::narrow(self, front, total_len)
    }

    #[inline(always)]
    fn restore(&mut self, front: usize) -> bool {
        self.prepend(front).is_some()
    }

    #[inline(always)]
    fn push_block<const N: usize>(&mut self, block: &[u8; N], len: usize) -> bool {
        Mbuf::push_block(self, block, len)
    }

    #[inline(always)]
    fn append(&mut self, count: usize) -> bool {
        Mbuf::append(self, count).is_some()
    }

    #[inline(always)]
    fn enclose<const N: usize>(&mut self, block: &[u8; N], front: usize, back: usize) -> Option<&mut [u8]> {
        Mbuf::enclose(self, block, front, back)
    }

    fn pull_up(&mut self, len: usize) -> bool {
        self.pullup(len.min(Mbuf::total_len(self)))
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> {
        Mbuf::segments(self)
    }
}

impl RxQueue<Mbuf> for dpdk::RxQueue {
    #[inline(always)]
    fn receive(&mut self, slots: &mut [Option<Mbuf>; BURST]) -> usize {
        self.rx_slots(slots)
    }

    fn waiting(&self) -> Option<u32> {
        dpdk::RxQueue::waiting(self)
    }
}

impl TxQueue<Mbuf> for dpdk::TxQueue {
    #[inline(always)]
    fn send(&mut self, frames: &mut ArrayVec<Mbuf, BURST>) -> usize {
        self.tx_burst(frames)
    }
}

impl Pool<Mbuf> for Mempool {
    fn copy_of(&self, bytes: &[u8]) -> Option<Mbuf> {
        self.alloc_copy(bytes)
    }
}

/// Reassembly table and pool for the pieces of one worker.
pub struct IpFrag {
    reassembler: dpdk::Reassembler,
    pool: Mempool,
    next_id: u32,
}

impl IpFrag {
    /// With its own table; pieces come from `pool`.
    pub fn new(reassembler: dpdk::Reassembler, pool: Mempool) -> Self {
        Self { reassembler, pool, next_id: dpdk::cycles::rdtsc() as u32 }
    }
}

impl Fragmentation<Mbuf> for IpFrag {
    fn reassemble(&mut self, fragment: Mbuf, v6: bool, now: u64) -> Reassembled<Mbuf> {
        let result = if v6 {
            self.reassembler.reassemble_v6(fragment, now)
        } else {
            self.reassembler.reassemble_v4(fragment, now)
        };
        match result {
            dpdk::Reassembled::Complete(datagram) => Reassembled::Complete(datagram),
            _ => Reassembled::Taken,
        }
    }

    fn expire(&mut self, now: u64) {
        self.reassembler.expire(now);
    }

    fn take_dropped(&mut self) -> u64 {
        self.reassembler.take_dropped()
    }

    fn fragment(&mut self, mut packet: Mbuf, mtu: usize, pieces: &mut ArrayVec<Mbuf, MAX_FRAGMENTS>) -> bool {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        let v6 = Mbuf::data(&packet).first().is_some_and(|byte| byte >> 4 == 6);
        let cut = if v6 {
            self.next_id = self.next_id.wrapping_add(1);
            dpdk::fragment_v6(&mut packet, mtu, self.next_id, &self.pool, pieces)
        } else {
            dpdk::fragment_v4(&mut packet, mtu, &self.pool, pieces)
        };
        cut.is_ok()
    }
}

/// DPDK.
pub struct Dpdk;

impl Driver for Dpdk {
    type Buffer = Mbuf;
    type Rx = dpdk::RxQueue;
    type Tx = dpdk::TxQueue;
    type Pool = Mempool;
    type Fragmentation = IpFrag;

    #[inline(always)]
    fn now() -> u64 {
        dpdk::cycles::rdtsc()
    }

    #[inline(always)]
    fn free(frames: &mut ArrayVec<Mbuf, BURST>) {
        dpdk::free_bulk(frames);
    }
}
