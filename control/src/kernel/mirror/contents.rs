//! The mirror's picture of the kernel, how one event changes it, and how it is read in whole.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;

use super::super::error::KernelError;
use super::super::netlink::convert::{self, Event};
use super::super::netlink::dump::{self, Kind, dump};
use super::super::netlink::socket::NetlinkSocket;
use super::super::rib::Rib;
use super::super::state::{IfIndex, KernelState, Link, NeighbourState, Route, RouteKind};

/// How often an interrupted dump of one kind is tried again before what it gave is taken.
const TRIES: usize = 4;

/// Links, addresses and neighbours in `state`; all routes in `rib` (`state.routes` stays empty).
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) state: KernelState,
    pub(crate) rib: Rib,
}

/// What an event means beyond its own object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing changed.
    None,
    /// The object changed.
    Changed,
    /// The object changed, and routes may have gone without a word from the kernel: it tells of no IPv4 route
    /// that goes with its interface or address.
    RoutesUncertain,
}

impl Contents {
    /// Puts one event in.
    pub(crate) fn apply(&mut self, event: Event) -> Effect {
        match event {
            Event::Link(link) => {
                let way = |link: &Link| (link.admin_up, link.carrier, link.running);
                match self.state.links.insert(link.index, link.clone()) {
                    Some(old) if old == link => Effect::None,
                    Some(old) if way(&old) == way(&link) => Effect::Changed,
                    _ => Effect::RoutesUncertain,
                }
            }
            Event::LinkGone(index) => match self.state.links.remove(&index) {
                Some(_) => Effect::RoutesUncertain,
                None => Effect::None,
            },
            Event::Address(address, true) => changed(self.state.addresses.insert(address)),
            Event::Address(address, false) => match self.state.addresses.remove(&address) {
                true => Effect::RoutesUncertain,
                false => Effect::None,
            },
            Event::Neighbour(new) => {
                let old = self.state.neighbours.insert((new.interface, new.ip), new);
                changed(old != Some(new))
            }
            Event::NeighbourGone(interface, ip) => {
                changed(self.state.neighbours.remove(&(interface, ip)).is_some())
            }
            Event::Route(prefix, candidate, placement) => {
                let before = self.best(prefix);
                self.rib.add(prefix, candidate, placement);
                changed(before != self.best(prefix))
            }
            Event::RouteGone(prefix, candidate) => {
                let before = self.best(prefix);
                self.rib.remove(prefix, &candidate);
                changed(before != self.best(prefix))
            }
            // When one goes, its routes go without a word; when a group shrinks, so do its routes.
            Event::NextHopObject(object) if self.rib.uses_object(object) => Effect::RoutesUncertain,
            Event::NextHopObject(_) => Effect::None,
        }
    }

    fn best(&self, prefix: IpNet) -> Option<Route> {
        self.rib.best(prefix, |index| self.state.links.get(&index).is_some_and(Link::is_up))
    }

    /// The best route, as the consumer sees it: what leaves by `lo` stays with the kernel.
    pub(crate) fn route(&self, prefix: IpNet) -> Option<Route> {
        let mut route = self.best(prefix)?;
        let is_loopback = |index| self.state.links.get(&index).is_some_and(|link| link.loopback);
        if route.kind == RouteKind::Unicast && route.nexthops.iter().all(|hop| is_loopback(hop.interface)) {
            route.kind = RouteKind::Local;
            route.nexthops.clear();
        }
        Some(route)
    }

    /// How sure the kernel is of a neighbour.
    pub(crate) fn neighbour_state(&self, key: (IfIndex, IpAddr)) -> Option<NeighbourState> {
        self.state.neighbours.get(&key).map(|neighbour| neighbour.state)
    }

    /// Reads everything from the kernel. Also returns how many messages could not be read.
    pub(crate) async fn read(socket: &mut NetlinkSocket) -> Result<(Self, u64), KernelError> {
        let mut contents = Self::default();
        let mut unreadable = 0;
        for kind in dump::ALL {
            for _ in 0..TRIES {
                contents.clear(kind);
                let take = &mut |message| {
                    if let Some(event) = convert::event(&message, rtnetlink::packet_core::NLM_F_APPEND) {
                        contents.apply(event);
                    }
                };
                let dumped = dump(socket, kind, take).await?;
                if !dumped.interrupted {
                    unreadable += dumped.unreadable;
                    break;
                }
            }
        }
        Ok((contents, unreadable))
    }

    fn clear(&mut self, kind: Kind) {
        match kind {
            Kind::Links => self.state.links.clear(),
            Kind::Addresses => self.state.addresses.clear(),
            Kind::Neighbours(family) => {
                self.state.neighbours.retain(|(_, ip), _| ip.is_ipv4() != (family == AddressFamily::Inet));
            }
            Kind::Routes(family) => self.rib.clear(family == AddressFamily::Inet),
        }
    }
}

fn changed(yes: bool) -> Effect {
    if yes { Effect::Changed } else { Effect::None }
}
