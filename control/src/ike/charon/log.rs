//! charon's own log file: bounded, and read when it does not start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// From this size on it is moved aside; there is one of these.
const MAX_BYTES: u64 = 8 << 20;
/// As much of its end is read for the reason of a failed start.
const TAIL_BYTES: u64 = 64 << 10;

/// The file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for a charon that starts, which begins a new one.
    pub(super) fn open(&self) -> io::Result<File> {
        self.set_aside()?;
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }

    /// Keeps it below its bound, while charon writes: it appends, so an emptied file begins anew. What is written
    /// between the two steps is lost.
    pub(super) fn bound(&self) -> io::Result<()> {
        match fs::metadata(&self.path) {
            Ok(file) if file.len() > MAX_BYTES => self.set_aside(),
            _ => Ok(()),
        }
    }

    fn set_aside(&self) -> io::Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        let aside = self.path.with_extension("log.1");
        fs::copy(&self.path, aside)?;
        OpenOptions::new().write(true).open(&self.path)?.set_len(0)
    }

    /// Its end.
    pub(super) fn tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What in charon's log explains that it did not start, with the fix.
pub(super) fn explain(log: &str) -> Option<String> {
    let line = |part: &str| log.lines().rev().find(|line| line.contains(part)).map(str::trim);
    if let Some(line) = line("plugin 'penstock'").or_else(|| line("plugin penstock was built")) {
        return Some(format!(
            "our plugin was not loaded ({line}); build and install the one for this strongSwan: \
             scripts/charon-plugin build && scripts/charon-plugin install"
        ));
    }
    if let Some(line) = line("unable to bind socket") {
        return Some(format!(
            "another program has the IKE ports in the namespace ({line}): ip netns exec NAMESPACE ss -ulpn"
        ));
    }
    if let Some(line) = line("binding socket 'unix:") {
        return Some(format!(
            "its control socket cannot be made ({line}); name another, shorter directory in ike.run"
        ));
    }
    if let Some(line) = line("plugin 'vici'").filter(|line| line.contains("failed to load")) {
        return Some(format!("its vici plugin was not loaded ({line}): apt-get install charon-systemd"));
    }
    if let Some(line) = line("in critical plugin").or_else(|| line("failed to load")) {
        return Some(format!(
            "a part of it is missing ({line}): apt-get install charon-systemd libstrongswan-standard-plugins \
             libstrongswan-extra-plugins"
        ));
    }
    line("ermission denied").map(|line| {
        format!(
            "it may not do what it needs to ({line}); if AppArmor confines it, give it the run directory, see docs/ike.md"
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn it_is_bounded_and_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let log = LogFile::new(directory.path().join("charon.log"));
        let mut file = log.open().unwrap();
        file.write_all(b"short").unwrap();
        log.bound().unwrap();
        assert_eq!(log.tail().unwrap(), "short");
        file.write_all(&vec![b'x'; usize::try_from(MAX_BYTES).unwrap()]).unwrap();
        log.bound().unwrap();
        file.write_all(b"again").unwrap();
        assert_eq!(fs::read(log.path()).unwrap(), b"again");
        assert_eq!(fs::metadata(directory.path().join("charon.log.1")).unwrap().len(), MAX_BYTES + 5);
        log.open().unwrap();
        assert_eq!(log.tail().unwrap(), "");
    }

    #[test]
    fn why_it_did_not_start() {
        let missing = "00[LIB] plugin 'penstock': failed to load - penstock_plugin_create not found and no plugin file available";
        assert!(explain(missing).unwrap().contains("scripts/charon-plugin install"));
        let older = "00[LIB] the plugin penstock was built for strongSwan 5.9.8 and this is another version";
        assert!(explain(older).unwrap().contains("scripts/charon-plugin build"));
        assert!(
            explain("00[NET] unable to bind socket: Address already in use").unwrap().contains("ss -ulpn")
        );
        assert_eq!(explain("00[JOB] spawning 16 worker threads"), None);
    }
}
