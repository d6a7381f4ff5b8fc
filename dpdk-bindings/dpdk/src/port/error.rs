//! What can be wrong with a port, and what to do about it.

use crate::eal::EalError;
use crate::errno::Errno;

/// Why a port does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// DPDK does not run.
    #[error(transparent)]
    Eal(#[from] EalError),
    /// Nothing there by that name, or no driver for it.
    #[error("device '{device}' cannot be attached: {cause}; {hint}")]
    Attach {
        /// The device string.
        device: String,
        /// What DPDK says.
        cause: Errno,
        /// What to do.
        hint: String,
    },
    /// Two ports of one device, or two virtual devices of one name.
    #[error(
        "device '{device}': a port named '{name}' exists already; give each virtual device its own number"
    )]
    NameInUse {
        /// The device string.
        device: String,
        /// The name it would get.
        name: String,
    },
    /// More queues than the device has.
    #[error("device '{device}' offers {offered} {direction} queue(s), {needed} are needed: {hint}")]
    Queues {
        /// The device string.
        device: String,
        /// "RX" or "TX".
        direction: &'static str,
        /// What it has.
        offered: u16,
        /// What was asked.
        needed: u16,
        /// What to do.
        hint: String,
    },
    /// An MTU out of the device's range.
    #[error("device '{device}' takes an MTU from {min} to {max}, not {mtu}: change the port's mtu")]
    Mtu {
        /// The device string.
        device: String,
        /// What was asked.
        mtu: u16,
        /// Least.
        min: u16,
        /// Most.
        max: u16,
    },
    /// A frame does not fit a buffer and the device cannot chain them.
    #[error(
        "device '{device}': a frame of {frame} bytes (MTU {mtu}) does not fit a buffer of {data_room}, and the device \
         cannot spread it over several: set memory.mbuf_size to at least {frame}, or a smaller mtu"
    )]
    Buffer {
        /// The device string.
        device: String,
        /// What was asked.
        mtu: u16,
        /// Largest frame at that MTU.
        frame: u32,
        /// Bytes in a buffer.
        data_room: u16,
    },
    /// `configure` wants one pool for each RX queue.
    #[error("device '{device}': {queues} RX queues need as many buffer pools, {pools} were given")]
    Pools {
        /// The device string.
        device: String,
        /// RX queues asked for.
        queues: u16,
        /// Pools given.
        pools: usize,
    },
    /// Started or stopped before it was configured or started.
    #[error("device '{device}' is not configured and running")]
    NotConfigured {
        /// The device string.
        device: String,
    },
    /// Configured or started while running.
    #[error("device '{device}' runs: stop it first")]
    Running {
        /// The device string.
        device: String,
    },
    /// `stop` without all the queues.
    #[error("device '{device}' can only be stopped when all its queues are given back")]
    QueuesMissing {
        /// The device string.
        device: String,
    },
    /// The device refuses an operation.
    #[error("device '{device}': {operation} failed: {cause}")]
    Device {
        /// The device string.
        device: String,
        /// What was asked of it.
        operation: &'static str,
        /// What it says.
        cause: Errno,
    },
}
