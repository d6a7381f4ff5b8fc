//! The machine and the state directory as they are.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statfs::{FsType, Statfs, TMPFS_MAGIC, fstatfs, statfs};
use redb::backends::FileBackend;

use super::error::LeaseError;
use super::identity::{BootId, Identity};
use super::keeper::{Files, Machine};

/// Where the anchor is: the first of these whose parent is in memory, which it is from the machine's start to
/// its end. (Containers often have /run on a disk.) No service manager removes it when the service stops.
const ANCHOR_DIRS: [&str; 2] = ["/run/penstock-sender-ids", "/dev/shm/penstock-sender-ids"];
/// The store's name in the state directory.
const STORE: &str = "leases.redb";
/// `RAMFS_MAGIC` of linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
/// What /proc counts time in: `USER_HZ`, which is 100 for all programs.
const TICKS_A_SECOND: f64 = 100.0;
/// How long another process may hold the anchor, which takes a commit to the disk.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// This machine.
#[derive(Debug)]
pub(super) struct System {
    anchor_dir: PathBuf,
    identity: Identity,
    boot: BootId,
}

impl System {
    /// Where all processes of this machine have their anchor.
    pub(super) fn anchor_dir() -> &'static Path {
        let [run, shm] = ANCHOR_DIRS.map(Path::new);
        let is_memory = |fs: Statfs| is_in_memory(fs.filesystem_type());
        let use_shm = !statfs("/run").is_ok_and(is_memory) && statfs("/dev/shm").is_ok_and(is_memory);
        if use_shm { shm } else { run }
    }

    /// Reads who it is, and makes the anchor's directory.
    ///
    /// # Errors
    /// When that is not possible, or the directory is on a disk.
    pub(super) fn new(anchor_dir: &Path) -> Result<Self, LeaseError> {
        let failed = |action| move |source| LeaseError::Anchor { action, path: anchor_dir.into(), source };
        let boot = BootId::read().map_err(failed("name this run of the machine for"))?;
        make_dir(anchor_dir).map_err(failed("make"))?;
        let dir = File::open(anchor_dir).map_err(failed("open"))?;
        let kind = fstatfs(&dir).map_err(|e| failed("inspect")(e.into()))?.filesystem_type();
        if !is_in_memory(kind) {
            return Err(LeaseError::AnchorOnDisk(anchor_dir.into()));
        }
        let meta = dir.metadata().map_err(failed("inspect"))?;
        if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            let other = io::Error::new(io::ErrorKind::PermissionDenied, "others may write there");
            return Err(failed("trust")(other));
        }
        Ok(Self { anchor_dir: anchor_dir.into(), identity: Identity::read(), boot })
    }

    fn anchor_file(&self) -> PathBuf {
        self.anchor_dir.join("newest")
    }

    fn failed(&self, action: &'static str) -> impl Fn(io::Error) -> LeaseError {
        let path = self.anchor_file();
        move |source| LeaseError::Anchor { action, path: path.clone(), source }
    }
}

impl Machine for System {
    type Lock = File;

    fn now(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }

    fn started(&self) -> Option<Duration> {
        // The clock is read last: a delay in between makes the start look later, never earlier.
        let age = Duration::try_from_secs_f64(process_1_age().ok()?).ok()?;
        Some(self.now().saturating_sub(age))
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn boot(&self) -> &BootId {
        &self.boot
    }

    fn lock(&self) -> Result<File, LeaseError> {
        let dir = File::open(&self.anchor_dir).map_err(self.failed("lock"))?;
        let mut waited = Duration::ZERO;
        loop {
            match dir.try_lock() {
                Ok(()) => return Ok(dir),
                Err(TryLockError::WouldBlock) if waited < LOCK_PATIENCE => {
                    let nap = Duration::from_millis(5);
                    thread::sleep(nap);
                    waited += nap;
                }
                Err(e) => return Err(self.failed("lock")(e.into())),
            }
        }
    }

    fn anchor(&self, _: &File) -> Result<Option<String>, LeaseError> {
        match fs::read(self.anchor_file()) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("read")(e)),
        }
    }

    fn set_anchor(&self, _: &File, text: &str) -> Result<(), LeaseError> {
        let next = self.anchor_dir.join("next");
        fs::write(&next, text)
            .and_then(|()| fs::rename(&next, self.anchor_file()))
            .map_err(self.failed("write"))
    }
}

/// Whether a filesystem's files never are on a disk.
pub(crate) fn is_in_memory(kind: FsType) -> bool {
    kind == TMPFS_MAGIC || kind == RAMFS_MAGIC
}

/// Seconds since process 1 started: proc(5), of stat the 22nd field.
fn process_1_age() -> io::Result<f64> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime.split(' ').next().and_then(|t| t.parse().ok()).ok_or_else(malformed)?;
    let stat = fs::read_to_string("/proc/1/stat")?;
    // The second field is a name in parentheses, of any characters.
    let (_, after_name) = stat.rsplit_once(')').ok_or_else(malformed)?;
    let ticks: f64 =
        after_name.split_whitespace().nth(19).and_then(|t| t.parse().ok()).ok_or_else(malformed)?;
    Ok((uptime - ticks / TICKS_A_SECOND).max(0.0))
}

/// A state directory that is ours alone for as long as this lives.
#[derive(Debug)]
pub(super) struct StateDir {
    dir: PathBuf,
    store: PathBuf,
    handle: File,
}

impl StateDir {
    /// Makes the directory if need be, and locks it.
    ///
    /// # Errors
    /// When it cannot be made, or another process has it.
    pub(super) fn lock(dir: &Path) -> Result<Self, LeaseError> {
        let failed = |action| move |source| LeaseError::State { action, path: dir.into(), source };
        make_dir(dir).map_err(failed("make"))?;
        let handle = File::open(dir).map_err(failed("open"))?;
        match handle.try_lock() {
            Ok(()) => Ok(Self { dir: dir.into(), store: dir.join(STORE), handle }),
            Err(TryLockError::WouldBlock) => Err(LeaseError::InUse(dir.into())),
            Err(TryLockError::Error(e)) => Err(failed("lock")(e)),
        }
    }

    fn fresh(&self) -> PathBuf {
        self.dir.join("leases.redb.new")
    }

    fn open(&self, path: &Path, options: &mut OpenOptions) -> io::Result<FileBackend> {
        let file = options.read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        FileBackend::new(file).map_err(io::Error::other)
    }
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> LeaseError {
    move |source| LeaseError::State { action, path: path.into(), source }
}

impl Files for StateDir {
    type Backend = FileBackend;

    fn existing(&self) -> Result<Option<FileBackend>, LeaseError> {
        match self.open(&self.store, &mut OpenOptions::new()) {
            Ok(backend) => Ok(Some(backend)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("open", &self.store)(e)),
        }
    }

    fn create(&self) -> Result<FileBackend, LeaseError> {
        let fresh = self.fresh();
        self.open(&fresh, OpenOptions::new().create(true).truncate(true).mode(0o600))
            .map_err(failed("make", &fresh))
    }

    fn publish(&self) -> Result<(), LeaseError> {
        fs::rename(self.fresh(), &self.store).map_err(failed("make", &self.store))?;
        self.handle.sync_all().map_err(failed("sync", &self.dir))
    }

    fn path(&self) -> &Path {
        &self.store
    }
}

/// Makes a directory that only we can enter, unless it is there. Its name is on the disk when this returns.
fn make_dir(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => match dir.parent() {
            Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
            _ => File::open(".")?.sync_all(),
        },
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}
