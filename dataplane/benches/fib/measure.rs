//! TSC cycles per lookup.

use penstock_dataplane::tables::fib::Prefix;

use crate::routes::{Kind, Sequence};

/// As many lookups as a worker takes packets at once.
pub const BURST: usize = 32;
/// Queries that are timed together.
const SLICE: usize = 4096;

/// A table under measurement.
pub trait Table<A>: Sized {
    /// What the report calls it.
    const NAME: &'static str;
    /// `None` when it cannot hold these routes, or not within a minute.
    fn build(routes: &[(Prefix<A>, u32)]) -> Option<Self>;
    /// Looks a burst up.
    fn burst(&self, addrs: &[A; BURST], values: &mut [u32; BURST]);
    /// Bytes of memory, where the table can say.
    fn bytes(&self) -> Option<usize>;
}

/// One row of the report.
pub struct Row {
    /// Cycles per lookup with 512 addresses in turn.
    pub hot: f64,
    /// Cycles per lookup over a million addresses in random routes.
    pub random: f64,
    /// Memory of all tables together.
    pub bytes: Option<usize>,
    /// Time to build all tables.
    pub build_ms: f64,
}

/// Measures one table.
pub fn one<A: Kind, T: Table<A>>(routes: &[(Prefix<A>, u32)]) -> Option<Row> {
    let (build_ms, table) = built(|| T::build(routes))?;
    let mut random = Sequence(99);
    let queries: Vec<A> = (0..1 << 20).map(|_| A::inside(&mut random, routes)).collect();
    let pass = |queries: &[A]| {
        let (mut values, mut sum) = ([0; BURST], 0);
        for addrs in queries.as_chunks::<BURST>().0 {
            table.burst(addrs, &mut values);
            sum += values.iter().map(|value| u64::from(*value)).sum::<u64>();
        }
        sum
    };
    let (hot, random) = (cycles(&queries[..512], pass), cycles(&queries, pass));
    Some(Row { hot, random, bytes: table.bytes(), build_ms })
}

/// Measures the tables of many tenants, each packet of another one.
pub fn tenants<A: Kind, T: Table<A>>(tenants: u64, lookup: impl Fn(&T, A) -> u32) -> Option<Row> {
    let routes: Vec<_> = (0..tenants).map(A::tenant).collect();
    let (build_ms, tables) =
        built(|| routes.iter().map(|routes| T::build(routes)).collect::<Option<Vec<T>>>())?;
    let mut random = Sequence(77);
    let queries: Vec<(&T, A)> = (0..1 << 18)
        .map(|i| {
            let tenant = (i * 7919 % tenants) as usize;
            (&tables[tenant], A::inside(&mut random, &routes[tenant]))
        })
        .collect();
    let pass = |queries: &[(&T, A)]| {
        queries.iter().map(|&(table, addr)| u64::from(lookup(table, addr))).sum::<u64>()
    };
    let (hot, random) = (cycles(&queries[..512], pass), cycles(&queries, pass));
    Some(Row { hot, random, bytes: tables.iter().map(Table::bytes).sum(), build_ms })
}

/// Cycles per query over many passes. Slices of a pass are timed by themselves and the best time of each slice
/// counts, so that the scheduler's interruptions do not; a long list still finds its table as cold as in one go.
/// `pass` returns the sum of its answers, so that no lookup can be left out.
fn cycles<Q>(queries: &[Q], pass: impl Fn(&[Q]) -> u64) -> f64 {
    let passes = (50_000_000 / (queries.len() * 10)).clamp(10, 5000);
    let mut best = vec![u64::MAX; queries.len().div_ceil(SLICE)];
    for _ in 0..passes {
        for (slice, best) in queries.chunks(SLICE).zip(&mut best) {
            let start = tsc();
            core::hint::black_box(pass(core::hint::black_box(slice)));
            *best = (*best).min(tsc() - start);
        }
    }
    best.iter().sum::<u64>() as f64 / queries.len() as f64
}

/// Builds until 200 ms of processor time are spent, at least once; the average of that time in milliseconds.
/// It is not wall time, which other work on the machine would lengthen, and is exact to a few milliseconds in all.
fn built<T>(build: impl Fn() -> Option<T>) -> Option<(f64, T)> {
    let (start, mut builds) = (thread_ms(), 0);
    loop {
        let table = build()?;
        builds += 1;
        let spent = thread_ms() - start;
        if spent > 200.0 {
            return Some((spent / f64::from(builds), table));
        }
    }
}

/// Milliseconds that this thread has run on a processor.
fn thread_ms() -> f64 {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how long a thread ran");
    let ns = text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok());
    ns.expect("the first field is a number") / 1e6
}

/// The time stamp counter.
fn tsc() -> u64 {
    // SAFETY: reads a counter; every x86-64 processor has it and user space may read it on Linux.
    unsafe { core::arch::x86_64::_rdtsc() }
}
