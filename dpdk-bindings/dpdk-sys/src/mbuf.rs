//! `struct rte_mbuf`, field by field.
//!
//! bindgen names the header's nested anonymous unions by number, and the numbers differ from one DPDK
//! release to the next. The offsets of the fields do not (since 20.11), so the type is written here
//! and every field that Rust touches is compared with the header's `offsetof` at compile time.

use crate::generated as header;
use crate::rte_mempool;
use core::ffi::c_void;
use core::mem::{align_of, offset_of, size_of};

/// A packet buffer, or one segment of a chain.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct rte_mbuf {
    /// Start of the buffer, before the headroom.
    pub buf_addr: *mut c_void,
    /// Bus address of the buffer; meaningless with `--no-huge`.
    pub buf_iova: u64,
    /// Where the data begin in the buffer.
    pub data_off: u16,
    /// Owners of the buffer.
    pub refcnt: u16,
    /// Segments of the chain; valid in the first one.
    pub nb_segs: u16,
    /// Port that received it.
    pub port: u16,
    /// Offload flags.
    pub ol_flags: u64,
    /// Packet type found by the device.
    pub packet_type: u32,
    /// Bytes in all segments; valid in the first one.
    pub pkt_len: u32,
    /// Bytes in this segment.
    pub data_len: u16,
    /// VLAN tag that the device took off.
    pub vlan_tci: u16,
    /// RSS hash when `ol_flags` says so (first word of the header's union `hash`).
    pub hash_rss: u32,
    /// Second word of the header's union `hash`.
    pub hash_high: u32,
    /// Outer VLAN tag.
    pub vlan_tci_outer: u16,
    /// Size of the buffer with its headroom.
    pub buf_len: u16,
    /// Pool that the buffer goes back to.
    pub pool: *mut rte_mempool,
    /// Next segment, or null.
    pub next: *mut rte_mbuf,
    /// Header lengths for offloads, packed: 7 bits L2, 9 bits L3, the rest unused here.
    pub tx_offload: u64,
    /// Owner of an external buffer.
    pub shinfo: *mut c_void,
    /// Bytes of private data between this struct and the buffer.
    pub priv_size: u16,
    /// Timesync flags.
    pub timesync: u16,
    /// Space for fields registered at run time.
    pub dynfield1: [u32; 9],
}

macro_rules! same_place {
    ($($field:ident = $offset:ident),+ $(,)?) => {
        $(const _: () = assert!(
            offset_of!(rte_mbuf, $field) == header::$offset as usize,
            concat!("rte_mbuf.", stringify!($field), " is elsewhere in this DPDK's headers"),
        );)+
    };
}

same_place! {
    buf_addr = PENSTOCK_MBUF_OFFSET_buf_addr,
    data_off = PENSTOCK_MBUF_OFFSET_data_off,
    refcnt = PENSTOCK_MBUF_OFFSET_refcnt,
    nb_segs = PENSTOCK_MBUF_OFFSET_nb_segs,
    port = PENSTOCK_MBUF_OFFSET_port,
    ol_flags = PENSTOCK_MBUF_OFFSET_ol_flags,
    packet_type = PENSTOCK_MBUF_OFFSET_packet_type,
    pkt_len = PENSTOCK_MBUF_OFFSET_pkt_len,
    data_len = PENSTOCK_MBUF_OFFSET_data_len,
    vlan_tci = PENSTOCK_MBUF_OFFSET_vlan_tci,
    hash_rss = PENSTOCK_MBUF_OFFSET_hash,
    buf_len = PENSTOCK_MBUF_OFFSET_buf_len,
    pool = PENSTOCK_MBUF_OFFSET_pool,
    next = PENSTOCK_MBUF_OFFSET_next,
    tx_offload = PENSTOCK_MBUF_OFFSET_tx_offload,
    priv_size = PENSTOCK_MBUF_OFFSET_priv_size,
}

const _: () =
    assert!(size_of::<rte_mbuf>() == header::PENSTOCK_MBUF_SIZE as usize, "rte_mbuf has another size");
const _: () =
    assert!(align_of::<rte_mbuf>() == header::PENSTOCK_MBUF_ALIGN as usize, "rte_mbuf is aligned otherwise");
const _: () = assert!(header::PENSTOCK_MBUF_L2_LEN_BITS == 7, "tx_offload packs L2 otherwise");
const _: () = assert!(header::PENSTOCK_MBUF_L3_LEN_BITS == 9, "tx_offload packs L3 otherwise");
