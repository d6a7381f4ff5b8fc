//! The shared library: found at run time, checked, and asked to expand keys.

use super::error::LoadError;
use dpdk_sys::ipsec_mb as sys;
use std::ffi::CStr;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether AES-GCM runs on 512-bit AES and so keeps its hash keys elsewhere (see `gcm`). The same for the
/// whole process, because the processor is.
static WIDE_GCM: AtomicBool = AtomicBool::new(false);

/// intel-ipsec-mb, loaded. Cheap to clone; the library stays as long as anything made from it.
#[derive(Clone)]
pub struct Library(Arc<Loaded>);

struct Loaded {
    api: sys::Api,
    /// Never given a job: its table of functions expands keys, for whichever thread asks.
    table: NonNull<sys::IMB_MGR>,
    version: String,
}

// SAFETY: `table` is only read after `load`, and the functions reached through it (key expansion, one hash
// block) work on their arguments alone. `api` is function pointers into a library that stays loaded.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Library {
    /// Finds the library and chooses its code for this processor.
    ///
    /// Allocates and reads files: not for the data path.
    ///
    /// # Errors
    /// When it is missing, of another release than its header, or of no use on this processor.
    pub fn load() -> Result<Self, LoadError> {
        let name = format!("libIPSec_MB.so.{}", sys::IMB_VERSION_NUM >> 16);
        // SAFETY: its initialisers are those of a library of the distribution, which expect nothing.
        let api = unsafe { sys::Api::new(&name) }.map_err(|error| LoadError::Missing(error.to_string()))?;
        // SAFETY: takes nothing, returns a number.
        let number = unsafe { (api.imb_get_version)() };
        // SAFETY: takes nothing, returns a static string.
        let version = unsafe { CStr::from_ptr((api.imb_get_version_str)()) }.to_string_lossy().into_owned();
        if number >> 8 != sys::IMB_VERSION_NUM >> 8 {
            return Err(LoadError::Version { found: version, built: dotted(sys::IMB_VERSION_NUM) });
        }
        let table = new_manager(&api)?;
        // SAFETY: just made; nobody else has it.
        let manager = unsafe { table.as_ref() };
        let (arch, features) = (manager.used_arch, manager.features);
        let loaded = Self(Arc::new(Loaded { api, table, version }));
        let self_test = u64::from(sys::IMB_FEATURE_SELF_TEST);
        if arch == sys::IMB_ARCH_NONE || arch == sys::IMB_ARCH_NOAESNI {
            return Err(LoadError::Processor);
        }
        if features & self_test != 0 && features & u64::from(sys::IMB_FEATURE_SELF_TEST_PASS) == 0 {
            return Err(LoadError::SelfTest);
        }
        WIDE_GCM.store(loaded.is_wide(), Ordering::Relaxed);
        Ok(loaded)
    }

    /// The release, as the library writes it: `1.3.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The instructions it chose for this processor.
    #[must_use]
    pub fn architecture(&self) -> &'static str {
        match self.table().used_arch {
            sys::IMB_ARCH_AVX512 if self.is_wide() => "AVX512 with VAES",
            sys::IMB_ARCH_AVX512 => "AVX512",
            sys::IMB_ARCH_AVX2 => "AVX2",
            sys::IMB_ARCH_AVX => "AVX",
            _ => "SSE",
        }
    }

    fn is_wide(&self) -> bool {
        let (table, wanted) = (self.table(), u64::from(sys::IMB_CPUFLAGS_AVX512_T2));
        table.used_arch == sys::IMB_ARCH_AVX512 && table.features & wanted == wanted
    }

    /// The functions that expand keys.
    pub(super) fn table(&self) -> &sys::IMB_MGR {
        // SAFETY: allocated and initialised in `load`, freed in `drop`, written by nobody in between.
        unsafe { self.0.table.as_ref() }
    }

    /// Memory for the jobs of one thread.
    pub(super) fn new_manager(&self) -> Result<NonNull<sys::IMB_MGR>, LoadError> {
        new_manager(&self.0.api)
    }

    /// Gives a manager's memory back.
    ///
    /// # Safety
    /// It came from `new_manager` and is not used again.
    pub(super) unsafe fn free_manager(&self, manager: NonNull<sys::IMB_MGR>) {
        // SAFETY: the caller's promise.
        unsafe { (self.0.api.free_mb_mgr)(manager.as_ptr()) };
    }
}

/// Whether AES-GCM keys are laid out for 512-bit AES.
#[inline(always)]
pub(super) fn has_wide_gcm() -> bool {
    WIDE_GCM.load(Ordering::Relaxed)
}

fn new_manager(api: &sys::Api) -> Result<NonNull<sys::IMB_MGR>, LoadError> {
    // SAFETY: no flags: everything that the processor has.
    let manager = NonNull::new(unsafe { (api.alloc_mb_mgr)(0) }).ok_or(LoadError::Memory)?;
    // SAFETY: allocated just above; the chosen architecture can be read from the manager itself.
    unsafe { (api.init_mb_mgr_auto)(manager.as_ptr(), std::ptr::null_mut()) };
    Ok(manager)
}

fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff)
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: made by `new_manager` in `load`, and this was the last to know it.
        unsafe { (self.api.free_mb_mgr)(self.table.as_ptr()) };
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "intel-ipsec-mb {}, {}", self.version(), self.architecture())
    }
}
