//! The shared library: found at run time, checked, and asked to expand keys.

use super::error::LoadError;
use super::instance::Instance;
use dpdk_sys::ipsec_mb as sys;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Whether AES-GCM runs on 512-bit AES and so keeps its hash keys elsewhere (see `gcm`). The same for the
/// whole process, because the processor is.
static WIDE_GCM: AtomicBool = AtomicBool::new(false);

/// intel-ipsec-mb, loaded once per process and for good. Cheap to clone.
///
/// It stays because the dynamic linker takes a library of the same internal name for the one asked for: with
/// the original gone it would hand out a thread's copy (see `instance`).
#[derive(Clone)]
pub struct Library(Arc<Loaded>);

struct Loaded {
    /// Its manager is never given a job: its functions expand keys, for whichever thread asks.
    instance: Instance,
    version: String,
}

// SAFETY: the manager is only read, and the functions reached through it (key expansion, one hash block) work
// on their arguments alone. The rest is function pointers into a library that stays loaded.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Library {
    /// Finds the library and chooses its code for this processor. Later calls get what the first one got.
    ///
    /// Allocates and reads files: not for the data path.
    ///
    /// # Errors
    /// When it is missing, of another release than its header, or of no use on this processor.
    pub fn load() -> Result<Self, LoadError> {
        static LOADED: OnceLock<Result<Library, LoadError>> = OnceLock::new();
        LOADED.get_or_init(Self::load_now).clone()
    }

    fn load_now() -> Result<Self, LoadError> {
        let instance = Instance::open()?;
        let version = instance.version();
        let library = Self(Arc::new(Loaded { instance, version }));
        WIDE_GCM.store(library.is_wide(), Ordering::Relaxed);
        Ok(library)
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

    /// As the library decides it when it chooses its code.
    fn is_wide(&self) -> bool {
        let (table, wanted) = (self.table(), u64::from(sys::IMB_CPUFLAGS_AVX512_T2));
        table.used_arch == sys::IMB_ARCH_AVX512 && table.features & wanted == wanted
    }

    /// The functions that expand keys.
    pub(super) fn table(&self) -> &sys::IMB_MGR {
        self.0.instance.manager()
    }

    /// A manager for the jobs of one thread.
    pub(super) fn instance_for_thread(&self) -> Result<Instance, LoadError> {
        self.0.instance.for_thread()
    }
}

/// Whether AES-GCM keys are laid out for 512-bit AES.
#[inline(always)]
pub(super) fn has_wide_gcm() -> bool {
    WIDE_GCM.load(Ordering::Relaxed)
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "intel-ipsec-mb {}, {}", self.version(), self.architecture())
    }
}
