//! Which store, and how to get in.

use std::path::PathBuf;

use super::error::OpenError;

/// Longest name of a fleet.
const MOST_NAME_BYTES: usize = 63;

/// What is needed to open a store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The fleet's name; in etcd all its keys are below `/penstock/NAME/`.
    pub fleet: String,
    /// The engine.
    pub engine: Engine,
}

/// Where the store is.
#[derive(Clone, Debug)]
pub enum Engine {
    /// A file of this node's.
    Embedded {
        /// The node's state directory.
        directory: PathBuf,
    },
    /// A service that the nodes share.
    Etcd(EtcdSettings),
}

/// How to reach etcd. Files are read at each connection, so that certificates may be renewed.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// URLs of its members, `https://HOST:PORT` or, in a network that nobody else is in, `http://HOST:PORT`.
    pub endpoints: Vec<String>,
    /// Needed for `https`.
    pub tls: Option<EtcdTls>,
    /// If etcd asks for a user and password.
    pub user: Option<EtcdUser>,
}

/// Certificates, PEM.
#[derive(Clone, Debug)]
pub struct EtcdTls {
    /// Who signs the members' certificates.
    pub ca: PathBuf,
    /// Our certificate and its private key, if etcd asks for one (`--client-cert-auth`).
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// A user of etcd's.
#[derive(Clone, Debug)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// Holds the password, and a line end or none. Nobody else may read it.
    pub password_file: PathBuf,
}

impl Settings {
    /// Whether they make sense, as far as that shows without a look at files.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let name = &self.fleet;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > MOST_NAME_BYTES || !name.chars().all(fits) {
            return Err(OpenError::Fleet(name.clone()));
        }
        match &self.engine {
            Engine::Embedded { .. } => Ok(()),
            Engine::Etcd(etcd) => etcd.check(),
        }
    }
}

impl EtcdSettings {
    fn check(&self) -> Result<(), OpenError> {
        if self.endpoints.is_empty() {
            return Err(OpenError::NoEndpoint);
        }
        for url in &self.endpoints {
            let (host, secure) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
                (Some(host), _) => (host, true),
                (None, Some(host)) => (host, false),
                (None, None) => return Err(OpenError::Endpoint(url.clone())),
            };
            // A port is not optional: etcd's own is not that of https.
            if !host.contains(':') || host.contains(['/', '@', '?', '#']) {
                return Err(OpenError::Endpoint(url.clone()));
            }
            match (secure, &self.tls) {
                (true, None) => return Err(OpenError::WithoutCa(url.clone())),
                (false, Some(_)) => return Err(OpenError::Plain(url.clone())),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(url: &str, tls: bool) -> Result<(), OpenError> {
        let tls = tls.then(|| EtcdTls { ca: "ca.pem".into(), certificate: None });
        let engine = Engine::Etcd(EtcdSettings { endpoints: vec![url.into()], tls, user: None });
        Settings { fleet: "edge".into(), engine }.check()
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for name in ["", "a/b", "a b", "é", &"a".repeat(64)] {
            let settings =
                Settings { fleet: name.into(), engine: Engine::Embedded { directory: "/tmp".into() } };
            assert!(matches!(settings.check(), Err(OpenError::Fleet(_))), "{name}");
        }
        assert!(etcd("https://192.0.2.1:2379", true).is_ok());
        assert!(etcd("http://[2001:db8::1]:2379", false).is_ok());
        assert!(matches!(etcd("https://192.0.2.1:2379", false), Err(OpenError::WithoutCa(_))));
        assert!(matches!(etcd("http://192.0.2.1:2379", true), Err(OpenError::Plain(_))));
        for url in ["192.0.2.1:2379", "https://192.0.2.1", "https://u:p@192.0.2.1:2379", "ftp://192.0.2.1:1"]
        {
            assert!(matches!(etcd(url, true), Err(OpenError::Endpoint(_))), "{url}");
        }
    }
}
