//! The SAs that are installed, in files: what a restart of control goes on with.
//!
//! One file for each SA in a directory that only we can enter. It belongs in memory (tmpfs): it has keys, and it must
//! not outlive the machine's run, by whose clock lives are counted. A directory elsewhere is warned of, and records of
//! another run are wiped.
//!
//! 1. A record is replaced in one step, so a crash leaves the old or the new; only the numbers that change all the time
//!    are written in place, in one call.
//! 2. What goes is overwritten with zeros: a record that is removed before its name goes, one that is replaced right
//!    after (a crash in between leaves its memory to the kernel). A removal that was cut short is finished at the next
//!    start.
//! 3. Nothing in the directory keeps us from starting. What cannot be read is named, counted and set aside; at the next
//!    start it is wiped.

mod id;
mod record;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub use record::{Progress, Record, RecordError, State};

use super::boot_time::BootTime;
use super::run_directory::{self, RunDirectoryError, failed};
use crate::leases::BootId;

/// A record that is written before it gets its name.
const TEMPORARY: &str = "new";
/// Ends the name of what could not be read.
const SET_ASIDE: &str = ".unreadable";

/// The open journal. It is ours alone.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    boot: BootId,
    /// Begins the name of the next record.
    next: u64,
    // Held, never read: the lock keeps other processes out.
    _directory: File,
}

/// The file of one record.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Entry(String);

/// What was found in a journal.
#[derive(Debug, Default)]
pub struct Found {
    /// The records, oldest first.
    pub records: Vec<(Entry, Record)>,
    /// How many files were set aside; the log has their names and what is wrong with them.
    pub unreadable: usize,
    /// How many records were of another run of the machine. They are wiped.
    pub outdated: usize,
    /// Names the journal: another one when it was lost, or something of it.
    pub id: u64,
}

impl Journal {
    /// Opens the journal in `path`, or makes it, and reads what is there.
    ///
    /// # Errors
    /// When the directory cannot be used, or is in use.
    pub fn open(path: &Path) -> Result<(Self, Found), RunDirectoryError> {
        let boot = BootId::read().map_err(failed("name this run of the machine for", path))?;
        let directory = run_directory::take(path)?;
        if !run_directory::is_memory(&directory) {
            tracing::warn!(
                "{} is on a disk, and with it the keys of IPsec tunnels: give ike.run a directory in memory, below /run",
                path.display()
            );
        }
        let mut journal = Self { path: path.to_owned(), boot, next: 0, _directory: directory };
        let mut found = journal.read_all()?;
        let is_whole = found.unreadable + found.outdated == 0;
        found.id = id::keep(path, &journal.boot, is_whole).map_err(failed("name the journal", path))?;
        Ok((journal, found))
    }

    /// Writes a record of an SA that was installed.
    ///
    /// # Errors
    /// When it cannot be written. Nothing of it is left then.
    pub fn add(&mut self, record: &Record) -> Result<Entry, RunDirectoryError> {
        let direction = if record.sa.flags.inbound { "in" } else { "out" };
        let (tenant, tunnel) = &record.tunnel;
        let spi = record.sa.id.spi.0;
        let entry = Entry(format!("{:016x}.{tenant}.{tunnel}.{direction}.{spi:08x}", self.next));
        self.next += 1;
        self.replace(&entry, record)?;
        Ok(entry)
    }

    /// Replaces a record.
    ///
    /// # Errors
    /// When it cannot be written (the old one stays then), or the old one cannot be wiped.
    pub fn replace(&self, entry: &Entry, record: &Record) -> Result<(), RunDirectoryError> {
        let path = self.path.join(&entry.0);
        let bytes = record.encode(self.boot.as_str()).map_err(io::Error::other);
        let bytes = bytes.map_err(failed("write", &path))?;
        run_directory::replace(&path, &self.path.join(TEMPORARY), &bytes).map_err(failed("write", &path))
    }

