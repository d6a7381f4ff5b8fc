//! Checks that the file fits the configuration, and its security associations each other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use penstock_dataplane::esp::suite::Encryption;

use super::TunnelName;
use super::sa::TunnelSas;
use crate::config::problem::Problems;
use crate::config::reader::{closest, written_index};
use crate::config::tree::Node;
use crate::config::{TunnelConfig, TunnelKind, ValidConfig};
use crate::leases::MAX_KEY_LIFE;
use crate::secret::Secret;

struct Check<'a> {
    tunnels: &'a BTreeMap<TunnelName, TunnelSas>,
    config: &'a ValidConfig,
    root: &'a Node,
    left_out: &'a HashMap<String, Vec<usize>>,
    problems: &'a mut Problems,
    warnings: &'a mut Problems,
}

/// Adds what does not fit to `problems`, and what is likely not meant to `warnings`.
pub(super) fn check(
    tunnels: &BTreeMap<TunnelName, TunnelSas>,
    config: &ValidConfig,
    root: &Node,
    left_out: &HashMap<String, Vec<usize>>,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    let mut check = Check { tunnels, config, root, left_out, problems, warnings };
    check.alone();
    check.known();
    check.numbers();
    check.keys();
    check.missing();
}

/// Adds to `problems` that the outbound keys are too old, when the file is.
pub(super) fn age(tunnels: &BTreeMap<TunnelName, TunnelSas>, age: Duration, problems: &mut Problems) {
    if age < MAX_KEY_LIFE || tunnels.values().all(|sas| sas.outbound.is_none()) {
        return;
    }
    let days = |time: Duration| time.as_secs() / (24 * 3600);
    let message = format!(
        "was last written {} days ago, and we may send under a key for {} days only",
        days(age),
        days(MAX_KEY_LIFE)
    );
    let fix = "write new keys for each outbound, here and at the peer";
    problems.add(Default::default(), "", message, fix);
}

fn path(name: &TunnelName, rest: &str) -> String {
    format!("tunnels.{}/{}{rest}", name.0, name.1)
}

