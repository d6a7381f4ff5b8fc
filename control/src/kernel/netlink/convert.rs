//! From rtnetlink messages to the mirror's events.
//!
//! Everything here is total: a message that lacks an attribute, has one of the wrong family, or describes
//! something that forwarding has no use for gives `None`, never a panic and never a guess.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as Nud,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHop, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::super::rib::{Candidate, Placement};
use super::super::state::{Address, IfIndex, Link, Neighbour, NeighbourState, NextHop, RouteKind};

/// Metric that an IPv6 route has when none is given (`IP6_RT_PRIO_USER`).
pub(crate) const IPV6_DEFAULT_METRIC: u32 = 1024;

/// One thing that changed in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Link(Link),
    LinkGone(IfIndex),
    Address(Address, bool),
    Neighbour(Neighbour),
    NeighbourGone(IfIndex, IpAddr),
    Route(IpNet, Candidate, Placement),
    RouteGone(IpNet, Candidate),
    /// A next-hop object changed or went.
    NextHopObject(u32),
}

/// Reads one message; `flags` are those of its netlink header.
pub(crate) fn event(message: &RouteNetlinkMessage, flags: u16) -> Option<Event> {
    match message {
        RouteNetlinkMessage::NewLink(m) => link(m).map(Event::Link),
        RouteNetlinkMessage::DelLink(m) => {
            plain_family(m).then_some(Event::LinkGone(IfIndex(m.header.index)))
        }
        RouteNetlinkMessage::NewAddress(m) => address(m).map(|a| Event::Address(a, true)),
        RouteNetlinkMessage::DelAddress(m) => address(m).map(|a| Event::Address(a, false)),
        RouteNetlinkMessage::NewNeighbour(m) => {
            let (interface, ip) = neighbour_key(m)?;
            Some(neighbour(m, interface, ip).map_or(Event::NeighbourGone(interface, ip), Event::Neighbour))
        }
        RouteNetlinkMessage::DelNeighbour(m) => neighbour_key(m).map(|(i, ip)| Event::NeighbourGone(i, ip)),
        RouteNetlinkMessage::NewRoute(m) => route(m).map(|(p, c)| Event::Route(p, c, placement(flags))),
        RouteNetlinkMessage::DelRoute(m) => route(m).map(|(p, c)| Event::RouteGone(p, c)),
        _ => None,
    }
}

fn placement(flags: u16) -> Placement {
    match flags {
        f if f & NLM_F_REPLACE != 0 => Placement::Replace,
        f if f & NLM_F_APPEND != 0 => Placement::Last,
        _ => Placement::First,
    }
}

/// Bridges send messages about their ports with a family of their own; those are not about the link itself.
fn plain_family(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

fn link(message: &LinkMessage) -> Option<Link> {
    if !plain_family(message) {
        return None;
    }
    let (mut name, mut mac, mut mtu_bytes) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value.clone()),
            LinkAttribute::Address(value) => mac = value.as_slice().try_into().ok(),
            LinkAttribute::Mtu(value) => mtu_bytes = Some(*value),
            _ => {}
        }
    }
    let flags = message.header.flags;
    Some(Link {
        index: IfIndex(message.header.index),
        name: name?,
        mac,
        mtu_bytes: mtu_bytes?,
        admin_up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        running: flags.contains(LinkFlags::Running),
        loopback: flags.contains(LinkFlags::Loopback),
    })
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            _ => {}
        }
    }
    // On a point-to-point interface `address` is the peer's and `local` is ours.
    let net = IpNet::new(local.or(address)?, message.header.prefix_len).ok()?;
    Some(Address { interface: IfIndex(message.header.index), net })
}

fn neighbour_key(message: &NeighbourMessage) -> Option<(IfIndex, IpAddr)> {
    // A proxy entry answers for somebody else; it says nothing about where to send.
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let ip = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::from(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::from(*ip)),
        _ => None,
    })?;
    let useless = ip.is_multicast() || ip.is_unspecified() || ip.is_loopback();
    (!useless).then_some((IfIndex(message.header.ifindex), ip))
}

fn neighbour(message: &NeighbourMessage, interface: IfIndex, ip: IpAddr) -> Option<Neighbour> {
    let state = match message.header.state {
        Nud::Incomplete => NeighbourState::Incomplete,
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale => NeighbourState::Stale,
        Nud::Delay => NeighbourState::Delay,
        Nud::Probe => NeighbourState::Probe,
        Nud::Failed => NeighbourState::Failed,
        Nud::Permanent | Nud::Noarp => NeighbourState::Permanent,
        _ => return None,
    };
    let mac = message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok(),
        _ => None,
    });
    Some(Neighbour { interface, ip, mac, state })
}

