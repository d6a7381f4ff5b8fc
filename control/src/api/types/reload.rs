//! `POST /v1/reload` and `show config`.

use serde::{Deserialize, Serialize};

use crate::api::Problem;

/// A request to make another configuration the running one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// Where the text comes from; named in messages, never opened.
    pub source: String,
    /// The text.
    pub yaml: String,
}

/// What a reload changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to it.
    pub action: ChangeAction,
    /// Where, for example `tenants.acme.tunnels.dc1.mtu`.
    pub path: String,
    /// Value before.
    pub from: Option<String>,
    /// Value after.
    pub to: Option<String>,
    /// It takes effect only when the daemon is started again.
    #[serde(default)]
    pub needs_restart: bool,
}

/// What happens to a piece of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeAction {
    /// New.
    Added,
    /// Gone.
    Removed,
    /// Another value.
    Changed,
}

/// The configuration that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningConfig {
    /// File it was read from.
    pub source: String,
    /// Seconds since it was applied.
    pub age_s: u64,
    /// The text, as it was given.
    pub yaml: String,
}
