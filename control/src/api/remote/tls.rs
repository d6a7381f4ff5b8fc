//! The files of the API over TCP, as what TLS needs: our certificate and key, and whose certificates clients may have.
//!
//! The handshake fails for whoever shows no certificate, or one of another authority. TLS 1.2 and 1.3, by rustls and
//! ring.

use std::path::Path;
use std::sync::Arc;

use penstock_fleet::secret_file::{self, Refusal};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{FileKind, NamedFile, Problem, ValidConfig};

/// Largest file of a key or of certificates.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is wrong with the files of `api`.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files that are not here, or that are not read here as they are. On the machine that needs them they may be right.
    pub unread: Vec<Problem>,
    /// Files that do not hold what they should, on whatever machine.
    pub wrong: Vec<Problem>,
}

/// Reads the files, if there is an API over TCP.
///
/// # Errors
/// All files that are missing, that others can read, or that do not hold what they should.
pub fn read(config: &ValidConfig) -> Result<Option<Arc<ServerConfig>>, Vec<Problem>> {
    if config.api.is_none() {
        return Ok(None);
    }
    let (made, Findings { mut unread, wrong }) = look(config);
    unread.extend(wrong);
    made.map(Some).ok_or(unread)
}

/// The same, for a configuration of another machine: what is wrong with the files.
pub fn check(config: &ValidConfig) -> Findings {
    if config.api.is_none() { Findings::default() } else { look(config).1 }
}

fn look(config: &ValidConfig) -> (Option<Arc<ServerConfig>>, Findings) {
    let mut findings = Findings::default();
    let (mut chain, mut key, mut roots) = (None, None, RootCertStore::empty());
    for named in config.api_files() {
        let outcome = match named.kind {
            FileKind::PrivateKey => private_key(&named.file).map(|found| key = Some((found, named))),
            FileKind::Certificate => certificates(&named.file).map(|found| chain = Some(found)),
            _ => certificates(&named.file).and_then(|found| add_authorities(&mut roots, found)),
        };
        match outcome {
            Ok(()) => {}
            Err(Unfit::Unread(refusal)) => findings.unread.push(problem(named, refusal)),
            Err(Unfit::Wrong(refusal)) => findings.wrong.push(problem(named, refusal)),
        }
    }
    if !findings.unread.is_empty() || !findings.wrong.is_empty() {
        return (None, findings);
    }
    let (Some(chain), Some((key, named))) = (chain, key) else { return (None, findings) };
    match server(chain, key, roots) {
        Ok(config) => (Some(Arc::new(config)), findings),
        Err(error) => {
            let fix = "write the key that belongs to api.certificate, and authorities that may sign";
            findings.wrong.push(named.problem(&format!("does not fit the certificates: {error}"), fix));
            (None, findings)
        }
    }
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A session that is taken up again would bring a certificate along that nobody has looked at since.
    config.session_storage = Arc::new(tokio_rustls::rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Why a file is of no use.
enum Unfit {
    Unread(Refusal),
    Wrong(Refusal),
}

fn problem(named: &NamedFile, refusal: Refusal) -> Problem {
    named.problem(&refusal.message, refusal.fix)
}

fn wrong(message: &str, fix: &str) -> Unfit {
    Unfit::Wrong(Refusal { message: message.to_owned(), fix: fix.to_owned() })
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|part| part == b"-----BEGIN ")
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Unfit> {
    let (bytes, _) = secret_file::read(file, "key", MAX_FILE_BYTES).map_err(Unfit::Unread)?;
    let unfit = || {
        let fix = "write an RSA, ECDSA or Ed25519 key without passphrase into it, PEM or DER";
        wrong("holds no private key", fix)
    };
    if is_pem(&bytes) {
        return PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| unfit());
    }
    PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| unfit())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let bytes = secret_file::read_public(file, "certificates", MAX_FILE_BYTES).map_err(Unfit::Unread)?;
    let found: Vec<_> = if is_pem(&bytes) {
        CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok).collect()
    } else {
        vec![CertificateDer::from(bytes.to_vec())]
    };
    let is_certificate = |one: &CertificateDer<'_>| x509_parser::parse_x509_certificate(one).is_ok();
    if found.is_empty() || !found.iter().all(is_certificate) {
        return Err(wrong("holds no X.509 certificate", "write certificates into it, PEM or DER"));
    }
    Ok(found)
}

fn add_authorities(roots: &mut RootCertStore, found: Vec<CertificateDer<'static>>) -> Result<(), Unfit> {
    for certificate in found {
        let unfit = |error| {
            wrong(&format!("holds what is no authority: {error}"), "write the authority's own certificate")
        };
        roots.add(certificate).map_err(unfit)?;
    }
    Ok(())
}
