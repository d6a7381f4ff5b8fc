//! Which rows a request wants. Filters travel in the query string; an unknown key is an error.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::types::TunnelState;

/// Rows in an answer when the request does not say.
pub const DEFAULT_LIMIT: usize = 1000;

fn default_limit() -> usize {
    DEFAULT_LIMIT
}

/// Which tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TunnelFilter {
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<TunnelState>,
    /// At most so many; 0: all.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

/// Which routes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RouteFilter {
    /// Of this tenant's table; `internet` is the underlay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// This prefix and all inside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub prefix: Option<IpNet>,
    /// All prefixes that cover this address; the longest is the one that packets take.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// At most so many; 0: all.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

/// Which security associations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SaFilter {
    /// Of this tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of the tunnels of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// At most so many; 0: all.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

/// Which negotiated tunnels.
pub type IkeFilter = SaFilter;

/// Which neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct NeighborFilter {
    /// On this port or VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// At most so many; 0: all.
    #[serde(default = "default_limit")]
    pub limit: usize,
}

impl TunnelFilter {
    /// Whether the filter lets a tunnel through, as far as its configuration tells: test this before the row
    /// is built.
    pub fn selects(&self, tenant: &str, tunnel: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
            && self.tunnel.as_deref().is_none_or(|wanted| wanted == tunnel)
    }

    /// Whether the filter lets a tunnel in this state through.
    pub fn selects_state(&self, state: TunnelState) -> bool {
        self.state.is_none_or(|wanted| wanted == state)
    }
}

impl SaFilter {
    /// Whether the filter wants a tunnel, or its associations.
    pub fn selects(&self, tenant: &str, tunnel: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
            && self.tunnel.as_deref().is_none_or(|wanted| wanted == tunnel)
    }
}

impl RouteFilter {
    /// Whether the filter wants anything of this tenant's table.
    pub fn selects_table(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
    }

    /// Whether the filter lets a prefix through.
    pub fn selects_prefix(&self, prefix: &IpNet) -> bool {
        self.prefix.is_none_or(|wanted| wanted.contains(prefix))
            && self.address.is_none_or(|wanted| prefix.contains(&wanted))
    }
}

impl NeighborFilter {
    /// Whether the filter lets the neighbours of this interface through.
    pub fn selects(&self, interface: &str) -> bool {
        self.interface.as_deref().is_none_or(|wanted| wanted == interface)
    }
}

impl Default for TunnelFilter {
    fn default() -> Self {
        Self { tenant: None, tunnel: None, state: None, limit: DEFAULT_LIMIT }
    }
}

impl Default for SaFilter {
    fn default() -> Self {
        Self { tenant: None, tunnel: None, limit: DEFAULT_LIMIT }
    }
}

impl Default for RouteFilter {
    fn default() -> Self {
        Self { tenant: None, prefix: None, address: None, limit: DEFAULT_LIMIT }
    }
}

impl Default for NeighborFilter {
    fn default() -> Self {
        Self { interface: None, limit: DEFAULT_LIMIT }
    }
}
