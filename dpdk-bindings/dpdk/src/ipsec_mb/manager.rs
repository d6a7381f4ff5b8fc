//! The library's state for one thread.

use super::batch::{self, Scratch};
use super::error::LoadError;
use super::gcm::GcmFunction;
use super::instance::Instance;
use super::library::Library;
use dpdk_sys::ipsec_mb as sys;

/// Seals and opens packets. One thread at a time may use it (`Send`, not `Sync`).
pub struct Manager {
    pub(super) gcm: GcmTable,
    pub(super) calls: JobCalls,
    pub(super) scratch: Box<[Scratch]>,
    /// What the library is told of the jobs of a batch; means nothing between calls.
    pub(super) slots: Box<[sys::IMB_JOB]>,
    /// Idle between calls: it holds no job, so no pointer to anybody's memory.
    pub(super) instance: Instance,
}

/// AES-GCM's functions, by `KeySize`.
pub(super) struct GcmTable {
    pub(super) seal: [GcmFunction; 2],
    pub(super) open: [GcmFunction; 2],
}

/// The functions that take jobs: those that check no parameters, because a `Job` is checked already.
#[derive(Clone, Copy)]
pub(super) struct JobCalls {
    /// All ciphers of a group, finished when it returns.
    pub(super) ciphers: CipherFunction,
    /// All hashes of a group, finished when it returns.
    pub(super) hashes: HashFunction,
    pub(super) next: JobFunction,
    pub(super) submit: JobFunction,
    pub(super) flush: JobFunction,
}

type CipherFunction = unsafe extern "C" fn(
    *mut sys::IMB_MGR,
    *mut sys::IMB_JOB,
    u32,
    sys::IMB_CIPHER_MODE,
    sys::IMB_CIPHER_DIRECTION,
    sys::IMB_KEY_SIZE_BYTES,
) -> u32;

type HashFunction = unsafe extern "C" fn(*mut sys::IMB_MGR, *mut sys::IMB_JOB, u32, sys::IMB_HASH_ALG) -> u32;

type JobFunction = unsafe extern "C" fn(*mut sys::IMB_MGR) -> *mut sys::IMB_JOB;

// SAFETY: the library ties a manager to no thread, and it is reached through this value alone; the pointers in
// `slots` are never followed before a call has set them anew.
unsafe impl Send for Manager {}

impl Manager {
    /// The state for one more thread. Allocates and may read files: not for the data path.
    ///
    /// # Errors
    /// When there is no memory left.
    pub fn new(library: &Library) -> Result<Self, LoadError> {
        let instance = library.instance_for_thread()?;
        let (gcm, calls) = functions(instance.manager()).ok_or(LoadError::Processor)?;
        Ok(Self { gcm, calls, scratch: Scratch::batch(), slots: batch::slots(), instance })
    }
}

/// What a worker calls; every architecture the library accepts has all of it.
fn functions(table: &sys::IMB_MGR) -> Option<(GcmTable, JobCalls)> {
    let gcm = GcmTable {
        seal: [table.gcm128_enc?, table.gcm256_enc?],
        open: [table.gcm128_dec?, table.gcm256_dec?],
    };
    let calls = JobCalls {
        ciphers: table.submit_cipher_burst_nocheck?,
        hashes: table.submit_hash_burst_nocheck?,
        next: table.get_next_job?,
        submit: table.submit_job_nocheck?,
        flush: table.flush_job?,
    };
    Some((gcm, calls))
}
