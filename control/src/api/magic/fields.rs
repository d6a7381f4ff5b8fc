//! The fields of tunnels and routes on the wire.
//!
//! Every field of the public API is here. Those that this gateway has no use for may say that they are off; anything else
//! is refused, because an answer that takes what nobody does would lie.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Failure;
use super::health::HealthCheck;

/// A GRE tunnel, as it is asked for. An update leaves as it is what it does not name.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GreTunnelRequest {
    /// Its identifier; only where many are changed at once.
    pub(super) id: Option<String>,
    /// Its name: 1 to 63 letters, digits, `-` and `_`.
    pub(super) name: Option<String>,
    /// Our end: the address of one of `endpoints`.
    pub(super) cloudflare_gre_endpoint: Option<String>,
    /// The customer's router.
    pub(super) customer_gre_endpoint: Option<String>,
    /// Our IPv4 address inside the tunnel, with the length of the prefix; a /31 holds both ends.
    pub(super) interface_address: Option<String>,
    /// Our IPv6 address inside the tunnel.
    pub(super) interface_address6: Option<String>,
    /// What somebody writes about it.
    pub(super) description: Option<String>,
    /// Largest inner packet, bytes. Not given: what the path allows.
    pub(super) mtu: Option<u16>,
    /// Outer TTL.
    pub(super) ttl: Option<u8>,
    /// Probes inside the tunnel.
    pub(super) health_check: Option<HealthCheck>,
    /// Refused: there is no BGP inside tunnels.
    #[schema(value_type = Option<Object>)]
    pub(super) bgp: Option<IgnoredAny>,
    /// Only `false`.
    pub(super) automatic_return_routing: Option<bool>,
    /// Read-only.
    #[schema(value_type = Option<Object>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    bgp_status: Option<IgnoredAny>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    created_on: Option<IgnoredAny>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    modified_on: Option<IgnoredAny>,
}

/// An IPsec tunnel, as it is asked for. An update leaves as it is what it does not name.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IpsecTunnelRequest {
    /// Its identifier; only where many are changed at once.
    pub(super) id: Option<String>,
    /// Its name: 1 to 63 letters, digits, `-` and `_`.
    pub(super) name: Option<String>,
    /// Our end: the address of one of `endpoints`.
    pub(super) cloudflare_endpoint: Option<String>,
    /// The customer's router; not given: wherever it negotiates from, and then `custom_remote_identities` is needed.
    pub(super) customer_endpoint: Option<String>,
    /// Our IPv4 address inside the tunnel, with the length of the prefix; a /31 holds both ends.
    pub(super) interface_address: Option<String>,
    /// Our IPv6 address inside the tunnel.
    pub(super) interface_address6: Option<String>,
    /// What somebody writes about it.
    pub(super) description: Option<String>,
    /// The pre-shared key. It is kept, and never shown.
    #[schema(write_only, value_type = Option<String>)]
    pub(super) psk: Option<Zeroizing<String>>,
    /// Only `false`: the nodes of a fleet number what they send each for itself.
    pub(super) replay_protection: Option<bool>,
    /// Only `false`.
    pub(super) allow_null_cipher: Option<bool>,
    /// Who the customer's router says it is.
    pub(super) custom_remote_identities: Option<RemoteIdentities>,
    /// Probes inside the tunnel.
    pub(super) health_check: Option<HealthCheck>,
    /// Read-only.
    #[schema(value_type = Option<PskMetadata>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    psk_metadata: Option<IgnoredAny>,
    /// Refused: there is no BGP inside tunnels.
    #[schema(value_type = Option<Object>)]
    pub(super) bgp: Option<IgnoredAny>,
    /// Only `false`.
    pub(super) automatic_return_routing: Option<bool>,
    /// Read-only.
    #[schema(value_type = Option<Object>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    bgp_status: Option<IgnoredAny>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    created_on: Option<IgnoredAny>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    modified_on: Option<IgnoredAny>,
}

/// Who a customer's router says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteIdentities {
    /// A domain name, as its IKE identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fqdn_id: Option<String>,
}

