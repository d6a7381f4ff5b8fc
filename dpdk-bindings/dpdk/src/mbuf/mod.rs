//! The packet buffer's owner.
//!
//! A packet is one buffer or a chain of them (segments). The bytes of the first segment are at hand as a
//! slice; whoever needs more asks for it ([`Mbuf::pullup`], [`Mbuf::linearize`]) or walks
//! [`Mbuf::segments`]. No method panics on a packet's length: what does not fit is `None` or `false`.
//!
//! Invariant: an `Mbuf` is the only owner of its chain. All accessors are plain loads and stores on the
//! header's fields; only freeing and copying call into DPDK.

mod chain;
mod metadata;

pub use chain::Segments;
pub use metadata::IpChecksum;

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;
use std::ptr::NonNull;
use std::slice;

/// A packet. Dropping it gives its buffers back to their pool.
#[repr(transparent)]
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: an Mbuf is the only owner of its buffers, and a pool takes buffers back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: through &Mbuf fields and bytes are only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes over a packet.
    ///
    /// # Safety
    /// `raw` is the first segment of a valid chain that nobody else uses or frees.
    #[inline(always)]
    #[must_use]
    pub unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Self {
        Self { raw }
    }

    /// Gives the packet away without freeing it.
    #[inline(always)]
    #[must_use]
    pub fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }

    #[inline(always)]
    fn head(&self) -> &rte_mbuf {
        // SAFETY: the chain is valid and ours (invariant of the type).
        unsafe { self.raw.as_ref() }
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: the chain is valid and ours alone (invariant of the type).
        unsafe { self.raw.as_mut() }
    }

    /// Bytes of the first segment.
    #[inline(always)]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        bytes(self.head())
    }

    /// Bytes of the first segment, to change.
    #[inline(always)]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let head = self.head_mut();
        // SAFETY: data_off + data_len never exceed buf_len (kept by all below, and by DPDK), and the
        // buffer is ours alone.
        unsafe { slice::from_raw_parts_mut(start(head), usize::from(head.data_len)) }
    }

    /// Length of the first segment.
    #[inline(always)]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.head().data_len)
    }

    /// Whether the first segment has no bytes.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head().data_len == 0
    }

    /// Length of the whole packet.
    #[inline(always)]
    #[must_use]
    pub fn total_len(&self) -> usize {
        self.head().pkt_len as usize
    }

    /// Number of segments.
    #[inline(always)]
    #[must_use]
    pub fn segment_count(&self) -> u16 {
        self.head().nb_segs
    }

    /// Whether the whole packet is in [`Mbuf::data`].
    #[inline(always)]
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.head().nb_segs == 1
    }

    /// Free bytes in front of the first segment's data.
    #[inline(always)]
    #[must_use]
    pub fn headroom(&self) -> usize {
        usize::from(self.head().data_off)
    }

    /// Free bytes behind the first segment's data.
    #[inline(always)]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        room_behind(self.head())
    }

    /// Grows the packet at its front; the new bytes hold whatever was there.
    #[inline(always)]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let head = self.head_mut();
        if count > usize::from(head.data_off) || count > usize::from(u16::MAX - head.data_len) {
            return None;
        }
        // Fits u16: not above data_off.
        head.data_off -= count as u16;
        head.data_len += count as u16;
        head.pkt_len += count as u32;
        // SAFETY: the first `count` bytes of the data, which now has them; the buffer is ours alone.
        Some(unsafe { slice::from_raw_parts_mut(start(head), count) })
    }

    /// Grows the packet at its front by a header of known size.
    #[inline(always)]
    pub fn prepend_array<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.prepend(N)?.first_chunk_mut()
    }

    /// Takes `count` bytes off the front. False, and nothing done, if the first segment has fewer.
    #[inline(always)]
    #[must_use = "false means that the packet is shorter than thought"]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let head = self.head_mut();
        if count > usize::from(head.data_len) {
            return false;
        }
        // Fits u16: not above data_len.
        head.data_off += count as u16;
        head.data_len -= count as u16;
        head.pkt_len -= count as u32;
        true
    }

    /// Grows a contiguous packet at its end; the new bytes hold whatever was there.
    #[inline(always)]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if !self.is_contiguous() || count > self.tailroom() {
            return None;
        }
        let head = self.head_mut();
        let old = usize::from(head.data_len);
        // Fits u16: not above the tailroom.
        head.data_len += count as u16;
        head.pkt_len += count as u32;
        // SAFETY: the last `count` bytes of the data, which now has them; the buffer is ours alone.
        Some(unsafe { slice::from_raw_parts_mut(start(head).add(old), count) })
    }

    /// Cuts the packet to its first `len` bytes. False, and nothing done, if it is shorter.
    #[inline(always)]
    #[must_use = "false means that the packet is shorter than thought"]
    pub fn truncate(&mut self, len: usize) -> bool {
        if len > self.total_len() {
            return false;
        }
        if self.is_contiguous() {
            let head = self.head_mut();
            // Fits u16: not above data_len.
            head.data_len = len as u16;
            head.pkt_len = len as u32;
        } else {
            self.truncate_chain(len);
        }
        true
    }

    /// Takes `front` bytes off the front and cuts the rest to `len` bytes, in one update. False, and nothing
    /// done, if the first segment has no `front` bytes or the packet no `len` bytes behind them.
    #[inline(always)]
    #[must_use = "false means that the packet is shorter than thought"]
    pub fn narrow(&mut self, front: usize, len: usize) -> bool {
        let head = self.head_mut();
        if head.nb_segs != 1 {
            return self.narrow_chain(front, len);
        }
        let (offset, old) = (usize::from(head.data_off), usize::from(head.data_len));
        if front > old || len > old - front {
            return false;
        }
        // Both fit u16: not above buf_len.
        head.data_off = (offset + front) as u16;
        head.data_len = len as u16;
        head.pkt_len = len as u32;
        true
    }

    #[cold]
    fn narrow_chain(&mut self, front: usize, len: usize) -> bool {
        front <= self.len() && len <= self.total_len() - front && self.trim_front(front) && self.truncate(len)
    }

    /// Writes `block` in front of the data and makes its last `len` bytes part of the packet; what is in front
    /// of those is scratch. One copy of a size known at compile time, whatever the header's length. False, and
    /// nothing done, if the headroom is shorter than the block.
    #[inline(always)]
    #[must_use = "false means that the packet did not grow"]
    pub fn push_block<const N: usize>(&mut self, block: &[u8; N], len: usize) -> bool {
        let head = self.head_mut();
        let (offset, old) = (usize::from(head.data_off), usize::from(head.data_len));
        if N > offset || len > N || old + N > usize::from(u16::MAX) {
            return false;
        }
        // SAFETY: data_off is at least N, so N bytes before the data are inside the buffer, which is ours
        // alone and no part of `block`: that is borrowed, and the buffer's bytes are only lent through self.
        unsafe { start(head).sub(N).cast::<[u8; N]>().write_unaligned(*block) };
        // Both fit u16: checked above. Computed from what was read: a second, wider read would have to wait for
        // the store of a header pushed just before.
        head.data_off = (offset - len) as u16;
        head.data_len = (old + len) as u16;
        head.pkt_len += len as u32;
        true
    }

    /// Grows a contiguous packet at both ends in one update: in front by the last `front` bytes of `block`, as
    /// [`Mbuf::push_block`] does, behind by `back` bytes that hold whatever was there. Returns the whole packet. `None`,
    /// and nothing done, if it is in pieces or there is no room.
    #[inline(always)]
    pub fn enclose<const N: usize>(
        &mut self,
        block: &[u8; N],
        front: usize,
        back: usize,
    ) -> Option<&mut [u8]> {
        let head = self.head_mut();
        let (offset, old) = (usize::from(head.data_off), usize::from(head.data_len));
        let end = offset + old + back;
        if N > offset || front > N || end > usize::from(head.buf_len) || head.nb_segs != 1 {
            return None;
        }
        // SAFETY: data_off is at least N, so N bytes before the data are inside the buffer, which is ours
        // alone and no part of `block`: that is borrowed, and the buffer's bytes are only lent through self.
        unsafe { start(head).sub(N).cast::<[u8; N]>().write_unaligned(*block) };
        let (offset, len) = (offset - front, front + old + back);
        // All fit u16: not above buf_len.
        head.data_off = offset as u16;
        head.data_len = len as u16;
        head.pkt_len = len as u32;
        // SAFETY: offset + len is at most buf_len, as was checked, and the buffer is ours alone.
        Some(unsafe { slice::from_raw_parts_mut(head.buf_addr.cast::<u8>().add(offset), len) })
    }

    /// Sets the length of a contiguous packet, shorter or longer, within its buffer.
    #[inline(always)]
    #[must_use = "false means that the buffer is too small"]
    pub fn set_len(&mut self, len: usize) -> bool {
        if !self.is_contiguous() || len > self.len() + self.tailroom() {
            return false;
        }
        let head = self.head_mut();
        // Fits u16: not above buf_len.
        head.data_len = len as u16;
        head.pkt_len = len as u32;
        true
    }

    /// Brings the first `count` bytes of the packet into the first segment. False, and nothing done, if the
    /// packet is shorter or the first buffer too small.
    #[inline(always)]
    #[must_use = "false means that the bytes are not there"]
    pub fn pullup(&mut self, count: usize) -> bool {
        count <= self.len() || self.pullup_chain(count)
    }

    /// Copies all segments into the first one. False, and nothing done, if its buffer is too small.
    #[inline(always)]
    #[must_use = "false means that the packet is still in pieces"]
    pub fn linearize(&mut self) -> bool {
        // SAFETY: a valid chain, ours alone.
        self.is_contiguous() || unsafe { dpdk_sys::__rte_pktmbuf_linearize(self.raw.as_ptr()) } == 0
    }

    /// Sets the header lengths that DPDK's ip_frag reads; the data begin at the L3 header.
    #[inline(always)]
    pub(crate) fn set_l3_len(&mut self, l3_len: usize) {
        self.head_mut().tx_offload = (l3_len as u64 & 0x1ff) << dpdk_sys::PENSTOCK_MBUF_L2_LEN_BITS;
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut rte_mbuf {
        self.raw.as_ptr()
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the only owner of a valid chain frees it, once.
        unsafe { dpdk_sys::penstock_mbuf_free(self.raw.as_ptr()) };
    }
}

