//! The library's state for one thread.

use super::batch::Scratch;
use super::error::LoadError;
use super::gcm::GcmFunction;
use super::library::Library;
use dpdk_sys::ipsec_mb as sys;
use std::ptr::NonNull;

/// Seals and opens packets. One thread at a time may use it (`Send`, not `Sync`).
pub struct Manager {
    pub(super) gcm: GcmTable,
    pub(super) calls: BatchCalls,
    pub(super) raw: NonNull<sys::IMB_MGR>,
    pub(super) scratch: Box<[Scratch]>,
    library: Library,
}

/// AES-GCM's functions, by `KeySize`.
pub(super) struct GcmTable {
    pub(super) seal: [GcmFunction; 2],
    pub(super) open: [GcmFunction; 2],
}

/// The functions that take batches.
#[derive(Clone, Copy)]
pub(super) struct BatchCalls {
    pub(super) next: JobFunction,
    /// The one that checks no parameters: a `Job` is checked already.
    pub(super) submit: JobFunction,
    pub(super) flush: JobFunction,
}

type JobFunction = unsafe extern "C" fn(*mut sys::IMB_MGR) -> *mut sys::IMB_JOB;

// SAFETY: the library ties a manager to no thread, and it is reached through this value alone.
unsafe impl Send for Manager {}

impl Manager {
    /// The state for one more thread. Allocates: not for the data path.
    ///
    /// # Errors
    /// When there is no memory left.
    pub fn new(library: &Library) -> Result<Self, LoadError> {
        let table = library.table();
        let gcm = || {
            Some(GcmTable {
                seal: [table.gcm128_enc?, table.gcm256_enc?],
                open: [table.gcm128_dec?, table.gcm256_dec?],
            })
        };
        let gcm = gcm().ok_or(LoadError::Processor)?;
        let calls = || {
            Some(BatchCalls {
                next: table.get_next_job?,
                submit: table.submit_job_nocheck?,
                flush: table.flush_job?,
            })
        };
        let calls = calls().ok_or(LoadError::Processor)?;
        let raw = library.new_manager()?;
        Ok(Self { gcm, calls, raw, scratch: Scratch::batch(), library: library.clone() })
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SAFETY: made by the same library in `new`, idle between calls, and not used again.
        unsafe { self.library.free_manager(self.raw) };
    }
}
