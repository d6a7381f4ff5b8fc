//! Why the gateway did not start, or stopped.

use std::path::PathBuf;

use penstock_dataplane::esp::cipher::{Backend, CipherError};

use crate::config::Problem;
use crate::ike::charon::CharonError;
use crate::ike::run_directory::RunDirectoryError;
use crate::kernel::KernelError;
use crate::local_socket::BindError;
use crate::metrics::MetricsError;

/// Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The file has problems.
    #[error("{} has {} problem(s):\n{}", file.display(), problems.len(), list(problems))]
    Config {
        /// The file.
        file: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
    /// DPDK's environment.
    #[error(transparent)]
    Eal(#[from] dpdk::EalError),
    /// A port.
    #[error("port {name}: {source}")]
    Port {
        /// Its name in the configuration.
        name: String,
        /// What DPDK says.
        source: dpdk::PortError,
    },
    /// Packet buffers.
    #[error(transparent)]
    Pool(#[from] dpdk::PoolError),
    /// A reassembly table.
    #[error("the table for outer fragments: {0}")]
    Reassembly(#[from] dpdk::ip_frag::TableError),
    /// A worker's core.
    #[error(transparent)]
    Core(#[from] dpdk::lcore::LcoreError),
    /// What encrypts and decrypts.
    #[error(transparent)]
    Crypto(#[from] CipherError),
    /// What the configuration wants to encrypt with does not work here.
    #[error("crypto.backend: {backend} cannot be used: {why}; mend that, or write auto")]
    Backend {
        /// Which.
        backend: Backend,
        /// Why not.
        why: String,
    },
    /// Nothing to forward between.
    #[error("the configuration has no ports; add at least one under ports")]
    NoPorts,
    /// A worker was given a queue that its port does not have.
    #[error(
        "cores.queues: worker {core} is to poll {queue}, but queue {queue} is given to two workers or leaves a gap; \
         number the queues of each port from 0 without gaps, each for one worker"
    )]
    Queue {
        /// The worker's core.
        core: u16,
        /// The queue.
        queue: String,
    },
    /// The kernel twin.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// This node cannot be one of its fleet.
    #[error("fleet: {reason}")]
    Fleet {
        /// Why, and what to do.
        reason: String,
    },
    /// What must outlive a restart cannot be kept.
    #[error(transparent)]
    RunDirectory(#[from] RunDirectoryError),
    /// A charon of ours cannot be kept.
    #[error(transparent)]
    Charon(#[from] CharonError),
    /// The API's socket, or that of charon's plugin.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// Metrics cannot be served where the configuration says.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The tables cannot be built.
    #[error("the tables cannot be built: {0}")]
    Compile(#[from] crate::compile::CompileError),
    /// The operating system refused something at start.
    #[error("{action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// A worker thread ended by itself, which is a bug.
    #[error(
        "the worker on core {0} ended; this is a bug, the gateway stops so that routing moves to other nodes"
    )]
    WorkerGone(u16),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}")).collect::<Vec<_>>().join("\n")
}
