//! The static file of security associations: keys by hand, for tests and benchmarks.
//!
//! `file` opens it only if nobody else can read it, `masked` takes the keys out of the text before anything parses it,
//! `read` turns it into types, `check` asks whether it fits the configuration, `diff` says what a reload would change.
//! Every problem is named with its line and its fix; no key is ever part of one.
//!
//! No key may be used for longer than [`crate::leases::MAX_KEY_LIFE`]. How old one is nobody can tell by looking at it,
//! so the file's date counts: an older file is refused when there is something to send under in it.
//!
//! RFC 4106 forbids keys by hand for AES-GCM, because a restart may use an IV again. Penstock's sender IDs
//! (RFC 6054) keep ours apart from any that went out before, the peer's it cannot vouch for: hence the warning.

mod check;
mod diff;
mod file;
mod masked;
mod read;
mod sa;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use diff::{Unchangeable, diff};
pub use sa::{InboundSa, OutboundSa, TunnelSas};

pub use crate::config::Selectors;
use crate::config::problem::Problems;
use crate::config::reader::Reader;
use crate::config::{Name, Problem, ValidConfig, tree};

/// Said at each start and by `show`.
pub const WARNING: &str = "security associations come from a file (--static-sas): keys that nobody changes are for \
                           tests and benchmarks only (RFC 4106)";

/// A tunnel by its tenant's and its own name.
pub use penstock_fleet::names::TunnelName;

/// The security associations of a file that fit the configuration. Cheap to clone. Cannot be printed.
#[derive(Clone, Default)]
pub struct StaticSas {
    tunnels: Arc<BTreeMap<TunnelName, TunnelSas>>,
    written: Option<SystemTime>,
    warnings: Arc<[Problem]>,
}

impl StaticSas {
    /// All tunnels that have any.
    pub fn tunnels(&self) -> impl Iterator<Item = (&TunnelName, &TunnelSas)> {
        self.tunnels.iter()
    }

    /// Those of one tunnel.
    pub fn tunnel(&self, tenant: &Name, tunnel: &Name) -> Option<&TunnelSas> {
        self.tunnels.get(&(tenant.clone(), tunnel.clone()))
    }

    /// How many there are, both directions.
    pub fn len(&self) -> usize {
        self.tunnels
            .values()
            .map(|tunnel| tunnel.inbound.len() + usize::from(tunnel.outbound.is_some()))
            .sum()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When the file was written: its keys are that old at least, as far as a file can tell. `None`: there is no file.
    pub fn written(&self) -> Option<SystemTime> {
        self.written
    }

    /// What is allowed but likely not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }
}

/// Reads and checks a file.
///
/// # Errors
/// All problems of the file, in its order; or the one that keeps it from being read.
pub fn load(path: &Path, config: &ValidConfig) -> Result<StaticSas, Vec<Problem>> {
    load_at(path, config, SystemTime::now())
}

fn load_at(path: &Path, config: &ValidConfig, now: SystemTime) -> Result<StaticSas, Vec<Problem>> {
    let name = path.display().to_string();
    let (mut text, written) = file::read(path, &name)?;
    // A file of the future was written while the clock was ahead, or is behind now: no age can be told.
    let age = now.duration_since(written).unwrap_or_default();
    Ok(StaticSas { written: Some(written), ..parse(&name, &mut text, config, age)? })
}

/// Reads and checks a text. What looks like a key is overwritten in it.
///
/// # Errors
/// All problems, in the order of the text.
pub fn parse_str(text: &mut [u8], config: &ValidConfig) -> Result<StaticSas, Vec<Problem>> {
    parse("", text, config, Duration::ZERO)
}

fn parse(
    name: &str,
    text: &mut [u8],
    config: &ValidConfig,
    age: Duration,
) -> Result<StaticSas, Vec<Problem>> {
    let mut problems = Problems::new(name);
    let Some((text, keys)) = masked::take_keys(text) else {
        problems.add(Default::default(), "", "is not UTF-8 text", "check that this is the right file");
        return Err(problems.into_list());
    };
    let Some(root) = tree::parse(text, &mut problems) else { return Err(problems.into_list()) };
    let mut reader = Reader::new(problems);
    let tunnels = read::file(&mut reader, &root, &keys).unwrap_or_default();
    let Reader { mut problems, left_out, .. } = reader;
    let mut warnings = Problems::new(name);
    check::check(&tunnels, config, &root, &left_out, &mut problems, &mut warnings);
    check::age(&tunnels, age, &mut problems);
    if !problems.is_empty() {
        return Err(problems.into_list());
    }
    Ok(StaticSas { tunnels: Arc::new(tunnels), written: None, warnings: warnings.into_list().into() })
}
