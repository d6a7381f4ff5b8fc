//! `health` of a tunnel: how it is probed.

use std::net::IpAddr;

use serde::Serialize;

use crate::config::duration::Period;

/// `tenants.NAME.tunnels.NAME.health`: probes inside the tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct HealthConfig {
    /// How often.
    pub rate: HealthRate,
    /// What the far end has to do.
    #[serde(rename = "type")]
    pub kind: HealthType,
    /// The way of the answers.
    pub direction: HealthDirection,
    /// Who answers; `None`: the other end of the tunnel's link, or the customer's router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<IpAddr>,
    /// Also look for the largest packet that passes, and let the tunnel's MTU follow.
    pub path_mtu: bool,
    /// How often a larger packet than that is tried again.
    pub path_mtu_raise: Period,
}

/// How often a tunnel is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthRate {
    /// Every ten seconds.
    Low,
    /// Once a second.
    Mid,
    /// Ten times a second.
    High,
}

/// What the far end has to do with a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthType {
    /// It is an ICMP echo request: answer it.
    Request,
    /// It is an ICMP echo reply that is addressed to us: route it.
    Reply,
}

/// The way of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthDirection {
    /// Through the tunnel, to our address in it.
    Bidirectional,
    /// By the Internet, to the tunnel's endpoint.
    Unidirectional,
}
