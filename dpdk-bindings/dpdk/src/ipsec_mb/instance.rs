//! One loaded copy of the library, and one manager made by it.
//!
//! Releases before 1.4 reset an error number of the whole process with every packet, so that all cores write
//! to one cache line and small packets stop scaling with the cores
//! (<https://github.com/intel/intel-ipsec-mb/issues/112>). There each thread gets a copy of the library of its
//! own, whose error number is nobody else's: some 13 MB of memory a thread.

use super::error::LoadError;
use dpdk_sys::ipsec_mb as sys;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;

/// Whether threads that share the library hinder each other.
const SHARES_ERROR_NUMBER: bool = sys::IMB_VERSION_NUM < 0x1_04_00;

/// A manager and the code it runs.
pub(super) struct Instance {
    api: sys::Api,
    manager: NonNull<sys::IMB_MGR>,
    /// What `api` was loaded from: the linker knows the copy by its path, which is this descriptor's number, so
    /// the number must stay taken as long. Fields are dropped in order.
    _copy: Option<File>,
}

impl Instance {
    /// The library as the dynamic linker finds it.
    pub(super) fn open() -> Result<Self, LoadError> {
        Self::load(&format!("libIPSec_MB.so.{}", sys::IMB_VERSION_NUM >> 16), None)
    }

    /// One more, for another thread.
    pub(super) fn for_thread(&self) -> Result<Self, LoadError> {
        if !SHARES_ERROR_NUMBER {
            return Self::open();
        }
        self.open_copy().or_else(|error| {
            tracing::warn!(%error, "intel-ipsec-mb is shared by the workers and will not scale with them");
            Self::open()
        })
    }

    /// The linker tells libraries apart by their files, so a copy in memory is new to it.
    fn open_copy(&self) -> Result<Self, LoadError> {
        let file = self.copy().map_err(|error| LoadError::Missing(error.to_string()))?;
        Self::load(&format!("/proc/self/fd/{}", file.as_raw_fd()), Some(file))
    }

    fn load(name: &str, copy: Option<File>) -> Result<Self, LoadError> {
        // SAFETY: its initialisers are those of a library of the distribution, which expect nothing.
        let api = unsafe { sys::Api::new(name) }.map_err(|error| LoadError::Missing(error.to_string()))?;
        // SAFETY: takes nothing, returns a number.
        let version = unsafe { (api.imb_get_version)() };
        // Structures are laid out as the header says: releases may add to them.
        if version >> 8 != sys::IMB_VERSION_NUM >> 8 {
            let (found, built) = (dotted(version), dotted(sys::IMB_VERSION_NUM));
            return Err(LoadError::Version { found, built });
        }
        // SAFETY: no flags: everything that the processor has.
        let manager = NonNull::new(unsafe { (api.alloc_mb_mgr)(0) }).ok_or(LoadError::Memory)?;
        // SAFETY: allocated just above; what was chosen is read from the manager itself.
        unsafe { (api.init_mb_mgr_auto)(manager.as_ptr(), std::ptr::null_mut()) };
        let instance = Self { api, manager, _copy: copy };
        instance.check()?;
        Ok(instance)
    }

    fn check(&self) -> Result<(), LoadError> {
        let manager = self.manager();
        if matches!(manager.used_arch, sys::IMB_ARCH_NONE | sys::IMB_ARCH_NOAESNI) {
            return Err(LoadError::Processor);
        }
        let has = |feature: u32| manager.features & u64::from(feature) != 0;
        if has(sys::IMB_FEATURE_SELF_TEST) && !has(sys::IMB_FEATURE_SELF_TEST_PASS) {
            return Err(LoadError::SelfTest);
        }
        Ok(())
    }

    /// The library's file once more, in memory.
    fn copy(&self) -> io::Result<File> {
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: writes a Dl_info, for any address.
        let known = unsafe { libc::dladdr(self.api.alloc_mb_mgr as *const libc::c_void, found.as_mut_ptr()) };
        // SAFETY: zeroed is a valid Dl_info, and so is what the function wrote.
        let name = unsafe { found.assume_init() }.dli_fname;
        if known == 0 || name.is_null() {
            return Err(io::ErrorKind::NotFound.into());
        }
        // SAFETY: a string of the dynamic linker, there as long as the library is loaded.
        let name = unsafe { CStr::from_ptr(name) };
        let mut library = File::open(OsStr::from_bytes(name.to_bytes()))?;
        // SAFETY: the name is a string; the call has no other precondition.
        let descriptor = unsafe { libc::memfd_create(c"intel-ipsec-mb".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just made, which nobody else knows.
        let mut file = unsafe { File::from_raw_fd(descriptor) };
        io::copy(&mut library, &mut file)?;
        Ok(file)
    }

    /// The release, as the library writes it.
    pub(super) fn version(&self) -> String {
        // SAFETY: takes nothing, returns a static string.
        unsafe { CStr::from_ptr((self.api.imb_get_version_str)()) }.to_string_lossy().into_owned()
    }

    /// What was chosen for this processor, and the table of functions.
    pub(super) fn manager(&self) -> &sys::IMB_MGR {
        // SAFETY: allocated and initialised in `load`, freed in `drop`; written only through `raw`.
        unsafe { self.manager.as_ref() }
    }

    /// For the functions of the table.
    pub(super) fn raw(&mut self) -> *mut sys::IMB_MGR {
        self.manager.as_ptr()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // SAFETY: made by the same copy of the library in `load`, and known to nobody else.
        unsafe { (self.api.free_mb_mgr)(self.manager.as_ptr()) };
    }
}

fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff)
}
