//! The network namespace of the twins.
//!
//! It is a *named* namespace, made and found like `ip netns` does it (a bind mount in /run/netns), so that
//! operators and routing daemons can enter it with `ip netns exec NAME`.
//!
//! Invariant: no thread that outlives a call here changes its namespace, least of all a thread of an async
//! runtime. Work in the namespace runs on a fresh thread that enters it and ends. A socket or TAP opened
//! there stays in the namespace for good and may be used from any thread.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{FsType, fstatfs};

use super::error::KernelError;

/// Where `ip netns` looks for named namespaces.
const NETNS_DIR: &str = "/run/netns";
/// `NSFS_MAGIC` of linux/magic.h: what statfs says of a namespace file.
const NSFS_MAGIC: FsType = FsType(0x6e73_6673);
/// Longest name taken. The limit of the file system is higher; nobody needs it.
const NAME_MAX_BYTES: usize = 64;

/// A handle on a named network namespace.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    remove_on_close: bool,
}

impl Netns {
    /// Opens the namespace `name`, or makes it. One that this call made is removed again by [`Netns::close`]
    /// (or when the handle is dropped), unless `keep` is set; one that was there before never is.
    ///
    /// Removing takes away the name only: processes that still live in the namespace keep it.
    pub fn open_or_create(name: &str, keep: bool) -> Result<Self, KernelError> {
        if !is_valid_name(name) {
            return Err(KernelError::NetnsName(name.to_owned()));
        }
        let path = Path::new(NETNS_DIR).join(name);
        let made = !path.exists();
        if made {
            create(name, &path)?;
        }
        let fail = |action| move |source| KernelError::Netns { name: name.to_owned(), action, source };
        let file = File::open(&path).map_err(fail("open it"))?;
        let kind = fstatfs(&file).map_err(|e| fail("inspect it")(e.into()))?.filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(KernelError::NotANetns(path));
        }
        Ok(Self { name: name.to_owned(), file, remove_on_close: made && !keep })
    }

    /// The name, as `ip netns exec` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A handle of its own on it, by which a process can be started in it.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Runs `work` inside the namespace and returns what it returned. Blocks for as long as it runs, so keep
    /// it short where the caller is an async task.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, KernelError> {
        thread::scope(|scope| {
            let inside = || setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| work());
            let thread = thread::Builder::new().name(format!("ns-{}", self.name)).spawn_scoped(scope, inside);
            let joined = thread.map_err(|_| KernelError::Thread(self.name.clone()))?.join();
            let entered = joined.map_err(|_| KernelError::Thread(self.name.clone()))?;
            entered.map_err(|e| KernelError::Netns {
                name: self.name.clone(),
                action: "enter it",
                source: e.into(),
            })
        })
    }

    /// Removes the namespace if it is ours to remove.
    pub fn close(mut self) -> Result<(), KernelError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), KernelError> {
        if !std::mem::take(&mut self.remove_on_close) {
            return Ok(());
        }
        let path = Path::new(NETNS_DIR).join(&self.name);
        let fail = |source| KernelError::Netns { name: self.name.clone(), action: "remove it", source };
        umount2(&path, MntFlags::MNT_DETACH).map_err(|e| fail(e.into()))?;
        fs::remove_file(&path).map_err(fail)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(%error, "namespace left behind");
        }
    }
}

fn is_valid_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && !name.starts_with(['-', '.'])
        && name.bytes().all(plain)
}

/// The steps of `ip netns add`, on a thread of its own instead of in a child process: a fork of a program
/// that has other threads may not do much more than exec.
///
/// 1. The directory is made a shared mount, so that the name is seen by (and can be removed from) other mount
///    namespaces.
/// 2. An empty file holds the name.
/// 3. A thread moves into a new namespace and bind-mounts it on the file.
fn create(name: &str, path: &PathBuf) -> Result<(), KernelError> {
    let fail = |action| move |source: io::Error| KernelError::Netns { name: name.to_owned(), action, source };
    fs::create_dir_all(NETNS_DIR).map_err(fail("make /run/netns"))?;
    share_directory().map_err(fail("share /run/netns"))?;

    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o444);
    drop(options.open(path).map_err(fail("make its file"))?);

    let enter_and_mount = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        bind(Path::new("/proc/thread-self/ns/net"), path, MsFlags::empty())
    };
    let joined = thread::scope(|scope| scope.spawn(enter_and_mount).join());
    let mounted = joined.map_err(|_| KernelError::Thread(name.to_owned()))?;
    mounted.map_err(|source| {
        // The empty file would stand in the way of the next try. That it cannot be removed is the lesser
        // problem.
        let _ = fs::remove_file(path);
        fail("make it")(source)
    })
}

fn share_directory() -> io::Result<()> {
    let directory = Path::new(NETNS_DIR);
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, directory, None::<&str>, flags, None::<&str>)
    };
    if share().is_ok() {
        return Ok(());
    }
    // It is no mount point yet (EINVAL): make it one.
    bind(directory, directory, MsFlags::MS_REC)?;
    Ok(share()?)
}

fn bind(from: &Path, to: &Path, flags: MsFlags) -> io::Result<()> {
    Ok(mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "-x", ".x", "a b", "a\0b", "ä", &"x".repeat(65)] {
            assert!(!is_valid_name(bad), "{bad:?}");
            assert!(matches!(Netns::open_or_create(bad, false), Err(KernelError::NetnsName(_))), "{bad:?}");
        }
        for good in ["penstock", "a", "fra1-a.b_c", &"x".repeat(64)] {
            assert!(is_valid_name(good), "{good:?}");
        }
    }
}
