//! Where the checks look.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use penstock_dataplane::esp::cipher::{Availability, Backend};

use super::clock::{self, Clock};

/// A host: its files below a root, and what is no file.
#[derive(Debug)]
pub struct Host {
    root: PathBuf,
    pub(super) live: Live,
}

/// What has to be asked otherwise than by reading files.
#[derive(Clone, Debug)]
pub struct Live {
    /// Whether the kernel's clock follows a time server.
    pub clock: Clock,
    /// What can encrypt here.
    pub backends: Vec<Availability>,
}

impl Live {
    /// This machine.
    #[must_use]
    pub fn read() -> Self {
        Self { clock: clock::read(), backends: Backend::available() }
    }
}

impl Host {
    /// A host whose files are below `root`: `/`, but for tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>, live: Live) -> Self {
        Self { root: root.into(), live }
    }

    /// Where a path of the host is. Links inside it are the host's, and so are where they lead.
    fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of a file, without the space around it; what is no UTF-8 is replaced.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.at(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The bytes of a file.
    pub(super) fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        fs::read(self.at(path)).ok()
    }

    /// A whole number in a file.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<i64> {
        self.read(path)?.parse().ok()
    }

    /// Whether something is there.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path).exists()
    }

    /// The names in a directory, in order; none when there is no such directory.
    pub(super) fn list(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The last part of where a link leads, such as the driver's name.
    pub(super) fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Whether somebody takes connections at `HOST:PORT` within two seconds. Why not, otherwise.
    pub(super) fn reach(&self, host: &str, port: u16) -> Result<(), String> {
        const PATIENCE: Duration = Duration::from_secs(2);
        use std::net::ToSocketAddrs;
        let addresses =
            (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(|error| error.to_string())?;
        let mut why = "the name has no address".to_owned();
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(_) => return Ok(()),
                Err(error) => why = format!("{address}: {error}"),
            }
        }
        Err(why)
    }
}
