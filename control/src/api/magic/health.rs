//! `health_check` of a tunnel, on the wire and in the configuration. All of the mapping is here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Failure;
use crate::config::TunnelConfig;

/// Probes inside a tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// Whether there are any.
    #[serde(default)]
    enabled: Option<bool>,
}

/// Writes it into a tunnel.
pub(super) fn write(_tunnel: &mut Map<String, Value>, wanted: &HealthCheck) -> Result<(), Failure> {
    if wanted.enabled == Some(false) {
        return Ok(());
    }
    let message =
        "this version has no probes inside tunnels: write {\"enabled\": false}, or leave health_check out";
    Err(Failure::bad("/health_check", message))
}

/// Reads it of a tunnel.
pub(super) fn read(_tunnel: &TunnelConfig) -> HealthCheck {
    HealthCheck { enabled: Some(false) }
}
