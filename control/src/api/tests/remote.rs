//! The API over TCP: handshakes, and who may do what.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::fake::Fake;
use super::http::send;
use crate::api::Api;
use crate::api::remote::{Remote, Terms, tls};
use crate::config::{ValidConfig, parse_str};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, in PEM; without alternative names it has a common name.
fn issue(by: &Authority, common: &str, names: &[&str]) -> (String, String) {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    let key = KeyPair::generate().unwrap();
    (params.signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

fn write(directory: &Path, name: &str, text: &str) {
    let file = directory.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

struct Lab {
    directory: TempDir,
    authority: Authority,
    address: SocketAddr,
    remote: Remote,
}

const CLIENTS: &str = "[{name: noc.example.com, role: write, tenants: all}, {name: viewer, role: read, tenants: all}, \
                       {name: acme.example.com, role: write, tenants: [acme]}]";

impl Lab {
    async fn start(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority();
        let (certificate, key) = issue(&authority, "gateway", &["localhost"]);
        for (name, text) in [("api.pem", &certificate), ("api.key", &key), ("ca.pem", &authority.pem())] {
            write(directory.path(), name, text);
        }
        // A port that was free a moment ago.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let config = config(directory.path(), address, &format!("{more}, clients: {CLIENTS}"));
        let remote = Remote::start(terms(&config), Api::new(Arc::new(Fake::default()))).await.unwrap();
        Self { directory, authority, address, remote }
    }

    async fn connect(&self, client: Option<&(String, String)>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain =
                    CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
                config
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    }

    /// What a client gets, as long as it gets through the handshake.
    async fn ask(
        &self,
        client: Option<&(String, String)>,
        method: Method,
        path: &str,
    ) -> Option<(StatusCode, Value)> {
        send(self.connect(client).await.ok()?, method, path, &Value::Null).await.ok()
    }
}

fn config(directory: &Path, address: SocketAddr, more: &str) -> ValidConfig {
    let at = directory.display();
    parse_str(&format!(
        "cores: {{control: 0, workers: [1]}}\nports: {{edge0: {{device: net_null0}}}}\n\
         api: {{listen: \"{address}\", certificate: {at}/api.pem, private_key: {at}/api.key, client_ca: {at}/ca.pem{more}}}"
    ))
    .unwrap()
}

fn terms(config: &ValidConfig) -> Terms {
    Terms { config: config.api.clone().unwrap(), tls: tls::read(config).unwrap().unwrap() }
}

#[tokio::test]
async fn only_certificates_of_the_authority_get_through_the_handshake() {
    let lab = Lab::start("").await;
    let stranger = issue(&authority(), "noc", &["noc.example.com"]);
    let expected = lab
        .ask(Some(&issue(&lab.authority, "noc", &["noc.example.com"])), Method::GET, "/v1/show/ready")
        .await;
    assert_eq!(expected.unwrap().0, StatusCode::OK);
    assert_eq!(lab.ask(None, Method::GET, "/v1/show/ready").await, None);
    assert_eq!(lab.ask(Some(&stranger), Method::GET, "/v1/show/ready").await, None);
    // Nor without TLS.
    let mut plain = TcpStream::connect(lab.address).await.unwrap();
    plain.write_all(b"GET /v1/show/ready HTTP/1.1\r\nHost: penstock\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn the_certificate_decides_what_may_be_done() {
    let lab = Lab::start("").await;
    let (noc, viewer) =
        (issue(&lab.authority, "x", &["noc.example.com"]), issue(&lab.authority, "viewer", &[]));
    let acme = issue(&lab.authority, "x", &["other.example.com", "acme.example.com"]);
    // A common name counts only where there is no other.
    let (disguised, unlisted) =
        (issue(&lab.authority, "viewer", &["evil.example.com"]), issue(&lab.authority, "y", &[]));
    let tunnels = |account: &str| format!("/client/v4/accounts/{account}/magic/gre_tunnels");
    for (client, method, path, expected) in [
        (&noc, Method::GET, "/v1/show/status".to_owned(), StatusCode::OK),
        (&noc, Method::POST, "/v1/reload".into(), StatusCode::OK),
        (&viewer, Method::GET, "/v1/show/status".into(), StatusCode::OK),
        (&viewer, Method::POST, "/v1/reload".into(), StatusCode::FORBIDDEN),
        (&acme, Method::GET, tunnels("acme"), StatusCode::OK),
        (&acme, Method::GET, tunnels("globex"), StatusCode::FORBIDDEN),
        (&acme, Method::GET, "/v1/show/status".into(), StatusCode::FORBIDDEN),
        (&acme, Method::GET, "/v1/openapi.json".into(), StatusCode::OK),
        (&disguised, Method::GET, "/v1/show/status".into(), StatusCode::FORBIDDEN),
        (&unlisted, Method::GET, tunnels("acme"), StatusCode::FORBIDDEN),
    ] {
        let (status, answer) = lab.ask(Some(client), method, &path).await.unwrap();
        assert_eq!(status, expected, "{path}: {answer}");
        if status == StatusCode::FORBIDDEN && path.starts_with("/client") {
            assert_eq!((&answer["success"], &answer["errors"][0]["code"]), (&json!(false), &json!(1001)));
        }
    }
}

#[tokio::test]
async fn new_terms_count_at_once_and_old_connections_end() {
    let lab = Lab::start("").await;
    let noc = issue(&lab.authority, "x", &["noc.example.com"]);
    let mut open = lab.connect(Some(&noc)).await.unwrap();
    assert!(lab.ask(Some(&noc), Method::GET, "/v1/show/ready").await.is_some());
    let other = authority();
    write(lab.directory.path(), "ca.pem", &other.pem());
    lab.remote.set(terms(&config(
        lab.directory.path(),
        lab.address,
        ", clients: [{name: new, role: read, tenants: all}]",
    )));
    // One request more, by the new terms, and no other.
    let mut rest = Vec::new();
    open.write_all(b"GET /v1/show/ready HTTP/1.1\r\nHost: penstock\r\n\r\n").await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), open.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection of before goes on");
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "{rest:?}");
    assert_eq!(lab.ask(Some(&noc), Method::GET, "/v1/show/ready").await, None);
    assert_eq!(
        lab.ask(Some(&issue(&other, "new", &[])), Method::GET, "/v1/show/ready").await.unwrap().0,
        StatusCode::OK
    );
}

#[tokio::test]
async fn there_are_no_more_connections_than_allowed() {
    let lab = Lab::start(", max_connections: 2").await;
    let noc = issue(&lab.authority, "x", &["noc.example.com"]);
    let first = lab.connect(Some(&noc)).await.unwrap();
    let _second = lab.connect(Some(&noc)).await.unwrap();
    assert!(lab.ask(Some(&noc), Method::GET, "/v1/show/ready").await.is_none());
    drop(first);
    let mut tries = 0;
    while lab.ask(Some(&noc), Method::GET, "/v1/show/ready").await.is_none() {
        tries += 1;
        assert!(tries < 100, "there is room again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn files_that_do_not_fit_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let made = authority();
    let ((certificate, _), (_, other_key)) = (issue(&made, "gateway", &[]), issue(&made, "other", &[]));
    let config = config(at, "127.0.0.1:8443".parse().unwrap(), "");
    let problems = || {
        let findings = tls::check(&config);
        let all: Vec<String> =
            findings.unread.iter().chain(&findings.wrong).map(ToString::to_string).collect();
        all.join("\n")
    };
    assert_eq!(problems().matches("cannot be read").count(), 3);
    for (name, text) in [("api.pem", &certificate), ("api.key", &other_key), ("ca.pem", &made.pem())] {
        write(at, name, text);
    }
    assert!(problems().contains("api.private_key") && problems().contains("does not fit"), "{}", problems());
    write(at, "api.key", "nonsense");
    write(at, "ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(
        problems().contains("holds no private key") && problems().contains("holds no X.509"),
        "{}",
        problems()
    );
    std::fs::set_permissions(at.join("api.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(problems().contains("chmod 600"), "{}", problems());
}
