//! Asking the processor for the cache lines of a key before they are needed.
//!
//! A prefetch reads nothing that the program waits for: the address is computed, the key not touched.

/// Bytes in a cache line.
const LINE: usize = 64;

/// Prefetches cache lines `FIRST..END` of `key`; those beyond its end are left out.
#[inline(always)]
pub(super) fn lines<const FIRST: usize, const END: usize, T>(key: &T) {
    let start: *const u8 = core::ptr::from_ref(key).cast();
    for line in FIRST..END {
        if line * LINE < size_of::<T>() {
            // SAFETY: a prefetch is a hint, for any address; SSE is part of x86-64.
            unsafe {
                core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(
                    start.wrapping_add(line * LINE).cast(),
                );
            }
        }
    }
}
