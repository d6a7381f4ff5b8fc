//! Why there is no sender ID, in words that say what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A failure to open the store or to take a lease from it. Nothing is encrypted then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The directory or a file in it cannot be used.
    #[error("the state directory: cannot {action} {}: {source}; give node.state a directory on a local disk that this user may write", path.display())]
    State {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("{} belongs to a penstock that is running; stop that one, or give this one another node.state", .0.display())]
    InUse(PathBuf),
    /// The file is damaged, or is something else.
    #[error(
        "{} cannot be read ({reason}), so nobody can tell from it which sender IDs were used under the keys. If the \
         clock of this machine is right and was never ahead, remove the file; else replace all keys first",
        file.display()
    )]
    Unreadable {
        /// The store.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store was written elsewhere.
    #[error(
        "{} was written on another machine (the {differs} was another): this disk or file is a copy. Two machines \
         that encrypt with the same keys give everything away. Only if the other one has stopped for good, or for at \
         least a minute and does not start again with these keys, remove the file",
        file.display()
    )]
    OtherMachine {
        /// The store.
        file: PathBuf,
        /// What the two machines do not share.
        differs: &'static str,
    },
    /// The record could not be written.
    #[error("cannot write {}: {reason}; look at the disk (space, errors in the kernel's log), then restart", file.display())]
    Write {
        /// The store.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The anchor cannot be used.
    #[error("cannot {action} {}: {source}; it has to be writable, by the same user at each start", path.display())]
    Anchor {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The anchor would outlive the machine's run, or be rolled back with a disk.
    #[error(
        "{} is not in memory: mount a tmpfs at /run or /dev/shm (in a container: --tmpfs /run), so that a disk that is rolled back \
         cannot bring used sender IDs back",
        .0.display()
    )]
    AnchorOnDisk(PathBuf),
    /// The clock was set back.
    #[error(
        "the clock is behind: the newest sender ID was given out {by:?} from now. Set the clock, or wait until it \
         has caught up. If it is right now and was ahead before: replace all keys, stop Penstock, remove {} and restart \
         the machine",
        file.display()
    )]
    ClockBehind {
        /// How far.
        by: Duration,
        /// The store.
        file: PathBuf,
    },
    /// The clock shows a time before this program was written.
    #[error(
        "the clock of this machine is not set, and sender IDs follow the clock: set it (timedatectl) and restart"
    )]
    ClockUnset,
    /// Others took what was waited for, or the clock went back meanwhile.
    #[error(
        "no sender ID after {0:?}: does something restart Penstock again and again, or set the clock back?"
    )]
    Waited(Duration),
    /// More than can be taken at once.
    #[error("{0} sender IDs at once are too many: use at most {max} workers", max = super::rule::MOST_AT_ONCE)]
    TooMany(usize),
}
