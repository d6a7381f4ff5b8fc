//! The files that a configuration names, and where it does: what `ike` needs to show who we are and to know the peer,
//! `fleet` to read what the nodes share, and `api` to serve others than root.
//!
//! They are not opened here: a configuration can be checked on a machine that has none of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::problem::{Location, Problem};
use super::schema::{FleetStore, GatewayConfig, IkeAuth};
use super::tree::{Kind, Node};

/// What a file is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// A pre-shared key.
    Psk,
    /// A private key of ours.
    PrivateKey,
    /// A certificate of ours, and those between it and its authority.
    Certificate,
    /// Certificates of authorities.
    Authorities,
    /// The fleet's keys.
    FleetKeys,
    /// A password for the store.
    StorePassword,
}

/// A file that the configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// What it is to hold.
    pub kind: FileKind,
    /// Its path.
    pub file: PathBuf,
    config: Arc<str>,
    key: String,
    at: Location,
}

impl NamedFile {
    /// What is wrong with it, at the place that names it.
    pub fn problem(&self, message: &str, fix: impl Into<String>) -> Problem {
        Problem {
            file: self.config.clone(),
            at: self.at,
            path: self.key.clone(),
            message: format!("{} {message}", self.file.display()),
            fix: fix.into(),
        }
    }
}

/// All files that the tunnels' `ike` names.
pub(super) fn named(name: &str, config: &GatewayConfig, root: &Node) -> Vec<NamedFile> {
    let name: Arc<str> = name.into();
    let mut files = Vec::new();
    let tenants = children(root, "tenants");
    for (tenant, settings) in &config.tenants {
        if settings.tunnels.values().all(|tunnel| tunnel.ike().is_none()) {
            continue;
        }
        let tunnels = tenants.get(&**tenant).map(|node| children(node, "tunnels")).unwrap_or_default();
        for (tunnel, settings) in &settings.tunnels {
            let Some(ike) = settings.ike() else { continue };
            let node = tunnels.get(&**tunnel);
            let mut add = |kind, key: &str, file: &PathBuf| {
                let key = format!("ike.{key}");
                let at = node.map(|node| node.locate(&key)).unwrap_or_default();
                let key = format!("tenants.{tenant}.tunnels.{tunnel}.{key}");
                files.push(NamedFile { kind, file: file.clone(), config: name.clone(), key, at });
            };
            match &ike.auth {
                IkeAuth::Stored { .. } => {}
                IkeAuth::Psk { psk_file } => add(FileKind::Psk, "psk_file", psk_file),
                IkeAuth::Certificates { certificate, private_key, ca } => {
                    add(FileKind::Certificate, "certificate", certificate);
                    add(FileKind::PrivateKey, "private_key", private_key);
                    ca.iter().for_each(|file| add(FileKind::Authorities, "ca", file));
                }
            }
        }
    }
    files
}

/// All files that `fleet` names.
pub(super) fn of_fleet(name: &str, config: &GatewayConfig, root: &Node) -> Vec<NamedFile> {
    let Some(fleet) = &config.fleet else { return Vec::new() };
    let name: Arc<str> = name.into();
    let mut files = Vec::new();
    let mut add = |kind, key: &str, file: &PathBuf| {
        let key = format!("fleet.{key}");
        let at = root.locate(&key);
        files.push(NamedFile { kind, file: file.clone(), config: name.clone(), key, at });
    };
    add(FileKind::FleetKeys, "key_file", &fleet.key_file);
    if let FleetStore::Etcd { etcd } = &fleet.store {
        if let Some(ca) = &etcd.ca {
            add(FileKind::Authorities, "store.etcd.ca", ca);
        }
        if let Some(identity) = &etcd.identity {
            add(FileKind::Certificate, "store.etcd.certificate", &identity.certificate);
            add(FileKind::PrivateKey, "store.etcd.private_key", &identity.private_key);
        }
        if let Some(user) = &etcd.user {
            add(FileKind::StorePassword, "store.etcd.password_file", &user.password_file);
        }
    }
    files
}

/// All files that `api` names.
pub(super) fn of_api(name: &str, config: &GatewayConfig, root: &Node) -> Vec<NamedFile> {
    let Some(api) = &config.api else { return Vec::new() };
    let name: Arc<str> = name.into();
    let named = |kind, key: &str, file: &PathBuf| {
        let key = format!("api.{key}");
        let at = root.locate(&key);
        NamedFile { kind, file: file.clone(), config: name.clone(), key, at }
    };
    let own = [
        named(FileKind::Certificate, "certificate", &api.certificate),
        named(FileKind::PrivateKey, "private_key", &api.private_key),
    ];
    let authorities = api.client_ca.iter().map(|file| named(FileKind::Authorities, "client_ca", file));
    own.into_iter().chain(authorities).collect()
}

/// The entries of the map that a key of this one has. To find each by itself would take for ever in a large file.
fn children<'n>(node: &'n Node, key: &str) -> HashMap<&'n str, &'n Node> {
    let entries = |node: &'n Node| match &node.kind {
        Kind::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    let map = entries(node).iter().find(|(name, _)| *name.text == *key);
    map.into_iter().flat_map(|(_, map)| entries(map)).map(|(name, node)| (&*name.text, node)).collect()
}
