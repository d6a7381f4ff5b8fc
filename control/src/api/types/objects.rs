//! `/v1/fleet/...`: tenants as objects of the fleet's store.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, ConfigText};

/// A tenant in the fleet's store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TenantObject {
    /// Its name.
    pub name: String,
    /// Counts its changes, from 1.
    pub version: u64,
    /// What stands under `tenants.NAME` in a configuration.
    pub tenant: Value,
}

/// Makes tenants of the store what a text says. Those that the text does not name stay as they are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// YAML with `tenants:` and nothing else.
    pub config: ConfigText,
    /// The version that a tenant must have, by name: refuses what somebody else has changed meanwhile.
    #[serde(default)]
    pub versions: std::collections::BTreeMap<String, u64>,
}

/// Takes a tenant, or one of its tunnels, out of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
    /// The tenant.
    pub tenant: String,
    /// Only this tunnel of it.
    #[serde(default)]
    pub tunnel: Option<String>,
}

/// What was changed in the store, or would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApplyReport {
    /// Nothing was touched.
    pub dry_run: bool,
    /// The store's revision from which on nodes have it; absent: nothing was to be written.
    pub revision: Option<u64>,
    /// What it changes on this node.
    pub changes: Vec<Change>,
}
