//! Captures and traces: what is asked for, and what comes back.

use serde::{Deserialize, Serialize};

/// Bytes kept of each packet unless the request says otherwise: any packet of an ordinary link.
pub const DEFAULT_SNAPLEN: u32 = 2048;
/// Packets that a trace shows unless the request says otherwise.
pub const DEFAULT_COUNT: u64 = 10;

/// Which packets of a tunnel: those around it, or those in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Layers {
    /// Frames at the ports.
    Outer,
    /// Packets as they come out of tunnels and go into them.
    Inner,
    /// Both.
    #[default]
    Both,
}

/// Which packets are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PacketFilter {
    /// In the language of tcpdump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Only those that have to do with this tunnel: `acme/dc1`, or `dc1` where no other tenant has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Only those that are dropped for this reason; `all`: for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drops: Option<String>,
    /// End after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u32>,
}

/// A request for a capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CaptureRequest {
    /// Which packets.
    #[serde(default)]
    pub packets: PacketFilter,
    /// Which frames and packets of them.
    #[serde(default)]
    pub layers: Layers,
    /// End when so many are in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_packets: Option<u64>,
    /// Bytes to keep of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
}

/// A request for a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Which packets.
    #[serde(default)]
    pub packets: PacketFilter,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// A request to end a capture or a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Its number.
    pub id: u64,
}

/// How a capture or a trace went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Caught {
    /// What was handed over: frames and packets of a capture, packets of a trace.
    pub caught: u64,
    /// Packets that were wanted but not caught, because they came faster than they were read.
    pub missed: u64,
    /// Packets that were looked at.
    pub seen: u64,
}

/// One packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TraceRow {
    /// The core.
    pub core: u16,
    /// Counts the packets of this core since the trace began.
    pub packet: u64,
    /// When it came, nanoseconds since 1970.
    pub time_ns: u64,
    /// What it was when it came, in one line.
    pub summary: String,
    /// What each stage decided.
    pub steps: Vec<TraceStep>,
    /// What became of it: `sent`, `dropped`, `punted`, `merged`, `handed_on`, `cut`.
    pub end: String,
    /// Why it was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tunnel that it came out of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_in: Option<String>,
    /// The tunnel that it went into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_out: Option<String>,
}

/// What a stage decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TraceStep {
    /// The stage.
    pub stage: String,
    /// In words.
    pub text: String,
}
