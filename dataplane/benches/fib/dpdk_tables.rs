//! DPDK's tables in plain memory: rte_fib (DIR-24-8) and rte_fib6 (its trie).
//!
//! A table is sized for a million routes whatever it holds, so that one for each of many tenants is not measured.

use core::ptr::NonNull;
use std::time::{Duration, Instant};

use dpdk::eal::{Eal, EalOptions};
use dpdk_sys as sys;
use penstock_dataplane::tables::fib::{Prefix4, Prefix6};

use crate::measure::{BURST, Table};
use crate::suite;

const MAX_ROUTES: i32 = 1_200_000;
const TBL24_BYTES: usize = 4 << 24;
const TBL8_BYTES: usize = 4 << 8;
const TBL8S_V4: u32 = 1 << 16;
const TBL8S_V6: u32 = 1 << 19;
const PATIENCE: Duration = Duration::from_secs(60);

const SCALAR: u32 = sys::RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO;
const AVX512: u32 = sys::RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512;

pub fn measure() {
    let extra = vec!["--force-max-simd-bitwidth=512".to_owned()];
    let options = EalOptions { hugepages: false, memory_mib: 2000, extra, ..EalOptions::default() };
    let _eal = Eal::init(&options).expect("DPDK starts without hugepages");
    suite::<u32, Fib<SCALAR>>(&[1, 10, 1000, 100_000, 1_000_000], None);
    suite::<u32, Fib<AVX512>>(&[1, 10, 1000, 100_000, 1_000_000], None);
    suite::<u128, Fib6>(&[1, 10, 1000, 200_000], None);
}

struct Fib<const LOOKUP: u32>(NonNull<sys::rte_fib>);

impl<const LOOKUP: u32> Drop for Fib<LOOKUP> {
    fn drop(&mut self) {
        // SAFETY: the pointer is from rte_fib_create and freed only here.
        unsafe { sys::rte_fib_free(self.0.as_ptr()) }
    }
}

impl<const LOOKUP: u32> Table<u32> for Fib<LOOKUP> {
    const NAME: &'static str = if LOOKUP == SCALAR { "rte_fib" } else { "rte_fib avx512" };

    fn build(routes: &[(Prefix4, u32)]) -> Option<Self> {
        let mut conf =
            sys::rte_fib_conf { type_: sys::RTE_FIB_DIR24_8, max_routes: MAX_ROUTES, ..Default::default() };
        conf.__bindgen_anon_1.dir24_8.nh_sz = sys::RTE_FIB_DIR24_8_4B;
        conf.__bindgen_anon_1.dir24_8.num_tbl8 = TBL8S_V4;
        // SAFETY: the name is a C string and `conf` outlives the call; DPDK was started by `measure`.
        let fib = Self(NonNull::new(unsafe { sys::rte_fib_create(c"bench".as_ptr(), -1, &mut conf) })?);
        // SAFETY: the table is alive. Without AVX-512 the call fails.
        if unsafe { sys::rte_fib_select_lookup(fib.0.as_ptr(), LOOKUP) } != 0 {
            return None;
        }
        let start = Instant::now();
        let added = routes.iter().all(|(prefix, value)| {
            // SAFETY: the table is alive, and nobody else uses it.
            let rc =
                unsafe { sys::rte_fib_add(fib.0.as_ptr(), prefix.addr(), prefix.len(), u64::from(*value)) };
            rc == 0 && start.elapsed() < PATIENCE
        });
        added.then_some(fib)
    }

    fn burst(&self, addrs: &[u32; BURST], values: &mut [u32; BURST]) {
        let (mut addrs, mut found) = (*addrs, [0u64; BURST]);
        // SAFETY: the table is alive; both arrays hold BURST elements.
        unsafe {
            sys::rte_fib_lookup_bulk(self.0.as_ptr(), addrs.as_mut_ptr(), found.as_mut_ptr(), BURST as i32);
        }
        *values = found.map(|value| value as u32);
    }

    fn bytes(&self) -> Option<usize> {
        Some(TBL24_BYTES + TBL8S_V4 as usize * TBL8_BYTES)
    }
}

struct Fib6(NonNull<sys::rte_fib6>);

impl Drop for Fib6 {
    fn drop(&mut self) {
        // SAFETY: the pointer is from rte_fib6_create and freed only here.
        unsafe { sys::rte_fib6_free(self.0.as_ptr()) }
    }
}

impl Table<u128> for Fib6 {
    const NAME: &'static str = "rte_fib6";

    fn build(routes: &[(Prefix6, u32)]) -> Option<Self> {
        let mut conf =
            sys::rte_fib6_conf { type_: sys::RTE_FIB6_TRIE, max_routes: MAX_ROUTES, ..Default::default() };
        conf.__bindgen_anon_1.trie.nh_sz = sys::RTE_FIB6_TRIE_4B;
        conf.__bindgen_anon_1.trie.num_tbl8 = TBL8S_V6;
        // SAFETY: the name is a C string and `conf` outlives the call; DPDK was started by `measure`.
        let fib = Self(NonNull::new(unsafe { sys::rte_fib6_create(c"bench6".as_ptr(), -1, &mut conf) })?);
        let start = Instant::now();
        let added = routes.iter().all(|(prefix, value)| {
            let addr = prefix.addr().to_be_bytes();
            // SAFETY: the table is alive and nobody else uses it; the address has its 16 bytes.
            let rc =
                unsafe { sys::rte_fib6_add(fib.0.as_ptr(), addr.as_ptr(), prefix.len(), u64::from(*value)) };
            rc == 0 && start.elapsed() < PATIENCE
        });
        added.then_some(fib)
    }

    // The conversion to bytes costs about 3 cycles a lookup.
    fn burst(&self, addrs: &[u128; BURST], values: &mut [u32; BURST]) {
        let (mut addrs, mut found) = (addrs.map(u128::to_be_bytes), [0u64; BURST]);
        // SAFETY: the table is alive; both arrays hold BURST elements.
        unsafe {
            sys::rte_fib6_lookup_bulk(self.0.as_ptr(), addrs.as_mut_ptr(), found.as_mut_ptr(), BURST as i32);
        }
        *values = found.map(|value| value as u32);
    }

    fn bytes(&self) -> Option<usize> {
        Some(TBL24_BYTES + TBL8S_V6 as usize * TBL8_BYTES)
    }
}
