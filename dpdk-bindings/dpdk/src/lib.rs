//! Safe layer over DPDK.
//!
//! It knows buffers, ports and cores, and nothing of what travels in them.
//!
//! * [`Eal`] starts DPDK once per process; whatever is made afterwards keeps it alive.
//! * [`Mempool`] hands out [`Mbuf`]s; dropping an `Mbuf` gives it back.
//! * [`Port`] is any device DPDK has a driver for; starting it yields [`RxQueue`]s and [`TxQueue`]s that
//!   one thread at a time can use (`Send`, not `Sync`, `&mut self`).
//! * [`idle::poll`] is a polling thread's loop, with what it does while nothing comes.
//! * [`lcore::spawn`] makes the pinned threads that may use a mempool's per-core cache.
//! * [`Reassembler`] and [`fragment_v4`], [`fragment_v6`] are DPDK's ip_frag library.
//! * `ipsec_mb` is Intel's crypto library for IPsec, where the building machine had its header.
//!
//! Invariants: an `Mbuf` has one owner; a burst moves between an [`arrayvec::ArrayVec`] and the device
//! without an allocation; nothing here logs, locks or allocates per packet.

mod affinity;
pub mod cycles;
pub mod eal;
pub mod errno;
pub mod idle;
pub mod ip_frag;
#[cfg(ipsec_mb)]
pub mod ipsec_mb;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
pub mod port;
pub mod testing;

pub use eal::{Eal, EalError, EalOptions};
pub use errno::Errno;
pub use ip_frag::{FragmentError, Reassembled, Reassembler, fragment_v4, fragment_v6};
pub use mbuf::{Mbuf, free_bulk};
pub use mempool::{Mempool, PoolError};
pub use port::{Link, Port, PortConfig, PortError, PortInfo, PortStats, RxQueue, TxQueue};
