//! Fragments in, datagrams out.
//!
//! One reassembler belongs to one worker. It holds a bounded number of datagrams for a bounded time.
//!
//! Accounting, in fragments: every packet given to [`Reassembler::reassemble_v4`] or `_v6` ends in exactly
//! one of
//! * a [`Reassembled::Complete`] packet, which has as many segments as fragments went into it;
//! * the table: [`Reassembler::held`] counts those;
//! * dropped (malformed, overlapping, repeated, too many for one datagram, no room, timed out):
//!   [`Reassembler::take_dropped`] counts those, whichever call found out.
//!
//! So: given = Σ segments of complete packets + held + dropped. A fragment that does not fit its datagram
//! takes the whole datagram with it (RFC 5722 demands it for IPv6; the library does it for both).
//!
//! The key of DPDK 22.11 for IPv4 is source, destination and ID, without the protocol of RFC 791: two
//! protocols that use one ID at the same time spoil each other's datagram, which their checksums catch.

use super::{IPV6_FRAGMENT_HEADER, IPV6_HEADER, Ipv4, be16, write_ipv4_checksum};
use crate::eal::{EalError, Running};
use crate::errno::Errno;
use crate::mbuf::Mbuf;
use dpdk_sys::{rte_ip_frag_death_row, rte_ip_frag_tbl, rte_mbuf};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

/// Entries the library searches for one key.
const BUCKET_ENTRIES: u32 = 16;

/// Next header number of the IPv6 fragment header.
const IPPROTO_FRAGMENT: u8 = 44;

/// How much a reassembler may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Datagrams at the same time.
    pub datagrams: u32,
    /// How long one may take, in TSC cycles ([`crate::cycles`]).
    pub timeout_cycles: u64,
    /// NUMA node of the table's memory.
    pub socket: Option<u32>,
}

/// Why there is no reassembler.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// DPDK does not run.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// DPDK refuses.
    #[error(
        "a reassembly table for {datagrams} datagrams: {cause}; reserve more memory or allow fewer datagrams"
    )]
    Create {
        /// Datagrams asked for.
        datagrams: u32,
        /// What DPDK says.
        cause: Errno,
    },
}

/// What became of a packet.
#[derive(Debug)]
pub enum Reassembled {
    /// A whole datagram: one segment for each fragment, or the packet itself if it was no fragment.
    Complete(Mbuf),
    /// Kept until the rest is here.
    Stored,
    /// Not a fragment that can be used; it is dropped and counted.
    Malformed,
}

/// Puts datagrams together.
#[derive(Debug)]
pub struct Reassembler {
    table: NonNull<rte_ip_frag_tbl>,
    death_row: Box<rte_ip_frag_death_row>,
    held: usize,
    dropped: u64,
    _eal: Arc<Running>,
}

// SAFETY: the table belongs to this value alone and the library keeps no thread-local state.
unsafe impl Send for Reassembler {}

impl Reassembler {
    /// An empty table.
    ///
    /// # Errors
    /// [`TableError`], which says what to change.
    pub fn new(limits: Limits) -> Result<Self, TableError> {
        let eal = Running::share()?;
        let datagrams = limits.datagrams.max(1);
        let buckets = datagrams.div_ceil(BUCKET_ENTRIES).next_power_of_two();
        let node = limits.socket.and_then(|node| i32::try_from(node).ok()).unwrap_or(dpdk_sys::SOCKET_ID_ANY);
        // SAFETY: the EAL runs; plain numbers.
        let table = unsafe {
            dpdk_sys::rte_ip_frag_table_create(
                buckets,
                BUCKET_ENTRIES,
                datagrams,
                limits.timeout_cycles,
                node,
            )
        };
        let table =
            NonNull::new(table).ok_or_else(|| TableError::Create { datagrams, cause: Errno::last() })?;
        // SAFETY: all zeros is an empty death row.
        let death_row = unsafe { Box::new(MaybeUninit::zeroed().assume_init()) };
        Ok(Self { table, death_row, held: 0, dropped: 0, _eal: eal })
    }

    /// Takes an IPv4 packet whose data begin at its IPv4 header.
    pub fn reassemble_v4(&mut self, mut packet: Mbuf, now: u64) -> Reassembled {
        let Some(header) = Ipv4::parse(packet.data(), packet.total_len()) else {
            return self.malformed(packet);
        };
        if header.offset == 0 && !header.more {
            return Reassembled::Complete(packet);
        }
        let payload = header.total_len - header.header_len;
        if !fits(header.offset, payload, header.more, header.header_len)
            || !prepare(&mut packet, header.total_len)
        {
            return self.malformed(packet);
        }
        packet.set_l3_len(header.header_len);
        let raw = packet.into_raw().as_ptr();
        // SAFETY: the packet is ours to give away, contiguous, with its header's lengths checked and l2_len and
        // l3_len set. The death row was emptied after the last call, so it has room.
        let whole = unsafe {
            let ip = (*raw).buf_addr.cast::<u8>().add(usize::from((*raw).data_off)).cast();
            dpdk_sys::rte_ipv4_frag_reassemble_packet(self.table.as_ptr(), &mut *self.death_row, raw, now, ip)
        };
        match self.settle(raw, whole) {
            Reassembled::Complete(mut whole) => {
                // The library leaves it at zero.
                write_ipv4_checksum(whole.data_mut());
                Reassembled::Complete(whole)
            }
            other => other,
        }
    }

