//! The file: found or made, ours alone, and never taken for new when it is broken.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use super::super::error::OpenError;
use super::tables::Tables;

/// Its name in the state directory.
const NAME: &str = "store.redb";
/// While it is made.
const FRESH_NAME: &str = "store.redb.new";
const CACHE_BYTES: usize = 16 << 20;

/// Opens the file in a directory, which is made as well if need be.
pub(super) fn open(directory: &Path) -> Result<(PathBuf, Database), OpenError> {
    let path = directory.join(NAME);
    make_dir(directory).map_err(failed("make", directory))?;
    let file = match open_file(&path, &mut OpenOptions::new()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            make(directory, &path)?;
            open_file(&path, &mut OpenOptions::new())
        }
        opened => opened,
    };
    let file = file.map_err(failed("open", &path))?;
    let damaged = |reason: String| OpenError::Damaged { file: path.clone(), reason };
    // Redb would take it for a new one.
    if file.metadata().map_err(failed("read", &path))?.len() == 0 {
        return Err(damaged("it is empty".into()));
    }
    let database = database(file).map_err(|e| match e {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.clone()),
        e => damaged(e.to_string()),
    })?;
    Ok((path, database))
}

/// Makes a store under another name first: one that has its name is whole.
fn make(directory: &Path, path: &Path) -> Result<(), OpenError> {
    let fresh = directory.join(FRESH_NAME);
    let opened = open_file(&fresh, OpenOptions::new().create(true).truncate(false).mode(0o600));
    let file = opened.map_err(failed("make", &fresh))?;
    // Another process might be making it, or have made it since.
    let same = |other: fs::Metadata| file.metadata().is_ok_and(|ours| ours.ino() == other.ino());
    if file.try_lock().is_err() || !fs::metadata(&fresh).is_ok_and(same) {
        return Err(OpenError::InUse(fresh));
    }
    file.set_len(0).map_err(failed("write", &fresh))?;
    let failure = |e: redb::Error| failed("write", &fresh)(io::Error::other(e.to_string()));
    let own = file.try_clone().map_err(failed("write", &fresh))?;
    let database = database(own).map_err(|e| failure(e.into()))?;
    Tables::make(&database).map_err(failure)?;
    fs::rename(&fresh, path).map_err(failed("make", path))?;
    File::open(directory).and_then(|d| d.sync_all()).map_err(failed("sync", directory))
}

fn database(file: File) -> Result<Database, DatabaseError> {
    let backend = FileBackend::new(file)?;
    Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create_with_backend(backend)
}

fn open_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    options.read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::File { action, path: path.into(), source }
}

fn make_dir(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}
