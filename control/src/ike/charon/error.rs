//! Why charon does not run, and the command that mends it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why charon does not run.
#[derive(Debug, Error)]
pub enum CharonError {
    /// No such program.
    #[error("{} is not installed: apt-get install charon-systemd strongswan-swanctl", .0.display())]
    Missing(PathBuf),
    /// No such plugin.
    #[error(
        "our plugin for charon is not installed, {} does not exist: scripts/charon-plugin build && \
         scripts/charon-plugin install",
        .0.display()
    )]
    Plugin(PathBuf),
    /// The run directory cannot be made.
    #[error("cannot make {}: {source}; name another directory in ike.run", path.display())]
    Directory {
        /// It.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else could write into it.
    #[error("{} is not a directory of our own user; remove it, or name another one in ike.run", .0.display())]
    Unsafe(PathBuf),
    /// It ended while it started.
    #[error("charon ended while it started{how}: {}", explained(reason.as_deref(), log))]
    Ended {
        /// Its exit status.
        how: String,
        /// What its log says.
        reason: Option<String>,
        /// Its log.
        log: PathBuf,
    },
    /// It does not answer.
    #[error("charon does not answer {seconds} s after its start: {}", explained(reason.as_deref(), log))]
    Silent {
        /// The patience.
        seconds: u64,
        /// What its log says.
        reason: Option<String>,
        /// Its log.
        log: PathBuf,
    },
    /// The system said no.
    #[error("cannot {action}: {source}")]
    System {
        /// What.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl CharonError {
    pub(super) fn system(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

fn explained(reason: Option<&str>, log: &std::path::Path) -> String {
    reason.map_or_else(|| format!("{} has the reason", log.display()), ToOwned::to_owned)
}
