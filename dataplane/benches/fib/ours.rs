//! This crate's table.

use penstock_dataplane::tables::fib::{Address, Fib, Prefix};

use crate::measure::{BURST, Table};

impl<A: Address> Table<A> for Fib<A> {
    const NAME: &'static str = "penstock";

    fn build(routes: &[(Prefix<A>, u32)]) -> Option<Self> {
        Self::build(routes).ok()
    }

    #[inline(always)]
    fn burst(&self, addrs: &[A; BURST], values: &mut [u32; BURST]) {
        for (addr, value) in addrs.iter().zip(values) {
            *value = self.lookup(*addr);
        }
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.memory_bytes())
    }
}
