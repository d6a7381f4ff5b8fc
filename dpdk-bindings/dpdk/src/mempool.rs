//! Pools of packet buffers.
//!
//! A pool ends with its last handle, but only once all its buffers are back. If some are not, it stays
//! (and with it DPDK) until the process ends, and says so: freeing memory under a packet is worse.

use crate::eal::{EalError, Running};
use crate::errno::Errno;
use crate::mbuf::Mbuf;
use arrayvec::ArrayVec;
use dpdk_sys::{PENSTOCK_HEADROOM, SOCKET_ID_ANY, rte_mempool};
use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::Arc;

/// Room in front of the data of a fresh buffer, for headers to prepend.
pub const HEADROOM: u16 = PENSTOCK_HEADROOM as u16;

/// Largest per-core cache of a pool.
pub const CACHE_MAX: u32 = dpdk_sys::PENSTOCK_MEMPOOL_CACHE_MAX;

/// Why there is no pool.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// DPDK does not run.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// Sizes that cannot be.
    #[error("packet buffers '{name}': {problem}")]
    Invalid {
        /// The pool asked for.
        name: String,
        /// What is wrong with the request.
        problem: String,
    },
    /// DPDK refuses.
    #[error("packet buffers '{name}' ({count} of {data_room} bytes, {mib} MiB): {cause}; {hint}")]
    Create {
        /// The pool asked for.
        name: String,
        /// Number of buffers.
        count: u32,
        /// Bytes of data in each.
        data_room: u16,
        /// What they take, roughly.
        mib: u64,
        /// What DPDK says.
        cause: Errno,
        /// What to change.
        hint: &'static str,
    },
}

/// A pool of packet buffers; a handle, cheap to clone.
#[derive(Clone, Debug)]
pub struct Mempool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: NonNull<rte_mempool>,
    name: String,
    data_room: u16,
    eal: Arc<Running>,
}

// SAFETY: rte_mempool's get and put are safe from any thread: the default ring is multi-producer and
// multi-consumer, and the caches are per lcore id, of which each thread has its own or none.
unsafe impl Send for Inner {}
// SAFETY: as above; the other fields are never changed.
unsafe impl Sync for Inner {}

