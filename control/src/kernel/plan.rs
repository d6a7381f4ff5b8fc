//! What the kernel's side should look like: the desired state that the configuration compiles to.

use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::InterfaceId;

use super::state::Mac;

/// All of it. Applying it twice changes nothing the second time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TwinPlan {
    /// One twin for each port and each VLAN of a port.
    pub interfaces: Vec<InterfacePlan>,
    /// Addresses that belong to no port: the endpoints. They sit on `lo`, so that the kernel answers ping to
    /// them and IKE can bind them.
    pub local_addresses: Vec<IpAddr>,
    /// Static routes for the main table.
    pub routes: Vec<RoutePlan>,
}

/// One twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfacePlan {
    /// The data plane's number of the interface.
    pub interface: InterfaceId,
    /// The kernel's name for it: the port's name, or `PORT.VLAN`.
    pub name: String,
    /// The port's address.
    pub mac: Mac,
    /// Largest layer 3 packet.
    pub mtu_bytes: u32,
    /// The tag that its frames have on the wire. The twin itself is untagged: the pump takes the tag off and
    /// puts it on.
    pub vlan: Option<u16>,
    /// Addresses with their prefixes.
    pub addresses: Vec<IpNet>,
}

/// One static route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// Destination; host bits are ignored.
    pub prefix: IpNet,
    /// What to do with packets to it.
    pub action: RouteAction,
    /// Metric; `None` is the kernel's default (0 for IPv4, 1024 for IPv6).
    pub metric: Option<u32>,
}

/// What a static route does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteAction {
    /// Forward to one next hop, or share the flows among several.
    Forward(Vec<NextHopPlan>),
    /// Drop silently.
    Blackhole,
    /// Drop with ICMP "unreachable".
    Unreachable,
}

/// One next hop of a static route. One of `via` and `interface` must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopPlan {
    /// The router. May be of the other family than the route.
    pub via: Option<IpAddr>,
    /// The interface; when missing, the kernel finds it by `via`.
    pub interface: Option<String>,
    /// Share of the flows, 1 to 256.
    pub weight: u16,
}
