//! Longest-prefix match over prefixes that come and go: one look-up for each prefix length in use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Prefixes with values.
#[derive(Debug)]
pub(super) struct PrefixTable<T> {
    pub(super) entries: BTreeMap<IpNet, T>,
    lengths_v4: [u32; 33],
    lengths_v6: [u32; 129],
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), lengths_v4: [0; 33], lengths_v6: [0; 129] }
    }
}

impl<T> PrefixTable<T> {
    fn count(&mut self, prefix: IpNet) -> Option<&mut u32> {
        let length = usize::from(prefix.prefix_len());
        match prefix {
            IpNet::V4(_) => self.lengths_v4.get_mut(length),
            IpNet::V6(_) => self.lengths_v6.get_mut(length),
        }
    }

    /// Sets the value of a prefix; gives back the one before.
    pub(super) fn insert(&mut self, prefix: IpNet, value: T) -> Option<T> {
        let old = self.entries.insert(prefix, value);
        if old.is_none()
            && let Some(count) = self.count(prefix)
        {
            *count += 1;
        }
        old
    }

    /// Forgets a prefix.
    pub(super) fn remove(&mut self, prefix: IpNet) -> Option<T> {
        let old = self.entries.remove(&prefix)?;
        if let Some(count) = self.count(prefix) {
            *count -= 1;
        }
        Some(old)
    }

    /// The longest prefix that covers the address.
    pub(super) fn longest(&self, ip: IpAddr) -> Option<(IpNet, &T)> {
        let counts: &[u32] = if ip.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        counts.iter().enumerate().rev().filter(|(_, count)| **count > 0).find_map(|(length, _)| {
            let prefix = IpNet::new(ip, length as u8).ok()?.trunc();
            self.entries.get(&prefix).map(|value| (prefix, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_until_it_goes() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let mut table = PrefixTable::default();
        for (i, prefix) in ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::/0"].into_iter().enumerate() {
            assert_eq!(table.insert(net(prefix), i), None);
        }
        let longest =
            |table: &PrefixTable<usize>, ip: &str| table.longest(ip.parse().expect("ip")).map(|f| *f.1);
        assert_eq!(longest(&table, "10.1.2.3"), Some(2));
        assert_eq!(longest(&table, "2001:db8::1"), Some(3));
        assert_eq!(table.insert(net("10.1.0.0/16"), 7), Some(2));
        assert_eq!(table.remove(net("10.1.0.0/16")), Some(7));
        assert_eq!(table.remove(net("10.1.0.0/16")), None);
        assert_eq!(longest(&table, "10.1.2.3"), Some(1));
        assert_eq!(longest(&table, "11.1.2.3"), Some(0));
    }
}
