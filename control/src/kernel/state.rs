//! What the kernel of the twin namespace knows: links, addresses, routes and neighbours, as plain data.
//!
//! The mirror keeps one [`KernelState`] and hands its consumer [`KernelUpdate`]s: lists of [`Change`]s that,
//! applied in order with [`KernelState::apply`] to an empty state, give an equal copy. A change carries the
//! whole new value of one key, or `None` when the key is gone; so changes of one key may be coalesced, and
//! applying one twice is harmless.
//!
//! Only what forwarding needs is here. Of all routes to one prefix the state holds the best one (lowest
//! metric); the others stay in the mirror until the best one goes. This file never talks to the kernel.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

/// The kernel's number of a network interface inside the twin namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct IfIndex(pub u32);

/// An Ethernet address.
pub type Mac = [u8; 6];

/// One network interface of the namespace: a twin, `lo`, or something that the operator made there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The kernel's number.
    pub index: IfIndex,
    /// The name; a twin has the name of its port or VLAN (`edge0`, `edge0.100`).
    pub name: String,
    /// Hardware address, if it is an Ethernet-like interface.
    pub mac: Option<Mac>,
    /// Largest network-layer packet, bytes.
    pub mtu_bytes: u32,
    /// Set up by its owner (`IFF_UP`).
    pub admin_up: bool,
    /// The link has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// The kernel has drawn the consequences of both (`IFF_RUNNING`); it may take it a second to.
    pub running: bool,
    /// It is the loopback interface.
    pub loopback: bool,
}

impl Link {
    /// Packets can leave by this interface now.
    pub fn is_up(&self) -> bool {
        self.admin_up && self.carrier && self.running
    }
}

/// An address of ours, wherever in the namespace it sits. Packets to `net.addr()` belong to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Address {
    /// The interface that has it.
    pub interface: IfIndex,
    /// The address with the length of its prefix.
    pub net: IpNet,
}

/// What happens to packets that match a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Forwarded to the next hops.
    Unicast,
    /// Ours: delivered to the kernel (also: a unicast route out of `lo`).
    Local,
    /// Dropped silently.
    Blackhole,
    /// Dropped with ICMP "unreachable" (also the kernel's `prohibit`).
    Unreachable,
}

/// One way out of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NextHop {
    /// The router to hand packets to; `None` when the destination itself is on the link. May be of the other
    /// family (an IPv4 route via an IPv6 router, RFC 8950).
    pub via: Option<IpAddr>,
    /// The interface to leave by.
    pub interface: IfIndex,
    /// Share of the flows, at least 1.
    pub weight: u16,
}

/// The best route to one prefix in the main table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Destination, host bits cleared.
    pub prefix: IpNet,
    /// What to do with matching packets.
    pub kind: RouteKind,
    /// Ways out, sorted; empty unless `kind` is [`RouteKind::Unicast`]. Next hops on an interface that is not
    /// up are left out; when none is left the route with the next metric is the best, and when there is none,
    /// nothing is.
    pub nexthops: Vec<NextHop>,
    /// Metric; the lowest one wins. IPv6 routes have 1024 when nobody says otherwise.
    pub metric: u32,
    /// Who made it (`RTPROT_*`: 2 kernel, 4 static, 12 BIRD, 178 Penstock, 186 FRR's BGP).
    pub protocol: u8,
}

/// What the kernel knows about a neighbour's hardware address (NUD states of RFC 4861 and `rtnetlink(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourState {
    /// Resolution runs, no answer yet.
    Incomplete,
    /// Confirmed within the reachable time.
    Reachable,
    /// Known but not confirmed lately; still good to send to.
    Stale,
    /// Known; a probe will follow unless traffic confirms it.
    Delay,
    /// Known; being probed.
    Probe,
    /// Resolution failed; there is no usable address.
    Failed,
    /// Set by hand, or needs no resolution.
    Permanent,
}

/// One entry of the ARP or ND table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// The interface it is seen on.
    pub interface: IfIndex,
    /// Its address on that link.
    pub ip: IpAddr,
    /// Its hardware address as last known.
    pub mac: Option<Mac>,
    /// How sure the kernel is.
    pub state: NeighbourState,
}

impl Neighbour {
    /// The hardware address, if frames may be sent to it now. An entry that is stale or being probed is still
    /// usable: the kernel itself sends to it until the probe fails.
    pub fn usable_mac(&self) -> Option<Mac> {
        match self.state {
            NeighbourState::Incomplete | NeighbourState::Failed => None,
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent => self.mac,
        }
    }
}

/// The new value of one key of the state; `None` means that the key is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A network interface.
    Link(IfIndex, Option<Link>),
    /// An address came (`true`) or went.
    Address(Address, bool),
    /// The best route to a prefix.
    Route(IpNet, Option<Route>),
    /// A neighbour.
    Neighbour((IfIndex, IpAddr), Option<Neighbour>),
}

/// What changed since the last update, each key at most once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelUpdate {
    /// Links first, then addresses, neighbours, routes.
    pub changes: Vec<Change>,
    /// The first update after the start and each one after lost events: the changes are the difference that a
    /// full dump showed.
    pub resync: bool,
}

/// A copy of what the kernel knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelState {
    /// All interfaces of the namespace.
    pub links: BTreeMap<IfIndex, Link>,
    /// All addresses of the namespace.
    pub addresses: std::collections::BTreeSet<Address>,
    /// The best route per prefix, main table only. Link-local (fe80::/10) and multicast prefixes are left
    /// out.
    pub routes: BTreeMap<IpNet, Route>,
    /// Neighbours on Ethernet-like interfaces; multicast entries are left out.
    pub neighbours: HashMap<(IfIndex, IpAddr), Neighbour>,
}

impl KernelState {
    /// Puts one change in.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Link(index, Some(link)) => drop(self.links.insert(index, link)),
            Change::Link(index, None) => drop(self.links.remove(&index)),
            Change::Address(address, true) => drop(self.addresses.insert(address)),
            Change::Address(address, false) => drop(self.addresses.remove(&address)),
            Change::Route(prefix, Some(route)) => drop(self.routes.insert(prefix, route)),
            Change::Route(prefix, None) => drop(self.routes.remove(&prefix)),
            Change::Neighbour(key, Some(neighbour)) => drop(self.neighbours.insert(key, neighbour)),
            Change::Neighbour(key, None) => drop(self.neighbours.remove(&key)),
        }
    }

    /// Puts a whole update in.
    pub fn apply_all(&mut self, update: KernelUpdate) {
        update.changes.into_iter().for_each(|change| self.apply(change));
    }

    /// The interface of this name.
    pub fn link_by_name(&self, name: &str) -> Option<&Link> {
        self.links.values().find(|link| link.name == name)
    }

    /// The hardware address of `ip` on `interface`, if frames may be sent to it now.
    pub fn usable_mac(&self, interface: IfIndex, ip: IpAddr) -> Option<Mac> {
        self.neighbours.get(&(interface, ip)).and_then(Neighbour::usable_mac)
    }
}
