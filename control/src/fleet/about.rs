//! What the store says about a tenant's objects that is no configuration: identifiers, dates, descriptions.
//!
//! It is kept beside the tenant in the same record, so that both change in one step and under one version, and nodes
//! compile nothing else because somebody wrote a description. An object without an entry here (it came by
//! `penstock apply`) has an identifier all the same: one that follows from its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Bytes of an identifier; it is written in hexadecimal.
const ID_BYTES: usize = 16;

/// What is known about the objects of a tenant. What it has of objects that are gone means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// By the tunnel's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tunnels: BTreeMap<String, Notes>,
    /// One for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteNotes>,
}

/// What is known about an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Its identifier.
    pub id: String,
    /// When it was made (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_on: Option<String>,
    /// When it was changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_on: Option<String>,
    /// What somebody wrote about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When its pre-shared key was given or made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psk_on: Option<String>,
}

/// What is known about a route: of a tenant no two have the same prefix and way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteNotes {
    /// Its prefix.
    pub prefix: String,
    /// Its way, as the configuration has it.
    pub via: String,
    /// The next hop, where that was given as an address inside a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nexthop: Option<String>,
    /// The rest.
    #[serde(flatten)]
    pub notes: Notes,
}

impl About {
    /// Nothing is known.
    pub fn is_empty(&self) -> bool {
        self.tunnels.is_empty() && self.routes.is_empty()
    }

    /// Forgets what is about objects that the tenant does not have: their names may come again.
    pub fn prune(&mut self, tenant: &Value) {
        let tunnels = tenant.get("tunnels").and_then(Value::as_object);
        self.tunnels.retain(|name, _| tunnels.is_some_and(|tunnels| tunnels.contains_key(name)));
        let routes = match tenant.get("routes") {
            Some(Value::Array(routes)) => routes.as_slice(),
            Some(route) => std::slice::from_ref(route),
            None => &[],
        };
        let text = |route: &Value, key: &str| route.get(key).and_then(Value::as_str).map(str::to_owned);
        let there: std::collections::BTreeSet<_> =
            routes.iter().map(|route| (text(route, "prefix"), text(route, "via"))).collect();
        self.routes.retain(|one| there.contains(&(Some(one.prefix.clone()), Some(one.via.clone()))));
    }
}

/// The identifier of a tunnel that nothing is known about.
pub fn id_of_tunnel(tenant: &str, tunnel: &str) -> String {
    id_of(&["tunnel", tenant, tunnel])
}

/// The identifier of a route that nothing is known about.
pub fn id_of_route(tenant: &str, prefix: &str, via: &str) -> String {
    id_of(&["route", tenant, prefix, via])
}

/// No part has a zero in it.
fn id_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new_with_prefix(b"penstock object");
    for part in parts {
        hash.update([0]);
        hash.update(part);
    }
    data_encoding::HEXLOWER.encode(&hash.finalize()[..ID_BYTES])
}

/// An identifier that nothing has.
///
/// # Errors
/// When the system has no random numbers.
pub fn new_id() -> Result<String, getrandom::Error> {
    let mut id = [0; ID_BYTES];
    getrandom::fill(&mut id)?;
    Ok(data_encoding::HEXLOWER.encode(&id))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_is_forgotten() {
        let notes = |id: &str| Notes { id: id.into(), ..Notes::default() };
        let route = |prefix: &str| RouteNotes {
            prefix: prefix.into(),
            via: "dc1".into(),
            nexthop: None,
            notes: notes(prefix),
        };
        let mut about = About {
            tunnels: [("dc1".to_owned(), notes("1")), ("dc2".to_owned(), notes("2"))].into(),
            routes: vec![route("10.0.0.0/8"), route("10.1.0.0/16")],
        };
        about.prune(&json!({"tunnels": {"dc1": {}}, "routes": {"prefix": "10.1.0.0/16", "via": "dc1"}}));
        assert_eq!(about.tunnels.keys().collect::<Vec<_>>(), ["dc1"]);
        assert_eq!(about.routes.len(), 1);
        about.prune(&json!({}));
        assert!(about.is_empty());
    }

    #[test]
    fn identifiers_follow_from_names_and_from_nothing_else() {
        let id = id_of_tunnel("acme", "dc1");
        assert_eq!(id.len(), 32);
        assert_eq!(id, id_of_tunnel("acme", "dc1"));
        assert_ne!(id, id_of_tunnel("acm", "edc1"));
        assert_ne!(id, id_of_route("acme", "dc1", ""));
        assert_ne!(new_id().unwrap(), new_id().unwrap());
    }
}
