//! Worker threads: pinned, known to DPDK, and refused with a reason.

use dpdk::lcore::{self, LcoreError};
use dpdk::testing::{assert_no_leak, eal};
use dpdk::{Mempool, cycles};
use std::sync::mpsc;

fn cores_of_this_thread() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.expect("the line").trim().to_owned()
}

#[test]
fn a_worker_runs_on_its_core_under_its_name_with_an_lcore_id() {
    let _eal = eal();
    let worker = lcore::spawn(0, "worker-0", || {
        (cores_of_this_thread(), lcore::current(), std::thread::current().name().map(str::to_owned))
    });
    let (cores, id, name) = worker.expect("core 0").join().expect("no panic");
    assert_eq!(cores, "0");
    assert!(id.is_some());
    assert_eq!(name.as_deref(), Some("worker-0"));
    let other = std::thread::spawn(lcore::current).join().expect("no panic");
    assert_eq!(other, None, "an ordinary thread has none");
}

#[test]
fn workers_at_the_same_time_have_different_ids() {
    let _eal = eal();
    let mut ids: Vec<u32> = Vec::new();
    let mut stop = Vec::new();
    let mut workers = Vec::new();
    for _ in 0..4 {
        let (sender, receiver) = mpsc::channel::<()>();
        let work = move || {
            let _ = receiver.recv();
            lcore::current()
        };
        workers.push(lcore::spawn(0, "worker", work).expect("core 0"));
        stop.push(sender);
    }
    stop.clear();
    for worker in workers {
        ids.push(worker.join().expect("no panic").expect("an id"));
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn only_a_worker_fills_a_pools_cache() {
    let _eal = eal();
    let pool = Mempool::new("cached", 1023, 64, 2048, None).expect("a pool");
    let in_worker = pool.clone();
    lcore::spawn(0, "worker", move || drop(in_worker.alloc())).expect("core 0").join().expect("no panic");
    assert_no_leak(&pool);
}

#[test]
fn a_core_that_is_not_there_is_an_error() {
    let _eal = eal();
    for core in [1000, 100_000] {
        let error = lcore::spawn(core, "nowhere", || ()).expect_err("no such core");
        assert!(matches!(error, LcoreError::Core { .. }));
        let text = error.to_string();
        assert!(text.contains(&core.to_string()) && text.contains("cores online: 0"), "{text}");
    }
}

#[test]
fn a_workers_panic_is_its_joiners() {
    let _eal = eal();
    let worker = lcore::spawn(0, "panics", || assert!(std::hint::black_box(false), "on purpose"));
    assert!(worker.expect("core 0").join().is_err());
}

#[test]
fn the_cycle_counter_counts_at_the_rate_it_says() {
    let _eal = eal();
    let before = cycles::rdtsc();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let seconds = (cycles::rdtsc() - before) as f64 / cycles::tsc_hz() as f64;
    assert!((0.049..1.0).contains(&seconds), "{seconds} s for 50 ms");
}
