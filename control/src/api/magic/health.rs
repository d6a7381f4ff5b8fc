//! `health_check` of a tunnel, on the wire and in the configuration. All of the mapping is here.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Failure;
use crate::config::{HealthDirection, HealthRate, HealthType, TunnelConfig};

/// Probes inside a tunnel. What is not named stays as it is, or is as in the configuration when nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    /// Whether there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<Rate>,
    /// What the far end has to do.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    /// The way of the answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<Direction>,
    /// Who answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// How often a tunnel is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Rate {
    Low,
    Mid,
    High,
}

/// What the far end has to do with a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Request,
    Reply,
}

/// The way of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Bidirectional,
    Unidirectional,
}

/// An address, in either form of the public API; empty: the one that follows from the tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum Target {
    Address(String),
    Saved {
        #[serde(default)]
        saved: String,
        /// Only in answers; not looked at.
        #[serde(default, skip_serializing)]
        effective: Option<String>,
    },
}

/// Writes it into a tunnel.
pub(super) fn write(tunnel: &mut Map<String, Value>, wanted: &HealthCheck) -> Result<(), Failure> {
    if wanted.enabled == Some(false) {
        tunnel.remove("health");
        return Ok(());
    }
    let mut health = match tunnel.remove("health") {
        Some(Value::Object(health)) => health,
        _ => Map::new(),
    };
    let words = [
        ("rate", wanted.rate.map(serde_json::to_value)),
        ("type", wanted.kind.map(serde_json::to_value)),
        ("direction", wanted.direction.map(serde_json::to_value)),
    ];
    for (key, word) in words {
        if let Some(Ok(word)) = word {
            health.insert(key.to_owned(), word);
        }
    }
    if let Some(Target::Address(target) | Target::Saved { saved: target, .. }) = &wanted.target {
        if target.is_empty() {
            health.remove("target");
        } else if target.parse::<std::net::IpAddr>().is_ok() {
            health.insert("target".to_owned(), target.as_str().into());
        } else {
            return Err(Failure::bad(
                "/health_check/target",
                "write an IPv4 or IPv6 address, or an empty text",
            ));
        }
    }
    tunnel.insert("health".to_owned(), Value::Object(health));
    Ok(())
}

/// Reads it of a tunnel.
pub(super) fn read(tunnel: &TunnelConfig) -> HealthCheck {
    let Some(health) = &tunnel.health else {
        return HealthCheck { enabled: Some(false), ..HealthCheck::default() };
    };
    HealthCheck {
        enabled: Some(true),
        rate: Some(match health.rate {
            HealthRate::Low => Rate::Low,
            HealthRate::Mid => Rate::Mid,
            HealthRate::High => Rate::High,
        }),
        kind: Some(match health.kind {
            HealthType::Request => Kind::Request,
            HealthType::Reply => Kind::Reply,
        }),
        direction: Some(match health.direction {
            HealthDirection::Bidirectional => Direction::Bidirectional,
            HealthDirection::Unidirectional => Direction::Unidirectional,
        }),
        target: health.target.map(|target| Target::Address(target.to_string())),
    }
}
