//! What another file would change. A security association itself never changes: another key is another SPI.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sa::{InboundSa, OutboundSa, TunnelSas};
use super::{StaticSas, TunnelName};
use crate::config::{Change, ChangeKind};

/// A file changes what a living security association cannot change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing was changed: {} {} in the file, but a security association keeps its keys and options as long as it lives; \
     give the new one another spi, or remove it, reload, and add it again",
    paths.join(", "),
    if paths.len() == 1 { "is another one" } else { "are other ones" }
)]
pub struct Unchangeable {
    /// The keys of the file.
    pub paths: Vec<String>,
}

/// All differences, tunnel by tunnel. Keys are never part of them.
///
/// # Errors
/// When a security association keeps its SPI and is otherwise another one.
pub fn diff(old: &StaticSas, new: &StaticSas) -> Result<Vec<Change>, Unchangeable> {
    let mut changes = Vec::new();
    let mut paths = Vec::new();
    let names: std::collections::BTreeSet<&TunnelName> =
        old.tunnels.keys().chain(new.tunnels.keys()).collect();
    for name in names {
        let (before, after) = (old.tunnels.get(name), new.tunnels.get(name));
        let tunnel = format!("static_sas.{}/{}", name.0, name.1);
        let (was, is) = (all(before), all(after));
        for (key, sa) in &was {
            match is.get(key) {
                None => changes.push(change(&tunnel, key, Some(sa.shown()), None)),
                Some(other)
                    if !other.same(sa) || before.map(|t| &t.selectors) != after.map(|t| &t.selectors) =>
                {
                    paths.push(format!("{tunnel}.{key}"));
                }
                Some(_) => {}
            }
        }
        for (key, sa) in is.iter().filter(|(key, _)| !was.contains_key(*key)) {
            changes.push(change(&tunnel, key, None, Some(sa.shown())));
        }
        let udp = |sas: Option<&TunnelSas>| {
            sas.and_then(|sas| sas.udp).map(|udp| json!({"local_port": udp.local, "remote_port": udp.remote}))
        };
        let (was, is) = (udp(before), udp(after));
        if was != is {
            changes.push(change(&tunnel, "udp", was, is));
        }
    }
    if paths.is_empty() { Ok(changes) } else { Err(Unchangeable { paths }) }
}

#[derive(Clone, Copy)]
enum Sa<'a> {
    Inbound(&'a InboundSa),
    Outbound(&'a OutboundSa),
}

impl Sa<'_> {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Inbound(one), Self::Inbound(other)) => one == other,
            (Self::Outbound(one), Self::Outbound(other)) => one == other,
            _ => false,
        }
    }

    /// What may be shown.
    fn shown(&self) -> Value {
        match self {
            Self::Inbound(sa) => {
                json!({"cipher": sa.suite.name(), "replay_window": sa.replay_window, "esn": sa.esn})
            }
            Self::Outbound(sa) => {
                json!({"cipher": sa.suite.name(), "peer_replay_window": sa.peer_replay_window, "esn": sa.esn})
            }
        }
    }
}

/// By direction and SPI.
fn all(sas: Option<&TunnelSas>) -> BTreeMap<String, Sa<'_>> {
    let Some(sas) = sas else { return BTreeMap::new() };
    let inbound = sas.inbound.iter().map(|sa| (format!("inbound.{:#x}", sa.spi), Sa::Inbound(sa)));
    let outbound = sas.outbound.iter().map(|sa| (format!("outbound.{:#x}", sa.spi), Sa::Outbound(sa)));
    inbound.chain(outbound).collect()
}

fn change(tunnel: &str, key: &str, old: Option<Value>, new: Option<Value>) -> Change {
    let kind = match (&old, &new) {
        (None, _) => ChangeKind::Added,
        (Some(_), Some(_)) => ChangeKind::Changed,
        (Some(_), None) => ChangeKind::Removed,
    };
    Change { kind, path: format!("{tunnel}.{key}"), old, new, needs_restart: false }
}
