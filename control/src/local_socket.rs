//! Taking a unix socket: who may open it, and that only one daemon has it.
//!
//! 1. The directory is made with mode 0700 where it is missing. An existing one is left as it is, but refused
//!    when strangers could swap files in it.
//! 2. A lock file beside the socket decides which daemon owns it. The kernel drops the lock with the process,
//!    however it dies, so a socket without a lock holder is stale and is replaced.
//! 3. The socket is made under another name, given mode 0600 and renamed into place: at no time does it exist
//!    with a wider mode, and clients never see it missing.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Uid, getpid};
use thiserror::Error;
use tokio::net::UnixListener;

/// `sun_path` of unix(7), less its terminating zero.
const MAX_PATH_BYTES: usize = 107;

/// Why the socket could not be taken.
#[derive(Debug, Error)]
pub enum BindError {
    /// Another daemon is there.
    #[error(
        "{} belongs to a penstock that is running{}; stop it first, or give this one another {setting}",
        path.display(),
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    AlreadyRunning {
        /// The setting that names the socket.
        setting: &'static str,
        /// The socket.
        path: PathBuf,
        /// The other daemon.
        pid: Option<u32>,
    },
    /// Something else listens there.
    #[error("another program listens on {}; stop it, or choose another {setting}", path.display())]
    Foreign {
        /// The setting that names the socket.
        setting: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// A file is in the way.
    #[error("{} exists and is not a socket; move it away, or choose another {setting}", path.display())]
    NotASocket {
        /// The setting that names the socket.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The path does not fit a socket address.
    #[error(
        "{setting} is {} bytes long, a unix socket's path has at most {MAX_PATH_BYTES}; choose a shorter one: {}",
        path.as_os_str().len(),
        path.display()
    )]
    TooLong {
        /// The setting that names the socket.
        setting: &'static str,
        /// The socket.
        path: PathBuf,
    },
    /// Others could replace the socket.
    #[error(
        "{} may be written by other users (mode {mode:o}, owner {owner}), who could put their own socket there; \
         chmod go-w and chown it, or choose another {setting}",
        directory.display()
    )]
    UnsafeDirectory {
        /// The setting that names the socket.
        setting: &'static str,
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
        /// Its owner's user id.
        owner: u32,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The socket, bound and owned. Dropping it removes the file and lets the next daemon in.
#[derive(Debug)]
pub struct LocalSocket {
    listener: Option<StdListener>,
    path: PathBuf,
    // Held, never read: the lock is what makes this daemon the only one.
    _lock: Flock<File>,
}

/// Takes the socket at `path`, which `setting` of the configuration names. Do this before anything that two daemons
/// must not both do.
///
/// # Errors
/// When another daemon has it, or the path, its directory or the system forbids it; see [`BindError`].
pub fn bind(path: &Path, setting: &'static str) -> Result<LocalSocket, BindError> {
    let temporary = with_suffix(path, &format!(".{}", getpid()));
    if temporary.as_os_str().len() > MAX_PATH_BYTES {
        return Err(BindError::TooLong { setting, path: path.to_owned() });
    }
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        prepare_directory(directory, setting)?;
    }
    let lock = lock(path, setting)?;
    check_what_is_there(path, setting)?;

    let system = |action, source| BindError::System { action, path: path.to_owned(), source };
    // Left over only by a daemon of the same process id that died between these lines.
    let _ = fs::remove_file(&temporary);
    let listener = StdListener::bind(&temporary).map_err(|source| system("listen on", source))?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| listener.set_nonblocking(true))
        .map_err(|source| system("set up", source))?;
    Ok(LocalSocket { listener: Some(listener), path: path.to_owned(), _lock: lock })
}

/// Whether a user may speak on a socket of ours: we, and root. The file mode already keeps others out; this holds
/// when someone has widened it.
pub(crate) fn is_trusted(peer: u32) -> bool {
    may_speak(peer, Uid::effective().as_raw())
}

fn may_speak(peer: u32, ours: u32) -> bool {
    peer == ours || peer == 0
}

impl LocalSocket {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listener, for the runtime that this is called in. The first call gets it.
    pub(crate) fn listen(&mut self) -> io::Result<UnixListener> {
        let listener = self.listener.take().ok_or(io::ErrorKind::NotConnected)?;
        UnixListener::from_std(listener)
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        // Still ours while the lock is held. A failure only leaves a stale socket, which the next daemon replaces.
        let _ = fs::remove_file(&self.path);
    }
}

fn prepare_directory(directory: &Path, setting: &'static str) -> Result<(), BindError> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|source| BindError::System {
        action: "create the directory",
        path: directory.to_owned(),
        source,
    })?;
    let found = fs::metadata(directory).map_err(|source| BindError::System {
        action: "read the directory",
        path: directory.to_owned(),
        source,
    })?;
    const STICKY: u32 = 0o1000;
    let trusted_owner = found.uid() == Uid::effective().as_raw() || found.uid() == 0;
    let open_to_others = found.mode() & 0o022 != 0 && found.mode() & STICKY == 0;
    if !trusted_owner || open_to_others {
        return Err(BindError::UnsafeDirectory {
            setting,
            directory: directory.to_owned(),
            mode: found.mode() & 0o7777,
            owner: found.uid(),
        });
    }
    Ok(())
}

fn lock(path: &Path, setting: &'static str) -> Result<Flock<File>, BindError> {
    let lock_path = with_suffix(path, ".lock");
    let system = |source| BindError::System { action: "lock", path: lock_path.clone(), source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&lock_path)
        .map_err(system)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).and_then(|()| writeln!(lock, "{}", getpid())).map_err(system)?;
            Ok(lock)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut owner = String::new();
            let _ = file.take(32).read_to_string(&mut owner);
            Err(BindError::AlreadyRunning { setting, path: path.to_owned(), pid: owner.trim().parse().ok() })
        }
        Err((_, errno)) => Err(system(errno.into())),
    }
}

/// The lock is ours, so no daemon of ours is behind whatever is at `path`; only a stale socket may be replaced.
fn check_what_is_there(path: &Path, setting: &'static str) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BindError::System { action: "look at", path: path.to_owned(), source }),
        Ok(found) if !found.file_type().is_socket() => {
            Err(BindError::NotASocket { setting, path: path.to_owned() })
        }
        Ok(_) => match StdStream::connect(path) {
            Ok(_) => Err(BindError::Foreign { setting, path: path.to_owned() }),
            Err(_) => Ok(()),
        },
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::may_speak;

    #[test]
    fn only_the_owner_and_root_may_speak() {
        assert!(may_speak(1000, 1000));
        assert!(may_speak(0, 1000));
        assert!(!may_speak(1001, 1000));
        assert!(!may_speak(1000, 0));
    }
}
