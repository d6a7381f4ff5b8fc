//! `routes`: static routes of the underlay.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Check;
use crate::config::schema::{UnderlayRoute, UnderlayVia};

impl Check<'_> {
    pub(super) fn routes(&mut self) {
        let routes = &self.config.routes;
        let mut seen: HashMap<(IpNet, UnderlayVia, String), usize> = HashMap::new();
        let mut kinds: HashMap<IpNet, (bool, usize)> = HashMap::new();
        for (i, route) in routes.iter().enumerate() {
            let path = self.item("routes", i);
            let interface = route.interface.as_ref().map(ToString::to_string).unwrap_or_default();
            if let Some(first) = seen.insert((route.prefix, route.via, interface), i) {
                let first = self.item("routes", first);
                let line = self.line(&first).line;
                self.error(&path, format!("is the same as {first} (line {line})"), "remove one of them");
                continue;
            }
            let discards = !matches!(route.via, UnderlayVia::Router(_));
            let (other_discards, other) = *kinds.entry(route.prefix).or_insert((discards, i));
            if other != i && (discards || other_discards) {
                let other = self.item("routes", other);
                let message = format!("{} is also in {other}, and one of them discards", route.prefix);
                self.error(
                    &path,
                    message,
                    "a discarding route is the only one to its prefix: remove one of them",
                );
            }
            self.route(&path, route);
        }
    }

    fn route(&mut self, path: &str, route: &UnderlayRoute) {
        if let Some(interface) = &route.interface {
            self.known_interface(&format!("{path}.interface"), interface);
        }
        let UnderlayVia::Router(via) = route.via else {
            if route.interface.is_some() {
                let fix = "remove interface, or name a router in via";
                self.error(&format!("{path}.interface"), "a discarding route has no interface", fix);
            }
            return;
        };
        let path = format!("{path}.via");
        if let Some(own) = self.own.get(&via) {
            let message = format!("{via} is our own address ({own})");
            self.error(&path, message, "write the address of the next router");
            return;
        }
        if matches!(route.prefix, IpNet::V6(_)) && via.is_ipv4() {
            let message = format!("{} is IPv6, the router {via} is IPv4", route.prefix);
            self.error(&path, message, "write an IPv6 router (the other way round is possible)");
            return;
        }
        let link_local = matches!(via, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if route.interface.is_some() {
            return;
        }
        if link_local {
            let fix = "add interface, such as interface: edge0";
            self.error(&path, format!("{via} is a link-local address, which exists on every link"), fix);
        } else if !self.on_link(via, None) {
            let message = format!("{via} is in no prefix of a port");
            let fix =
                "write a router on one of our links, give a port an address beside it, or add interface";
            self.error(&path, message, fix);
        }
    }

    /// Whether the address is on one of our links: of the tenant's, or (`None`) of any.
    pub(super) fn on_link(&self, ip: IpAddr, tenant: Option<&str>) -> bool {
        self.config.ports.values().any(|port| {
            let here = |owner: &Option<_>, addresses: &[IpNet]| {
                let ours = tenant.is_none() || owner.as_ref().map(|n: &crate::config::Name| &**n) == tenant;
                ours && addresses.iter().any(|net| net.contains(&ip))
            };
            here(&port.tenant, &port.addresses)
                || port.vlans.values().any(|vlan| here(&vlan.tenant, &vlan.addresses))
        })
    }
}