    /// Takes an IPv6 packet whose data begin at its IPv6 header. The fragment header has to follow it at
    /// once: with other extension headers between, it is malformed here.
    pub fn reassemble_v6(&mut self, mut packet: Mbuf, now: u64) -> Reassembled {
        let data = packet.data();
        let total = IPV6_HEADER + usize::from(be16(data, 4));
        if data.len() < IPV6_HEADER || data[0] >> 4 != 6 || total > packet.total_len() {
            return self.malformed(packet);
        }
        if data[6] != IPPROTO_FRAGMENT {
            return Reassembled::Complete(packet);
        }
        if data.len() < IPV6_HEADER + IPV6_FRAGMENT_HEADER || total < IPV6_HEADER + IPV6_FRAGMENT_HEADER {
            return self.malformed(packet);
        }
        let flags = be16(data, IPV6_HEADER + 2);
        let (offset, more) = (usize::from(flags & 0xfff8), flags & 1 != 0);
        if offset == 0 && !more {
            return atomic(packet, total).map_or_else(|packet| self.malformed(packet), Reassembled::Complete);
        }
        let payload = total - IPV6_HEADER - IPV6_FRAGMENT_HEADER;
        if !fits(offset, payload, more, 0) || !prepare(&mut packet, total) {
            return self.malformed(packet);
        }
        packet.set_l3_len(IPV6_HEADER + IPV6_FRAGMENT_HEADER);
        let raw = packet.into_raw().as_ptr();
        // SAFETY: as for IPv4; the fragment header is inside the data, checked above.
        let whole = unsafe {
            let ip = (*raw).buf_addr.cast::<u8>().add(usize::from((*raw).data_off));
            let fragment = ip.add(IPV6_HEADER).cast();
            let (table, row) = (self.table.as_ptr(), &mut *self.death_row);
            dpdk_sys::rte_ipv6_frag_reassemble_packet(table, row, raw, now, ip.cast(), fragment)
        };
        self.settle(raw, whole)
    }

    /// Drops what has waited too long. To be called now and then, whether fragments come or not.
    pub fn expire(&mut self, now: u64) {
        loop {
            // SAFETY: the table is ours and the death row empty. The library stops when the row is full.
            unsafe {
                dpdk_sys::rte_ip_frag_table_del_expired_entries(
                    self.table.as_ptr(),
                    &mut *self.death_row,
                    now,
                );
            }
            let expired = self.bury();
            self.held = self.held.saturating_sub(expired);
            if expired == 0 {
                return;
            }
        }
    }

    /// Fragments waiting in the table.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Fragments dropped since the last call.
    #[must_use]
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn malformed(&mut self, packet: Mbuf) -> Reassembled {
        drop(packet);
        self.dropped += 1;
        Reassembled::Malformed
    }

    /// Books what the library did with `given`: it is now in `whole`, in the table or on the death row, and
    /// others may have left the table too.
    fn settle(&mut self, given: *mut rte_mbuf, whole: *mut rte_mbuf) -> Reassembled {
        let refused = self.dead().any(|one| std::ptr::eq(one, given));
        let buried = self.bury();
        self.held = (self.held + 1).saturating_sub(buried);
        match NonNull::new(whole) {
            Some(whole) => {
                // SAFETY: the library gives up the chain it returns.
                let whole = unsafe { Mbuf::from_raw(whole) };
                self.held = self.held.saturating_sub(usize::from(whole.segment_count()));
                Reassembled::Complete(whole)
            }
            None if refused => Reassembled::Malformed,
            None => Reassembled::Stored,
        }
    }

    /// The fragments on the death row. Where fragments overlap, the library finds out with some of them
    /// chained already, so one entry can be several fragments.
    fn dead(&self) -> impl Iterator<Item = &rte_mbuf> {
        let entries = &self.death_row.row[..self.death_row.cnt as usize];
        // SAFETY: the row holds `cnt` valid chains, ours until they are freed.
        let head = |entry: &*mut rte_mbuf| unsafe { entry.as_ref() };
        // SAFETY: null or the next valid segment of such a chain.
        let next = |segment: &&rte_mbuf| unsafe { segment.next.as_ref() };
        entries.iter().flat_map(move |entry| std::iter::successors(head(entry), next))
    }

    /// Frees and counts the death row.
    fn bury(&mut self) -> usize {
        let dead = self.dead().count();
        self.dropped += dead as u64;
        // SAFETY: the row holds `cnt` packets that the library gave up.
        unsafe { dpdk_sys::rte_ip_frag_free_death_row(&mut *self.death_row, 0) };
        dead
    }
}

impl Drop for Reassembler {
    fn drop(&mut self) {
        // SAFETY: the table is ours alone; the library frees the fragments in it as well.
        unsafe { dpdk_sys::rte_ip_frag_table_destroy(self.table.as_ptr()) };
    }
}

/// Whether a fragment can be part of a datagram: not empty, inside 64 KiB, cut at a multiple of 8.
fn fits(offset: usize, payload: usize, more: bool, header_len: usize) -> bool {
    payload > 0
        && offset + payload + header_len <= usize::from(u16::MAX)
        && (!more || payload.is_multiple_of(8))
}

/// Brings a fragment into the form the library wants: one segment, without link padding.
fn prepare(packet: &mut Mbuf, total: usize) -> bool {
    packet.truncate(total) && packet.linearize()
}

/// A fragment that is a whole datagram (RFC 6946): takes the fragment header out.
fn atomic(mut packet: Mbuf, total: usize) -> Result<Mbuf, Mbuf> {
    if !packet.truncate(total) {
        return Err(packet);
    }
    let data = packet.data_mut();
    data[6] = data[IPV6_HEADER];
    // At least the fragment header, checked by the caller.
    let payload = (total - IPV6_HEADER - IPV6_FRAGMENT_HEADER) as u16;
    data[4..6].copy_from_slice(&payload.to_be_bytes());
    data.copy_within(..IPV6_HEADER, IPV6_FRAGMENT_HEADER);
    if packet.trim_front(IPV6_FRAGMENT_HEADER) { Ok(packet) } else { Err(packet) }
}
