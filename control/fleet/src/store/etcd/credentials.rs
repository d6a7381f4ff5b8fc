//! The files that let us in: certificates, a private key, a password.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use etcd_client::{Certificate, Identity, TlsOptions};
use zeroize::Zeroizing;

use super::super::error::OpenError;
use super::super::settings::{EtcdSettings, EtcdTls, EtcdUser};

/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;
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
    let ca = pem(&tls.ca, "certificate", "BEGIN CERTIFICATE", Readers::Any)?;
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(ca.as_slice()));
    let Some((certificate, key)) = &tls.certificate else { return Ok(options) };
    let certificate = pem(certificate, "certificate", "BEGIN CERTIFICATE", Readers::Any)?;
    let key = pem(key, "private key", "PRIVATE KEY-----", Readers::Us)?;
    Ok(options.identity(Identity::from_pem(certificate.as_slice(), key.as_slice())))
}

fn password(user: &EtcdUser) -> Result<Zeroizing<String>, OpenError> {
    let path = &user.password_file;
    let bytes = read(path, Readers::Us)?;
    let text = std::str::from_utf8(&bytes).ok().map(|text| text.trim_end_matches(['\r', '\n']));
    match text {
        Some(password) if !password.is_empty() => Ok(Zeroizing::new(password.to_owned())),
        _ => Err(OpenError::NotPem { path: path.clone(), wanted: "password" }),
    }
}

/// Who may be able to read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Any,
    Us,
}

fn pem(
    path: &Path,
    wanted: &'static str,
    label: &str,
    readers: Readers,
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let bytes = read(path, readers)?;
    if bytes.windows(label.len()).any(|window| window == label.as_bytes()) {
        return Ok(bytes);
    }
    Err(OpenError::NotPem { path: path.into(), wanted })
}

fn read(path: &Path, readers: Readers) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let failed = |source| OpenError::File { action: "read", path: path.into(), source };
    // A pipe without a writer must not keep us waiting.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = opened.map_err(failed)?;
    // Of the file that is open, not of the path: that may name another one by now.
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() || about.len() > MOST_BYTES {
        return Err(failed(io::Error::other("not a regular file of less than a MiB")));
    }
    let (us, name) = (rustix::process::geteuid().as_raw(), path.display());
    let exposed = |problem, fix| OpenError::Exposed { path: path.into(), problem, fix };
    if readers == Readers::Us && about.uid() != us && about.uid() != 0 {
        let problem = format!("belongs to user {}, who can read and change it", about.uid());
        return Err(exposed(problem, format!("chown {us} {name}")));
    }
    if readers == Readers::Us && about.mode() & OTHERS != 0 {
        let problem =
            format!("has mode {:04o}: other users may read the secret in it", about.mode() & 0o7777);
        return Err(exposed(problem, format!("chmod 600 {name}")));
    }
    // All at once: a vector that grows leaves its old memory behind as it is.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(about.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
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
        assert!(matches!(tls(&absent), Err(OpenError::File { .. })));
        // Without end.
        let zero = EtcdTls { ca: "/dev/zero".into(), certificate: None };
        assert!(matches!(tls(&zero), Err(OpenError::File { .. })));
    }
}
