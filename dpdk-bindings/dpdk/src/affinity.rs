//! The cores a thread may run on, to save and restore around the EAL's start.

use std::mem::{MaybeUninit, size_of};

/// The cores a thread may run on.
pub(crate) struct Affinity(libc::cpu_set_t);

impl Affinity {
    /// Of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        let mut set = MaybeUninit::<libc::cpu_set_t>::zeroed();
        // SAFETY: the kernel writes at most size_of::<cpu_set_t>() bytes; all zeros is a valid (empty) set.
        unsafe {
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// One core.
    pub(crate) fn only(core: usize) -> Self {
        // SAFETY: all zeros is a valid (empty) set.
        let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
        if core < libc::CPU_SETSIZE as usize {
            // SAFETY: the bit is inside the set, just checked.
            unsafe { libc::CPU_SET(core, &mut set) };
        }
        Self(set)
    }

    /// The lowest of them.
    pub(crate) fn first(&self) -> usize {
        (0..libc::CPU_SETSIZE as usize).find(|core| self.allows(*core)).unwrap_or(0)
    }

    /// Whether `core` is one of them.
    pub(crate) fn allows(&self, core: usize) -> bool {
        // SAFETY: the bit is inside the set, checked first.
        core < libc::CPU_SETSIZE as usize && unsafe { libc::CPU_ISSET(core, &self.0) }
    }

    /// Confines the calling thread to them.
    pub(crate) fn apply(&self) -> std::io::Result<()> {
        // SAFETY: passes a whole cpu_set_t and its size.
        match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &self.0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}
