//! Static routes of the configuration in the kernel's main table.
//!
//! Every route made here has protocol 178, and only such routes are ever changed or removed here. Routes of
//! daemons and of the operator's hand are left alone, also where they stand in the way: that is reported.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use super::error::{KernelError, io_error};
use super::netlink::convert::{self, IPV6_DEFAULT_METRIC};
use super::netlink::dump::{Kind, dump};
use super::netlink::socket::NetlinkSocket;
use super::plan::{NextHopPlan, RouteAction, RoutePlan};
use super::rib::Candidate;
use super::state::{IfIndex, RouteKind};

/// `rtm_protocol` and `IFA_PROTO` of what Penstock makes. Not taken in iproute2's rt_protos.
pub const PROTOCOL: u8 = 178;

/// A route of ours as the kernel has it.
struct Installed {
    prefix: IpNet,
    route: Candidate,
    message: RouteMessage,
}

/// Makes our routes in the main table equal to `plans`. What fails is left out and returned.
pub(super) async fn apply(
    handle: &rtnetlink::Handle,
    dumps: &mut NetlinkSocket,
    plans: &[RoutePlan],
    index_of: impl Fn(&str) -> Option<IfIndex>,
) -> Vec<KernelError> {
    let mut installed = match read(dumps).await {
        Ok(installed) => installed,
        Err(error) => return vec![error],
    };
    let mut problems = Vec::new();
    // 1. What is there and wanted needs nothing; what is there and wanted otherwise is replaced.
    let mut changes = Vec::new();
    for plan in plans {
        let same_key = |i: &Installed| i.prefix == plan.prefix.trunc() && i.route.metric == metric(plan);
        let found = installed.iter().position(same_key).map(|at| installed.swap_remove(at));
        match (message(plan, &index_of), &found) {
            (Err(error), _) => problems.push(error),
            (Ok(_), Some(old)) if is_as_planned(&old.route, plan, &index_of) => {}
            (Ok(message), _) => changes.push((plan.prefix, message, found.is_some())),
        }
    }
    // 2. What is left over goes first, so that it cannot stand in the way of what comes.
    for old in installed {
        let gone = handle.route().del(old.message).execute().await;
        match gone.map_err(io_error) {
            // It went with its interface.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => {}
            Err(source) => {
                problems.push(KernelError::Route { prefix: old.prefix, action: "remove it", source })
            }
            Ok(()) => {}
        }
    }
    // 3. The rest is new or different.
    for (prefix, message, replaces) in changes {
        let request = handle.route().add(message);
        let request = if replaces { request.replace() } else { request };
        if let Err(error) = request.execute().await {
            problems.push(KernelError::Route { prefix, action: "add it", source: io_error(error) });
        }
    }
    problems
}

async fn read(dumps: &mut NetlinkSocket) -> Result<Vec<Installed>, KernelError> {
    let mut installed = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let take = &mut |message| {
            if let RouteNetlinkMessage::NewRoute(message) = message
                && message.header.protocol == RouteProtocol::from(PROTOCOL)
                && let Some((prefix, route)) = convert::route(&message)
            {
                installed.push(Installed { prefix, route, message });
            }
        };
        dump(dumps, Kind::Routes(family), take).await?;
    }
    Ok(installed)
}

fn metric(plan: &RoutePlan) -> u32 {
    let default = if plan.prefix.addr().is_ipv4() { 0 } else { IPV6_DEFAULT_METRIC };
    plan.metric.unwrap_or(default)
}

fn is_as_planned(route: &Candidate, plan: &RoutePlan, index_of: impl Fn(&str) -> Option<IfIndex>) -> bool {
    let hops = match &plan.action {
        RouteAction::Blackhole => return route.kind == RouteKind::Blackhole,
        RouteAction::Unreachable => return route.kind == RouteKind::Unreachable,
        RouteAction::Forward(hops) => hops,
    };
    // The kernel keeps no weight where there is one way only.
    let is_multipath = hops.len() > 1;
    let has = |hop: &NextHopPlan| {
        let interface = hop.interface.as_deref().map(&index_of);
        route.nexthops.iter().any(|installed| {
            installed.via == hop.via
                && interface.is_none_or(|index| index == Some(installed.interface))
                && (!is_multipath || installed.weight == hop.weight)
        })
    };
    route.kind == RouteKind::Unicast && route.nexthops.len() == hops.len() && hops.iter().all(has)
}

/// The netlink message that makes a route.
fn message(
    plan: &RoutePlan,
    index_of: impl Fn(&str) -> Option<IfIndex>,
) -> Result<RouteMessage, KernelError> {
    let prefix = plan.prefix.trunc();
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = if prefix.addr().is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    header.destination_prefix_length = prefix.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = RouteProtocol::from(PROTOCOL);
    header.scope = RouteScope::Universe;
    header.kind = match plan.action {
        RouteAction::Forward(_) => RouteType::Unicast,
        RouteAction::Blackhole => RouteType::BlackHole,
        RouteAction::Unreachable => RouteType::Unreachable,
    };
    message.attributes.push(RouteAttribute::Destination(prefix.addr().into()));
    message.attributes.push(RouteAttribute::Priority(metric(plan)));

    let RouteAction::Forward(hops) = &plan.action else { return Ok(message) };
    let index = |hop: &NextHopPlan| match &hop.interface {
        None => Ok(None),
        Some(name) => match index_of(name) {
            Some(index) => Ok(Some(index.0)),
            None => Err(KernelError::RouteInterface { prefix, interface: name.clone() }),
        },
    };
    if let [hop] = hops.as_slice() {
        // IPv4 wants to be told that there is no router between (RT_SCOPE_LINK).
        message.header.scope = if hop.via.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.attributes.extend(index(hop)?.map(RouteAttribute::Oif));
        message.attributes.extend(hop.via.map(|via| gateway(prefix, via)));
    } else {
        let mut paths = Vec::with_capacity(hops.len());
        for hop in hops {
            let mut path = RouteNextHop::default();
            path.interface_index = index(hop)?.unwrap_or(0);
            // rtnh_hops is the weight less one.
            path.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
            path.attributes.extend(hop.via.map(|via| gateway(prefix, via)));
            paths.push(path);
        }
        message.attributes.push(RouteAttribute::MultiPath(paths));
    }
    Ok(message)
}

fn gateway(prefix: IpNet, via: IpAddr) -> RouteAttribute {
    match (prefix, via) {
        // RFC 8950: an IPv4 route by way of an IPv6 router.
        (IpNet::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (_, via) => RouteAttribute::Gateway(RouteAddress::from(via)),
    }
}
