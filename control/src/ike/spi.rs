//! SPIs of inbound SAs: the node's number, then chance.
//!
//! Nodes with one anycast address never choose the same SPI, as each has its own number in the first bits; what is left
//! is random, so that nobody guesses one and a restart does not begin with those of before.

use std::collections::BTreeMap;
use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;

use super::boot_time::BootTime;
use super::protocol::{ErrorCode, Refused};

/// Bits of the node's number, at the front.
const NUMBER_BITS: u32 = 10;
/// Largest number of a node: SPIs have no more room for it.
pub const MAX_NODE_NUMBER: u16 = (1 << NUMBER_BITS) - 1;
/// The bits that are random.
const RANDOM: u32 = u32::MAX >> NUMBER_BITS;
/// Tries until a free one is found. With half of them taken, all of these fail once in 10^19 times.
const TRIES: usize = 64;
/// How long an SPI is kept for charon to install its SA: longer than IKE waits for its peer, retransmissions and all.
const PROMISE: Duration = Duration::from_secs(600);
/// Most SPIs that are kept for SAs to come.
const MOST_PROMISES: usize = 65_536;

/// Why there is no SPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSpi {
    /// Too many for nothing.
    #[error("{MOST_PROMISES} SPIs wait for their SAs: charon asks for more than it installs")]
    TooMany,
    /// All tries failed.
    #[error("no SPI is free")]
    Exhausted,
    /// The system has no random numbers.
    #[error("the system has no random number")]
    NoChance,
}

impl From<NoSpi> for Refused {
    fn from(reason: NoSpi) -> Self {
        let code = match reason {
            NoSpi::TooMany | NoSpi::Exhausted => ErrorCode::NoRoom,
            NoSpi::NoChance => ErrorCode::Internal,
        };
        Self::new(code, reason)
    }
}

/// Gives out SPIs of one node, and keeps them until their SAs are installed.
#[derive(Debug)]
pub struct Spis {
    prefix: u32,
    /// Given out, not installed yet; and until when they are kept.
    promised: BTreeMap<u32, BootTime>,
}

impl Spis {
    /// For the node with this number, of [`MAX_NODE_NUMBER`] at most: the bits above are left out.
    pub fn new(node_number: u16) -> Self {
        Self { prefix: u32::from(node_number) << (u32::BITS - NUMBER_BITS), promised: BTreeMap::new() }
    }

    /// One that nobody has. `is_taken` says whether an SA has it, one that retires included.
    ///
    /// # Errors
    /// When there is none.
    pub fn allocate(&mut self, now: BootTime, is_taken: impl Fn(Spi) -> bool) -> Result<Spi, NoSpi> {
        self.allocate_of(now, is_taken, || getrandom::u32().map_err(|_| NoSpi::NoChance))
    }

    fn allocate_of(
        &mut self,
        now: BootTime,
        is_taken: impl Fn(Spi) -> bool,
        mut chance: impl FnMut() -> Result<u32, NoSpi>,
    ) -> Result<Spi, NoSpi> {
        if self.promised.len() >= MOST_PROMISES {
            self.promised.retain(|_, until| *until > now);
            if self.promised.len() >= MOST_PROMISES {
                return Err(NoSpi::TooMany);
            }
        }
        for _ in 0..TRIES {
            let spi = Spi(self.prefix | (chance()? & RANDOM));
            let is_promised = self.promised.get(&spi.0).is_some_and(|until| *until > now);
            if spi >= Spi::FIRST && !is_promised && !is_taken(spi) {
                self.promised.insert(spi.0, now.after(PROMISE));
                return Ok(spi);
            }
        }
        Err(NoSpi::Exhausted)
    }

    /// The SA is installed, or will never be. Whether its SPI was given out here.
    pub fn settle(&mut self, spi: Spi) -> bool {
        self.promised.remove(&spi.0).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: BootTime = BootTime(Duration::from_secs(1000));

    #[test]
    fn the_nodes_number_comes_first() {
        for (number, first) in [(0, 0), (1, 0x0040_0000), (768, 0xc000_0000), (MAX_NODE_NUMBER, 0xffc0_0000)]
        {
            let mut spis = Spis::new(number);
            for _ in 0..1000 {
                let spi = spis.allocate(NOW, |_| false).unwrap();
                assert_eq!(spi.0 & !RANDOM, first);
                assert!(spi >= Spi::FIRST);
            }
            assert_eq!(spis.promised.len(), 1000, "all different");
        }
    }

    #[test]
    fn none_is_given_out_twice_or_reserved() {
        let mut spis = Spis::new(0);
        let mut numbers = [0, 255, 256, 256, 0xffc0_0101, 0xffff_ffff].into_iter();
        let mut next = |spis: &mut Spis, now| {
            spis.allocate_of(now, |spi| spi.0 == 0x101, || numbers.next().ok_or(NoSpi::NoChance))
        };
        assert_eq!(next(&mut spis, NOW), Ok(Spi(256)));
        assert_eq!(next(&mut spis, NOW), Ok(Spi(0x003f_ffff)), "256 is promised, 257 taken");
        assert_eq!(next(&mut spis, NOW), Err(NoSpi::NoChance));
    }

    #[test]
    fn a_promise_ends() {
        let mut spis = Spis::new(0);
        let same = |spis: &mut Spis, now| spis.allocate_of(now, |_| false, || Ok(4096));
        assert_eq!(same(&mut spis, NOW), Ok(Spi(4096)));
        assert_eq!(same(&mut spis, NOW), Err(NoSpi::Exhausted));
        assert_eq!(same(&mut spis, NOW.after(PROMISE)), Ok(Spi(4096)), "never installed");
        assert!(spis.settle(Spi(4096)));
        assert!(!spis.settle(Spi(4096)));
        assert_eq!(same(&mut spis, NOW), Ok(Spi(4096)), "the caller knows whether an SA has it");
    }

    #[test]
    fn promises_are_bounded() {
        let mut spis = Spis::new(0);
        let mut number = 255;
        let mut next = |spis: &mut Spis, now| {
            spis.allocate_of(
                now,
                |_| false,
                || {
                    number += 1;
                    Ok(number)
                },
            )
        };
        for _ in 0..MOST_PROMISES {
            next(&mut spis, NOW).unwrap();
        }
        assert_eq!(next(&mut spis, NOW), Err(NoSpi::TooMany));
        assert_eq!(Refused::from(NoSpi::TooMany).code, ErrorCode::NoRoom);
        assert!(next(&mut spis, NOW.after(PROMISE)).is_ok());
        assert_eq!(spis.promised.len(), 1);
    }
}
