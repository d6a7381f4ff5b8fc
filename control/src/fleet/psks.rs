//! The pre-shared keys of the fleet's store: sealed records, one a tunnel, which are written and never shown.
//!
//! A key is there for as long as its tunnel says `psk: store`. It is opened into memory that is wiped, and goes from there
//! to charon and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use penstock_fleet::names::{KeyName, Name, TunnelName};
use penstock_fleet::seal::{Keyring, SealError};
use serde_json::Value;
use zeroize::Zeroizing;

/// A key, as the store has it.
struct Stored {
    /// Counts its changes, from 1.
    version: u64,
    /// `None`: it does not open.
    psk: Option<Zeroizing<Vec<u8>>>,
}

/// All of them, as of the last that was seen of the store.
#[derive(Default)]
pub struct Psks(BTreeMap<TunnelName, Stored>);

/// Whose, and nothing of what they are.
impl fmt::Debug for Psks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A record that is to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its name in the store.
    pub key: String,
    /// The version that it has to have before; 0: none.
    pub from: u64,
    /// What is to be written.
    pub record: Vec<u8>,
}

impl Psks {
    /// The store has this key. Whether that is another one than before.
    pub fn put(&mut self, tunnel: TunnelName, version: u64, psk: Option<Zeroizing<Vec<u8>>>) -> bool {
        let before = self.0.get(&tunnel).and_then(|stored| stored.psk.as_deref());
        let is_different = before != psk.as_deref();
        self.0.insert(tunnel, Stored { version, psk });
        is_different
    }

    /// The store does not have this key any more. Whether it had.
    pub fn remove(&mut self, tunnel: &TunnelName) -> bool {
        self.0.remove(tunnel).is_some()
    }

    /// Takes out all but these. Whether there were any.
    pub fn keep_only(&mut self, there: &BTreeSet<&TunnelName>) -> bool {
        let before = self.0.len();
        self.0.retain(|tunnel, _| there.contains(tunnel));
        before != self.0.len()
    }

    /// Those that can be used.
    pub fn usable(&self) -> impl Iterator<Item = (&TunnelName, &Zeroizing<Vec<u8>>)> {
        self.0.iter().filter_map(|(tunnel, stored)| Some((tunnel, stored.psk.as_ref()?)))
    }

    /// The key of a tunnel.
    pub fn of(&self, tunnel: &TunnelName) -> Option<&Zeroizing<Vec<u8>>> {
        self.0.get(tunnel).and_then(|stored| stored.psk.as_ref())
    }

    /// A key for a tunnel, as it is to be written.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn seal(&self, keyring: &Keyring, tunnel: &TunnelName, psk: &[u8]) -> Result<Sealed, SealError> {
        let key = KeyName::Psk(tunnel.clone()).to_string();
        let from = self.0.get(tunnel).map_or(0, |stored| stored.version);
        let record = keyring.seal(&key, from + 1, psk)?;
        Ok(Sealed { key, from, record })
    }

    /// All of them once more, under the key that seals now.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn seal_again(&self, keyring: &Keyring) -> Result<Vec<Sealed>, SealError> {
        self.usable().map(|(tunnel, psk)| self.seal(keyring, tunnel, psk)).collect()
    }

    /// The names of records whose tunnel does not want them, once a tenant is as given.
    pub fn unwanted(&self, tenant: &Name, becomes: Option<&Value>) -> Vec<String> {
        let tunnels = becomes.and_then(|tenant| tenant.get("tunnels"));
        let wants = |tunnel: &Name| {
            let tunnel = tunnels.and_then(|tunnels| tunnels.get(tunnel.as_str()));
            let psk = tunnel.and_then(|tunnel| tunnel.get("ike")?.get("psk"));
            psk.and_then(Value::as_str) == Some("store")
        };
        let of_tenant = self.0.keys().filter(|name| name.0 == *tenant && !wants(&name.1));
        of_tenant.map(|name| KeyName::Psk(name.clone()).to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use penstock_fleet::seal::FleetKey;
    use serde_json::json;

    use super::*;

    fn tunnel(name: &str) -> TunnelName {
        (Name::new("acme").unwrap(), Name::new(name).unwrap())
    }

    fn secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(text.as_bytes().to_vec()))
    }

    fn keyring(byte: u8) -> Keyring {
        let mut bytes = [byte; FleetKey::LEN];
        bytes[0] = 0;
        Keyring::new(vec![FleetKey::from_bytes(&bytes)]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_version_alone() {
        let mut psks = Psks::default();
        let first = psks.seal(&keyring(1), &tunnel("dc1"), b"hush").unwrap();
        assert_eq!((first.key.as_str(), first.from), ("psks/acme/dc1", 0));
        assert!(!first.record.windows(4).any(|part| part == b"hush"));
        assert_eq!(&**keyring(1).open(&first.key, 1, &first.record).unwrap(), b"hush");
        assert!(keyring(1).open(&first.key, 2, &first.record).is_err());
        assert!(keyring(1).open("psks/acme/dc2", 1, &first.record).is_err());
        psks.put(tunnel("dc1"), 1, secret("hush"));
        let again = psks.seal_again(&keyring(2)).unwrap();
        assert_eq!((again.len(), again[0].from), (1, 1));
        assert_eq!(&**keyring(2).open(&first.key, 2, &again[0].record).unwrap(), b"hush");
    }

    #[test]
    fn only_another_key_is_a_change() {
        let mut psks = Psks::default();
        assert!(psks.put(tunnel("dc1"), 1, secret("one")));
        assert!(!psks.put(tunnel("dc1"), 2, secret("one")), "sealed again");
        assert!(psks.put(tunnel("dc1"), 3, secret("two")));
        assert!(psks.put(tunnel("dc1"), 4, None), "it does not open any more");
        assert_eq!(psks.usable().count(), 0);
        assert!(psks.keep_only(&BTreeSet::new()));
        assert!(!psks.remove(&tunnel("dc1")));
    }

    #[test]
    fn a_key_goes_with_its_tunnel() {
        let mut psks = Psks::default();
        psks.put(tunnel("dc1"), 1, secret("one"));
        psks.put(tunnel("dc2"), 1, secret("two"));
        let acme = Name::new("acme").unwrap();
        let tenant =
            json!({"tunnels": {"dc1": {"ike": {"psk": "store"}}, "dc2": {"ike": {"psk_file": "/x"}}}});
        assert_eq!(psks.unwanted(&acme, Some(&tenant)), ["psks/acme/dc2"]);
        assert_eq!(psks.unwanted(&acme, None).len(), 2);
        assert_eq!(psks.unwanted(&Name::new("globex").unwrap(), None).len(), 0);
    }

    #[test]
    fn keys_are_not_printed() {
        let mut psks = Psks::default();
        psks.put(tunnel("dc1"), 1, secret("hush"));
        assert_eq!(format!("{psks:?}"), "{(\"acme\", \"dc1\")}");
    }
}
