//! What a reload would change, object by object, and whether it can be changed without a restart.
//!
//! Tenants, tunnels, routes, endpoints, addresses, VLANs and ICMP limits change live. Cores, memory, the
//! encrypting library, the node itself, its fleet and what a port gives to DPDK (device, MAC, MTU, queues) are fixed
//! while the process runs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::ValidConfig;
use super::schema::{TenantConfig, TenantRoute};

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has another value.
    Changed,
    /// It is gone.
    Removed,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What happens.
    pub kind: ChangeKind,
    /// The key, such as `tenants.acme.tunnels.dc1.mtu`.
    pub path: String,
    /// The value before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// The value after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// It cannot be changed while the process runs.
    pub needs_restart: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{sign} {}", self.path)?;
        let one_line = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, ": {} -> {}", one_line(old), one_line(new))?,
            (Some(value), None) | (None, Some(value)) => write!(f, ": {}", one_line(value))?,
            (None, None) => {}
        }
        if self.needs_restart { f.write_str(" (needs a restart)") } else { Ok(()) }
    }
}

/// A reload asks for what only a restart can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error(
    "nothing was changed: {} cannot change while the gateway runs; restart it to apply the file, or undo {}",
    paths.join(", "),
    if paths.len() == 1 { "this change" } else { "these changes" }
)]
pub struct NeedsRestart {
    /// The keys.
    pub paths: Vec<String>,
}

/// All differences between two configurations, in the order of the schema.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Difference {
    /// One for each object.
    pub changes: Vec<Change>,
}

impl Difference {
    /// Both are the same.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// One line for each change: `+` added, `~` changed, `-` removed.
    pub fn lines(&self) -> Vec<String> {
        self.changes.iter().map(ToString::to_string).collect()
    }

    /// Whether all of it can be applied to the running process.
    ///
    /// # Errors
    /// Names the keys that cannot.
    pub fn live(&self) -> Result<(), NeedsRestart> {
        let fixed = self.changes.iter().filter(|change| change.needs_restart);
        let paths: Vec<String> = fixed.map(|change| change.path.clone()).collect();
        if paths.is_empty() { Ok(()) } else { Err(NeedsRestart { paths }) }
    }

    fn add(&mut self, path: &str, old: Option<Value>, new: Option<Value>) {
        let kind = match (&old, &new) {
            (None, _) => ChangeKind::Added,
            (Some(_), Some(_)) => ChangeKind::Changed,
            (Some(_), None) => ChangeKind::Removed,
        };
        self.changes.push(Change {
            kind,
            path: path.to_owned(),
            old,
            new,
            needs_restart: needs_restart(path),
        });
    }

    /// Two values of one key. Maps are compared by key; lists as sets, unless their order means something.
    fn values(&mut self, path: &str, old: &Value, new: &Value) {
        match (old, new) {
            _ if old == new => {}
            (Value::Object(old), Value::Object(new)) => {
                let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                for key in keys {
                    let path = format!("{path}.{key}");
                    match (old.get(key), new.get(key)) {
                        (Some(old), Some(new)) => self.values(&path, old, new),
                        (old, new) => self.add(&path, old.cloned(), new.cloned()),
                    }
                }
            }
            (Value::Array(old), Value::Array(new)) if !path.starts_with("cores.") => {
                for item in old.iter().filter(|item| !new.contains(item)) {
                    self.add(path, Some(item.clone()), None);
                }
                for item in new.iter().filter(|item| !old.contains(item)) {
                    self.add(path, None, Some(item.clone()));
                }
            }
            _ => self.add(path, Some(old.clone()), Some(new.clone())),
        }
    }

    fn section<T: Serialize + PartialEq>(&mut self, path: &str, old: &T, new: &T) {
        if old != new {
            self.values(path, &value(old), &value(new));
        }
    }

    fn tenant(&mut self, path: &str, old: &TenantConfig, new: &TenantConfig) {
        self.section(&format!("{path}.prefixes"), &old.prefixes, &new.prefixes);
        self.each(&format!("{path}.tunnels"), &old.tunnels, &new.tunnels, |this, path, old, new| {
            this.section(path, old, new);
        });
        // A table may have a million routes: only what differs becomes a value.
        let key = |route: &TenantRoute| (route.prefix, route.via.clone());
        let before: BTreeMap<_, _> = old.routes.iter().map(|r| (key(r), r)).collect();
        let after: BTreeMap<_, _> = new.routes.iter().map(|r| (key(r), r)).collect();
        let path = format!("{path}.routes");
        for (key, route) in &before {
            match after.get(key) {
                Some(other) if other == route => {}
                other => self.add(&path, Some(value(route)), other.map(value)),
            }
        }
        for (_, route) in after.iter().filter(|(key, _)| !before.contains_key(key)) {
            self.add(&path, None, Some(value(route)));
        }
    }

    fn each<K: Ord + fmt::Display, T: PartialEq + Serialize>(
        &mut self,
        path: &str,
        old: &BTreeMap<K, T>,
        new: &BTreeMap<K, T>,
        mut both: impl FnMut(&mut Self, &str, &T, &T),
    ) {
        let keys: std::collections::BTreeSet<&K> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let path = || format!("{path}.{key}");
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) if old == new => {}
                (Some(old), Some(new)) => both(self, &path(), old, new),
                (old, new) => self.add(&path(), old.map(value), new.map(value)),
            }
        }
    }
}

/// The schema's types are plain data: turning them into a value cannot fail.
fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// What is fixed while the process runs.
fn needs_restart(path: &str) -> bool {
    let mut parts = path.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("node"), Some("drain"), _) => false,
        (Some("node" | "memory" | "cores" | "crypto" | "fleet"), _, _) => true,
        (Some("ike"), Some(key), _) => !matches!(key, "rate" | "source_rate"),
        (Some("ports"), _, None) => true,
        (Some("ports"), _, Some(key)) => {
            matches!(key, "device" | "mac" | "mtu" | "rx_descriptors" | "tx_descriptors")
        }
        _ => false,
    }
}

/// What must change for `new` to take the place of `old`.
pub fn diff(old: &ValidConfig, new: &ValidConfig) -> Difference {
    let mut difference = Difference::default();
    difference.section("node", &old.node, &new.node);
    difference.section("memory", &old.memory, &new.memory);
    difference.section("cores", &old.cores, &new.cores);
    difference.section("crypto", &old.crypto, &new.crypto);
    difference.each("ports", &old.ports, &new.ports, |d, path, old, new| d.section(path, old, new));
    difference.section("routes", &old.routes, &new.routes);
    difference
        .each("endpoints", &old.endpoints, &new.endpoints, |d, path, old, new| d.section(path, old, new));
    difference.section("icmp", &old.icmp, &new.icmp);
    difference.section("metrics", &old.metrics, &new.metrics);
    difference.section("ike", &old.ike, &new.ike);
    match (&old.fleet, &new.fleet) {
        (Some(old), Some(new)) => difference.section("fleet", old, new),
        (None, None) => {}
        (old, new) => difference.add("fleet", old.as_ref().map(value), new.as_ref().map(value)),
    }
    difference.each("tenants", &old.tenants, &new.tenants, |d, path, old, new| d.tenant(path, old, new));
    difference
}
