//! DPDK for tests: without hugepages, PCI or files, so they run anywhere and side by side.

use crate::eal::{Eal, EalOptions, LogLevel};
use crate::mempool::Mempool;
use std::sync::OnceLock;

/// DPDK for this test process, started by whoever asks first.
///
/// # Panics
/// When it does not start: no test can do without.
#[must_use]
#[expect(clippy::panic, reason = "only tests call this, and they cannot go on")]
pub fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let options = EalOptions {
            hugepages: false,
            memory_mib: 256,
            log_level: LogLevel::Error,
            ..EalOptions::default()
        };
        Eal::init(&options).unwrap_or_else(|error| panic!("DPDK for tests: {error}"))
    })
}

/// A small pool with a name of its own.
///
/// # Panics
/// When there is no memory left.
#[must_use]
#[expect(clippy::panic, reason = "only tests call this, and they cannot go on")]
pub fn pool(name: &str, count: u32) -> Mempool {
    let _running = eal();
    Mempool::new(name, count, 0, 2048, None).unwrap_or_else(|error| panic!("a pool for tests: {error}"))
}

/// Fails unless every buffer of the pool is back.
///
/// # Panics
/// When one is not.
#[track_caller]
pub fn assert_no_leak(pool: &Mempool) {
    assert_eq!(pool.in_use(), 0, "buffers of '{}' were not given back", pool.name());
}
