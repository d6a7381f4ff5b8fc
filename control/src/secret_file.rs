//! Reads a file only if what it holds is safe in it: a regular file of root's or ours, which nobody else can read.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::unistd::Uid;
use zeroize::Zeroizing;

/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Why a file is not read, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) fix: String,
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
pub(crate) fn read(
    path: &Path,
    what: &str,
    max_bytes: u64,
) -> Result<(Zeroizing<Vec<u8>>, SystemTime), Refusal> {
    // A pipe without a writer must not keep us waiting.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = opened.map_err(Refusal::unreadable)?;
    // Of the file that is open, not of the path: that may name another one by now.
    let about = file.metadata().map_err(Refusal::unreadable)?;
    if !about.is_file() {
        return Err(Refusal::new("is not a regular file", format!("write the {what} into a file")));
    }
    let (us, name) = (Uid::effective().as_raw(), path.display());
    if about.uid() != us && about.uid() != 0 {
        let message = format!("belongs to user {}, who can read and change the {what}", about.uid());
        return Err(Refusal::new(message, format!("chown {us} {name}")));
    }
    if about.mode() & OTHERS != 0 {
        let message = format!("has mode {:04o}: other users may read the {what}", about.mode() & 0o7777);
        return Err(Refusal::new(message, format!("chmod 600 {name}")));
    }
    if about.len() > max_bytes {
        let message = format!("the file has {} bytes, the limit is {max_bytes}", about.len());
        return Err(Refusal::new(message, "check that this is the right file"));
    }
    // All at once: a vector that grows leaves its old memory behind as it is.
    let mut text = Zeroizing::new(vec![0; about.len() as usize]);
    file.read_exact(&mut text).map_err(Refusal::unreadable)?;
    Ok((text, about.modified().map_err(Refusal::unreadable)?))
}
