//! The files that let us in: certificates, a private key, a password.

use std::path::Path;

use etcd_client::{Certificate, Identity, TlsOptions};
use zeroize::Zeroizing;

use super::super::error::OpenError;
use super::super::settings::{EtcdSettings, EtcdTls, EtcdUser};
use crate::secret_file::{self, Refusal};

/// More than any chain of certificates has.
const MOST_BYTES: u64 = 1 << 20;

/// What was in them. The library for etcd has copies of its own, which it does not wipe.
pub(super) struct Credentials {
    pub(super) tls: Option<TlsOptions>,
    /// Name and password.
    pub(super) user: Option<(String, Zeroizing<String>)>,
}

impl Credentials {
    /// # Errors
    /// When a file cannot be read, is not what it should be, or others can read a secret in it.
    pub(super) fn read(settings: &EtcdSettings) -> Result<Self, OpenError> {
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        let user = match &settings.user {
            Some(user) => Some((user.name.clone(), password(user)?)),
            None => None,
        };
        Ok(Self { tls, user })
    }
}

fn tls(tls: &EtcdTls) -> Result<TlsOptions, OpenError> {
    let certificate = |path: &Path| {
        let what = "certificate";
        pem(path, what, "BEGIN CERTIFICATE", secret_file::read_public(path, what, MOST_BYTES))
    };
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(certificate(&tls.ca)?.as_slice()));
    let Some((own, key)) = &tls.certificate else { return Ok(options) };
    let own = certificate(own)?;
    let what = "private key";
    let bytes = secret_file::read(key, what, MOST_BYTES).map(|(bytes, _)| bytes);
    let key = pem(key, what, "PRIVATE KEY-----", bytes)?;
    Ok(options.identity(Identity::from_pem(own.as_slice(), key.as_slice())))
}

fn password(user: &EtcdUser) -> Result<Zeroizing<String>, OpenError> {
    let path = &user.password_file;
    let (bytes, _) = secret_file::read(path, "password", MOST_BYTES).map_err(unread(path))?;
    let text = std::str::from_utf8(&bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Some(password) if !password.is_empty() => Ok(Zeroizing::new(password.to_owned())),
        _ => Err(OpenError::NotPem { path: path.clone(), wanted: "password" }),
    }
}

fn pem(
    path: &Path,
    wanted: &'static str,
    label: &str,
    bytes: Result<Zeroizing<Vec<u8>>, Refusal>,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let bytes = bytes.map_err(unread(path))?;
    if bytes.windows(label.len()).any(|window| window == label.as_bytes()) {
        return Ok(bytes);
    }
    Err(OpenError::NotPem { path: path.into(), wanted })
}

fn unread(path: &Path) -> impl Fn(Refusal) -> OpenError {
    move |Refusal { message, fix }| OpenError::Unread { path: path.into(), message, fix }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let user = EtcdUser { name: "penstock".into(), password_file: path.clone() };
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            password(&user)
        };
        assert_eq!(write("secret \n", 0o600).unwrap().as_str(), "secret ");
        assert!(matches!(write("\n", 0o600), Err(OpenError::NotPem { .. })));
        let exposed = write("secret", 0o640).unwrap_err().to_string();
        assert!(exposed.contains("chmod 600") && !exposed.contains("secret\""), "{exposed}");
    }

    #[test]
    fn certificates_are_pem() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        fs::write(&path, "nonsense").unwrap();
        let options = EtcdTls { ca: path.clone(), certificate: None };
        assert_eq!(
            tls(&options).unwrap_err().to_string(),
            format!("{} holds no certificate", path.display())
        );
        let absent = EtcdTls { ca: dir.path().join("absent"), certificate: None };
        assert!(matches!(tls(&absent), Err(OpenError::Unread { .. })));
    }
}
