//! Made-up routing tables with the shape of real ones, the same in every run.

use std::collections::HashSet;

use penstock_dataplane::tables::fib::{Address, Prefix, Prefix4, Prefix6};

/// Different values (next hops, tunnels) in a table.
const VALUES: u64 = 1000;

/// An address family and its typical tables.
pub trait Kind: Address {
    /// `n` different prefixes as in the default-free zone; two in three lie near an earlier one, as the
    /// announcements of one network do.
    fn internet(n: usize) -> Vec<(Prefix<Self>, u32)>;
    /// A tenant's ten routes: a default route, some networks, two single hosts.
    fn tenant(tenant: u64) -> Vec<(Prefix<Self>, u32)>;
    /// An address in a random one of the routes.
    fn inside(random: &mut Sequence, routes: &[(Prefix<Self>, u32)]) -> Self;
}

/// A splitmix64 sequence.
pub struct Sequence(pub u64);

impl Sequence {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }

    fn value(&mut self) -> u32 {
        (self.below(VALUES) + 1) as u32
    }

    /// Picks a length by its share per mille.
    fn length(&mut self, shares: &[(u8, u64)]) -> u8 {
        let mut dice = self.below(shares.iter().map(|&(_, share)| share).sum());
        for &(len, share) in shares {
            if dice < share {
                return len;
            }
            dice -= share;
        }
        0
    }
}

/// Prefix lengths in the default-free zone, per mille.
#[rustfmt::skip]
const DFZ4: [(u8, u64); 14] = [
    (24, 600), (23, 98), (22, 115), (21, 52), (20, 45), (19, 26), (18, 14),
    (17, 9), (16, 14), (15, 3), (14, 3), (13, 2), (12, 1), (11, 1),
];
#[rustfmt::skip]
const DFZ6: [(u8, u64); 11] = [
    (48, 480), (44, 85), (40, 80), (32, 130), (36, 60), (46, 55), (47, 30), (29, 30), (45, 20), (33, 15), (64, 15),
];

impl Kind for u32 {
    fn internet(n: usize) -> Vec<(Prefix4, u32)> {
        let mut random = Sequence(4);
        distinct(n, |routes: &[(Prefix4, u32)]| {
            let len = random.length(&DFZ4);
            let addr = match (random.below(3), routes.len() as u64) {
                (0, _) | (_, 0) => (0x0100_0000 + random.below(0xdf00_0000 - 0x0100_0000)) as u32,
                (_, known) => routes[random.below(known) as usize].0.addr() ^ random.below(1 << 14) as u32,
            };
            (prefix(addr, len), random.value())
        })
    }

    fn tenant(tenant: u64) -> Vec<(Prefix4, u32)> {
        let mut random = Sequence(tenant << 20);
        let mut routes = vec![(Prefix4::DEFAULT_ROUTE, random.value())];
        for len in [16, 20, 22, 24, 24, 24, 24, 32, 32] {
            let addr = 0x0a00_0000 | random.below(1 << 24) as u32;
            routes.push((prefix(addr, len), random.value()));
        }
        routes
    }

    fn inside(random: &mut Sequence, routes: &[(Prefix4, u32)]) -> u32 {
        let prefix = routes[random.below(routes.len() as u64) as usize].0;
        prefix.addr() | random.next() as u32 & (prefix.last() - prefix.addr())
    }
}

impl Kind for u128 {
    fn internet(n: usize) -> Vec<(Prefix6, u32)> {
        // Where the registries' blocks begin.
        const BLOCKS: [u128; 6] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
        let mut random = Sequence(6);
        distinct(n, |routes: &[(Prefix6, u32)]| {
            let len = random.length(&DFZ6);
            let noise = u128::from(random.next()) << 32;
            let addr = match (random.below(3), routes.len() as u64) {
                (0, _) | (_, 0) => {
                    let block = BLOCKS[random.below(6) as usize] + u128::from(random.below(16));
                    block << 112 | u128::from(random.below(1 << 12)) << 100 | noise
                }
                (_, known) => {
                    routes[random.below(known) as usize].0.addr() ^ (noise & ((1 << (128 - 30)) - 1))
                }
            };
            (prefix(addr, len), random.value())
        })
    }

    fn tenant(tenant: u64) -> Vec<(Prefix6, u32)> {
        let mut random = Sequence(tenant << 20);
        let mut routes = vec![(Prefix6::DEFAULT_ROUTE, random.value())];
        for len in [48, 48, 48, 56, 56, 64, 64, 128, 128] {
            let addr =
                0x2001_0db8 << 96 | u128::from(random.below(1 << 32)) << 64 | u128::from(random.next());
            routes.push((prefix(addr, len), random.value()));
        }
        routes
    }

    fn inside(random: &mut Sequence, routes: &[(Prefix6, u32)]) -> u128 {
        let prefix = routes[random.below(routes.len() as u64) as usize].0;
        prefix.addr() | random.wide() & (prefix.last() - prefix.addr())
    }
}

fn prefix<A: Address>(addr: A, len: u8) -> Prefix<A> {
    Prefix::new(addr, len).expect("the lengths above fit their family")
}

/// Calls `draw` with the routes so far until it has made `n` different ones.
fn distinct<A: Address>(
    n: usize,
    mut draw: impl FnMut(&[(Prefix<A>, u32)]) -> (Prefix<A>, u32),
) -> Vec<(Prefix<A>, u32)> {
    let mut seen = HashSet::new();
    let mut routes = Vec::with_capacity(n);
    while routes.len() < n {
        let route = draw(&routes);
        if seen.insert(route.0) {
            routes.push(route);
        }
    }
    routes
}
