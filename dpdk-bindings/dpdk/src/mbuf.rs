//! The packet buffer's owner.
//!
//! A packet is one buffer or a chain of them (segments). The bytes of the first segment are at hand as a
//! slice; whoever needs more asks for it ([`Mbuf::pullup`], [`Mbuf::linearize`]) or walks
//! [`Mbuf::segments`]. No method panics on a packet's length: what does not fit is `None` or `false`.
//!
//! Invariant: an `Mbuf` is the only owner of its chain. All accessors are plain loads and stores on the
//! header's fields; only freeing and copying call into DPDK.

use crate::mempool::Mempool;
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

/// What the device found of the IPv4 header checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpChecksum {
    /// Not looked at.
    Unknown,
    /// Right.
    Good,
    /// Wrong.
    Bad,
}

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

    /// The bytes of each segment, first to last.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.head()) }
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
        Some(&mut self.data_mut()[..count])
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
        Some(&mut self.data_mut()[old..])
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

    #[cold]
    fn truncate_chain(&mut self, len: usize) {
        let mut left = len;
        let mut kept: u16 = 1;
        let mut segment: *mut rte_mbuf = self.raw.as_ptr();
        // SAFETY: walks the chain, ours alone, from valid segment to valid segment; stops before its end
        // because `len` is at most the sum of their lengths. The cut-off rest is a chain of its own with
        // no other owner.
        unsafe {
            while left > usize::from((*segment).data_len) {
                left -= usize::from((*segment).data_len);
                segment = (*segment).next;
                kept += 1;
            }
            // Fits u16: not above this segment's data_len.
            (*segment).data_len = left as u16;
            let rest = std::mem::replace(&mut (*segment).next, std::ptr::null_mut());
            free_segments(rest);
        }
        let head = self.head_mut();
        head.nb_segs = kept;
        head.pkt_len = len as u32;
    }

    /// Adds `tail` behind this packet. Gives it back if the chain would be too long.
    ///
    /// # Errors
    /// `tail`, unchanged.
    pub fn chain(&mut self, tail: Self) -> Result<(), Self> {
        let Some(segments) = self.segment_count().checked_add(tail.segment_count()) else { return Err(tail) };
        let Some(total) = self.head().pkt_len.checked_add(tail.head().pkt_len) else { return Err(tail) };
        let mut last: *mut rte_mbuf = self.raw.as_ptr();
        // SAFETY: walks the chain, ours alone, to its last segment, and links another chain that was ours.
        unsafe {
            while !(*last).next.is_null() {
                last = (*last).next;
            }
            (*last).next = tail.into_raw().as_ptr();
        }
        let head = self.head_mut();
        head.nb_segs = segments;
        head.pkt_len = total;
        Ok(())
    }

    /// Brings the first `count` bytes of the packet into the first segment. False, and nothing done, if the
    /// packet is shorter or the first buffer too small.
    #[inline(always)]
    #[must_use = "false means that the bytes are not there"]
    pub fn pullup(&mut self, count: usize) -> bool {
        count <= self.len() || self.pullup_chain(count)
    }

    #[cold]
    fn pullup_chain(&mut self, count: usize) -> bool {
        let missing = count - self.len();
        if count > self.total_len() || missing > self.tailroom() {
            return false;
        }
        let mut left = missing;
        let head: *mut rte_mbuf = self.raw.as_ptr();
        // SAFETY: all segments are valid and ours alone. `missing` bytes fit behind the head's data (checked)
        // and the segments behind it hold that many (total_len checked), so the loop ends within the chain.
        // Source and target are different buffers. An emptied segment is unlinked before it is freed.
        unsafe {
            let mut to = start(&*head).add(usize::from((*head).data_len));
            while left > 0 {
                let segment = (*head).next;
                let take = left.min(usize::from((*segment).data_len));
                std::ptr::copy_nonoverlapping(start(&*segment), to, take);
                to = to.add(take);
                left -= take;
                // Fits u16: not above data_len.
                (*segment).data_off += take as u16;
                (*segment).data_len -= take as u16;
                if (*segment).data_len == 0 {
                    (*head).next = (*segment).next;
                    (*head).nb_segs -= 1;
                    (*segment).next = std::ptr::null_mut();
                    free_segments(segment);
                }
            }
            // Fits u16: not above the tailroom.
            (*head).data_len += missing as u16;
        }
        true
    }

    /// Copies all segments into the first one. False, and nothing done, if its buffer is too small.
    #[inline(always)]
    #[must_use = "false means that the packet is still in pieces"]
    pub fn linearize(&mut self) -> bool {
        // SAFETY: a valid chain, ours alone.
        self.is_contiguous() || unsafe { dpdk_sys::__rte_pktmbuf_linearize(self.raw.as_ptr()) } == 0
    }

    /// Appends the whole packet to `out`.
    pub fn copy_to(&self, out: &mut Vec<u8>) {
        out.reserve(self.total_len());
        self.segments().for_each(|segment| out.extend_from_slice(segment));
    }

    /// Copies the packet's beginning, at most `out.len()` bytes, and says how many.
    pub fn copy_out(&self, out: &mut [u8]) -> usize {
        let mut done = 0;
        for segment in self.segments() {
            let take = segment.len().min(out.len() - done);
            out[done..done + take].copy_from_slice(&segment[..take]);
            done += take;
        }
        done
    }

    /// A deep copy, in buffers of `pool`, with the packet's metadata.
    #[must_use]
    pub fn copy(&self, pool: &Mempool) -> Option<Self> {
        // SAFETY: a valid chain, which DPDK only reads; the pool is alive; the copy is fresh.
        unsafe {
            let raw = dpdk_sys::rte_pktmbuf_copy(self.raw.as_ptr(), pool.as_ptr(), 0, u32::MAX);
            NonNull::new(raw).map(|raw| Self::from_raw(raw))
        }
    }

    /// Port that received the packet.
    #[inline(always)]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.head().port
    }

    /// Names the port that received the packet.
    #[inline(always)]
    pub fn set_port(&mut self, port: u16) {
        self.head_mut().port = port;
    }

    /// All flags, as DPDK defines them.
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u64 {
        self.head().ol_flags
    }

    /// What the device found of the IPv4 header checksum.
    #[inline(always)]
    #[must_use]
    pub fn ip_checksum(&self) -> IpChecksum {
        match self.flags() & dpdk_sys::PENSTOCK_RX_IP_CKSUM_MASK {
            dpdk_sys::PENSTOCK_RX_IP_CKSUM_GOOD => IpChecksum::Good,
            dpdk_sys::PENSTOCK_RX_IP_CKSUM_BAD => IpChecksum::Bad,
            _ => IpChecksum::Unknown,
        }
    }

    /// Hash that the device computed over the packet's flow.
    #[inline(always)]
    #[must_use]
    pub fn rss_hash(&self) -> Option<u32> {
        (self.flags() & dpdk_sys::PENSTOCK_RX_RSS_HASH != 0).then(|| self.head().hash_rss)
    }

    /// VLAN tag that the device took off the packet.
    #[inline(always)]
    #[must_use]
    pub fn stripped_vlan(&self) -> Option<u16> {
        (self.flags() & dpdk_sys::PENSTOCK_RX_VLAN_STRIPPED != 0).then(|| self.head().vlan_tci)
    }

    /// Tells the processor to fetch the buffer's header.
    #[inline(always)]
    pub fn prefetch_header(&self) {
        prefetch(self.raw.as_ptr().cast());
    }

    /// Tells the processor to fetch the first bytes. Reads the header.
    #[inline(always)]
    pub fn prefetch_data(&self) {
        prefetch(start(self.head()));
    }

    /// Sets the header lengths that DPDK's ip_frag reads; the data begin at the L3 header.
    #[inline(always)]
    pub(crate) fn set_l3_len(&mut self, l3_len: usize) {
        self.head_mut().tx_offload = (l3_len as u64 & 0x1ff) << dpdk_sys::PENSTOCK_MBUF_L2_LEN_BITS;
    }

    /// Takes over port and flow hash, which a fragment inherits.
    pub(crate) fn inherit(&mut self, from: &Self) {
        let source = from.head();
        let (port, hash) = (source.port, source.hash_rss);
        let flags = source.ol_flags & dpdk_sys::PENSTOCK_RX_RSS_HASH;
        let head = self.head_mut();
        head.port = port;
        head.hash_rss = hash;
        head.ol_flags = flags;
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

/// The bytes of a packet, segment by segment.
#[derive(Debug)]
pub struct Segments<'a> {
    next: Option<&'a rte_mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let segment = self.next?;
        // SAFETY: null or the next valid segment of a chain that is borrowed for 'a.
        self.next = unsafe { segment.next.as_ref() };
        Some(bytes(segment))
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

#[inline(always)]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint, for any address; SSE is part of x86-64.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// # Safety
/// `segments` is null, or a chain that has no other owner. Only its segments are freed one by one, so the
/// packet fields of the first need not be right.
unsafe fn free_segments(mut segments: *mut rte_mbuf) {
    while !segments.is_null() {
        // SAFETY: a valid segment of ours (see above); cut loose, it is a packet of one segment.
        unsafe {
            let next = std::mem::replace(&mut (*segments).next, std::ptr::null_mut());
            (*segments).nb_segs = 1;
            dpdk_sys::penstock_mbuf_free(segments);
            segments = next;
        }
    }
}
