//! Routes: from a request to the tenant's configuration, and back.
//!
//! On the wire the next hop of a route into a tunnel is the tunnel's other end; in the configuration it is the tunnel.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::Failure;
use super::draft::{Draft, description};
use super::fields::{Route, RouteRequest};
use crate::config::{Name, TenantConfig, TenantRoute, TunnelConfig, Via};
use crate::fleet::about::{self, Notes, RouteNotes};

/// What a route is when nothing else is said, as in the configuration.
const PRIORITY: u32 = 100;
const WEIGHT: u16 = 1;

/// Adds a route. The answer is its identifier.
pub(super) fn create(draft: &mut Draft, wanted: RouteRequest) -> Result<String, Failure> {
    for (pointer, is_there) in [("/prefix", wanted.prefix.is_some()), ("/nexthop", wanted.nexthop.is_some())]
    {
        if !is_there {
            return Err(Failure::bad(pointer, format!("{} is missing", &pointer[1..])));
        }
    }
    let typed = draft.typed()?;
    let notes = draft.new_notes()?;
    let blank = RouteNotes { prefix: String::new(), via: String::new(), nexthop: None, notes };
    let id = blank.notes.id.clone();
    let (route, notes) = edit(&typed, (PRIORITY, WEIGHT), blank, &wanted)?;
    draft.routes.push(route);
    draft.about.routes.push(notes);
    Ok(id)
}

/// Changes a route.
pub(super) fn update(draft: &mut Draft, id: &str, wanted: RouteRequest) -> Result<(), Failure> {
    let typed = draft.typed()?;
    let (at, route) = find(draft, &typed, id)?;
    let mut notes = notes_of(draft, route);
    let (before, via) = (notes.prefix.clone(), notes.via.clone());
    notes.notes.modified_on = Some(draft.now.clone());
    let (route, notes) = edit(&typed, (route.priority, route.weight), notes, &wanted)?;
    draft.about.routes.retain(|one| (&one.prefix, &one.via) != (&before, &via));
    draft.about.routes.push(notes);
    if let Some(place) = draft.routes.get_mut(at) {
        *place = route;
    }
    Ok(())
}

/// Takes a route out.
pub(super) fn remove(draft: &mut Draft, id: &str) -> Result<(), Failure> {
    let typed = draft.typed()?;
    let (at, _) = find(draft, &typed, id)?;
    // The items of the list and what was read of them are in the same order.
    draft.routes.remove(at);
    Ok(())
}

/// All routes of a tenant.
pub(super) fn all(draft: &Draft, typed: &TenantConfig) -> Vec<Route> {
    typed.routes.iter().map(|route| shown(draft, typed, route)).collect()
}

fn shown(draft: &Draft, typed: &TenantConfig, route: &TenantRoute) -> Route {
    let RouteNotes { prefix, nexthop, notes, .. } = notes_of(draft, route);
    // What was given, as long as it leads there.
    let given = nexthop
        .filter(|given| resolve(typed, &route.prefix, given).is_ok_and(|via| via == route.via.to_string()));
    Route {
        id: notes.id,
        prefix,
        nexthop: given.unwrap_or_else(|| next_hop(typed, route)),
        priority: route.priority,
        weight: route.weight,
        description: notes.description,
        created_on: notes.created_on,
        modified_on: notes.modified_on,
    }
}

fn notes_of(draft: &Draft, route: &TenantRoute) -> RouteNotes {
    let (prefix, via) = (route.prefix.to_string(), route.via.to_string());
    let known = draft.about.routes.iter().find(|one| one.prefix == prefix && one.via == via);
    known.cloned().unwrap_or_else(|| {
        let id = about::id_of_route(&draft.name, &prefix, &via);
        RouteNotes { prefix, via, nexthop: None, notes: Notes { id, ..Notes::default() } }
    })
}

fn find<'t>(draft: &Draft, typed: &'t TenantConfig, id: &str) -> Result<(usize, &'t TenantRoute), Failure> {
    let found = typed.routes.iter().enumerate().find(|(_, route)| notes_of(draft, route).notes.id == id);
    found.ok_or_else(|| Failure::no_such("route", id))
}

