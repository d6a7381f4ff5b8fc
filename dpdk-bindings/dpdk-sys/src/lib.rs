//! Raw bindings to DPDK: what bindgen makes of `wrapper.h`, and `rte_mbuf` by hand.
//!
//! Only what the crate `dpdk` uses is bound. Nothing here is safe and nothing here decides anything.
//! DPDK's static inline functions come from `shim.c` under the prefix `penstock_`.
//! [`ipsec_mb`] binds intel-ipsec-mb, where the machine that built this had its header.

#[cfg(ipsec_mb)]
pub mod ipsec_mb;
mod mbuf;

pub use mbuf::rte_mbuf;

/// The release that this crate was built against, as pkg-config names it.
pub const DPDK_VERSION: &str = env!("DPDK_VERSION");

/// A packet may live on any socket (`SOCKET_ID_ANY`).
pub const SOCKET_ID_ANY: i32 = -1;

/// The thread has no lcore id (`LCORE_ID_ANY`).
pub const LCORE_ID_ANY: u32 = u32::MAX;

#[expect(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    unused_qualifications,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    reason = "generated from C headers"
)]
mod generated {
    use crate::rte_mbuf;
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use generated::*;
