//! Packets of several segments: walking, cutting, joining, copying them. The slow side of the owner.

use super::{Mbuf, bytes, start};
use crate::mempool::Mempool;
use dpdk_sys::rte_mbuf;
use std::ptr::NonNull;

impl Mbuf {
    /// The bytes of each segment, first to last.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.head()) }
    }

    #[cold]
    pub(super) fn truncate_chain(&mut self, len: usize) {
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

    #[cold]
    pub(super) fn pullup_chain(&mut self, count: usize) -> bool {
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
