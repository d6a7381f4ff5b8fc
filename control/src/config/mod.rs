//! The configuration: YAML in, a checked [`ValidConfig`] out, or every problem at once with place and fix.
//!
//! `tree` parses the text, `read` turns it into typed values, `validate` checks that they fit each other, `diff` says
//! what a reload would change. Nothing here needs a NIC, root, or the kernel; only [`load`] touches a file.

mod diff;
mod duration;
mod files;
mod identity;
mod placement;
pub(crate) mod problem;
pub(crate) mod proposal;
mod read;
pub(crate) mod reader;
mod schema;
mod shared;
pub(crate) mod tree;
mod validate;
pub(crate) mod value;

#[cfg(test)]
mod tests;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

pub use diff::{Change, ChangeKind, Difference, NeedsRestart, diff};
pub use duration::{Period, Wait};
pub use files::{FileKind, NamedFile};
pub use identity::Identity;
pub use penstock_fleet::names::Name;
pub use placement::{PortPlacement, place_queues};
pub use problem::{Location, Problem};
pub use proposal::{Proposal, Proposals};
pub use schema::*;
pub use shared::{SharedTenants, tenant_of, tenants_in};
pub use tree::MAX_TEXT_BYTES;
pub use validate::{MAX_PORTS, MAX_TENANTS, MAX_TUNNELS};

use problem::Problems;
use reader::Reader;

/// A configuration whose values are right and fit each other. Only [`load`] and [`parse_str`] make one. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct ValidConfig {
    config: Arc<GatewayConfig>,
    warnings: Arc<[Problem]>,
    files: Arc<[NamedFile]>,
    fleet_files: Arc<[NamedFile]>,
    api_files: Arc<[NamedFile]>,
}

impl ValidConfig {
    /// What is allowed but likely not meant.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// The files that its tunnels' `ike` names, which nobody has looked at yet.
    pub fn files(&self) -> &[NamedFile] {
        &self.files
    }

    /// The files that `fleet` names, likewise.
    pub fn fleet_files(&self) -> &[NamedFile] {
        &self.fleet_files
    }

    /// The files that `api` names, likewise.
    pub fn api_files(&self) -> &[NamedFile] {
        &self.api_files
    }

    /// The configuration with every default written out, as YAML that reads back as the same configuration.
    pub fn to_yaml(&self) -> String {
        // Plain structs and maps with string keys: writing them to a string cannot fail.
        serde_yaml::to_string(&*self.config).unwrap_or_default()
    }
}

impl Deref for ValidConfig {
    type Target = GatewayConfig;
    fn deref(&self) -> &GatewayConfig {
        &self.config
    }
}

impl PartialEq for ValidConfig {
    /// Warnings do not count.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) || self.config == other.config
    }
}

impl serde::Serialize for ValidConfig {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.config.serialize(serializer)
    }
}

/// Reads and checks a file.
///
/// # Errors
/// All problems, in the order of the file.
pub fn load(path: &Path) -> Result<ValidConfig, Vec<Problem>> {
    let file = path.display().to_string();
    let unreadable = |message: String, fix: &str| {
        let mut problems = Problems::new(&file);
        problems.add(Location::default(), "", message, fix);
        problems.into_list()
    };
    let size = std::fs::metadata(path).map(|m| m.len()).unwrap_or(0);
    if size > MAX_TEXT_BYTES as u64 {
        let message = format!("the file has {size} bytes, the limit is {MAX_TEXT_BYTES}");
        return Err(unreadable(message, "check that this is the right file"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        unreadable(
            format!("cannot be read: {error}"),
            "check the path, its permissions, and that it is UTF-8 text",
        )
    })?;
    parse(&file, &text, &SharedTenants::default())
}

/// Reads and checks a text.
///
/// # Errors
/// All problems, in the order of the text.
pub fn parse_str(text: &str) -> Result<ValidConfig, Vec<Problem>> {
    parse("", text, &SharedTenants::default())
}

/// Reads and checks a text joined with the tenants of the fleet's store. `file` is named in problems, never opened.
///
/// # Errors
/// All problems, those of the store's tenants first.
pub fn parse_joined(file: &str, text: &str, shared: &SharedTenants) -> Result<ValidConfig, Vec<Problem>> {
    parse(file, text, shared)
}

fn parse(file: &str, text: &str, shared: &SharedTenants) -> Result<ValidConfig, Vec<Problem>> {
    let mut problems = Problems::new(file);
    let Some(mut root) = tree::parse(text, &mut problems) else { return Err(problems.into_list()) };
    shared.join(&mut root, &mut problems);
    let mut reader = Reader::new(problems);
    let config = read::gateway(&mut reader, &root);
    let Reader { mut problems, left_out, .. } = reader;
    let mut warnings = Problems::new(file);
    if let Some(config) = &config {
        validate::validate(config, &root, &left_out, &mut problems, &mut warnings);
    }
    match config {
        Some(config) if problems.is_empty() => {
            let files = files::named(file, &config, &root).into();
            let fleet_files = files::of_fleet(file, &config, &root).into();
            let api_files = files::of_api(file, &config, &root).into();
            let warnings = warnings.into_list().into();
            Ok(ValidConfig { config: Arc::new(config), warnings, files, fleet_files, api_files })
        }
        _ => Err(problems.into_list()),
    }
}
