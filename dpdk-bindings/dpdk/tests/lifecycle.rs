//! DPDK starts once, leaves its caller's affinity alone, and ends with the last user. One test, because
//! it is about the whole process.

use dpdk::{Eal, EalError, EalOptions, Mempool, PoolError, Port, PortError, cycles};

fn cores(thread: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the line").trim().to_owned()
}

/// Cores of the threads that DPDK made.
fn helper_cores() -> Vec<(String, String)> {
    let threads = std::fs::read_dir("/proc/self/task").expect("procfs");
    let threads = threads.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    threads
        .map(|id| {
            let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
            (name.trim().to_owned(), cores(&format!("self/task/{id}")))
        })
        .filter(|(name, _)| name.starts_with("eal-") || name.starts_with("rte_") || name.starts_with("dpdk-"))
        .collect()
}

#[test]
fn one_life() {
    assert!(matches!(Mempool::new("early", 7, 0, 64, None), Err(PoolError::Eal(EalError::NotStarted))));
    assert!(matches!(Port::attach("net_null0"), Err(PortError::Eal(EalError::NotStarted))));
    assert!(dpdk::lcore::spawn(0, "early", || ()).is_err());
    assert_eq!(cycles::tsc_hz(), 0);

    let wrong = EalOptions { main_core: Some(1000), hugepages: false, ..EalOptions::default() };
    let error = Eal::init(&wrong).expect_err("no core 1000").to_string();
    assert!(error.contains("core 1000") && error.contains("online"), "{error}");

    let before = cores("thread-self");
    let options = EalOptions { hugepages: false, memory_mib: 64, ..EalOptions::default() };
    let eal = Eal::init(&options).expect("after a wrong core it can still start");
    assert_eq!(cores("thread-self"), before, "the caller's affinity is its own");
    assert!(eal.version().starts_with("DPDK "), "{}", eal.version());
    assert!(cycles::tsc_hz() > 100_000_000);
    let helpers = helper_cores();
    assert!(!helpers.is_empty());
    for (name, cores) in helpers {
        assert_eq!(
            cores,
            before.split(['-', ',']).next().unwrap_or_default(),
            "{name} stays on the main core"
        );
    }
    assert!(matches!(Eal::init(&options), Err(EalError::AlreadyStarted)));

    // Whoever still uses DPDK keeps it.
    let pool = Mempool::new("late", 7, 0, 64, None).expect("a pool");
    drop(eal);
    let packet = pool.alloc_copy(b"still here").expect("a buffer");
    assert_eq!(packet.data(), b"still here");
    drop(packet);
    drop(pool);
    assert!(matches!(Mempool::new("after", 7, 0, 64, None), Err(PoolError::Eal(EalError::NotStarted))));
    assert!(matches!(Eal::init(&options), Err(EalError::AlreadyStarted)));
}
