//! Finds the tunnel of a received outer packet by endpoint, remote address and GRE key; and whether an address is the
//! remote end of any tunnel.
//!
//! Sharded so that control copies a few hundred entries, not all, to change one. IPv4 remotes, which nearly all
//! tunnels have, are in arrays made for them; IPv6 remotes, and what is only asked when a packet is dropped, are in
//! hash tables.

mod flat;

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;

use self::flat::{Flat, Identity4};
use crate::ids::{EndpointId, TunnelId};

/// Shards: with 100 000 tunnels a change copies about 400 entries.
const SHARDS: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    remote: u128,
    /// Endpoint in the upper half; key presence and key below.
    rest: u64,
}

impl Identity {
    /// IPv4 remotes use the IPv4-mapped form, which no IPv6 router can have as its address.
    #[inline(always)]
    fn v4(endpoint: EndpointId, remote: u32, key: Option<u32>) -> Self {
        Self { remote: 0xffff_0000_0000 | u128::from(remote), rest: Self::rest(endpoint, key) }
    }

    #[inline(always)]
    fn v6(endpoint: EndpointId, remote: u128, key: Option<u32>) -> Self {
        Self { remote, rest: Self::rest(endpoint, key) }
    }

    /// The mark that some GRE tunnel joins this endpoint and remote.
    fn pair(self) -> Self {
        Self { rest: (self.rest >> 48 << 48) | PAIR, ..self }
    }

    /// The mark that some IPsec tunnel does.
    fn ipsec_pair(self) -> Self {
        Self { rest: (self.rest >> 48 << 48) | IPSEC_PAIR, ..self }
    }

    #[inline(always)]
    fn rest(endpoint: EndpointId, key: Option<u32>) -> u64 {
        (u64::from(endpoint.0) << 48) | key.map_or(0, |k| (1 << 32) | u64::from(k))
    }

    /// Folded multiply: 128-bit products spread every input bit over the whole hash.
    #[inline(always)]
    fn hash(self) -> u64 {
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        let low = fold(self.remote as u64 ^ 0x9e37_79b9_7f4a_7c15, self.rest ^ 0xd1b5_4a32_d192_ed03);
        fold(low ^ (self.remote >> 64) as u64, 0xa076_1d64_78bd_642f)
    }
}

/// Beside the endpoint, in place of a key.
const PAIR: u64 = 1 << 33;
const IPSEC_PAIR: u64 = 1 << 34;

#[derive(Clone, Copy, Debug)]
struct Entry {
    identity: Identity,
    /// The tunnel; for a pair, how many tunnels join it.
    value: u32,
}

/// All tunnels by their identity on the wire.
#[derive(Clone, Debug)]
pub struct TunnelIndex {
    v4: Box<[Flat; SHARDS]>,
    /// IPv6 tunnels, and the pairs of both families.
    shards: Vec<Arc<HashTable<Entry>>>,
}

impl Default for TunnelIndex {
    fn default() -> Self {
        Self { v4: Box::new(std::array::from_fn(|_| Flat::default())), shards: vec![Arc::default(); SHARDS] }
    }
}

