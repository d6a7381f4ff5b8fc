//! `fleet`: the nodes that serve the same endpoints together, what they share, and how they reach one another.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::config::Name;
use crate::config::duration::{Period, Wait};

/// `fleet`: the fleet that this node is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetConfig {
    /// Its name, the same on all nodes.
    pub name: Name,
    /// Where the nodes keep what they share.
    pub store: FleetStore,
    /// The file of the fleet's keys, the same on all nodes.
    pub key_file: PathBuf,
    /// Where the other nodes reach this one.
    pub address: IpAddr,
    /// UDP port of packets from node to node; the next one is that of acknowledgements. The same on all nodes.
    pub port: u16,
    /// Longest wait of a negotiation for the other nodes to have its security association.
    pub barrier: Wait,
    /// A node that the store has not heard of for so long is gone.
    pub liveness: Period,
}

impl FleetConfig {
    /// Where this node sends acknowledgements from and receives them.
    pub fn control_address(&self) -> SocketAddr {
        SocketAddr::new(self.address, control_port(self.port))
    }
}

/// The port of acknowledgements, beside that of packets.
pub fn control_port(port: u16) -> u16 {
    // Validation leaves room for it.
    port.saturating_add(1)
}

/// `fleet.store`: who keeps what the nodes share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FleetStore {
    /// This node itself, in its state directory: a fleet of one.
    Embedded,
    /// etcd.
    #[serde(untagged)]
    Etcd {
        /// How it is reached.
        etcd: EtcdConfig,
    },
}

/// `fleet.store.etcd`: how etcd is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdConfig {
    /// Its members, or proxies in front of them: all `https` or all `http`.
    pub endpoints: Vec<StoreUrl>,
    /// The file of the authorities that signed the members' certificates; there with `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// How we show who we are to TLS.
    #[serde(flatten)]
    pub identity: Option<EtcdIdentity>,
    /// How we show who we are to etcd's roles.
    #[serde(flatten)]
    pub user: Option<EtcdUser>,
}

/// Our certificate for etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdIdentity {
    /// Its file, PEM.
    pub certificate: PathBuf,
    /// The file of its private key, PEM.
    pub private_key: PathBuf,
}

/// Our name and password for etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EtcdUser {
    /// The name.
    pub user: String,
    /// The file of the password.
    pub password_file: PathBuf,
}

/// `https://HOST:PORT`, or `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl {
    pub(in crate::config) tls: bool,
    pub(in crate::config) host: String,
    pub(in crate::config) port: u16,
}

impl StoreUrl {
    /// Whether the connection is encrypted, and the other side shows a certificate.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host, an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Nobody but this host sees what is said.
    pub(in crate::config) fn stays_here(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

impl Serialize for StoreUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
