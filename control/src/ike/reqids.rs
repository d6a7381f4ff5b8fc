//! Which tunnel a reqid is: a number from 1 that names the tunnel between us and charon.
//!
//! A tunnel keeps its number while it is configured or any SA of it lives, over restarts of either side; a new tunnel
//! gets the lowest that is free. Kept as text in one file of the run directory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::run_directory::{self, RunDirectoryError, failed};
use crate::config::Name;
use crate::static_sas::TunnelName;

/// The file in the run directory.
const FILE: &str = "reqids";
/// Its first line.
const FIRST_LINE: &str = "penstock reqids 1";
/// Largest file, bytes: a million tunnels with the longest names fit.
const MAX_BYTES: u64 = 140 << 20;

/// The reqids of all tunnels.
#[derive(Debug)]
pub struct Reqids {
    path: PathBuf,
    by_tunnel: BTreeMap<TunnelName, u32>,
    by_reqid: BTreeMap<u32, TunnelName>,
}

impl Reqids {
    /// Reads those of the run directory `path`; `in_use` are the reqids of SAs that live, which hold where the file
    /// has nothing. A file that cannot be read is named and set aside.
    ///
    /// # Errors
    /// When the file cannot be opened, though it is there.
    pub fn open<'a>(
        path: &Path,
        in_use: impl IntoIterator<Item = (&'a TunnelName, u32)>,
    ) -> Result<Self, RunDirectoryError> {
        let path = path.join(FILE);
        let mut reqids = Self { path: path.clone(), by_tunnel: BTreeMap::new(), by_reqid: BTreeMap::new() };
        match run_directory::read(&path, MAX_BYTES) {
            Ok(bytes) => {
                if let Err(reason) = reqids.parse(&bytes) {
                    tracing::error!(
                        "{} cannot be read ({reason}): it is set aside, and tunnels may get other reqids than charon knows",
                        path.display()
                    );
                    reqids.by_tunnel.clear();
                    reqids.by_reqid.clear();
                    fs::rename(&path, path.with_extension("unreadable"))
                        .map_err(failed("set aside", &path))?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read", &path)(error)),
        }
        for (tunnel, reqid) in in_use {
            reqids.insert(reqid, tunnel.clone());
        }
        Ok(reqids)
    }

    /// The tunnel of a reqid.
    pub fn tunnel(&self, reqid: u32) -> Option<&TunnelName> {
        self.by_reqid.get(&reqid)
    }

    /// The reqid of a tunnel that [`Reqids::settle`] was told of.
    pub fn reqid(&self, tunnel: &TunnelName) -> Option<u32> {
        self.by_tunnel.get(tunnel).copied()
    }

    /// Gives each of these tunnels a reqid, and frees those of others, unless an SA uses them.
    ///
    /// # Errors
    /// When that cannot be written. It holds all the same, until the next start.
    pub fn settle(
        &mut self,
        tunnels: impl IntoIterator<Item = TunnelName>,
        is_in_use: impl Fn(u32) -> bool,
    ) -> Result<(), RunDirectoryError> {
        let wanted: BTreeSet<_> = tunnels.into_iter().collect();
        let before = self.by_reqid.len();
        self.by_reqid.retain(|reqid, tunnel| wanted.contains(tunnel) || is_in_use(*reqid));
        self.by_tunnel.retain(|_, reqid| self.by_reqid.contains_key(reqid));
        let mut is_changed = self.by_reqid.len() != before;
        let mut free = 1;
        for tunnel in wanted {
            if self.by_tunnel.contains_key(&tunnel) {
                continue;
            }
            while self.by_reqid.contains_key(&free) {
                free += 1;
            }
            is_changed |= self.insert(free, tunnel);
        }
        if is_changed || !self.path.exists() { self.write() } else { Ok(()) }
    }

    /// Whether it was free on both sides.
    fn insert(&mut self, reqid: u32, tunnel: TunnelName) -> bool {
        let is_free =
            reqid != 0 && !self.by_reqid.contains_key(&reqid) && !self.by_tunnel.contains_key(&tunnel);
        if is_free {
            self.by_tunnel.insert(tunnel.clone(), reqid);
            self.by_reqid.insert(reqid, tunnel);
        }
        is_free
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not a text".to_owned())?;
        let mut lines = text.lines();
        if lines.next() != Some(FIRST_LINE) {
            return Err(format!("it does not begin with \"{FIRST_LINE}\""));
        }
        for (line, at) in lines.zip(2..) {
            let parts = line.split_once(' ').and_then(|(reqid, tunnel)| {
                let (tenant, tunnel) = tunnel.split_once('/')?;
                Some((reqid.parse().ok()?, (Name::new(tenant)?, Name::new(tunnel)?)))
            });
            if !parts.is_some_and(|(reqid, tunnel)| self.insert(reqid, tunnel)) {
                return Err(format!("line {at} is no reqid and tunnel, or has one that was there before"));
            }
        }
        Ok(())
    }

    fn write(&self) -> Result<(), RunDirectoryError> {
        let lines =
            self.by_reqid.iter().map(|(reqid, (tenant, tunnel))| format!("{reqid} {tenant}/{tunnel}\n"));
        let text = format!("{FIRST_LINE}\n{}", lines.collect::<String>());
        run_directory::replace(&self.path, &self.path.with_extension("new"), text.as_bytes())
            .map_err(failed("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TunnelName {
        let (tenant, tunnel) = text.split_once('/').unwrap();
        (Name::new(tenant).unwrap(), Name::new(tunnel).unwrap())
    }

    fn names(text: &str) -> Vec<TunnelName> {
        text.split_whitespace().map(name).collect()
    }

    fn all(reqids: &Reqids) -> Vec<(u32, String)> {
        reqids
            .by_reqid
            .iter()
            .map(|(reqid, (tenant, tunnel))| (*reqid, format!("{tenant}/{tunnel}")))
            .collect()
    }

    fn open(directory: &tempfile::TempDir) -> Reqids {
        Reqids::open(directory.path(), []).unwrap()
    }

    #[test]
    fn a_tunnel_keeps_its_number_and_a_new_one_gets_the_lowest() {
        let directory = tempfile::tempdir().unwrap();
        let mut reqids = open(&directory);
        reqids.settle(names("acme/b acme/a beta/a"), |_| false).unwrap();
        let first = [(1, "acme/a"), (2, "acme/b"), (3, "beta/a")].map(|(n, name)| (n, name.to_owned()));
        assert_eq!(all(&reqids), first);
        assert_eq!(all(&open(&directory)), first, "after a restart");
        assert_eq!((reqids.reqid(&name("beta/a")), reqids.tunnel(2)), (Some(3), Some(&name("acme/b"))));

        reqids.settle(names("acme/b acme/c acme/d"), |reqid| reqid == 3).unwrap();
        let next = [(1, "acme/c"), (2, "acme/b"), (3, "beta/a"), (4, "acme/d")];
        assert_eq!(all(&reqids), next.map(|(n, name)| (n, name.to_owned())), "an SA uses 3");
        assert_eq!(all(&open(&directory)), all(&reqids));
        assert_eq!(reqids.reqid(&name("acme/a")), None);
        reqids.settle(names("acme/d"), |_| false).unwrap();
        assert_eq!(all(&open(&directory)), [(4, "acme/d".to_owned())]);
    }

    #[test]
    fn what_is_settled_is_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut reqids = open(&directory);
        reqids.settle(names("acme/a"), |_| false).unwrap();
        let written = || fs::metadata(directory.path().join(FILE)).unwrap().modified().unwrap();
        let before = written();
        std::thread::sleep(std::time::Duration::from_millis(20));
        reqids.settle(names("acme/a"), |_| false).unwrap();
        assert_eq!(written(), before);
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let good = format!("{FIRST_LINE}\n1 acme/a\n");
        let damaged =
            ["", "penstock reqids 2\n", "\u{fffd}", &good.replace('1', "0"), &good.replace("1 a", "x a")];
        let twice = [
            format!("{good}1 acme/b\n"),
            format!("{good}2 acme/a\n"),
            format!("{good}2 acme\n"),
            format!("{good}\n"),
        ];
        for text in damaged.into_iter().chain(twice.iter().map(String::as_str)) {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(FILE), text).unwrap();
            let dc1 = name("acme/dc1");
            let mut reqids =
                Reqids::open(directory.path(), [(&dc1, 7), (&dc1, 8), (&name("acme/dc2"), 7)]).unwrap();
            assert_eq!(all(&reqids), [(7, "acme/dc1".to_owned())], "of the SAs: {text}");
            assert_eq!(fs::read_to_string(directory.path().join("reqids.unreadable")).unwrap(), text);
            reqids.settle(names("acme/dc1"), |_| false).unwrap();
            assert_eq!(all(&open(&directory)), all(&reqids));
        }
    }

    #[test]
    fn a_failed_write_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let mut reqids = open(&directory);
        drop(directory);
        let error = reqids.settle(names("acme/a"), |_| false).unwrap_err().to_string();
        assert!(error.contains("cannot write") && error.contains("ike.run"), "{error}");
        assert_eq!(reqids.reqid(&name("acme/a")), Some(1));
    }
}
