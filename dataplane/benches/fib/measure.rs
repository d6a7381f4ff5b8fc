//! TSC cycles per lookup.

/// The time stamp counter.
fn tsc() -> u64 {
    // SAFETY: reads a counter; every x86-64 processor has it and user space may read it on Linux.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Runs `pass` over all of `queries` until about 30 ms are spent, at least 5 times; the best pass counts.
/// `pass` returns the sum of its answers, so that no lookup can be left out.
pub fn cycles_per_lookup<Q>(queries: &[Q], pass: impl Fn(&[Q]) -> u64) -> f64 {
    let passes = (20_000_000 / (queries.len() * 10)).clamp(5, 4000);
    let mut best = u64::MAX;
    for _ in 0..passes {
        let start = tsc();
        core::hint::black_box(pass(core::hint::black_box(queries)));
        best = best.min(tsc() - start);
    }
    best as f64 / queries.len() as f64
}

/// Milliseconds that `build` takes, the best of three, and what it built.
pub fn build_ms<T>(build: impl Fn() -> T) -> (f64, T) {
    let mut best = f64::MAX;
    let mut built = None;
    for _ in 0..3 {
        drop(built.take());
        let start = std::time::Instant::now();
        built = Some(build());
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    (best, built.expect("three runs"))
}
