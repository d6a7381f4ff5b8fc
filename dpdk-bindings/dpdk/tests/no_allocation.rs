//! Receiving, reading, changing and sending packets allocates nothing. A test of its own process: the
//! counting allocator counts for all threads.

use arrayvec::ArrayVec;
use dpdk::testing::pool;
use dpdk::{Mbuf, Port, PortConfig, free_bulk};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands every request to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) };
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_burst_allocates_nothing() {
    let pool = pool("quiet", 2047);
    let mut port = Port::attach("net_null0,size=200").expect("net_null");
    port.configure(&PortConfig::default(), std::slice::from_ref(&pool)).expect("configured");
    let (mut rx, mut tx) = port.start().expect("started");
    let (rx, tx) = (&mut rx[0], &mut tx[0]);
    let mut burst = ArrayVec::<Mbuf, 64>::new();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..1000 {
        rx.rx_burst(&mut burst);
        for packet in &mut burst {
            let header = packet.prepend_array::<24>().expect("headroom");
            header[0] = 0x45;
            assert!(packet.trim_front(10) && packet.pullup(40) && packet.truncate(150));
        }
        tx.tx_burst(&mut burst);
        assert!(pool.alloc_bulk(&mut burst, 32));
        free_bulk(&mut burst);
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
    assert!(before > 0, "the counter counts");
}
