//! Immutable tables that control publishes and workers look up.
//!
//! One look-up of the destination in the VRF of the ingress decides everything: endpoint, address of
//! the kernel, tunnel, or plain next hop.

pub mod adjacency;
pub mod fib;
pub mod filter;
pub mod fleet;
pub mod group;
pub mod hop;
pub mod interface;
pub mod paged;
pub mod snapshot;
pub mod tunnel;
pub mod tunnel_index;

pub use adjacency::{Adjacency, AdjacencyState};
pub use filter::SourceFilter;
pub use fleet::Fleet;
pub use group::{Group, Member};
pub use hop::{Hop, HopKind};
pub use interface::{Interface, Interfaces};
pub use snapshot::{Limits, RouteTable, Snapshot};
pub use tunnel::{DontFragment, Dscp, Encapsulation, Mss, Ttl, Tunnel, TunnelError, TunnelSpec, UdpPorts};
