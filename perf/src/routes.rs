//! A made-up Internet: prefixes with the lengths of the default-free zone, the same in every run.

use std::collections::HashMap;

/// Prefix lengths in the default-free zone, per mille.
const LENGTHS: [(u8, u64); 12] = [
    (24, 600),
    (23, 98),
    (22, 115),
    (21, 52),
    (20, 45),
    (19, 26),
    (18, 14),
    (17, 9),
    (16, 14),
    (15, 3),
    (14, 3),
    (13, 21),
];
/// Ours: the tenants' 100.64.0.0/10, the tunnels' remotes in 10.0.0.0/8, endpoint and links.
const FIRST: u64 = 0x1000_0000;
const LAST: u64 = 0x5fff_ffff;

/// A splitmix64 sequence.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Puts the items in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// Routes by address and length, each to one of `next_hops`.
pub struct Internet {
    routes: Vec<(u32, u8)>,
    next_hops: HashMap<(u32, u8), u32>,
}

impl Internet {
    /// `count` routes: a default route to next hop 0, and networks.
    pub fn new(count: usize, next_hops: u32) -> Self {
        let mut random = Random(4);
        let mut internet = Self { routes: vec![(0, 0)], next_hops: HashMap::from([((0, 0), 0)]) };
        while internet.routes.len() < count {
            let len = length(&mut random);
            // Two in three lie near an earlier one, as the announcements of one network do.
            let known = internet.routes.len() as u64;
            let near = (known > 1 && random.below(3) > 0).then(|| {
                internet.routes[1 + random.below(known - 1) as usize].0 ^ random.below(1 << 14) as u32
            });
            let addr = near.unwrap_or_else(|| (FIRST + random.below(LAST - FIRST)) as u32);
            let prefix = (addr & mask(len), len);
            let hop = random.below(u64::from(next_hops)) as u32;
            if let std::collections::hash_map::Entry::Vacant(free) = internet.next_hops.entry(prefix) {
                free.insert(hop);
                internet.routes.push(prefix);
            }
        }
        internet
    }

    /// All routes: address, length, next hop.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u8, u32)> {
        self.routes.iter().map(|prefix| (prefix.0, prefix.1, self.next_hops[prefix]))
    }

    /// An address in a random network; any address when there is only the default route.
    pub fn destination(&self, random: &mut Random) -> u32 {
        let (addr, len) = match self.routes.len() as u64 {
            1 => (0xc612_0000, 15),
            known => self.routes[1 + random.below(known - 1) as usize],
        };
        addr | (random.next() as u32 & !mask(len))
    }

    /// The next hop of the longest prefix that holds `addr`, found one length after the other.
    pub fn next_hop(&self, addr: u32) -> u32 {
        (0..=32u8).rev().find_map(|len| self.next_hops.get(&(addr & mask(len), len))).copied().unwrap_or(0)
    }
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
}

fn length(random: &mut Random) -> u8 {
    let mut dice = random.below(LENGTHS.iter().map(|(_, share)| share).sum());
    for (len, share) in LENGTHS {
        if dice < share {
            return len;
        }
        dice -= share;
    }
    24
}