impl Mempool {
    /// Makes a pool of `count` buffers, each with room for [`HEADROOM`] and `data_room` bytes, on a NUMA
    /// node (`None`: any). `cache` buffers stay with each core, at most [`CACHE_MAX`].
    ///
    /// # Errors
    /// [`PoolError`], which says what to change.
    pub fn new(
        name: &str,
        count: u32,
        cache: u32,
        data_room: u16,
        socket: Option<u32>,
    ) -> Result<Self, PoolError> {
        let eal = Running::share()?;
        let invalid = |problem: String| PoolError::Invalid { name: name.to_owned(), problem };
        let c_name = CString::new(name).map_err(|_| invalid("the name holds a NUL byte".into()))?;
        let buffer = data_room.checked_add(HEADROOM).ok_or_else(|| {
            invalid(format!("{data_room} bytes are too many, the most is {}", u16::MAX - HEADROOM))
        })?;
        // DPDK's own bound: the cache is flushed at one and a half times its size.
        if cache > CACHE_MAX || u64::from(cache) * 3 / 2 > u64::from(count) {
            return Err(invalid(format!(
                "a cache of {cache} per core does not fit {count} buffers (at most {CACHE_MAX}, and two thirds of them)"
            )));
        }
        let node = socket.map_or(SOCKET_ID_ANY, |node| i32::try_from(node).unwrap_or(SOCKET_ID_ANY));
        // SAFETY: the EAL runs, the name is a C string that DPDK copies.
        let pool =
            unsafe { dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, buffer, node) };
        let Some(pool) = NonNull::new(pool) else {
            let cause = Errno::last();
            return Err(PoolError::Create {
                name: name.to_owned(),
                count,
                data_room,
                // 256: rte_mbuf, the pool's own header and padding.
                mib: (u64::from(count) * (u64::from(buffer) + 256)) >> 20,
                cause,
                hint: hint(cause),
            });
        };
        Ok(Self { inner: Arc::new(Inner { pool, name: name.to_owned(), data_room, eal }) })
    }

    /// A buffer with no data in it yet, or none when all are in use.
    #[inline(always)]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive while a handle is.
        let raw = unsafe { dpdk_sys::penstock_mbuf_alloc(self.as_ptr()) };
        // SAFETY: a fresh buffer of this pool, which nobody else has.
        NonNull::new(raw).map(|raw| unsafe { Mbuf::from_raw(raw) })
    }

    /// Fills `burst` with `count` fresh buffers, or leaves it as it is: all or nothing.
    #[inline]
    #[must_use]
    pub fn alloc_bulk<const N: usize>(&self, burst: &mut ArrayVec<Mbuf, N>, count: usize) -> bool {
        if count > burst.remaining_capacity() {
            return false;
        }
        let len = burst.len();
        // SAFETY: `count` slots behind the first `len` are inside the ArrayVec (checked above), and an Mbuf
        // is a non-null rte_mbuf pointer by its repr(transparent). DPDK fills all of them or none.
        unsafe {
            let slots = burst.as_mut_ptr().add(len).cast();
            if dpdk_sys::penstock_mbuf_alloc_bulk(self.as_ptr(), slots, count as u32) != 0 {
                return false;
            }
            burst.set_len(len + count);
        }
        true
    }

    /// A packet that holds `bytes`, in a chain of buffers where one is too small for them.
    #[must_use]
    pub fn alloc_copy(&self, bytes: &[u8]) -> Option<Mbuf> {
        let room = usize::from(self.inner.data_room).max(1);
        let mut chunks = bytes.chunks(room);
        let mut packet = self.alloc_segment(chunks.next().unwrap_or_default())?;
        for chunk in chunks {
            let segment = self.alloc_segment(chunk)?;
            packet.chain(segment).ok()?;
        }
        Some(packet)
    }

    fn alloc_segment(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut segment = self.alloc()?;
        segment.append(bytes.len())?.copy_from_slice(bytes);
        Some(segment)
    }

    /// Name given at its making.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Bytes of data that a fresh buffer takes behind its headroom.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.inner.data_room
    }

    /// NUMA node of the memory, if it has one.
    #[must_use]
    pub fn socket(&self) -> Option<u32> {
        // SAFETY: the pool is alive while a handle is.
        let node = unsafe { dpdk_sys::penstock_pool_socket(self.as_ptr()) };
        i32::try_from(node).is_ok().then_some(node)
    }

    /// All buffers, free or not.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.inner.size()
    }

    /// Free buffers. Walks all caches: for operators and tests, not for the data path.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.inner.available()
    }

    /// Buffers that somebody holds (a queue of a device also does).
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.size().saturating_sub(self.available())
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.inner.pool.as_ptr()
    }
}

impl Inner {
    fn size(&self) -> u32 {
        // SAFETY: the pool is alive while self is.
        unsafe { dpdk_sys::penstock_pool_size(self.pool.as_ptr()) }
    }

    fn available(&self) -> u32 {
        // SAFETY: the pool is alive while self is.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.pool.as_ptr()) }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let missing = self.size().saturating_sub(self.available());
        if missing > 0 {
            tracing::error!(pool = self.name, missing, "packet buffers are still in use; their pool is kept");
            // Those packets point into DPDK's memory: it must not end either.
            std::mem::forget(Arc::clone(&self.eal));
            return;
        }
        // SAFETY: this was the last handle and every buffer is back, so nobody can reach the pool.
        unsafe { dpdk_sys::rte_mempool_free(self.pool.as_ptr()) };
    }
}

fn hint(cause: Errno) -> &'static str {
    match cause.0 {
        libc::ENOMEM | libc::ENOBUFS => {
            "reserve more memory (memory.size_mib) or use fewer or smaller buffers"
        }
        libc::EEXIST => "a pool of this name exists already",
        libc::ENAMETOOLONG => "the name is too long",
        _ => "see DPDK's own message above",
    }
}
