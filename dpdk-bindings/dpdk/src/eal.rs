//! DPDK's environment (EAL): memory, device buses and the process-wide start and end.
//!
//! One process starts it once; DPDK cannot be started a second time. Every pool, port and worker holds
//! a share of it, so it ends with the last of them, never under their feet.
//!
//! The EAL pins its caller to a core. Here the caller gets its own affinity back, while the EAL's helper
//! threads (interrupts, timers) stay on the main core, off the workers'.

use crate::affinity::Affinity;
use crate::errno::Errno;
use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How to start DPDK.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// Hugepages (real deployments), or plain memory (`--no-huge`: laptops, tests).
    pub hugepages: bool,
    /// Memory to reserve at start, all NUMA nodes together. Ignored if `socket_memory_mib` is given.
    pub memory_mib: u32,
    /// Memory to reserve on each NUMA node, node 0 first. Only with hugepages.
    pub socket_memory_mib: Vec<u32>,
    /// Core of the EAL's helper threads; the first core this process may use when `None`.
    pub main_core: Option<usize>,
    /// Prefix of DPDK's runtime files, where an extra argument makes it write some.
    pub file_prefix: Option<String>,
    /// PCI addresses that DPDK may touch. With none it does not even look at the bus.
    pub pci_devices: Vec<String>,
    /// What DPDK itself writes to stderr.
    pub log_level: LogLevel,
    /// More EAL arguments, as the DPDK guides name them.
    pub extra: Vec<String>,
}

impl Default for EalOptions {
    fn default() -> Self {
        Self {
            hugepages: true,
            memory_mib: 512,
            socket_memory_mib: Vec::new(),
            main_core: None,
            file_prefix: None,
            pci_devices: Vec::new(),
            log_level: LogLevel::Warning,
            extra: Vec::new(),
        }
    }
}

/// DPDK's log levels that are of use to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what went wrong.
    Error,
    /// And what may go wrong.
    Warning,
    /// And the ordinary messages of a start.
    Notice,
    /// And a lot.
    Info,
    /// Everything, of every driver.
    Debug,
}

impl LogLevel {
    fn argument(self) -> &'static str {
        match self {
            Self::Error => "--log-level=*:error",
            Self::Warning => "--log-level=*:warning",
            Self::Notice => "--log-level=*:notice",
            Self::Info => "--log-level=*:info",
            Self::Debug => "--log-level=*:debug",
        }
    }
}

/// Why DPDK is not there.
#[derive(Debug, thiserror::Error)]
pub enum EalError {
    /// Something was asked of DPDK before [`Eal::init`].
    #[error("DPDK is not started: call Eal::init first")]
    NotStarted,
    /// DPDK can be started once in a process's life.
    #[error("DPDK was already started in this process, which can be done once only")]
    AlreadyStarted,
    /// An argument holds a NUL byte.
    #[error("an EAL argument holds a NUL byte: {0:?}")]
    Argument(String),
    /// The core for the EAL's threads cannot be used.
    #[error("core {core} cannot be used for control: {cause}; cores online: {}", crate::lcore::online())]
    Core {
        /// The core asked for.
        core: usize,
        /// What the kernel says.
        cause: std::io::Error,
    },
    /// `rte_eal_init` failed.
    #[error("DPDK did not start: {cause}; {hint}")]
    Init {
        /// What DPDK says.
        cause: Errno,
        /// What to look at.
        hint: String,
    },
}

enum State {
    Fresh,
    Started(Weak<Running>),
}

static STATE: Mutex<State> = Mutex::new(State::Fresh);

/// Held by all that needs DPDK; the last one ends it.
#[derive(Debug)]
pub(crate) struct Running(());

impl Running {
    /// A share in the EAL that runs.
    pub(crate) fn share() -> Result<Arc<Self>, EalError> {
        match &*STATE.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Started(running) => running.upgrade().ok_or(EalError::NotStarted),
            State::Fresh => Err(EalError::NotStarted),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: rte_eal_init succeeded (only then is there a Running), and whatever uses DPDK holds a
        // share of this value, so nothing does any more.
        unsafe { dpdk_sys::rte_eal_cleanup() };
    }
}

/// DPDK, started.
#[derive(Debug)]
pub struct Eal {
    _running: Arc<Running>,
}

impl Eal {
    /// Starts DPDK. The calling thread keeps its CPU affinity.
    ///
    /// # Errors
    /// [`EalError`], which says what to change.
    pub fn init(options: &EalOptions) -> Result<Self, EalError> {
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Started(_) = *state {
            return Err(EalError::AlreadyStarted);
        }
        let before = Affinity::of_this_thread();
        let core = options.main_core.unwrap_or_else(|| before.first());
        let arguments = arguments(options, core)?;

        // The EAL's helper threads inherit this. With the affinity of the whole machine they would be put
        // on all cores but the main one, that is, on the workers'.
        Affinity::only(core).apply().map_err(|cause| EalError::Core { core, cause })?;
        let result = start(arguments);
        before.apply().map_err(|cause| EalError::Core { core, cause })?;
        result.map_err(|cause| EalError::Init { cause, hint: hint(options, cause) })?;

        let running = Arc::new(Running(()));
        *state = State::Started(Arc::downgrade(&running));
        Ok(Self { _running: running })
    }