/// A route, as it is asked for. An update leaves as it is what it does not name.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteRequest {
    /// Its identifier; only where many are changed at once.
    pub(super) id: Option<String>,
    /// Where to.
    pub(super) prefix: Option<String>,
    /// The other end of a tunnel's `interface_address`, or a router on a link of the tenant. Also a tunnel's name,
    /// `internet`, `blackhole` or `unreachable`.
    pub(super) nexthop: Option<String>,
    /// The lowest wins; equal ones share the flows.
    pub(super) priority: Option<u32>,
    /// Share of the flows, 1 to 256.
    pub(super) weight: Option<u16>,
    /// What somebody writes about it.
    pub(super) description: Option<String>,
    /// Only an empty one: a route is everywhere.
    #[schema(value_type = Option<Object>)]
    pub(super) scope: Option<Value>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    created_on: Option<IgnoredAny>,
    /// Read-only.
    #[schema(value_type = Option<String>, read_only)]
    #[expect(dead_code, reason = "an answer may be sent back; this part of it is not looked at")]
    modified_on: Option<IgnoredAny>,
}

/// A GRE tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct GreTunnel {
    /// Its identifier.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Our end.
    pub(super) cloudflare_gre_endpoint: String,
    /// The customer's router.
    pub(super) customer_gre_endpoint: String,
    /// Our IPv4 address inside the tunnel; empty: there is none.
    pub(super) interface_address: String,
    /// Our IPv6 address inside the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interface_address6: Option<String>,
    /// What somebody wrote about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Largest inner packet, bytes; absent: what the path allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mtu: Option<u16>,
    /// Outer TTL; absent: the inner one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<u8>,
    /// Probes inside the tunnel.
    pub(super) health_check: HealthCheck,
    /// When it was made (RFC 3339); absent: not by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_on: Option<String>,
    /// When it was changed last by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified_on: Option<String>,
}

/// An IPsec tunnel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct IpsecTunnel {
    /// Its identifier.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Our end.
    pub(super) cloudflare_endpoint: String,
    /// The customer's router; absent: wherever it negotiates from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) customer_endpoint: Option<String>,
    /// Our IPv4 address inside the tunnel; empty: there is none.
    pub(super) interface_address: String,
    /// Our IPv6 address inside the tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) interface_address6: Option<String>,
    /// What somebody wrote about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// Whether the customer's router checks the order of what it receives.
    pub(super) replay_protection: bool,
    /// Always `false`.
    pub(super) allow_null_cipher: bool,
    /// Who the customer's router says it is, where that is a domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_remote_identities: Option<RemoteIdentities>,
    /// Of the pre-shared key; absent: none came through this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) psk_metadata: Option<PskMetadata>,
    /// Probes inside the tunnel.
    pub(super) health_check: HealthCheck,
    /// When it was made (RFC 3339); absent: not by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_on: Option<String>,
    /// When it was changed last by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified_on: Option<String>,
}

/// What may be known of a pre-shared key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PskMetadata {
    /// When it was given or made (RFC 3339).
    pub(super) last_generated_on: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Route {
    /// Its identifier.
    pub(super) id: String,
    /// Where to.
    pub(super) prefix: String,
    /// The next hop.
    pub(super) nexthop: String,
    /// The lowest wins.
    pub(super) priority: u32,
    /// Share of the flows.
    pub(super) weight: u16,
    /// What somebody wrote about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    /// When it was made (RFC 3339); absent: not by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) created_on: Option<String>,
    /// When it was changed last by this API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified_on: Option<String>,
}

/// There is no BGP inside tunnels here.
pub(super) fn no_bgp(bgp: Option<IgnoredAny>) -> Result<(), Failure> {
    match bgp {
        None => Ok(()),
        Some(_) => {
            Err(Failure::bad("/bgp", "there is no BGP inside tunnels here: leave bgp out, and write routes"))
        }
    }
}

/// A switch that can only be off.
pub(super) fn off(pointer: &str, switch: Option<bool>) -> Result<(), Failure> {
    if switch != Some(true) {
        return Ok(());
    }
    let message =
        format!("this gateway has no {}: write false, or leave it out", pointer.trim_start_matches('/'));
    Err(Failure::bad(pointer, message))
}
