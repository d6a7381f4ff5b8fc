//! The library's state for one thread.

use super::batch::Scratch;
use super::error::LoadError;
use super::gcm::GcmFunction;
use super::instance::Instance;
use super::library::Library;
use dpdk_sys::ipsec_mb as sys;

/// Seals and opens packets. One thread at a time may use it (`Send`, not `Sync`).
pub struct Manager {
    pub(super) gcm: GcmTable,
    pub(super) calls: BatchCalls,
    pub(super) scratch: Box<[Scratch]>,
    /// Idle between calls: it holds no job, so no pointer to anybody's memory.
    pub(super) instance: Instance,
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
    /// The state for one more thread. Allocates and may read files: not for the data path.
    ///
    /// # Errors
    /// When there is no memory left.
    pub fn new(library: &Library) -> Result<Self, LoadError> {
        let instance = library.instance_for_thread()?;
        let (gcm, calls) = functions(instance.manager()).ok_or(LoadError::Processor)?;
        Ok(Self { gcm, calls, scratch: Scratch::batch(), instance })
    }
}

/// What a worker calls; every architecture the library accepts has all of it.
fn functions(table: &sys::IMB_MGR) -> Option<(GcmTable, BatchCalls)> {
    let gcm = GcmTable {
        seal: [table.gcm128_enc?, table.gcm256_enc?],
        open: [table.gcm128_dec?, table.gcm256_dec?],
    };
    let calls =
        BatchCalls { next: table.get_next_job?, submit: table.submit_job_nocheck?, flush: table.flush_job? };
    Some((gcm, calls))
}
