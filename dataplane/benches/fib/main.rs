//! What a route lookup costs, in this crate's table and in others.
//!
//! `cargo bench -p penstock-dataplane --no-default-features --bench fib` measures this crate's table,
//! `... --bench fib -- all` other crates' tables too, and `... --features measure --bench fib -- all` also DPDK's.
//! Pin it to a core that nothing else uses (`taskset -c 3 cargo bench ...`). The figures are explained in
//! `docs/longest-prefix-match.md`.
#![expect(clippy::print_stdout, reason = "a report for people")]

mod crates;
#[cfg(feature = "measure")]
mod dpdk_tables;
mod measure;
mod ours;
mod routes;

use measure::{Row, Table, one, tenants};
use penstock_dataplane::tables::fib::{Fib4, Fib6, Prefix};
use routes::Kind;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Under `cargo test --all-targets` there is nothing to measure.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    println!("cycles per lookup: hot = 512 addresses in turn, random = a million addresses\n");
    println!(
        "{:<18} {:>11} {:>7} {:>7} {:>12} {:>10}",
        "table", "routes", "hot", "random", "bytes", "build ms"
    );
    suite::<u32, Fib4>(&[1, 10, 1000, 100_000, 1_000_000], Some(Fib4::lookup));
    suite::<u128, Fib6>(&[1, 10, 1000, 200_000], Some(Fib6::lookup));
    if args.iter().any(|arg| arg == "all") {
        crates::measure();
        #[cfg(feature = "measure")]
        dpdk_tables::measure();
    }
}

/// Measures one table at several sizes, and 10 000 tenants of ten routes each where `lookup` is given.
fn suite<A: Kind, T: Table<A>>(sizes: &[usize], lookup: Option<fn(&T, A) -> u32>) {
    for &n in sizes {
        let routes = match n {
            1 => vec![(Prefix::DEFAULT_ROUTE, 1)],
            10 => A::tenant(1),
            n => A::internet(n),
        };
        report::<A, T>(&n.to_string(), one::<A, T>(&routes));
    }
    if let Some(lookup) = lookup {
        report::<A, T>("10000 x 10", tenants(10_000, lookup));
    }
}

fn report<A: Kind, T: Table<A>>(routes: &str, row: Option<Row>) {
    let name = format!("{} v{}", T::NAME, if A::BITS == 32 { 4 } else { 6 });
    let Some(Row { hot, random, bytes, build_ms }) = row else {
        println!("{name:<18} {routes:>11} cannot hold them, or needs more than a minute to build");
        return;
    };
    let bytes = bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    println!("{name:<18} {routes:>11} {hot:>7.1} {random:>7.1} {bytes:>12} {build_ms:>10.2}");
}
