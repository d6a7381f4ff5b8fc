//! Worker threads: the one place that pins a thread to a core.
//!
//! A thread made here is registered with DPDK, which gives it an lcore id of its own. Only with one does
//! a mempool keep a cache for the thread; without, every allocation goes to the shared ring.

use crate::eal::{EalError, Running};
use crate::errno::Errno;
use core_affinity::CoreId;
use std::sync::mpsc;
use std::thread::{Builder, JoinHandle};

/// Why a worker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LcoreError {
    /// DPDK does not run.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// The kernel made no thread.
    #[error("the thread for core {core} could not be made: {cause}")]
    Thread {
        /// The core asked for.
        core: usize,
        /// What the kernel says.
        cause: std::io::Error,
    },
    /// The core is not there, or not for this process.
    #[error(
        "core {core} cannot be used: it is offline or this process may not run there (cpuset, taskset, container \
         limits); cores online: {}",
        online()
    )]
    Core {
        /// The core asked for.
        core: usize,
    },
    /// DPDK has no lcore id left.
    #[error("DPDK takes no further thread (it was built for {}): {cause}", dpdk_sys::PENSTOCK_MAX_LCORE)]
    Register {
        /// What DPDK says.
        cause: Errno,
    },
}

/// Starts `work` on a thread of its own, pinned to `core`, and returns once the thread is pinned and
/// registered.
///
/// # Errors
/// [`LcoreError`]; `work` was not called then.
pub fn spawn<F, T>(core: usize, name: &str, work: F) -> Result<JoinHandle<T>, LcoreError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let eal = Running::share()?;
    let (ready, started) = mpsc::sync_channel::<Result<(), LcoreError>>(1);
    let body = move || {
        // Declared first, dropped last: DPDK outlives the registration.
        let _eal = eal;
        let registration = pin(core).and_then(|()| Registration::new());
        match registration {
            Ok(registration) => {
                // The other end waits for this; it cannot have gone.
                let _ = ready.send(Ok(()));
                let result = work();
                drop(registration);
                Some(result)
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                None
            }
        }
    };
    let thread = Builder::new()
        .name(name.to_owned())
        .spawn(move || body().unwrap_or_else(|| std::panic::resume_unwind(Box::new("not started"))))
        .map_err(|cause| LcoreError::Thread { core, cause })?;
    match started.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(LcoreError::Core { core }),
    }
}

/// DPDK's number for the calling thread, if it has one.
#[must_use]
pub fn current() -> Option<u32> {
    // SAFETY: reads a thread-local of DPDK.
    match unsafe { dpdk_sys::penstock_lcore_id() } {
        dpdk_sys::LCORE_ID_ANY => None,
        id => Some(id),
    }
}

/// The kernel's list of cores, for messages.
pub(crate) fn online() -> String {
    std::fs::read_to_string("/sys/devices/system/cpu/online")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn pin(core: usize) -> Result<(), LcoreError> {
    // The crate's set is 1024 cores wide and it does not check.
    let known = core < libc::CPU_SETSIZE as usize;
    if known && core_affinity::set_for_current(CoreId { id: core }) {
        Ok(())
    } else {
        Err(LcoreError::Core { core })
    }
}

/// The calling thread's lcore id, given back on drop.
struct Registration;

impl Registration {
    fn new() -> Result<Self, LcoreError> {
        // SAFETY: the EAL runs (the caller holds a share of it) and this fresh thread has no id yet.
        let result = unsafe { dpdk_sys::rte_thread_register() };
        Errno::check(result).map_err(|cause| LcoreError::Register { cause })?;
        Ok(Self)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: called on the thread that registered: the value never leaves `spawn`'s closure.
        unsafe { dpdk_sys::rte_thread_unregister() };
    }
}
