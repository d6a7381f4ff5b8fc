//! Maintained crates that do longest-prefix match.

use penstock_dataplane::tables::fib::{Address, Prefix};
use poptrie::Poptrie;
use prefix_trie::PrefixMap;

use crate::measure::{BURST, Table};
use crate::suite;

const SIZES4: [usize; 5] = [1, 10, 1000, 100_000, 1_000_000];
const SIZES6: [usize; 4] = [1, 10, 1000, 200_000];

pub fn measure() {
    suite::<u32, Poptrie<_, _>>(&SIZES4, Some(|table, addr| value(table.lookup(addr))));
    suite::<u128, Poptrie<_, _>>(&SIZES6, Some(|table, addr| value(table.lookup(addr))));
    suite::<u32, PrefixMap<_, _>>(&SIZES4, Some(|table, addr| longest(table.get_lpm(&(addr, 32)))));
    suite::<u128, PrefixMap<_, _>>(&SIZES6, Some(|table, addr| longest(table.get_lpm(&(addr, 128)))));
}

fn value(found: Option<&u32>) -> u32 {
    found.copied().unwrap_or(0)
}

fn longest<P>(found: Option<(P, &u32)>) -> u32 {
    value(found.map(|(_, value)| value))
}

fn pairs<A: Address>(routes: &[(Prefix<A>, u32)]) -> impl Iterator<Item = ((A, u8), u32)> {
    routes.iter().map(|(prefix, value)| ((prefix.addr(), prefix.len()), *value))
}

macro_rules! tables {
    ($addr:ty) => {
        impl Table<$addr> for Poptrie<($addr, u8), u32> {
            const NAME: &'static str = "poptrie";

            fn build(routes: &[(Prefix<$addr>, u32)]) -> Option<Self> {
                Some(pairs(routes).collect())
            }

            #[inline(always)]
            fn burst(&self, addrs: &[$addr; BURST], values: &mut [u32; BURST]) {
                for (addr, found) in addrs.iter().zip(values) {
                    *found = value(self.lookup(*addr));
                }
            }

            fn bytes(&self) -> Option<usize> {
                None
            }
        }

        impl Table<$addr> for PrefixMap<($addr, u8), u32> {
            const NAME: &'static str = "prefix-trie";

            fn build(routes: &[(Prefix<$addr>, u32)]) -> Option<Self> {
                Some(pairs(routes).collect())
            }

            #[inline(always)]
            fn burst(&self, addrs: &[$addr; BURST], values: &mut [u32; BURST]) {
                for (addr, found) in addrs.iter().zip(values) {
                    *found = longest(self.get_lpm(&(*addr, <$addr>::BITS as u8)));
                }
            }

            fn bytes(&self) -> Option<usize> {
                Some(self.mem_size())
            }
        }
    };
}

tables!(u32);
tables!(u128);
