//! Made-up routing tables with the shape of real ones, the same in every run.

use penstock_dataplane::tables::fib::{Prefix4, Prefix6};

/// Different values (next hops, tunnels) in a table.
const VALUES: u64 = 1000;

/// A splitmix64 sequence.
pub struct Sequence(pub u64);

impl Sequence {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
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
const DFZ4: [(u8, u64); 14] = [
    (24, 600), (23, 98), (22, 115), (21, 52), (20, 45), (19, 26), (18, 14),
    (17, 9), (16, 14), (15, 3), (14, 3), (13, 2), (12, 1), (11, 1),
];
const DFZ6: [(u8, u64); 11] = [
    (48, 480), (44, 85), (40, 80), (32, 130), (36, 60), (46, 55), (47, 30), (29, 30), (45, 20), (33, 15), (64, 15),
];

/// `n` different IPv4 prefixes; two in three lie near an earlier one, as announcements of one network do.
pub fn internet4(n: usize) -> Vec<(Prefix4, u32)> {
    let mut random = Sequence(4);
    let mut seen = std::collections::HashSet::new();
    let mut routes: Vec<(Prefix4, u32)> = Vec::with_capacity(n);
    while routes.len() < n {
        let len = random.length(&DFZ4);
        let addr = match (random.below(3), routes.len() as u64) {
            (0, _) | (_, 0) => (0x0100_0000 + random.below(0xdf00_0000 - 0x0100_0000)) as u32,
            (_, known) => routes[random.below(known) as usize].0.addr() ^ random.below(1 << 14) as u32,
        };
        let prefix = Prefix4::new(addr, len).expect("a length of the table above");
        if seen.insert(prefix) {
            routes.push((prefix, random.value()));
        }
    }
    routes
}

/// `n` different IPv6 prefixes in the blocks that the registries hand out.
pub fn internet6(n: usize) -> Vec<(Prefix6, u32)> {
    const BLOCKS: [u128; 6] = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00];
    let mut random = Sequence(6);
    let mut seen = std::collections::HashSet::new();
    let mut routes: Vec<(Prefix6, u32)> = Vec::with_capacity(n);
    while routes.len() < n {
        let len = random.length(&DFZ6);
        let noise = u128::from(random.next()) << 32;
        let addr = match (random.below(3), routes.len() as u64) {
            (0, _) | (_, 0) => {
                let block = BLOCKS[random.below(6) as usize] + u128::from(random.below(16));
                block << 112 | u128::from(random.below(1 << 12)) << 100 | noise
            }
            (_, known) => {
                let near = routes[random.below(known) as usize].0.addr();
                near ^ (noise & ((1 << (128 - 30)) - 1))
            }
        };
        let prefix = Prefix6::new(addr, len).expect("a length of the table above");
        if seen.insert(prefix) {
            routes.push((prefix, random.value()));
        }
    }
    routes
}

/// A tenant's ten routes: a default route, private /16 to /24, two single hosts.
pub fn tenant4(tenant: u64) -> Vec<(Prefix4, u32)> {
    let mut random = Sequence(tenant << 20);
    let mut routes = vec![(Prefix4::DEFAULT_ROUTE, random.value())];
    for len in [16, 20, 22, 24, 24, 24, 24, 32, 32] {
        let addr = 0x0a00_0000 | random.below(1 << 24) as u32;
        routes.push((Prefix4::new(addr, len).expect("at most 32"), random.value()));
    }
    routes
}

/// The same for IPv6: a default route, /48 to /64 in one /32, two single hosts.
pub fn tenant6(tenant: u64) -> Vec<(Prefix6, u32)> {
    let mut random = Sequence(tenant << 20);
    let mut routes = vec![(Prefix6::DEFAULT_ROUTE, random.value())];
    let net = 0x2001_0db8 << 96;
    for len in [48, 48, 48, 56, 56, 64, 64, 128, 128] {
        let addr = net | u128::from(random.below(1 << 32)) << 64 | u128::from(random.next());
        routes.push((Prefix6::new(addr, len).expect("at most 128"), random.value()));
    }
    routes
}

/// An address in a random route of the table.
pub fn destination4(random: &mut Sequence, routes: &[(Prefix4, u32)]) -> u32 {
    let prefix = routes[random.below(routes.len() as u64) as usize].0;
    prefix.addr() | random.next() as u32 & (prefix.last() - prefix.addr())
}

/// An address in a random route of the table.
pub fn destination6(random: &mut Sequence, routes: &[(Prefix6, u32)]) -> u128 {
    let prefix = routes[random.below(routes.len() as u64) as usize].0;
    let noise = u128::from(random.next()) << 64 | u128::from(random.next());
    prefix.addr() | noise & (prefix.last() - prefix.addr())
}
