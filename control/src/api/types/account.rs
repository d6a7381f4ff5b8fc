//! A tenant as the account of an API whose objects are tunnels and routes.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::fleet::about::About;

/// A tenant of the fleet's store, and what its tunnels may end on.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Counts its changes, from 1; 0: the store does not have it.
    pub version: u64,
    /// What stands under `tenants.NAME` in a configuration.
    pub tenant: Value,
    /// What is known about its objects.
    pub about: About,
    /// Our ends of tunnels, by name.
    pub endpoints: BTreeMap<String, IpAddr>,
}

/// What an account becomes.
#[derive(Debug)]
pub struct AccountChange {
    /// Check it, and write nothing.
    pub dry_run: bool,
    /// The tenant.
    pub name: String,
    /// The version that it has to have before; 0: none.
    pub from: u64,
    /// What is to stand under `tenants.NAME`.
    pub tenant: Value,
    /// What is known about its objects then.
    pub about: About,
    /// Pre-shared keys to be kept, by the name of the tunnel.
    pub secrets: BTreeMap<String, Secret>,
}

/// A pre-shared key.
pub enum Secret {
    /// This one.
    Given(Zeroizing<Vec<u8>>),
    /// That of the tunnel which had this name.
    Of(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
