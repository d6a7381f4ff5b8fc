//! Checks that values fit each other: names that are used exist, nothing is owned twice, families agree.
//!
//! It runs even when some values could not be read, so that one look shows all problems. What was left out then must
//! not be called unknown: names are looked up in the text too.

mod api;
mod cores;
mod fleet;
mod ike;
mod ports;
mod prefixes;
mod routes;
mod tenants;
mod tunnels;

use std::collections::HashMap;
use std::net::IpAddr;

use super::problem::{Location, Problems};
use super::reader::{closest, written_index};
use super::schema::{GatewayConfig, InterfaceName};
use super::tree::{Kind, Node};

/// Ports that DPDK can have in one process (RTE_MAX_ETHPORTS of Debian's build).
pub const MAX_PORTS: usize = 32;
/// Tenants; a VRF id has 16 bits and some are ours.
pub const MAX_TENANTS: usize = 65_000;
/// Tunnels of all tenants.
pub const MAX_TUNNELS: usize = 131_072;
/// Endpoints; each is an address that customers configure, so more is a mistake.
const MAX_ENDPOINTS: usize = 4096;

struct Check<'a> {
    config: &'a GatewayConfig,
    root: &'a Node,
    left_out: &'a HashMap<String, Vec<usize>>,
    problems: &'a mut Problems,
    warnings: &'a mut Problems,
    /// Our addresses on ports: address to path.
    own: HashMap<IpAddr, String>,
}

/// Adds what does not fit to `problems`, and what is likely not meant to `warnings`.
pub(super) fn validate(
    config: &GatewayConfig,
    root: &Node,
    left_out: &HashMap<String, Vec<usize>>,
    problems: &mut Problems,
    warnings: &mut Problems,
) {
    let complete = problems.is_empty();
    let mut check = Check { config, root, left_out, problems, warnings, own: HashMap::new() };
    if complete && config.ports.is_empty() {
        check.error("ports", "there is no port", "add one, such as edge0: {device: \"0000:3b:00.0\"}");
    }
    if complete && config.cores.workers.is_empty() {
        check.error("cores.workers", "there is no worker core", "name at least one core, such as [1]");
    }
    check.cores();
    check.memory();
    check.ports();
    check.endpoints();
    check.fleet(complete);
    check.routes();
    check.tenants();
    check.ike_limits();
    check.api();
}

impl Check<'_> {
    fn error(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.add(self.root.locate(path), path, message, fix);
    }

    fn warn(&mut self, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.warnings.add(self.root.locate(path), path, message, fix);
    }

    /// The path of an item of a list, counted as in the text.
    fn item(&self, list: &str, index: usize) -> String {
        let index = written_index(self.left_out.get(list), index);
        // A list of one may be written without brackets.
        match self.node(list).map(|n| &n.kind) {
            Some(Kind::Scalar(_)) => list.to_owned(),
            _ => format!("{list}[{index}]"),
        }
    }

    /// The line that a path is in.
    fn line(&self, path: &str) -> Location {
        self.root.locate(path)
    }

    fn node(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self.root, |node, part| match &node.kind {
            Kind::Map(entries) => entries.iter().find(|(key, _)| *key.text == *part).map(|(_, node)| node),
            _ => None,
        })
    }

    /// Something is used that does not exist. Says nothing when the text has it but it could not be read.
    fn unknown<'n>(
        &mut self,
        path: &str,
        what: &str,
        name: &str,
        defined_at: &str,
        names: impl Iterator<Item = &'n str>,
    ) {
        if self.node(&format!("{defined_at}.{name}")).is_some() {
            return;
        }
        let names: Vec<&str> = names.take(10_000).collect();
        let fix = match closest(name, &names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add it to {defined_at}, or use one that is there"),
        };
        self.error(path, format!("there is no {what} \"{name}\""), fix);
    }

    /// Names a tenant that does not exist.
    fn known_tenant(&mut self, path: &str, name: &str) {
        if !self.config.tenants.contains_key(name) {
            let config = self.config;
            self.unknown(path, "tenant", name, "tenants", config.tenants.keys().map(|n| &**n));
        }
    }

    /// Names an interface that does not exist.
    fn known_interface(&mut self, path: &str, name: &InterfaceName) {
        let config = self.config;
        match (config.ports.get(&name.port), name.vlan) {
            (None, _) => self.unknown(path, "port", &name.port, "ports", config.ports.keys().map(|n| &**n)),
            (Some(port), Some(vlan)) if !port.vlans.contains_key(&vlan) => {
                let vlans = format!("ports.{}.vlans", name.port);
                self.unknown(path, "VLAN", &vlan.to_string(), &vlans, std::iter::empty());
            }
            _ => {}
        }
    }

    fn endpoints(&mut self) {
        let config = self.config;
        if config.endpoints.len() > MAX_ENDPOINTS {
            let message =
                format!("there are {} endpoints, the limit is {MAX_ENDPOINTS}", config.endpoints.len());
            self.error("endpoints", message, "let more tunnels share an endpoint");
        }
        let mut seen: HashMap<IpAddr, String> = HashMap::new();
        for (name, ip) in &config.endpoints {
            let path = format!("endpoints.{name}");
            if let Some(port) = self.own.get(ip) {
                let message = format!("{ip} is also {port}");
                let fix = "an endpoint belongs to the fast path alone: use another address, or remove it from the port";
                self.error(&path, message, fix);
            }
            if let Some(other) = seen.insert(*ip, path.clone()) {
                let line = self.line(&other).line;
                self.error(&path, format!("{ip} is also {other} (line {line})"), "remove one of them");
            }
        }
    }
}
