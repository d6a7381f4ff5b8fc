//! `POST /v1/reload` and `show config`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::Problem;
use crate::config::{self, Difference, ValidConfig};

/// A request to make another configuration the running one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReloadRequest {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The configuration; absent: read again the file that the daemon was started with.
    #[serde(default)]
    pub config: Option<ConfigText>,
}

/// A configuration, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// Where the text comes from; named in messages, never opened.
    pub source: String,
    /// The text.
    pub yaml: String,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ReloadReport {
    /// Nothing was touched.
    pub dry_run: bool,
    /// Generation of the tables that all workers have now.
    pub generation: u64,
    /// The difference, in the order of the file.
    pub changes: Vec<Change>,
    /// What the operator should know though nothing is wrong.
    #[serde(default)]
    pub warnings: Vec<Problem>,
}

/// One difference between two configurations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// What happens to it.
    pub kind: ChangeKind,
    /// The key, for example `tenants.acme.tunnels.dc1.mtu`.
    pub path: String,
    /// Value before.
    pub old: Option<Value>,
    /// Value after.
    pub new: Option<Value>,
    /// Only a restart can do it: a reload with such a difference is refused.
    pub needs_restart: bool,
}

/// What happens to a piece of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It has another value.
    Changed,
    /// It is gone.
    Removed,
}

impl From<config::Change> for Change {
    fn from(change: config::Change) -> Self {
        let config::Change { kind, path, old, new, needs_restart } = change;
        let kind = match kind {
            config::ChangeKind::Added => ChangeKind::Added,
            config::ChangeKind::Changed => ChangeKind::Changed,
            config::ChangeKind::Removed => ChangeKind::Removed,
        };
        Self { kind, path, old, new, needs_restart }
    }
}

impl ReloadReport {
    /// The report about going over to `valid` by `difference`.
    pub fn new(
        dry_run: bool,
        generation: u64,
        difference: Difference,
        source: &str,
        valid: &ValidConfig,
    ) -> Self {
        let warnings = valid.warnings().iter().map(|warning| Problem::of(source, warning.clone())).collect();
        let changes = difference.changes.into_iter().map(Into::into).collect();
        Self { dry_run, generation, changes, warnings }
    }
}

/// The configuration that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunningConfig {
    /// File it was read from.
    pub source: String,
    /// Seconds since it was applied.
    pub age_s: u64,
    /// The text, as it was given.
    pub yaml: String,
}
