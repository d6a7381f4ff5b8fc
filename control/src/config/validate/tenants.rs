//! `tenants`: who owns which prefix, and where inner routes lead.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound;

use ipnet::IpNet;

use super::prefixes::PrefixMap;
use super::{Check, MAX_TENANTS, MAX_TUNNELS};
use crate::config::Name;
use crate::config::schema::{TenantConfig, TenantRoute, Via};

impl Check<'_> {
    pub(super) fn tenants(&mut self) {
        let tenants = &self.config.tenants;
        if tenants.len() > MAX_TENANTS {
            let message = format!("there are {} tenants, the limit is {MAX_TENANTS}", tenants.len());
            self.error("tenants", message, "serve some of them from another fleet");
        }
        // A table for each tenant and each link; their numbers have 16 bits.
        let links: usize = self.config.ports.values().map(|port| 1 + port.vlans.len()).sum();
        if tenants.len() <= MAX_TENANTS && tenants.len() + links > MAX_TENANTS {
            let message =
                format!("{} tenants and {links} ports and VLANs are more than {MAX_TENANTS}", tenants.len());
            self.error("tenants", message, "serve some of them from another fleet");
        }
        let tunnels: usize = tenants.values().map(|t| t.tunnels.len()).sum();
        if tunnels > MAX_TUNNELS {
            let message = format!("there are {tunnels} tunnels, the limit is {MAX_TUNNELS}");
            self.error("tenants", message, "serve some of them from another fleet");
        }
        let owners = self.public_prefixes();
        self.tunnels(&owners);
        for (name, tenant) in tenants {
            self.tenant_routes(name, tenant);
        }
    }

    /// Every public prefix has one owner.
    fn public_prefixes(&mut self) -> PrefixMap<(Name, String)> {
        let config = self.config;
        let mut owners = PrefixMap::new();
        let mut all = Vec::new();
        for (name, tenant) in &config.tenants {
            let list = format!("tenants.{name}.prefixes");
            for (i, prefix) in tenant.prefixes.iter().enumerate() {
                let path = self.item(&list, i);
                if prefix.prefix_len() == 0 {
                    let fix = "write the tenant's own prefixes; a default route belongs into its routes";
                    self.error(&path, format!("{prefix} would send the whole Internet to this tenant"), fix);
                    continue;
                }
                if prefix.prefix_len() == prefix.max_prefix_len() && self.is_ours(prefix.addr()) {
                    let message = format!("{} is an address of this gateway", prefix.addr());
                    self.error(&path, message, "remove it from one of the two");
                }
                match owners.insert(*prefix, (name.clone(), path.clone())) {
                    Some((_, other)) => {
                        let message = format!("{prefix} is also {other}");
                        self.error(&path, message, "a public prefix has one owner: remove one of them");
                    }
                    None => all.push((*prefix, name, path)),
                }
            }
        }
        for (prefix, name, path) in all {
            let enclosing = owners.covering(prefix.addr(), prefix.prefix_len() - 1);
            if let Some((outer, (owner, other))) = enclosing
                && owner != name
            {
                let message = format!("{prefix} is inside {outer} of {other}");
                self.warn(&path, message, "the longer prefix wins; check that this is meant");
            }
        }
        owners
    }

    pub(super) fn is_ours(&self, ip: IpAddr) -> bool {
        self.own.contains_key(&ip) || self.config.endpoints.values().any(|endpoint| *endpoint == ip)
    }

    fn tenant_routes(&mut self, name: &Name, tenant: &TenantConfig) {
        let list = format!("tenants.{name}.routes");
        let mut seen: HashMap<(IpNet, &Via), usize> = HashMap::new();
        let mut kinds: HashMap<(IpNet, u32), (bool, usize)> = HashMap::new();
        for (i, route) in tenant.routes.iter().enumerate() {
            if let Some(first) = seen.insert((route.prefix, &route.via), i) {
                let (path, first) = (self.item(&list, i), self.item(&list, first));
                let message = format!("{} via {} is also {first}", route.prefix, route.via);
                self.error(&path, message, "remove one of them");
                continue;
            }
            let shares = matches!(route.via, Via::Tunnel(_) | Via::Router(_));
            let (other_shares, other) = *kinds.entry((route.prefix, route.priority)).or_insert((shares, i));
            if other != i && !(shares && other_shares) {
                let (path, other) = (self.item(&list, i), self.item(&list, other));
                let message = format!("{} has the same priority as {other}", route.prefix);
                let fix =
                    "only tunnels and routers can share the flows of a prefix: give one another priority";
                self.error(&path, message, fix);
            }
            self.tenant_route(name, tenant, &list, i, route);
        }
        self.uncovered(name, tenant);
    }

    fn tenant_route(
        &mut self,
        name: &Name,
        tenant: &TenantConfig,
        list: &str,
        i: usize,
        route: &TenantRoute,
    ) {
        match &route.via {
            Via::Tunnel(tunnel) if !tenant.tunnels.contains_key(tunnel) => {
                let path = format!("{}.via", self.item(list, i));
                let tunnels = format!("tenants.{name}.tunnels");
                self.unknown(&path, "tunnel", tunnel, &tunnels, tenant.tunnels.keys().map(|n| &**n));
            }
            Via::Router(ip) => {
                let path = format!("{}.via", self.item(list, i));
                if ip.is_ipv4() != matches!(route.prefix, IpNet::V4(_)) {
                    let message = format!("{} and the router {ip} are of two families", route.prefix);
                    self.error(&path, message, "write a router of the prefix's family");
                } else if !self.on_link(*ip, Some(name)) {
                    let message = format!("{ip} is in no prefix of a port or VLAN of tenant {name}");
                    let fix = "write a tunnel's name, internet, or a router on a link of this tenant";
                    self.error(&path, message, fix);
                }
            }
            Via::Tunnel(_) | Via::Internet | Via::Blackhole | Via::Unreachable => {}
        }
    }

    /// Public prefixes that lead into the tenant's table, where no route takes them further.
    fn uncovered(&mut self, name: &Name, tenant: &TenantConfig) {
        let mut inward = PrefixMap::new();
        let mut lowest: BTreeMap<IpNet, &TenantRoute> = BTreeMap::new();
        for route in &tenant.routes {
            let best = lowest.entry(route.prefix).or_insert(route);
            if route.priority < best.priority {
                *best = route;
            }
        }
        for (prefix, route) in &lowest {
            inward.insert(*prefix, route.via != Via::Internet);
        }
        for (i, prefix) in tenant.prefixes.iter().enumerate() {
            // Longer routes inside the prefix are enough, too.
            let next = lowest.range((Bound::Excluded(*prefix), Bound::Unbounded)).next();
            let inside = next.is_some_and(|(longer, _)| prefix.contains(longer));
            let covered = inward.covering(prefix.addr(), prefix.prefix_len());
            if inside || covered.is_some_and(|(_, inward)| *inward) {
                continue;
            }
            let path = self.item(&format!("tenants.{name}.prefixes"), i);
            let message = format!("no route of {name} leads {prefix} to a tunnel: packets to it are dropped");
            let fix = format!("add {{prefix: {prefix}, via: TUNNEL}} to tenants.{name}.routes");
            self.warn(&path, message, fix);
        }
    }
}
