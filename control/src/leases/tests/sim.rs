//! Machines that are made up: their clocks, their disks with all that a crash can do to what was not synced,
//! their memory, and processes that die at any step.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use redb::StorageBackend;

use super::super::error::LeaseError;
use super::super::identity::{BootId, Identity};
use super::super::keeper::{Files, Machine};
use super::super::store::Store;

/// 2026-09-01, when all histories begin.
const BEGIN: Duration = Duration::from_secs(1_788_220_800);
const SECTOR: usize = 512;

/// The time that really is, which no clock need show.
#[derive(Clone, Default)]
pub struct TrueTime(Arc<AtomicU64>);

impl TrueTime {
    pub fn get(&self) -> Duration {
        BEGIN + Duration::from_micros(self.0.load(Relaxed))
    }

    pub fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_micros() as u64, Relaxed);
    }
}

/// Steps that a process still takes before it dies.
#[derive(Clone, Debug)]
pub struct Fuse(Arc<AtomicU64>);

impl Fuse {
    pub fn new(steps: Option<u64>) -> Self {
        Self(Arc::new(AtomicU64::new(steps.unwrap_or(u64::MAX))))
    }

    /// Nothing that the process does has any effect from here on.
    pub fn blow(&self) {
        self.0.store(0, Relaxed);
    }

    pub fn is_blown(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    fn step(&self) -> io::Result<()> {
        match self.0.load(Relaxed) {
            0 => Err(io::Error::other("the process is dead")),
            u64::MAX => Ok(()),
            steps => {
                self.0.store(steps - 1, Relaxed);
                if steps == 1 { Err(io::Error::other("the process dies here")) } else { Ok(()) }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Len(u64),
    Write(u64, Vec<u8>),
}

/// A file: what programs see, what is on the disk for sure, and the changes in between.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    seen: Vec<u8>,
    synced: Vec<u8>,
    unsynced: Vec<Change>,
}

impl Contents {
    fn change(&mut self, change: Change) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    /// Of the changes since the last sync, any may be on the disk, in whole or in part.
    fn lose_power(&mut self, luck: &mut impl FnMut() -> bool) {
        let mut disk = std::mem::take(&mut self.synced);
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Len(_) if luck() => apply(&mut disk, &change),
                Change::Len(_) => {}
                Change::Write(at, data) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let at = at + (index * SECTOR) as u64;
                        if at as usize + sector.len() <= disk.len() && luck() {
                            apply(&mut disk, &Change::Write(at, sector.to_vec()));
                        }
                    }
                }
            }
        }
        *self = Self { seen: disk.clone(), synced: disk, unsynced: Vec::new() };
    }

    /// Whether it is a store of this machine.
    pub fn is_store_of(&self, machine: &Identity) -> bool {
        let backend = SimBackend { file: Arc::new(Mutex::new(self.copied())), fuse: Fuse::new(None) };
        Store::open(backend).is_ok_and(|store| store.record().machine == *machine)
    }

    /// A copy made by reading the file.
    fn copied(&self) -> Self {
        Self { seen: self.seen.clone(), synced: self.seen.clone(), unsynced: Vec::new() }
    }
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => file.resize(*len as usize, 0),
        Change::Write(at, data) => file[*at as usize..*at as usize + data.len()].copy_from_slice(data),
    }
}

pub type File = Arc<Mutex<Contents>>;

/// A state directory: the store by name, as seen and as synced.
#[derive(Default)]
pub struct Dir {
    pub store: Option<File>,
    synced: Option<File>,
    fresh: Option<File>,
}

/// A disk as an image: the contents of the stores of its directories.
pub type Image = Vec<Option<Contents>>;

/// A machine.
pub struct Host {
    pub identity: Identity,
    pub boot: BootId,
    /// When process 1 started, in true time.
    pub started: Duration,
    /// What the clock shows is true time and this, microseconds.
    pub clock_offset: i64,
    pub anchor: Option<String>,
    pub dirs: Vec<Dir>,
}

impl Host {
    pub fn new(name: &str, time: &TrueTime, dirs: usize) -> Self {
        Self {
            // The ID on the disk is that of the image which all were made from.
            identity: Identity::new([("machine-id", "image"), ("product UUID", name)]),
            boot: BootId("1".into()),
            started: time.get(),
            clock_offset: 0,
            anchor: None,
            dirs: (0..dirs).map(|_| Dir::default()).collect(),
        }
    }

    /// What the clock shows at a true time.
    pub fn clock(&self, time: Duration) -> Duration {
        let micros = (time.as_micros() as u64).saturating_add_signed(self.clock_offset);
        Duration::from_micros(micros)
    }

    /// Power goes and comes back. Programs must be gone before.
    pub fn lose_power(&mut self, time: &TrueTime, down: Duration, luck: &mut impl FnMut() -> bool) {
        for dir in &mut self.dirs {
            if luck() {
                dir.store = dir.synced.clone();
            }
            dir.synced = dir.store.clone();
            dir.fresh = None;
            if let Some(file) = &dir.store {
                lock(file).lose_power(luck);
            }
        }
        self.anchor = None;
        time.pass(down);
        self.started = time.get();
        self.boot = BootId((self.boot.0.parse::<u64>().unwrap() + 1).to_string());
    }

