//! The file of the fleet's keys: read, made, and changed step by step when keys are rotated.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use penstock_fleet::seal::{FleetKey, KeyFileError, Keyring, MAX_FILE_BYTES, NoRandom};
use thiserror::Error;

use crate::config::{FileKind, Problem, ValidConfig};
use penstock_fleet::secret_file;

/// Why a key file is not read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// Nobody else may read it, or it cannot be read.
    #[error("{} {message}; {fix}", file.display())]
    Refused {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        message: String,
        /// What to do.
        fix: String,
    },
    /// Its text.
    #[error("{} {reason}", file.display())]
    Text {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        reason: KeyFileError,
    },
    /// There is one already.
    #[error(
        "{} is there already, and whoever loses its keys cannot read the fleet's records: move it away first, or rotate its \
         keys with `penstock fleet rotate-key`", .0.display()
    )]
    Exists(PathBuf),
    /// The disk.
    #[error("{} cannot be written: {reason}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// No new key.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// A step that makes no sense now.
    #[error("{0}")]
    Step(String),
}

/// A step of a rotation. Between two of them the file goes to all nodes, and they reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key, with which nobody seals yet.
    Add,
    /// The newest key seals.
    Use,
    /// Only the first key stays.
    Drop,
}

/// Reads the keys.
///
/// # Errors
/// When the file is not safe, or not such a file.
pub fn read(file: &Path) -> Result<Keyring, FileError> {
    let refused = |refusal: secret_file::Refusal| FileError::Refused {
        file: file.to_owned(),
        message: refusal.message,
        fix: refusal.fix,
    };
    let (text, _) = secret_file::read(file, "key", MAX_FILE_BYTES).map_err(refused)?;
    Keyring::parse(&text).map_err(|reason| FileError::Text { file: file.to_owned(), reason })
}

/// Looks at the files that the configuration names for the fleet: what cannot be read here, and what holds something else.
pub fn check(config: &ValidConfig) -> (Vec<Problem>, Vec<Problem>) {
    let (mut unread, mut wrong) = (Vec::new(), Vec::new());
    for named in config.fleet_files() {
        if named.kind != FileKind::FleetKeys {
            if let Err(error) = fs::metadata(&named.file) {
                unread.push(
                    named.problem(&format!("cannot be read: {error}"), "check the path, and who may read it"),
                );
            }
            continue;
        }
        match read(&named.file) {
            Err(FileError::Refused { message, fix, .. }) => unread.push(named.problem(&message, fix)),
            Err(FileError::Text { reason, .. }) => {
                let fix = "give all nodes the same file; `penstock fleet new-key FILE` makes one";
                wrong.push(named.problem(&reason.to_string(), fix));
            }
            Err(_) | Ok(_) => {}
        }
    }
    (unread, wrong)
}

/// Makes a file with a new key, which only its owner can read.
///
/// # Errors
/// When there is one, or it cannot be written.
pub fn make(file: &Path) -> Result<(), FileError> {
    let text = Keyring::new_file_text()?;
    write(file, file, text.as_bytes())
}

/// Makes one step of a rotation. The answer says what is next.
///
/// # Errors
/// When the step makes no sense now, or the file cannot be read or written. It is as it was then.
pub fn rotate(file: &Path, step: Step) -> Result<&'static str, FileError> {
    let keys = rotated(read(file)?.into_keys(), step)?;
    let text = |reason| FileError::Text { file: file.to_owned(), reason };
    let ring = Keyring::new(keys).map_err(text)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    write(file, Path::new(&beside), ring.file_text().as_bytes())?;
    let done = fs::rename(&beside, file).and_then(|()| {
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    });
    done.map_err(|reason| FileError::Write { file: file.to_owned(), reason })?;
    Ok(match step {
        Step::Add => {
            "a new key is in the second place. Copy the file to all nodes, reload them, then: rotate-key FILE use"
        }
        Step::Use => {
            "the new key seals from now on. Copy the file to all nodes, reload them, then: rotate-key FILE drop"
        }
        Step::Drop => "the old key is gone. Copy the file to all nodes, and reload them",
    })
}

fn rotated(mut keys: Vec<FleetKey>, step: Step) -> Result<Vec<FleetKey>, FileError> {
    let wrong = |reason: &str| Err(FileError::Step(reason.to_owned()));
    match (step, keys.len()) {
        (Step::Add, 1) => keys.push(FleetKey::generate()?),
        (Step::Add, _) => {
            return wrong("there are two keys already: a rotation is under way; end it with use and drop");
        }
        (Step::Use | Step::Drop, 0 | 1) => return wrong("there is one key only: begin with add"),
        (Step::Use, _) => keys.rotate_right(1),
        (Step::Drop, _) => keys.truncate(1),
    }
    Ok(keys)
}

/// `named` is what the error speaks of.
fn write(named: &Path, file: &Path, text: &[u8]) -> Result<(), FileError> {
    let fail = |reason: std::io::Error| match reason.kind() {
        std::io::ErrorKind::AlreadyExists => FileError::Exists(file.to_owned()),
        _ => FileError::Write { file: named.to_owned(), reason },
    };
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(fail)?;
    made.write_all(text).and_then(|()| made.sync_all()).map_err(|reason| {
        // Half a file is worse than none.
        let _ = fs::remove_file(file);
        FileError::Write { file: named.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn ids(file: &Path) -> Vec<String> {
        read(file).unwrap().ids().map(|id| id.to_string()).collect()
    }

    #[test]
    fn a_rotation_keeps_a_key_that_all_nodes_have() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.key");
        make(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(make(&file), Err(FileError::Exists(_))));
        let old = ids(&file);
        assert!(rotate(&file, Step::Use).unwrap_err().to_string().contains("begin with add"));
        rotate(&file, Step::Add).unwrap();
        let both = ids(&file);
        assert_eq!((both.len(), &both[0]), (2, &old[0]));
        assert!(rotate(&file, Step::Add).unwrap_err().to_string().contains("under way"));
        rotate(&file, Step::Use).unwrap();
        assert_eq!(ids(&file), [both[1].clone(), both[0].clone()]);
        rotate(&file, Step::Drop).unwrap();
        assert_eq!(ids(&file), [both[1].clone()]);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing lies about");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fleet.key");
        make(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&file), Err(FileError::Refused { .. })));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "keys: []").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("has no keys"));
    }
}
