//! Directories and files that only we can read, and that are wiped before they go.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statfs::fstatfs;
use nix::unistd::Uid;
use zeroize::Zeroizing;

use crate::leases::is_in_memory;

/// Why the run directory cannot be used, or something in it.
#[derive(Debug, thiserror::Error)]
pub enum RunDirectoryError {
    /// The system refused.
    #[error("the run directory: cannot {action} {}: {source}; give ike.run a directory of this user, in memory (below /run)", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} belongs to a penstock that is running; stop that one, or give this one another ike.run", .0.display())]
    InUse(PathBuf),
    /// Somebody else's.
    #[error("{} belongs to user {owner}, who could read the keys in it; chown it, or choose another ike.run", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// For `map_err`.
pub(super) fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> RunDirectoryError {
    move |source| RunDirectoryError::System { action, path: path.to_owned(), source }
}

/// Makes the directory if need be, sees to it that only we can enter it, and locks it for as long as the result lives.
pub(super) fn take(path: &Path) -> Result<File, RunDirectoryError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
    let directory = File::open(path).map_err(failed("open", path))?;
    let found = directory.metadata().map_err(failed("inspect", path))?;
    if found.uid() != Uid::effective().as_raw() {
        return Err(RunDirectoryError::NotOurs { path: path.to_owned(), owner: found.uid() });
    }
    if found.mode() & 0o777 != 0o700 {
        directory.set_permissions(Permissions::from_mode(0o700)).map_err(failed("close to others", path))?;
    }
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(RunDirectoryError::InUse(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}

/// Whether what is in it never gets on a disk (unless that is swap), and ends with the machine's run.
pub(super) fn is_memory(directory: &File) -> bool {
    fstatfs(directory).is_ok_and(|fs| is_in_memory(fs.filesystem_type()))
}

/// A file's bytes, in memory that is wiped. Only a regular file, and of `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = open(path, OpenOptions::new().read(true))?;
    let len = file.metadata()?.len();
    if len > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has {len} bytes")));
    }
    let mut bytes = Zeroizing::new(vec![0; len as usize]);
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// An existing regular file; a link or a pipe is refused.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Puts `bytes` at `path` in one step: whoever reads it finds the old or the new. `temporary` is beside it. What was
/// there is wiped.
pub(super) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = match open(path, OpenOptions::new().write(true)) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Left over only by a process that died between these lines.
    remove_if_there(temporary)?;
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let written = new.write_all(bytes).and_then(|()| fs::rename(temporary, path));
    if written.is_err() {
        let _ = remove(temporary);
        return written;
    }
    old.map_or(Ok(()), |old| wipe(&old))
}

/// Wipes a file and removes it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    wipe(&open(path, OpenOptions::new().write(true))?)?;
    fs::remove_file(path)
}

/// As [`remove`], but there may be no such file.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Overwrites a file in place.
fn wipe(file: &File) -> io::Result<()> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let len = file.metadata()?.len();
    let mut at = 0;
    while at < len {
        let piece = ZEROS.len().min((len - at) as usize);
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}