    /// A record, as it is now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self, entry: &Entry) -> Result<Record, RunDirectoryError> {
        let path = self.path.join(&entry.0);
        let bytes = run_directory::read(&path, record::MAX_RECORD).map_err(failed("read", &path))?;
        let (_, record) = Record::decode(&bytes).map_err(io::Error::other).map_err(failed("read", &path))?;
        Ok(record)
    }

    /// Changes a record. Its keys are in memory only meanwhile.
    ///
    /// # Errors
    /// When it cannot be read or written. The old one stays then.
    pub fn update(&self, entry: &Entry, change: impl FnOnce(&mut Record)) -> Result<(), RunDirectoryError> {
        let mut record = self.record(entry)?;
        change(&mut record);
        self.replace(entry, &record)
    }

    /// Writes how far an SA has come. Cheap: three system calls.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_progress(&self, entry: &Entry, progress: &Progress) -> Result<(), RunDirectoryError> {
        let path = self.path.join(&entry.0);
        let mut options = OpenOptions::new();
        run_directory::open(&path, options.write(true))
            .and_then(|file| file.write_all_at(&progress.encode(), record::PROGRESS_AT))
            .map_err(failed("write", &path))
    }

    /// The SA is gone: wipes its record.
    ///
    /// # Errors
    /// When it cannot be wiped, or removed.
    pub fn remove(&self, entry: Entry) -> Result<(), RunDirectoryError> {
        let path = self.path.join(entry.0);
        run_directory::remove(&path).map_err(failed("wipe", &path))
    }

    fn read_all(&mut self) -> Result<Found, RunDirectoryError> {
        let now = BootTime::read();
        let listed = fs::read_dir(&self.path).map_err(failed("list", &self.path))?;
        let mut names = Vec::new();
        for entry in listed {
            names.push(entry.map_err(failed("list", &self.path))?.file_name());
        }
        names.sort();
        let mut found = Found::default();
        for name in names {
            let path = self.path.join(&name);
            let name = name.to_string_lossy().into_owned();
            let number = name.split('.').next().and_then(|number| u64::from_str_radix(number, 16).ok());
            self.next = self.next.max(number.map_or(0, |number| number.saturating_add(1)));
            if name == TEMPORARY || name.ends_with(SET_ASIDE) {
                wipe(&path);
                continue;
            }
            match self.read(&path, now) {
                Ok(record) => found.records.push((Entry(name), record)),
                Err(Unread::Wiped) => wipe(&path),
                Err(Unread::Outdated) => {
                    found.outdated += 1;
                    wipe(&path);
                }
                Err(Unread::Unreadable(reason)) => {
                    found.unreadable += 1;
                    set_aside(&path, &reason);
                }
            }
        }
        Ok(found)
    }

    fn read(&self, path: &Path, now: BootTime) -> Result<Record, Unread> {
        let unreadable = |reason: &dyn ToString| Unread::Unreadable(reason.to_string());
        let bytes = run_directory::read(path, record::MAX_RECORD).map_err(|error| unreadable(&error))?;
        let (boot, record) = Record::decode(&bytes).map_err(|error| match error {
            RecordError::Wiped => Unread::Wiped,
            other => unreadable(&other),
        })?;
        if boot != self.boot.as_str() {
            return Err(Unread::Outdated);
        }
        if record.installed > now {
            return Err(unreadable(&"it was written in the future, so its age cannot be told"));
        }
        Ok(record)
    }
}

enum Unread {
    /// Its removal was cut short.
    Wiped,
    /// Of another run of the machine.
    Outdated,
    Unreadable(String),
}

fn wipe(path: &Path) {
    if let Err(error) = run_directory::remove(path) {
        tracing::warn!(%error, "{} cannot be wiped: remove it, it may have keys in it", path.display());
    }
}

fn set_aside(path: &Path, reason: &str) {
    tracing::error!(
        "{} cannot be read ({reason}): its IPsec association is not restored, and comes back when the peer negotiates \
         again. The file is set aside as *{SET_ASIDE} until the next start",
        path.display()
    );
    let mut aside = path.as_os_str().to_owned();
    aside.push(SET_ASIDE);
    if let Err(error) = fs::rename(path, &aside) {
        tracing::warn!(%error, "{} cannot be set aside", path.display());
    }
}
