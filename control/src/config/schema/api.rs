//! `api`: the API over TCP, for those whose certificates are listed.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::config::Name;

/// `api`: the API over TCP, by mutual TLS only. The unix socket is there with and without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file of our certificate and those between it and its authority, PEM or DER.
    pub certificate: PathBuf,
    /// The file of its private key.
    pub private_key: PathBuf,
    /// The files of the authorities whose certificates clients may have.
    pub client_ca: Vec<PathBuf>,
    /// Most connections at a time.
    pub max_connections: u16,
    /// Who may do what. Whoever is not listed may do nothing.
    pub clients: Vec<ApiClient>,
}

/// `api.clients[]`: what the holder of a certificate may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiClient {
    /// A name in the certificate.
    pub name: String,
    /// What it may do.
    pub role: ApiRole,
    /// To whose objects.
    pub tenants: ApiTenants,
}

/// `role`: what a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiRole {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// `tenants`: whose objects a client may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiTenants {
    /// Everybody's, and the gateway itself.
    All,
    /// Those of these, and nothing of the gateway.
    #[serde(untagged)]
    These(Vec<Name>),
}
