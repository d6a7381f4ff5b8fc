//! `POST /v1/why`: what would happen to a packet.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::TraceRow;

/// What is inside the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhyProtocol {
    /// A SYN with a segment size of 1460 (1440) bytes.
    Tcp,
    /// A datagram.
    Udp,
    /// An echo request.
    #[default]
    Icmp,
}

/// A packet that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// Whose packet it is to be.
    pub tenant: String,
    /// Its source.
    #[schema(value_type = String)]
    pub src: IpAddr,
    /// Its destination.
    #[schema(value_type = String)]
    pub dst: IpAddr,
    /// What is inside.
    #[serde(default)]
    pub protocol: WhyProtocol,
    /// Source port.
    #[serde(default)]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default)]
    pub dport: Option<u16>,
    /// Its length in bytes, from the IP header on.
    #[serde(default)]
    pub size: Option<u16>,
    /// It must not be fragmented.
    #[serde(default)]
    pub df: bool,
    /// It comes out of this tunnel of the tenant; absent: by a port.
    #[serde(default)]
    pub from_tunnel: Option<String>,
}

/// What would become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WhyOutcome {
    /// It leaves by a port.
    Forwarded,
    /// The kernel gets it.
    Delivered,
    /// Nobody gets it.
    Dropped,
}

/// What would become of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WhyAnswer {
    /// What becomes of it.
    pub outcome: WhyOutcome,
    /// In sentences.
    pub text: String,
    /// The drop reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do so that it is not dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What one should know beside it.
    pub notes: Vec<String>,
    /// Its way, and the ways of the packets that it is made into.
    pub packets: Vec<TraceRow>,
}