impl std::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mbuf")
            .field("total_len", &self.total_len())
            .field("segments", &self.segment_count())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

/// Frees all packets of a burst in one call.
#[inline]
pub fn free_bulk<const N: usize>(burst: &mut ArrayVec<Mbuf, N>) {
    let count = burst.len();
    // SAFETY: the ArrayVec gives up its packets first; the slots still hold `count` valid owners, which
    // are non-null rte_mbuf pointers by repr(transparent), and DPDK frees each once.
    unsafe {
        burst.set_len(0);
        dpdk_sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast(), count as u32);
    }
}

#[inline(always)]
fn start(segment: &rte_mbuf) -> *mut u8 {
    // SAFETY: data_off is at most buf_len, so the pointer is inside the buffer or one past its end.
    unsafe { segment.buf_addr.cast::<u8>().add(usize::from(segment.data_off)) }
}

#[inline(always)]
fn bytes(segment: &rte_mbuf) -> &[u8] {
    // SAFETY: data_off + data_len never exceed buf_len, and the buffer lives as long as its header.
    unsafe { slice::from_raw_parts(start(segment), usize::from(segment.data_len)) }
}

#[inline(always)]
fn room_behind(segment: &rte_mbuf) -> usize {
    usize::from(segment.buf_len).saturating_sub(usize::from(segment.data_off) + usize::from(segment.data_len))
}