impl Check<'_> {
    fn error(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.add(self.root.locate(path), path, message, fix);
    }

    /// The path of an inbound security association, counted as in the text.
    fn inbound(&self, name: &TunnelName, index: usize) -> String {
        let list = path(name, ".inbound");
        let index = written_index(self.left_out.get(&list), index);
        format!("{list}[{index}]")
    }

    fn warn(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.warnings.add(self.root.locate(path), path, message, fix);
    }

    /// The tunnel of the configuration.
    fn tunnel(&self, name: &TunnelName) -> Option<&TunnelConfig> {
        self.config.tenants.get(&name.0)?.tunnels.get(&name.1)
    }

    /// Sender IDs come round too soon in a fleet for keys that nobody changes.
    fn alone(&mut self) {
        if self.config.fleet.is_some() {
            let message =
                "security associations from a file cannot be used in a fleet: keys live 24 h there at most";
            let fix = "start without --static-sas, or remove fleet from the configuration";
            self.problems.add(Default::default(), "", message, fix);
        }
    }

    /// Every tunnel is there, and is an ipsec tunnel.
    fn known(&mut self) {
        for (name, sas) in self.tunnels {
            let path = path(name, "");
            match self.tunnel(name).map(|tunnel| &tunnel.kind) {
                None => {
                    let known: Vec<String> =
                        ipsec(self.config).map(|(tenant, tunnel)| format!("{tenant}/{tunnel}")).collect();
                    let names: Vec<&str> = known.iter().map(String::as_str).take(10_000).collect();
                    let fix = match closest(&format!("{}/{}", name.0, name.1), &names) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "add it to the configuration, or remove it here".to_owned(),
                    };
                    self.error(&path, "there is no such tunnel in the configuration", fix);
                }
                Some(TunnelKind::Gre(_)) => {
                    let fix = "write type: ipsec in the configuration, or remove it here";
                    self.error(&path, "is a gre tunnel", fix);
                }
                Some(TunnelKind::Ipsec(ipsec)) if ipsec.ike.is_some() => {
                    let fix = "remove its ike from the configuration, or remove it here";
                    self.error(&path, "negotiates its security associations", fix);
                }
                Some(TunnelKind::Ipsec(_)) => {}
            }
            if sas.inbound.is_empty() && sas.outbound.is_none() {
                self.warn(&path, "has neither inbound nor outbound: the tunnel stays down", "add both");
            }
            for (i, sa) in sas.inbound.iter().enumerate() {
                self.unencrypted(&format!("{}.cipher", self.inbound(name, i)), sa.suite.encryption());
            }
            if let Some(sa) = &sas.outbound {
                self.unencrypted(&format!("{path}.outbound.cipher"), sa.suite.encryption());
            }
        }
    }

    fn unencrypted(&mut self, path: &str, encryption: Encryption) {
        if encryption == Encryption::Null {
            self.warn(path, "does not encrypt: everybody on the way can read the packets", "write a cipher");
        }
    }

    /// Whoever receives a packet finds its security association by these numbers.
    fn numbers(&mut self) {
        let mut ours: HashMap<(&str, u32), String> = HashMap::new();
        let mut theirs: HashMap<(IpAddr, Option<u16>, u32), String> = HashMap::new();
        for (name, sas) in self.tunnels {
            let config = self.config;
            let Some(tunnel) = config.tenants.get(&name.0).and_then(|tenant| tenant.tunnels.get(&name.1))
            else {
                continue;
            };
            for (i, sa) in sas.inbound.iter().enumerate() {
                let path = format!("{}.spi", self.inbound(name, i));
                if let Some(other) = ours.insert((&tunnel.endpoint, sa.spi), path.clone()) {
                    let message =
                        self.same(&format!("{:#x} of endpoint {}", sa.spi, tunnel.endpoint), &other);
                    self.error(&path, message, "received packets could be of either: give one another spi");
                }
            }
            if let Some(sa) = &sas.outbound {
                let path = path(name, ".outbound.spi");
                let port = sas.udp.map(|udp| udp.remote);
                // A remote may be any only of a tunnel that negotiates.
                let Some(remote) = tunnel.remote.address() else { continue };
                if let Some(other) = theirs.insert((remote, port, sa.spi), path.clone()) {
                    let message = self.same(&format!("{:#x} of {remote}", sa.spi), &other);
                    self.error(&path, message, "the peer could not tell them apart: give one another spi");
                }
            }
        }
    }

    /// Two senders that share a key choose their IVs without knowing of each other. With an AEAD that gives the plain
    /// text away, and lets anybody forge packets (RFC 4106, RFC 7634 section 2).
    fn keys(&mut self) {
        let mut seen: HashMap<&[u8], String> = HashMap::new();
        for (name, sas) in self.tunnels {
            let inbound = sas
                .inbound
                .iter()
                .enumerate()
                .map(|(i, sa)| (format!("{}.key", self.inbound(name, i)), sa.suite, &sa.key));
            let outbound = sas.outbound.iter().map(|sa| (path(name, ".outbound.key"), sa.suite, &sa.key));
            let all: Vec<(String, _, &Secret)> = inbound.chain(outbound).collect();
            for (path, suite, key) in all.into_iter().filter(|(_, _, key)| !key.is_empty()) {
                let Some(other) = seen.insert(key.bytes(), path.clone()) else { continue };
                let message = self.same("the key", &other);
                if suite.is_aead() {
                    self.error(&path, message, "give each security association a key of its own");
                } else {
                    self.warn(&path, message, "give each security association a key of its own");
                }
            }
        }
    }

    fn same(&self, what: &str, other: &str) -> String {
        format!("{what} is also that of {other} (line {})", self.root.locate(other).line)
    }

    /// Tunnels that get none from anywhere.
    fn missing(&mut self) {
        let config = self.config;
        for (tenant, tunnel) in ipsec(config).filter(|name| !self.tunnels.contains_key(name)) {
            let message =
                format!("{tenant}/{tunnel} is an ipsec tunnel without security associations: it stays down");
            self.warn("tunnels", message, "add it");
        }
    }
}

fn ipsec(config: &ValidConfig) -> impl Iterator<Item = TunnelName> {
    config.tenants.iter().flat_map(|(tenant, settings)| {
        let tunnels =
            settings.tunnels.iter().filter(|(_, tunnel)| tunnel.is_ipsec() && tunnel.ike().is_none());
        tunnels.map(|(name, _)| (tenant.clone(), name.clone()))
    })
}