/// Reads a route of the main table. Steps: is it one that forwarding uses; where to; how; by which next hops.
pub(crate) fn route(message: &RouteMessage) -> Option<(IpNet, Candidate)> {
    let header = &message.header;
    let attributes = &message.attributes;
    if !is_main_table(message)
        || header.tos != 0
        || header.source_prefix_length != 0
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }

    let (unspecified, default_metric) = match header.address_family {
        AddressFamily::Inet => (IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
        AddressFamily::Inet6 => (IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED), IPV6_DEFAULT_METRIC),
        _ => return None,
    };
    let destination = find(attributes, |a| match a {
        RouteAttribute::Destination(value) => ip(value),
        _ => None,
    });
    if destination.is_none() && header.destination_prefix_length != 0 {
        return None;
    }
    let destination = destination.unwrap_or(unspecified);
    let prefix = IpNet::new(destination, header.destination_prefix_length).ok()?.trunc();
    if prefix.addr().is_multicast()
        || is_link_local(prefix)
        || prefix.addr().is_ipv4() != unspecified.is_ipv4()
    {
        return None;
    }

    let metric = find(attributes, |a| match a {
        RouteAttribute::Priority(value) => Some(*value),
        _ => None,
    });
    let mut candidate = Candidate {
        metric: metric.unwrap_or(default_metric),
        kind: RouteKind::Unicast,
        nexthops: Vec::new(),
        protocol: header.protocol.into(),
        object: find(attributes, |a| match a {
            RouteAttribute::NhId(id) => Some(*id),
            _ => None,
        }),
    };
    candidate.kind = match header.kind {
        RouteType::Unicast => {
            candidate.nexthops = nexthops(attributes);
            // A route that wants an encapsulation (MPLS, SRv6) is left to the kernel.
            if is_encapsulated(attributes) { RouteKind::Local } else { RouteKind::Unicast }
        }
        RouteType::Local => RouteKind::Local,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => RouteKind::Unreachable,
        _ => return None,
    };
    if candidate.kind != RouteKind::Unicast {
        candidate.nexthops.clear();
    }
    Some((prefix, candidate))
}

fn is_main_table(message: &RouteMessage) -> bool {
    let long = find(&message.attributes, |a| match a {
        RouteAttribute::Table(value) => Some(*value),
        _ => None,
    });
    long.unwrap_or(message.header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn is_link_local(prefix: IpNet) -> bool {
    matches!(prefix, IpNet::V6(net) if net.addr().is_unicast_link_local())
}

fn is_encapsulated(attributes: &[RouteAttribute]) -> bool {
    attributes.iter().any(|a| match a {
        RouteAttribute::Encap(_) | RouteAttribute::NewDestination(_) => true,
        RouteAttribute::MultiPath(hops) => hops.iter().any(|hop| is_encapsulated(&hop.attributes)),
        _ => false,
    })
}

/// The next hops, sorted, each once. Also those that the kernel marks dead: a route is known by all it has.
fn nexthops(attributes: &[RouteAttribute]) -> Vec<NextHop> {
    let multipath = attributes.iter().find_map(|a| match a {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let mut nexthops: Vec<NextHop> = match multipath {
        Some(hops) => hops.iter().filter_map(path).collect(),
        None => single(attributes).into_iter().collect(),
    };
    nexthops.sort_unstable();
    // One that is named twice has both shares.
    nexthops.dedup_by(|next, hop| {
        let is_same = (next.via, next.interface) == (hop.via, hop.interface);
        if is_same {
            hop.weight = hop.weight.saturating_add(next.weight);
        }
        is_same
    });
    nexthops
}

fn single(attributes: &[RouteAttribute]) -> Option<NextHop> {
    let interface = find(attributes, |a| match a {
        RouteAttribute::Oif(index) => Some(IfIndex(*index)),
        _ => None,
    })?;
    Some(NextHop { via: gateway(attributes), interface, weight: 1 })
}

fn path(hop: &RouteNextHop) -> Option<NextHop> {
    if hop.interface_index == 0 {
        return None;
    }
    // rtnh_hops is the weight less one.
    let weight = u16::from(hop.hops) + 1;
    Some(NextHop { via: gateway(&hop.attributes), interface: IfIndex(hop.interface_index), weight })
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    find(attributes, |a| match a {
        RouteAttribute::Gateway(value) => ip(value),
        RouteAttribute::Via(RouteVia::Inet(value)) => Some((*value).into()),
        RouteAttribute::Via(RouteVia::Inet6(value)) => Some((*value).into()),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn find<T>(attributes: &[RouteAttribute], pick: impl Fn(&RouteAttribute) -> Option<T>) -> Option<T> {
    attributes.iter().find_map(pick)
}
