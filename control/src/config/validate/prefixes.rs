//! A set of prefixes that can be asked which one covers an address.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes with a value each; the longest one that covers an address is found with one look-up per length in use.
pub(super) struct PrefixMap<T> {
    by_prefix: HashMap<IpNet, T>,
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl<T> PrefixMap<T> {
    pub(super) fn new() -> Self {
        Self { by_prefix: HashMap::new(), lengths_v4: BTreeSet::new(), lengths_v6: BTreeSet::new() }
    }

    /// Adds a prefix; what was there under the same prefix stays, and is given back.
    pub(super) fn insert(&mut self, prefix: IpNet, value: T) -> Option<&T> {
        let prefix = prefix.trunc();
        let lengths =
            if matches!(prefix, IpNet::V4(_)) { &mut self.lengths_v4 } else { &mut self.lengths_v6 };
        lengths.insert(prefix.prefix_len());
        match self.by_prefix.entry(prefix) {
            std::collections::hash_map::Entry::Occupied(there) => Some(there.into_mut()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(value);
                None
            }
        }
    }

    /// The longest prefix, of at most `longest` bits, that covers the address.
    pub(super) fn covering(&self, ip: IpAddr, longest: u8) -> Option<(IpNet, &T)> {
        let lengths = if ip.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        lengths.range(..=longest).rev().find_map(|length| {
            let prefix = IpNet::new(ip, *length).ok()?.trunc();
            self.by_prefix.get(&prefix).map(|value| (prefix, value))
        })
    }
}
