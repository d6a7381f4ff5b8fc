//! The tables bound for measurements are callable.
#![cfg(feature = "measure")]

use dpdk_sys::{rte_fib_create, rte_lpm_create};
use std::ffi::c_int;

#[test]
fn the_symbols_are_there() {
    let fib: unsafe extern "C" fn(_, c_int, _) -> _ = rte_fib_create;
    let lpm: unsafe extern "C" fn(_, c_int, _) -> _ = rte_lpm_create;
    let lookup: unsafe extern "C" fn(_, _, _, u32) -> c_int = dpdk_sys::penstock_lpm_lookup_bulk;
    assert!(fib as usize != 0 && lpm as usize != 0 && lookup as usize != 0);
}