/// A route with what is wanted of it, and what is known about it then.
fn edit(
    typed: &TenantConfig,
    (priority, weight): (u32, u16),
    mut notes: RouteNotes,
    wanted: &RouteRequest,
) -> Result<(Value, RouteNotes), Failure> {
    let is_everywhere = wanted.scope.as_ref().is_none_or(|scope| match scope {
        Value::Object(scope) => scope.values().all(|list| list.as_array().is_some_and(Vec::is_empty)),
        other => other.is_null(),
    });
    if !is_everywhere {
        let message = "a route is on every node: leave scope out";
        return Err(Failure::bad("/scope", message));
    }
    if let Some(text) = &wanted.prefix {
        let unfit = || Failure::bad("/prefix", "write a prefix such as 198.51.100.0/24, without host bits");
        let prefix: IpNet = text.parse().map_err(|_| unfit())?;
        if prefix != prefix.trunc() {
            return Err(unfit());
        }
        notes.prefix = prefix.to_string();
    }
    let prefix: IpNet =
        notes.prefix.parse().map_err(|_| Failure::bad("/prefix", "the route has no prefix: write one"))?;
    if let Some(text) = &wanted.nexthop {
        notes.via = resolve(typed, &prefix, text)?;
        notes.nexthop = (*text != notes.via).then(|| text.clone());
    }
    if let Some(text) = &wanted.description {
        notes.notes.description = description(text)?;
    }
    let route = json!({
        "prefix": notes.prefix,
        "via": notes.via,
        "priority": wanted.priority.unwrap_or(priority),
        "weight": wanted.weight.unwrap_or(weight),
    });
    Ok((route, notes))
}

/// The way that a next hop means, as the configuration has it.
fn resolve(typed: &TenantConfig, prefix: &IpNet, nexthop: &str) -> Result<String, Failure> {
    const POINTER: &str = "/nexthop";
    if matches!(nexthop, "internet" | "blackhole" | "unreachable") {
        return Ok(nexthop.to_owned());
    }
    let Ok(ip) = nexthop.parse::<IpAddr>() else {
        let is_tunnel = Name::new(nexthop).is_some_and(|name| typed.tunnels.contains_key(&name));
        if is_tunnel {
            return Ok(nexthop.to_owned());
        }
        let message =
            "write the address of a tunnel's other end (of its interface_address), or a tunnel's name";
        return Err(Failure::bad(POINTER, message));
    };
    if ip.is_ipv4() != prefix.addr().is_ipv4() {
        return Err(Failure::bad(POINTER, format!("{ip} and {prefix} are of two families")));
    }
    let links =
        typed.tunnels.iter().flat_map(|(name, tunnel)| tunnel.address.iter().map(move |net| (name, net)));
    let link = links.filter(|(_, net)| net.contains(&ip)).max_by_key(|(_, net)| net.prefix_len());
    match link {
        Some((name, net)) if net.addr() == ip => {
            let message = format!("{ip} is our own end of tunnel {name}: write the customer's");
            Err(Failure::bad(POINTER, message))
        }
        Some((name, _)) => Ok(name.to_string()),
        // A router on a link of the tenant, or of nothing: the configuration is checked for it.
        None => Ok(ip.to_string()),
    }
}

/// The other end of the tunnel that a route leads into, or else the way as the configuration has it.
fn next_hop(typed: &TenantConfig, route: &TenantRoute) -> String {
    let other_end = match &route.via {
        Via::Tunnel(name) => typed.tunnels.get(name).and_then(|tunnel| other_end(tunnel, &route.prefix)),
        _ => None,
    };
    other_end.map_or_else(|| route.via.to_string(), |ip| ip.to_string())
}

/// The customer's address in a tunnel whose prefix has room for two (RFC 3021, RFC 6164).
fn other_end(tunnel: &TunnelConfig, prefix: &IpNet) -> Option<IpAddr> {
    let is_v4 = prefix.addr().is_ipv4();
    let net = tunnel.address.iter().find(|net| net.addr().is_ipv4() == is_v4)?;
    if net.max_prefix_len() - net.prefix_len() > 2 {
        return None;
    }
    let mut others = net.hosts().filter(|ip| *ip != net.addr());
    let other = others.next();
    if others.next().is_none() { other } else { None }
}
