//! Reads files that the configuration names. One with a secret only if that is safe in it: a regular file of root's or
//! ours, which nobody else can read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Why a file is not read, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, to go after the file's name.
    pub message: String,
    /// What the operator can do.
    pub fix: String,
}

impl Refusal {
    fn new(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), fix: fix.into() }
    }

    fn unreadable(error: std::io::Error) -> Self {
        Self::new(format!("cannot be read: {error}"), "check the path, and who may read it")
    }
}

/// What a file of at most `max_bytes` holds, in memory that is wiped, and when it was written. `what` is in it.
///
/// # Errors
/// When it cannot be read, or others than root and us can read or change it.
pub fn read(path: &Path, what: &str, max_bytes: u64) -> Result<(Zeroizing<Vec<u8>>, SystemTime), Refusal> {
    let (file, about) = open(path, what)?;
    let (us, name) = (rustix::process::geteuid().as_raw(), path.display());
    if about.uid() != us && about.uid() != 0 {
        let message = format!("belongs to user {}, who can read and change the {what}", about.uid());
        return Err(Refusal::new(message, format!("chown {us} {name}")));
    }
    if about.mode() & OTHERS != 0 {
        let message = format!("has mode {:04o}: other users may read the {what}", about.mode() & 0o7777);
        return Err(Refusal::new(message, format!("chmod 600 {name}")));
    }
    let written = about.modified().map_err(Refusal::unreadable)?;
    Ok((all(file, &about, max_bytes)?, written))
}

/// What a file of at most `max_bytes` holds that anybody may read.
///
/// # Errors
/// When it cannot be read.
pub fn read_public(path: &Path, what: &str, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let (file, about) = open(path, what)?;
    all(file, &about, max_bytes)
}

fn open(path: &Path, what: &str) -> Result<(File, Metadata), Refusal> {
    // A pipe without a writer must not keep us waiting.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let file = opened.map_err(Refusal::unreadable)?;
    // Of the file that is open, not of the path: that may name another one by now.
    let about = file.metadata().map_err(Refusal::unreadable)?;
    if !about.is_file() {
        return Err(Refusal::new("is not a regular file", format!("write the {what} into a file")));
    }
    Ok((file, about))
}

fn all(mut file: File, about: &Metadata, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    if about.len() > max_bytes {
        let message = format!("has {} bytes, the limit is {max_bytes}", about.len());
        return Err(Refusal::new(message, "check that this is the right file"));
    }
    // All at once: a vector that grows leaves its old memory behind as it is.
    let mut bytes = Zeroizing::new(vec![0; usize::try_from(about.len()).unwrap_or(0)]);
    file.read_exact(&mut bytes).map_err(Refusal::unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_ours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "secret").unwrap();
        let with = |mode, most| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            (read(&path, "password", most).map(|(bytes, _)| bytes), read_public(&path, "password", most))
        };
        let whole = Ok(Zeroizing::new(b"secret".to_vec()));
        assert_eq!(with(0o600, 6), (whole.clone(), whole.clone()));
        let (exposed, public) = with(0o640, 6);
        assert_eq!(public, whole);
        let refusal = exposed.unwrap_err();
        assert_eq!(refusal.message, "has mode 0640: other users may read the password");
        assert_eq!(refusal.fix, format!("chmod 600 {}", path.display()));
        let (long, also) = with(0o600, 5);
        assert_eq!(long.unwrap_err().message, "has 6 bytes, the limit is 5");
        assert!(also.is_err());
    }

    #[test]
    fn what_has_no_end_is_no_file() {
        for path in ["/dev/zero", "/tmp"] {
            let refusal = read_public(Path::new(path), "certificate", 10).unwrap_err();
            assert_eq!(refusal.message, "is not a regular file");
        }
        let absent = read(Path::new("/nowhere/at/all"), "password", 10).unwrap_err();
        assert!(absent.message.starts_with("cannot be read: "), "{}", absent.message);
    }
}
