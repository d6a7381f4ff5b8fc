//! The time stamp counter: the data path's only clock.

use std::sync::OnceLock;

/// Cycles now. Not serialising: good for loops, off by some tens of cycles for single instructions.
#[inline(always)]
#[must_use]
pub fn rdtsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has the instruction, and Linux leaves it enabled for user space.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reads the virtual counter, which Linux leaves readable for user space.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
}

/// Cycles per second, as DPDK measured them when the EAL started.
///
/// Before the EAL has started it is 0 and not remembered.
#[must_use]
pub fn tsc_hz() -> u64 {
    static HZ: OnceLock<u64> = OnceLock::new();
    if let Some(hz) = HZ.get() {
        return *hz;
    }
    // SAFETY: reads a global of DPDK.
    let hz = unsafe { dpdk_sys::rte_get_tsc_hz() };
    if hz != 0 { *HZ.get_or_init(|| hz) } else { 0 }
}
