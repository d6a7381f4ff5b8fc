//! The table against the plain reading of "longest match".

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// The definition: among the prefixes that contain the address the longest; of equal ones the last given.
fn naive<A: Address>(routes: &[(Prefix<A>, u32)], addr: A) -> u32 {
    let matching = routes.iter().filter(|(prefix, _)| prefix.contains(addr));
    matching.max_by_key(|(prefix, _)| prefix.len()).map_or(0, |&(_, value)| value)
}

fn v4(text: &str) -> Prefix4 {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix4::v4(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn v6(text: &str) -> Prefix6 {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix6::v6(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn ip4(text: &str) -> u32 {
    text.parse::<core::net::Ipv4Addr>().unwrap().to_bits()
}

fn ip6(text: &str) -> u128 {
    text.parse::<core::net::Ipv6Addr>().unwrap().to_bits()
}

/// A splitmix64 sequence: the same million routes in every run.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Longest match by one hash map per length.
struct PerLength<A>(Vec<HashMap<A, u32>>);

impl<A: Address> PerLength<A> {
    fn new(routes: &[(Prefix<A>, u32)]) -> Self {
        let mut maps = vec![HashMap::new(); usize::from(A::BITS) + 1];
        for (prefix, value) in routes {
            maps[usize::from(prefix.len())].insert(prefix.addr(), *value);
        }
        Self(maps)
    }

    fn lookup(&self, addr: A) -> u32 {
        let longest_first = (0..=A::BITS).rev();
        let mut found = longest_first.filter_map(|len| self.0[usize::from(len)].get(&addr.first_of(len)));
        found.next().copied().unwrap_or(0)
    }
}

#[test]
fn empty_table_has_no_route() {
    assert_eq!(Fib4::default().lookup(0), 0);
    assert_eq!(Fib6::default().lookup(u128::MAX), 0);
    let built = Fib4::build(&[]).unwrap();
    assert!(built.is_empty());
    assert_eq!(built.lookup(u32::MAX), 0);
}

#[test]
fn default_route_answers_everything() {
    let fib = Fib4::build(&[(Prefix4::DEFAULT_ROUTE, 7)]).unwrap();
    assert_eq!([0, 1 << 31, u32::MAX].map(|addr| fib.lookup(addr)), [7; 3]);
    let fib = Fib6::build(&[(Prefix6::DEFAULT_ROUTE, 7)]).unwrap();
    assert_eq!([0, 1 << 127, u128::MAX].map(|addr| fib.lookup(addr)), [7; 3]);
}

#[test]
fn the_longest_prefix_wins_v4() {
    let fib = Fib4::build(&[
        (v4("10.0.0.0/8"), 1),
        (v4("10.1.0.0/16"), 2),
        (v4("10.1.2.0/24"), 3),
        (v4("10.1.2.3/32"), 4),
        (v4("10.1.2.128/25"), 5),
        (v4("255.255.255.255/32"), 6),
        (v4("0.0.0.0/32"), 8),
    ])
    .unwrap();
    for (addr, value) in [
        ("10.0.0.0", 1),
        ("10.255.255.255", 1),
        ("10.1.0.0", 2),
        ("10.1.3.0", 2),
        ("10.1.1.255", 2),
        ("10.1.2.2", 3),
        ("10.1.2.3", 4),
        ("10.1.2.4", 3),
        ("10.1.2.127", 3),
        ("10.1.2.128", 5),
        ("10.1.2.255", 5),
        ("9.255.255.255", 0),
        ("11.0.0.0", 0),
        ("255.255.255.254", 0),
        ("255.255.255.255", 6),
        ("0.0.0.0", 8),
        ("0.0.0.1", 0),
    ] {
        assert_eq!(fib.lookup(ip4(addr)), value, "{addr}");
    }
    assert_eq!(fib.len(), 7);
}

#[test]
fn the_longest_prefix_wins_v6() {
    let fib = Fib6::build(&[
        (v6("::/0"), 9),
        (v6("2001:db8::/32"), 1),
        (v6("2001:db8:1::/48"), 2),
        (v6("2001:db8:1::/64"), 3),
        (v6("2001:db8:1::1/128"), 4),
        (v6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"), 5),
    ])
    .unwrap();
    for (addr, value) in [
        ("2001:db7:ffff::", 9),
        ("2001:db8::", 1),
        ("2001:db8:1:1::", 2),
        ("2001:db8:1::", 3),
        ("2001:db8:1::1", 4),
        ("2001:db8:1::2", 3),
        ("2001:db9::", 9),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 5),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 9),
    ] {
        assert_eq!(fib.lookup(ip6(addr)), value, "{addr}");
    }
}

#[test]
fn host_bits_are_cleared() {
    assert_eq!(v4("10.1.2.3/8"), v4("10.0.0.0/8"));
    assert_eq!(v6("2001:db8::1/32").addr(), ip6("2001:db8::"));
    assert_eq!(Prefix4::host(5), Prefix4::new(5, 32).unwrap());
}

#[test]
fn too_long_a_prefix_is_refused() {
    assert_eq!(Prefix4::new(0, 33), Err(FibError::PrefixLength { len: 33, max: 32 }));
    assert_eq!(Prefix6::new(0, 129), Err(FibError::PrefixLength { len: 129, max: 128 }));
}

#[test]
fn the_last_of_two_equal_prefixes_wins() {
    let fib = Fib4::build(&[(v4("10.0.0.0/8"), 1), (v4("10.9.9.9/8"), 2)]).unwrap();
    assert_eq!((fib.lookup(ip4("10.0.0.1")), fib.len()), (2, 1));
}

#[test]
fn a_route_may_say_no_route() {
    let fib = Fib4::build(&[(v4("0.0.0.0/0"), 1), (v4("10.0.0.0/8"), 0)]).unwrap();
    assert_eq!((fib.lookup(ip4("10.0.0.1")), fib.lookup(ip4("11.0.0.1"))), (0, 1));
}

#[test]
fn values_up_to_the_limit() {
    let fib = Fib4::build(&[(v4("10.0.0.0/8"), MAX_VALUE)]).unwrap();
    assert_eq!(fib.lookup(ip4("10.0.0.1")), MAX_VALUE);
    let refused = Fib4::build(&[(v4("10.0.0.0/8"), MAX_VALUE + 1)]);
    assert_eq!(refused.err(), Some(FibError::Value { value: MAX_VALUE + 1 }));
}

/// Host routes every third address: two intervals each, so that the sizes below straddle every change of layout.
fn hosts<A: Address>(n: u32, addr: impl Fn(u32) -> A) -> Vec<(Prefix<A>, u32)> {
    (0..n).map(|i| (Prefix::host(addr(3 * i)), i + 1)).collect()
}

#[test]
fn every_size_of_table_v4() {
    for n in [1, 15, 16, 17, 31, 32, 33, 40, 8191, 8192, 8193, 9000] {
        for base in [0, 0x0a01_0203, u32::MAX - 3 * (n - 1)] {
            let routes = hosts(n, |i| base + i);
            let fib = Fib4::build(&routes).unwrap();
            for i in 0..3 * n {
                let value = if i % 3 == 0 { i / 3 + 1 } else { 0 };
                let Some(addr) = base.checked_add(i) else { continue };
                assert_eq!(fib.lookup(addr), value, "{n} routes from {base:#x}, {addr:#x}");
            }
        }
    }
}

#[test]
fn every_size_of_table_v6() {
    for n in [1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 8191, 8193] {
        // Neighbours by their lowest bits, across the middle of the address, and by the bits of a /64.
        for shift in [0, 60, 64, 100] {
            let base = 0x2001_0db8 << 96;
            let routes = hosts(n, |i| base + (u128::from(i) << shift));
            let fib = Fib6::build(&routes).unwrap();
            for i in 0..3 * n {
                let value = if i % 3 == 0 { i / 3 + 1 } else { 0 };
                assert_eq!(fib.lookup(base + (u128::from(i) << shift)), value, "{n} routes, {shift}, {i}");
            }
        }
    }
}

#[test]
fn hosts_at_the_end_of_every_region() {
    let mut routes: Vec<_> =
        (0u32..100).map(|i| (Prefix6::new(u128::from(i) << 120, 8).unwrap(), 1000 + i)).collect();
    let around = ip6("2001:db8:1234:5678:9abc:def0:1234:5678");
    routes.extend((1..=128).map(|len| (Prefix6::host(around.last_of(len)), u32::from(len))));
    let fib = Fib6::build(&routes).unwrap();
    for len in 1..=128 {
        let last = around.last_of(len);
        for addr in [last.wrapping_sub(1), last, last.wrapping_add(1), around.first_of(len)] {
            assert_eq!(fib.lookup(addr), naive(&routes, addr), "end of a /{len}, {addr:#x}");
        }
    }
}

#[test]
fn a_million_v4_routes() {
    let mut random = Sequence(1);
    let routes: Vec<_> = (0..1_000_000)
        .map(|i| {
            let len = [24, 24, 24, 24, 22, 23, 20, 16, 19, 32][i % 10];
            (Prefix4::new(random.next() as u32, len).unwrap(), i as u32 % 5000 + 1)
        })
        .collect();
    let (fib, oracle) = (Fib4::build(&routes).unwrap(), PerLength::new(&routes));
    for i in 0..100_000 {
        let near = routes[i * 10].0;
        for addr in [random.next() as u32, near.addr(), near.last(), near.last().wrapping_add(1)] {
            assert_eq!(fib.lookup(addr), oracle.lookup(addr), "{addr:#x}");
        }
    }
}

#[test]
fn two_hundred_thousand_v6_routes() {
    let mut random = Sequence(2);
    let routes: Vec<_> = (0..200_000)
        .map(|i| {
            let len = [48, 48, 48, 32, 40, 44, 64, 36, 29, 128][i % 10];
            let addr =
                u128::from(random.next() % 0x1000) << 84 | u128::from(random.next()) << 20 | 0x2001 << 112;
            (Prefix6::new(addr, len).unwrap(), i as u32 + 1)
        })
        .collect();
    let (fib, oracle) = (Fib6::build(&routes).unwrap(), PerLength::new(&routes));
    for (near, _) in &routes {
        let inside = near.addr() | (u128::from(random.next()) & (near.last() - near.addr()));
        for addr in [inside, near.addr(), near.last(), near.last().wrapping_add(1)] {
            assert_eq!(fib.lookup(addr), oracle.lookup(addr), "{addr:#x}");
        }
    }
}

/// Addresses that share long heads, so that prefixes overlap and touch.
fn close_v4() -> impl Strategy<Value = u32> {
    (0u32..4, 0u32..4, any::<u32>(), 0u32..=32).prop_map(|(a, b, noise, clear)| {
        let base = [0, 0x0a01_0000, 0x0a01_fff0, 0xffff_ff00][a as usize];
        (base + b) ^ noise.checked_shr(clear).unwrap_or(0)
    })
}

fn close_v6() -> impl Strategy<Value = u128> {
    (0u32..4, 0u128..4, any::<u128>(), 0u32..=128).prop_map(|(a, b, noise, clear)| {
        let base = [0, 0x2001_0db8 << 96, (0x2001_0db8 << 96) + 0xffff_fff0, u128::MAX - 255][a as usize];
        (base + b) ^ noise.checked_shr(clear).unwrap_or(0)
    })
}

fn addrs_to_try<A: Address>(routes: &[(Prefix<A>, u32)], extra: &[A]) -> Vec<A> {
    let edges = routes.iter().flat_map(|(prefix, _)| [prefix.addr(), prefix.last()]);
    let after = routes.iter().filter_map(|(prefix, _)| prefix.last().next());
    edges.chain(after).chain(extra.iter().copied()).collect()
}

proptest! {
    #[test]
    fn agrees_with_the_naive_table_v4(
        routes in prop::collection::vec((close_v4(), 0u8..=32, 0u32..6), 0..120),
        extra in prop::collection::vec(close_v4(), 20),
        random in prop::array::uniform20(any::<u32>()),
    ) {
        let routes: Vec<_> = routes.into_iter().map(|(a, l, v)| (Prefix4::new(a, l).unwrap(), v)).collect();
        let fib = Fib4::build(&routes).unwrap();
        for addr in addrs_to_try(&routes, &extra).into_iter().chain(random) {
            prop_assert_eq!(fib.lookup(addr), naive(&routes, addr), "{:#x}", addr);
        }
    }

    #[test]
    fn agrees_with_the_naive_table_v6(
        routes in prop::collection::vec((close_v6(), 0u8..=128, 0u32..6), 0..120),
        extra in prop::collection::vec(close_v6(), 20),
        random in prop::array::uniform20(any::<u128>()),
    ) {
        let routes: Vec<_> = routes.into_iter().map(|(a, l, v)| (Prefix6::new(a, l).unwrap(), v)).collect();
        let fib = Fib6::build(&routes).unwrap();
        for addr in addrs_to_try(&routes, &extra).into_iter().chain(random) {
            prop_assert_eq!(fib.lookup(addr), naive(&routes, addr), "{:#x}", addr);
        }
    }

    #[test]
    fn any_prefix_is_made_or_refused(addr in any::<u128>(), len in any::<u8>()) {
        match Prefix6::new(addr, len) {
            Ok(prefix) => {
                prop_assert!(prefix.contains(addr) && prefix.contains(prefix.addr()));
                prop_assert!(prefix.addr() <= addr && addr <= prefix.last());
            }
            Err(error) => prop_assert_eq!(error, FibError::PrefixLength { len, max: 128 }),
        }
    }
}
