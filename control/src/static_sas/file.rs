//! Opens the file only if its keys are safe in it: a regular file of root's or ours, which nobody else can read.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::unistd::Uid;
use zeroize::Zeroizing;

use crate::config::Problem;
use crate::config::problem::Problems;

/// Largest file: 100 000 tunnels with three security associations each fit.
const MAX_BYTES: u64 = 128 << 20;
/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// The text of a file, in memory that is wiped, and when it was written.
pub(super) fn read(path: &Path, name: &str) -> Result<(Zeroizing<Vec<u8>>, SystemTime), Vec<Problem>> {
    let refuse = |message: String, fix: String| {
        let mut problems = Problems::new(name);
        problems.add(Default::default(), "", message, fix);
        problems.into_list()
    };
    let unreadable = |error: std::io::Error| {
        refuse(format!("cannot be read: {error}"), "check the path, and who may read it".into())
    };
    // A pipe without a writer must not keep us waiting.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut file = opened.map_err(unreadable)?;
    // Of the file that is open, not of the path: that may name another one by now.
    let about = file.metadata().map_err(unreadable)?;
    if !about.is_file() {
        return Err(refuse("is not a regular file".into(), "write the keys into a file".into()));
    }
    let us = Uid::effective().as_raw();
    if about.uid() != us && about.uid() != 0 {
        let message = format!("belongs to user {}, who can read and change the keys", about.uid());
        return Err(refuse(message, format!("chown {us} {name}")));
    }
    if about.mode() & OTHERS != 0 {
        let message = format!("has mode {:04o}: other users may read the keys", about.mode() & 0o7777);
        return Err(refuse(message, format!("chmod 600 {name}")));
    }
    if about.len() > MAX_BYTES {
        let message = format!("the file has {} bytes, the limit is {MAX_BYTES}", about.len());
        return Err(refuse(message, "check that this is the right file".into()));
    }
    // All at once: a vector that grows leaves its old memory behind as it is.
    let mut text = Zeroizing::new(vec![0; about.len() as usize]);
    file.read_exact(&mut text).map_err(unreadable)?;
    Ok((text, about.modified().map_err(unreadable)?))
}