impl TunnelIndex {
    #[inline(always)]
    fn find(&self, identity: Identity) -> Option<u32> {
        let hash = identity.hash();
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |e| e.identity == identity).map(|e| e.value)
    }

    /// The tunnel from an IPv4 remote to this endpoint with exactly this key.
    #[inline(always)]
    pub fn find_v4(&self, endpoint: EndpointId, remote: u32, key: Option<u32>) -> Option<TunnelId> {
        let identity = Identity4::new(endpoint, remote, key);
        let hash = identity.hash();
        self.v4.get(shard_of(hash))?.find(identity, hash).map(TunnelId)
    }

    /// Has the processor load where `find_v4` will look for a tunnel without key.
    #[inline(always)]
    pub(crate) fn fetch_v4(&self, endpoint: EndpointId, remote: u32) {
        let hash = Identity4::new(endpoint, remote, None).hash();
        if let Some(shard) = self.v4.get(shard_of(hash)) {
            shard.fetch(hash);
        }
    }

    /// The tunnel from an IPv6 remote to this endpoint with exactly this key.
    #[inline(always)]
    pub fn find_v6(&self, endpoint: EndpointId, remote: u128, key: Option<u32>) -> Option<TunnelId> {
        self.find(Identity::v6(endpoint, remote, key)).map(TunnelId)
    }

    /// Whether any GRE tunnel, with whatever key, joins these two: for naming the reason of a drop.
    pub fn any_between(&self, endpoint: EndpointId, remote: IpAddr) -> bool {
        self.find(identity(endpoint, remote, None).pair()).is_some()
    }

    /// Adds or replaces a tunnel.
    pub fn insert(&mut self, endpoint: EndpointId, remote: IpAddr, key: Option<u32>, tunnel: TunnelId) {
        let identity = identity(endpoint, remote, key);
        let is_new = match remote {
            IpAddr::V4(remote) => self.insert_v4(Identity4::new(endpoint, remote.into(), key), tunnel),
            IpAddr::V6(_) => {
                let is_new = self.entry(identity, |value| *value = tunnel.0).is_none();
                if is_new {
                    self.insert_new(identity, tunnel.0);
                }
                is_new
            }
        };
        if is_new {
            self.count_up(identity.pair());
        }
    }

    /// Whether an address is the remote end of any tunnel at this endpoint, of either kind.
    pub fn is_remote(&self, endpoint: EndpointId, address: IpAddr) -> bool {
        let identity = identity(endpoint, address, None);
        self.find(identity.ipsec_pair()).is_some() || self.find(identity.pair()).is_some()
    }

    /// Takes note of an IPsec tunnel; its packets are found by their association.
    pub fn add_remote(&mut self, endpoint: EndpointId, remote: IpAddr) {
        self.count_up(identity(endpoint, remote, None).ipsec_pair());
    }

    /// Takes back one [`TunnelIndex::add_remote`].
    pub fn remove_remote(&mut self, endpoint: EndpointId, remote: IpAddr) {
        self.count_down(identity(endpoint, remote, None).ipsec_pair());
    }

    fn count_up(&mut self, pair: Identity) {
        if self.entry(pair, |count| *count += 1).is_none() {
            self.insert_new(pair, 1);
        }
    }

    fn count_down(&mut self, pair: Identity) {
        let left = self.entry(pair, |count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            self.remove_entry(pair);
        }
    }

    fn insert_v4(&mut self, identity: Identity4, tunnel: TunnelId) -> bool {
        self.v4.get_mut(shard_of(identity.hash())).is_some_and(|shard| shard.insert(identity, tunnel.0))
    }

    fn remove_v4(&mut self, identity: Identity4) -> bool {
        self.v4.get_mut(shard_of(identity.hash())).is_some_and(|shard| shard.remove(identity))
    }

    /// Removes a tunnel; false when it was not there.
    pub fn remove(&mut self, endpoint: EndpointId, remote: IpAddr, key: Option<u32>) -> bool {
        let identity = identity(endpoint, remote, key);
        let found = match remote {
            IpAddr::V4(remote) => self.remove_v4(Identity4::new(endpoint, remote.into(), key)),
            IpAddr::V6(_) => self.remove_entry(identity),
        };
        if !found {
            return false;
        }
        self.count_down(identity.pair());
        true
    }

    fn entry<R>(&mut self, identity: Identity, change: impl FnOnce(&mut u32) -> R) -> Option<R> {
        let hash = identity.hash();
        let shard = Arc::make_mut(self.shards.get_mut(shard_of(hash))?);
        shard.find_mut(hash, |e| e.identity == identity).map(|e| change(&mut e.value))
    }

    fn insert_new(&mut self, identity: Identity, value: u32) {
        let hash = identity.hash();
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            Arc::make_mut(shard).insert_unique(hash, Entry { identity, value }, |e| e.identity.hash());
        }
    }

    fn remove_entry(&mut self, identity: Identity) -> bool {
        let hash = identity.hash();
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return false };
        Arc::make_mut(shard).find_entry(hash, |e| e.identity == identity).map(|e| e.remove()).is_ok()
    }

    /// How many GRE tunnels there are.
    pub fn len(&self) -> usize {
        let v4: usize = self.v4.iter().map(Flat::len).sum();
        let is_tunnel = |entry: &&Entry| entry.identity.rest & (PAIR | IPSEC_PAIR) == 0;
        v4 + self.shards.iter().flat_map(|s| s.iter()).filter(is_tunnel).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn identity(endpoint: EndpointId, remote: IpAddr, key: Option<u32>) -> Identity {
    match remote {
        IpAddr::V4(remote) => Identity::v4(endpoint, remote.into(), key),
        IpAddr::V6(remote) => Identity::v6(endpoint, remote.into(), key),
    }
}

/// Bits that neither a small array nor hashbrown uses for the place in a shard, nor hashbrown for its tag.
#[inline(always)]
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn identities_with_and_without_key_are_apart() {
        let mut index = TunnelIndex::default();
        let remote = Ipv4Addr::new(192, 0, 2, 7);
        index.insert(EndpointId(1), remote.into(), None, TunnelId(1));
        index.insert(EndpointId(1), remote.into(), Some(0), TunnelId(2));
        index.insert(EndpointId(2), remote.into(), None, TunnelId(3));
        let find = |endpoint, key| index.find_v4(EndpointId(endpoint), remote.into(), key);
        assert_eq!(find(1, None), Some(TunnelId(1)));
        assert_eq!(find(1, Some(0)), Some(TunnelId(2)));
        assert_eq!(find(1, Some(1)), None);
        assert_eq!(find(2, None), Some(TunnelId(3)));
        assert!(index.any_between(EndpointId(1), remote.into()));
        assert!(index.remove(EndpointId(1), remote.into(), None));
        assert!(index.any_between(EndpointId(1), remote.into()));
        assert!(index.remove(EndpointId(1), remote.into(), Some(0)));
        assert!(!index.any_between(EndpointId(1), remote.into()));
        assert!(!index.any_between(EndpointId(3), remote.into()));
    }

    #[test]
    fn a_remote_of_either_family_with_any_key_is_found_again_or_not_at_all() {
        let mut index = TunnelIndex::default();
        let remotes: [IpAddr; 2] = [Ipv4Addr::new(192, 0, 2, 7).into(), Ipv6Addr::LOCALHOST.into()];
        let find = |index: &TunnelIndex, remote, key| match remote {
            IpAddr::V4(remote) => index.find_v4(EndpointId(1), remote.into(), key),
            IpAddr::V6(remote) => index.find_v6(EndpointId(1), remote.into(), key),
        };
        let keys = || std::iter::once(None).chain((0..500).map(Some));
        for remote in remotes {
            for (id, key) in keys().enumerate() {
                index.insert(EndpointId(1), remote, key, TunnelId(7));
                index.insert(EndpointId(1), remote, key, TunnelId(id as u32));
            }
        }
        assert_eq!(index.len(), 2 * 501);
        for remote in remotes {
            assert!(keys().enumerate().all(|(id, k)| find(&index, remote, k) == Some(TunnelId(id as u32))));
            assert!(keys().all(|key| index.remove(EndpointId(1), remote, key)));
            assert!(keys().all(|key| find(&index, remote, key).is_none()));
            assert!(!index.any_between(EndpointId(1), remote));
        }
        assert!(index.is_empty());
    }

    #[test]
    fn remotes_are_known_as_long_as_a_tunnel_leads_there() {
        let mut index = TunnelIndex::default();
        let remotes: [IpAddr; 2] = [Ipv4Addr::new(192, 0, 2, 7).into(), Ipv6Addr::LOCALHOST.into()];
        for remote in remotes {
            let is_known = |index: &TunnelIndex| index.is_remote(EndpointId(1), remote);
            assert!(!is_known(&index));
            index.add_remote(EndpointId(1), remote);
            index.add_remote(EndpointId(1), remote);
            assert!(is_known(&index) && !index.any_between(EndpointId(1), remote));
            assert!(!index.is_remote(EndpointId(2), remote));
            index.remove_remote(EndpointId(1), remote);
            assert!(is_known(&index));
            index.remove_remote(EndpointId(1), remote);
            index.remove_remote(EndpointId(1), remote);
            assert!(!is_known(&index));
            index.insert(EndpointId(1), remote, Some(7), TunnelId(1));
            assert!(is_known(&index), "GRE, with a key");
            assert!(index.remove(EndpointId(1), remote, Some(7)) && !is_known(&index));
        }
        assert!(index.is_empty() && index.shards.iter().all(|shard| shard.is_empty()));
    }

    #[test]
    fn a_hundred_thousand_tunnels_come_and_go() {
        let mut index = TunnelIndex::default();
        let remote = |i: u32| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i));
        for i in 0..100_000 {
            index.insert(EndpointId((i % 4) as u16), remote(i), None, TunnelId(i));
        }
        assert_eq!(index.len(), 100_000);
        for i in (0..100_000).step_by(2) {
            assert!(index.remove(EndpointId((i % 4) as u16), remote(i), None));
        }
        for i in 0..100_000 {
            let found = index.find_v4(EndpointId((i % 4) as u16), 0x0a00_0000 + i, None);
            assert_eq!(found, (i % 2 == 1).then_some(TunnelId(i)));
        }
    }
}