    /// Release of the DPDK library that is loaded, such as "DPDK 22.11.11".
    #[must_use]
    pub fn version(&self) -> String {
        // SAFETY: returns a static string.
        unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_version()) }.to_string_lossy().into_owned()
    }
}

fn start(arguments: Vec<CString>) -> Result<(), Errno> {
    // DPDK keeps pointers into the arguments for the life of the process.
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let count = i32::try_from(pointers.len()).map_err(|_| Errno(libc::E2BIG))?;
    pointers.push(std::ptr::null_mut());
    let pointers = Vec::leak(pointers);
    // SAFETY: argv is an array of `count` NUL-terminated strings and a null pointer, leaked above, so it
    // stays valid while DPDK holds on to it. The caller holds STATE, so no other thread is in here.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    Errno::check(parsed).map(|_| ())
}

fn arguments(options: &EalOptions, core: usize) -> Result<Vec<CString>, EalError> {
    let mut list = vec!["penstock".to_owned(), "--no-telemetry".into()];
    list.extend(["-l".into(), core.to_string()]);
    list.push(options.log_level.argument().into());
    // Nothing is shared with another process: no file is left behind, and threads can be registered only
    // then. Without hugepages there is nothing else to it than --no-shconf, and DPDK 22.11.11 refuses
    // --in-memory there ("legacy-mem is not compatible").
    if options.hugepages {
        list.push("--in-memory".into());
    } else {
        list.extend(["--no-huge".into(), "--no-shconf".into(), "--iova-mode=va".into()]);
    }
    if options.socket_memory_mib.is_empty() || !options.hugepages {
        list.extend(["-m".into(), options.memory_mib.to_string()]);
    } else {
        let sizes: Vec<String> = options.socket_memory_mib.iter().map(u32::to_string).collect();
        list.push(format!("--socket-mem={}", sizes.join(",")));
    }
    if let Some(prefix) = &options.file_prefix {
        list.push(format!("--file-prefix={prefix}"));
    }
    if options.pci_devices.is_empty() {
        list.push("--no-pci".into());
    }
    for address in &options.pci_devices {
        list.extend(["-a".into(), address.clone()]);
    }
    list.extend(options.extra.iter().cloned());
    list.into_iter().map(|text| CString::new(text.clone()).map_err(|_| EalError::Argument(text))).collect()
}

fn hint(options: &EalOptions, cause: Errno) -> String {
    if options.hugepages {
        let free = free_hugepages();
        return format!(
            "{free} hugepages are free and {} MiB are wanted: reserve them (2 MiB pages: sysctl -w \
             vm.nr_hugepages={}), or run without (memory.hugepages: false)",
            options.memory_mib,
            options.memory_mib.div_ceil(2)
        );
    }
    match cause.0 {
        libc::EACCES | libc::EPERM => {
            "root or the capabilities CAP_IPC_LOCK and CAP_NET_ADMIN are needed".into()
        }
        libc::ENOMEM => format!("{} MiB of memory could not be had", options.memory_mib),
        _ => "its own message is above this one on stderr".into(),
    }
}

/// Free hugepages of all sizes, from sysfs.
fn free_hugepages() -> u64 {
    let Ok(sizes) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    sizes
        .flatten()
        .filter_map(|size| std::fs::read_to_string(size.path().join("free_hugepages")).ok())
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(options: &EalOptions) -> String {
        let list = arguments(options, 3).expect("no NUL inside");
        list.iter().map(|one| one.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_pci_device_is_touched_unless_named() {
        assert!(joined(&EalOptions::default()).contains("--no-pci"));
        let named = EalOptions { pci_devices: vec!["0000:3b:00.0".into()], ..EalOptions::default() };
        assert!(joined(&named).contains("-a 0000:3b:00.0"));
        assert!(!joined(&named).contains("--no-pci"));
    }

    #[test]
    fn memory_per_node_or_in_all() {
        let all = EalOptions { memory_mib: 64, ..EalOptions::default() };
        assert!(joined(&all).contains("-m 64"));
        let nodes = EalOptions { socket_memory_mib: vec![1024, 512], ..EalOptions::default() };
        assert!(joined(&nodes).contains("--socket-mem=1024,512"));
        assert!(!joined(&nodes).contains("-m "));
    }

    #[test]
    fn a_nul_byte_is_an_error() {
        let options = EalOptions { extra: vec!["a\0b".into()], ..EalOptions::default() };
        assert!(matches!(arguments(&options, 0), Err(EalError::Argument(_))));
    }
}