    pub fn image(&self) -> Image {
        self.dirs.iter().map(|dir| dir.store.as_ref().map(|file| lock(file).copied())).collect()
    }

    pub fn restore(&mut self, dir: usize, contents: Option<Contents>) {
        let file = contents.map(|contents| Arc::new(Mutex::new(contents)));
        self.dirs[dir].store = file.clone();
        self.dirs[dir].synced = file;
    }

    pub fn restore_all(&mut self, image: &Image) {
        for (dir, contents) in image.iter().enumerate() {
            self.restore(dir, contents.clone());
        }
    }
}

pub type SharedHost = Arc<Mutex<Host>>;

pub fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A process's view of its machine.
pub struct SimMachine {
    pub host: SharedHost,
    pub time: TrueTime,
    pub fuse: Fuse,
    /// How long it slept in all, microseconds.
    pub slept: Arc<AtomicU64>,
    pub identity: Identity,
    pub boot: BootId,
}

fn anchor_failed(source: io::Error) -> LeaseError {
    LeaseError::Anchor { action: "use", path: "/run".into(), source }
}

impl Machine for SimMachine {
    type Lock = ();

    fn now(&self) -> Duration {
        lock(&self.host).clock(self.time.get())
    }

    fn sleep(&self, time: Duration) {
        self.time.pass(time);
        self.slept.fetch_add(time.as_micros() as u64, Relaxed);
    }

    fn started(&self) -> Option<Duration> {
        let host = lock(&self.host);
        Some(host.clock(host.started))
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn boot(&self) -> &BootId {
        &self.boot
    }

    fn lock(&self) -> Result<(), LeaseError> {
        self.fuse.step().map_err(anchor_failed)
    }

    fn anchor(&self, _: &()) -> Result<Option<String>, LeaseError> {
        self.fuse.step().map_err(anchor_failed)?;
        Ok(lock(&self.host).anchor.clone())
    }

    fn set_anchor(&self, _: &(), text: &str) -> Result<(), LeaseError> {
        self.fuse.step().map_err(anchor_failed)?;
        lock(&self.host).anchor = Some(text.into());
        Ok(())
    }
}

/// A process's view of its state directory.
pub struct SimFiles {
    pub host: SharedHost,
    pub dir: usize,
    pub fuse: Fuse,
    pub path: PathBuf,
}

impl SimFiles {
    fn step(&self) -> Result<(), LeaseError> {
        let failed = |source| LeaseError::State { action: "use", path: self.path.clone(), source };
        self.fuse.step().map_err(failed)
    }

    fn backend(&self, file: &File) -> SimBackend {
        SimBackend { file: Arc::clone(file), fuse: self.fuse.clone() }
    }
}

impl Files for SimFiles {
    type Backend = SimBackend;

    fn existing(&self) -> Result<Option<SimBackend>, LeaseError> {
        self.step()?;
        Ok(lock(&self.host).dirs[self.dir].store.as_ref().map(|file| self.backend(file)))
    }

    fn create(&self) -> Result<SimBackend, LeaseError> {
        self.step()?;
        let file = File::default();
        let backend = self.backend(&file);
        lock(&self.host).dirs[self.dir].fresh = Some(file);
        Ok(backend)
    }

    fn publish(&self) -> Result<(), LeaseError> {
        self.step()?;
        {
            let dir = &mut lock(&self.host).dirs[self.dir];
            dir.store = dir.fresh.take();
        }
        self.step()?;
        let dir = &mut lock(&self.host).dirs[self.dir];
        dir.synced = dir.store.clone();
        Ok(())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// An open file.
#[derive(Debug)]
pub struct SimBackend {
    file: File,
    fuse: Fuse,
}

impl StorageBackend for SimBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.file).seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.fuse.is_blown() {
            return Err(io::Error::other("the process is dead"));
        }
        let file = lock(&self.file);
        let end = offset as usize + out.len();
        let data = file.seen.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fuse.step()?;
        lock(&self.file).change(Change::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fuse.step()?;
        let mut file = lock(&self.file);
        file.synced = file.seen.clone();
        file.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.fuse.step()?;
        let mut file = lock(&self.file);
        if offset as usize + data.len() > file.seen.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.change(Change::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// Which packets were sealed: by key, the IVs and who made them.
#[derive(Default)]
pub struct Sealed(HashMap<(u64, [u8; 8]), String>);

impl Sealed {
    /// Seals a packet.
    ///
    /// # Errors
    /// When another one had the same key and IV.
    pub fn seal(&mut self, key: u64, iv: [u8; 8], who: impl Fn() -> String) -> Result<(), String> {
        match self.0.insert((key, iv), who()) {
            None => Ok(()),
            Some(other) => Err(format!("IV {iv:02x?} under key {key}: by {other} and by {}", who())),
        }
    }
}
