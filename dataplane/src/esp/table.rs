//! The security associations of one worker: inbound ones by SPI and endpoint, outbound ones by tunnel.
//!
//! Everything lies in memory that control allocated; adding and removing here neither allocates nor frees. What is
//! removed goes back to control.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use hashbrown::HashMap;

use super::key_memory::Slot;
use super::sa::{Inbound, Outbound, inbound_key};
use crate::ids::{EndpointId, TunnelId};
use crate::tables::tunnel::FETCH_FROM;

/// One multiplication: the keys are SPIs, which we choose ourselves.
#[derive(Clone, Copy, Default)]
pub(crate) struct SpiHasher(u64);

impl Hasher for SpiHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline(always)]
    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct SpiHash;

impl BuildHasher for SpiHash {
    type Hasher = SpiHasher;

    #[inline(always)]
    fn build_hasher(&self) -> SpiHasher {
        SpiHasher(0)
    }
}

/// A worker's associations.
pub(crate) struct SaTable {
    by_spi: HashMap<u64, u32, SpiHash>,
    inbound: Vec<Option<Slot<Inbound>>>,
    outbound: Vec<Option<Slot<Outbound>>>,
    /// Tunnels by what routers on the way quote: the remote end and the SPI.
    by_quote: HashMap<u64, u32, SpiHash>,
    outbound_count: usize,
    /// Outbound associations whose numbers several cores share.
    sharing: usize,
}

impl SaTable {
    /// Room for so many inbound associations and tunnels, for good.
    pub fn new(associations: usize, tunnels: usize) -> Self {
        Self {
            // Twice what is needed, so that the table never has to grow, however often entries come and go.
            by_spi: HashMap::with_capacity_and_hasher(associations * 2, SpiHash),
            inbound: (0..associations).map(|_| None).collect(),
            outbound: (0..tunnels).map(|_| None).collect(),
            by_quote: HashMap::with_capacity_and_hasher(tunnels * 2, SpiHash),
            outbound_count: 0,
            sharing: 0,
        }
    }

    /// Whether there is no association at all.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.outbound_count == 0 && self.by_spi.is_empty()
    }

    /// Whether so many associations are here that their memory is asked for ahead.
    #[inline(always)]
    pub fn is_large(&self) -> bool {
        self.by_spi.len().max(self.outbound_count) >= FETCH_FROM
    }

    /// The slot of an inbound association.
    #[inline(always)]
    pub fn find(&self, endpoint: EndpointId, spi: u32) -> Option<u32> {
        self.by_spi.get(&inbound_key(endpoint.0, spi)).copied()
    }

    /// The inbound association in a slot.
    #[inline(always)]
    pub fn inbound(&self, slot: u32) -> Option<&Inbound> {
        self.inbound.get(slot as usize)?.as_deref()
    }

    /// What a tunnel sends under.
    #[inline(always)]
    pub fn outbound(&self, tunnel: TunnelId) -> Option<&Outbound> {
        self.outbound.get(tunnel.index())?.as_deref()
    }

    /// Whether there is an association whose numbers several cores share.
    #[inline(always)]
    pub fn shares_numbers(&self) -> bool {
        self.sharing != 0
    }

    /// The tunnel whose outer packets go to `remote` under this SPI; the caller compares the remote itself.
    pub fn quoted(&self, remote: IpAddr, spi: u32) -> Option<TunnelId> {
        self.by_quote.get(&quote_key(remote, spi)).map(|tunnel| TunnelId(*tunnel))
    }

    /// Puts an association into a slot; what was there, or could not be put there, comes back.
    pub fn set_inbound(&mut self, slot: u32, sa: Slot<Inbound>) -> Option<Slot<Inbound>> {
        let Some(place) = self.inbound.get_mut(slot as usize) else { return Some(sa) };
        let key = sa.key();
        let before = place.replace(sa);
        if let Some(before) = &before {
            self.forget_spi(before.key(), slot);
        }
        self.by_spi.insert(key, slot);
        before
    }

    /// Empties a slot.
    pub fn remove_inbound(&mut self, slot: u32) -> Option<Slot<Inbound>> {
        let sa = self.inbound.get_mut(slot as usize)?.take()?;
        self.forget_spi(sa.key(), slot);
        Some(sa)
    }

    /// The same SPI may have moved to another slot.
    fn forget_spi(&mut self, key: u64, slot: u32) {
        if self.by_spi.get(&key) == Some(&slot) {
            self.by_spi.remove(&key);
        }
    }

    /// From now on the tunnel sends under this association; the one before comes back.
    pub fn set_outbound(&mut self, sa: Slot<Outbound>) -> Option<Slot<Outbound>> {
        let Some(place) = self.outbound.get_mut(sa.tunnel as usize) else { return Some(sa) };
        let (key, tunnel) = (quote_key(sa.remote, sa.spi), sa.tunnel);
        self.sharing += usize::from(sa.shares_numbers());
        let before = place.replace(sa);
        match &before {
            Some(before) => self.forget(before),
            None => self.outbound_count += 1,
        }
        self.by_quote.insert(key, tunnel);
        before
    }

    /// From now on the tunnel sends nothing.
    pub fn clear_outbound(&mut self, tunnel: TunnelId) -> Option<Slot<Outbound>> {
        let sa = self.outbound.get_mut(tunnel.index())?.take()?;
        self.outbound_count -= 1;
        self.forget(&sa);
        Some(sa)
    }

    fn forget(&mut self, sa: &Outbound) {
        self.sharing -= usize::from(sa.shares_numbers());
        let key = quote_key(sa.remote, sa.spi);
        // Another tunnel's may have the same key.
        if self.by_quote.get(&key) == Some(&sa.tunnel) {
            self.by_quote.remove(&key);
        }
    }
}

/// A remote end, folded to 32 bits, and an SPI.
fn quote_key(remote: IpAddr, spi: u32) -> u64 {
    let address = match remote {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => {
            let ip = u128::from(ip);
            (ip ^ ip >> 32 ^ ip >> 64 ^ ip >> 96) as u32
        }
    };
    u64::from(address) << 32 | u64::from(spi)
}
