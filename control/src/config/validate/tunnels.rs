//! `tenants.NAME.tunnels`: identity, families, sizes.

use std::collections::HashMap;
use std::net::IpAddr;

use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::tables::tunnel::gre_overhead;

use super::Check;
use super::ike::Routers;
use super::prefixes::PrefixMap;
use crate::config::Name;
use crate::config::schema::{Auto, Df, GatewayConfig, HealthConfig, Mss, Remote, TunnelConfig, TunnelKind};
use crate::health::{self, rules};

/// Smallest MTU that inner IPv6 can live with (RFC 8200 section 5), bytes.
const MIN_IPV6_MTU: u16 = 1280;

impl<'a> Check<'a> {
    pub(super) fn tunnels(&mut self, owners: &PrefixMap<(Name, String)>) {
        let config: &'a GatewayConfig = self.config;
        let mut identities: HashMap<(&str, IpAddr, Option<u32>), (&Name, &Name)> = HashMap::new();
        let mut routers = Routers::default();
        let mut probes_per_1000_s = 0;
        let largest_link = config.ports.values().map(|port| port.mtu).max().unwrap_or(1500);
        for (tenant_name, tenant) in &config.tenants {
            let mut inner: HashMap<IpAddr, &Name> = HashMap::new();
            for (name, tunnel) in &tenant.tunnels {
                let path = || format!("tenants.{tenant_name}.tunnels.{name}");
                let identity = |address| Some((&*tunnel.endpoint, address, tunnel.gre()?.key));
                if let Some(identity) = tunnel.remote.address().and_then(identity)
                    && let Some((other_tenant, other)) = identities.insert(identity, (tenant_name, name))
                {
                    let other = format!("tenants.{other_tenant}.tunnels.{other}");
                    let line = self.line(&other).line;
                    let message = format!("has the same endpoint, remote and key as {other} (line {line})");
                    self.error(&path(), message, "received packets could be of either: give one another key");
                }
                for net in &tunnel.address {
                    if let Some(other) = inner.insert(net.addr(), name) {
                        let message = format!("{} is also an address of {other}", net.addr());
                        self.error(&format!("{}.address", path()), message, "remove one of them");
                    }
                }
                self.ends(&path, tunnel, owners);
                self.sizes(&path, tunnel, largest_link);
                if let Some(health) = &tunnel.health {
                    self.health(&path, tunnel, health);
                    probes_per_1000_s += 1_000_000 / rules::interval(health.rate).as_millis() as u64;
                    if health.path_mtu {
                        probes_per_1000_s += 2 * 1000 / rules::PATH_CONFIRM_EVERY.as_secs();
                    }
                }
                if let Some(ike) = tunnel.ike() {
                    self.ike((tenant_name, name), tunnel, ike, &mut routers);
                } else if tunnel.is_ipsec() && config.fleet.is_some() {
                    self.never_up_in_a_fleet(tenant_name, name);
                }
            }
        }
        let probes = probes_per_1000_s / 1000;
        if probes > rules::MAX_PROBES_PER_SECOND {
            let message = format!("the tunnels' health probes are {probes} a second");
            let most = rules::MAX_PROBES_PER_SECOND;
            self.warn("tenants", message, format!("write rate: low for some: one core sends about {most}"));
        }
    }

    fn health(&mut self, path: &dyn Fn() -> String, tunnel: &TunnelConfig, health: &HealthConfig) {
        // That there is no such endpoint is said elsewhere.
        let Some(endpoint) = self.config.endpoints.get(&tunnel.endpoint) else { return };
        if let Err(problem) = health::ends(tunnel, health, *endpoint) {
            self.error(&format!("{}.health", path()), problem.to_string(), problem.fix());
        }
        if health.path_mtu && tunnel.df == Df::Clear && endpoint.is_ipv4() {
            let message = "with df: clear routers cut what is too large, and no probe is lost for its size";
            let fix = "remove it, or write df: set or df: copy";
            self.error(&format!("{}.health.path_mtu", path()), message.to_owned(), fix);
        }
    }

    fn ends(&mut self, path: &dyn Fn() -> String, tunnel: &TunnelConfig, owners: &PrefixMap<(Name, String)>) {
        let config = self.config;
        let endpoint = config.endpoints.get(&tunnel.endpoint);
        if endpoint.is_none() {
            let path = format!("{}.endpoint", path());
            let names = config.endpoints.keys().map(|n| &**n);
            self.unknown(&path, "endpoint", &tunnel.endpoint, "endpoints", names);
        }
        let Some(remote) = tunnel.remote.address() else {
            if tunnel.ike().is_none() {
                let fix = "write the address of the customer's router, or type: ipsec and ike";
                self.error(&format!("{}.remote", path()), "any needs ike to find the router", fix);
            }
            return;
        };
        match endpoint {
            Some(endpoint) if endpoint.is_ipv4() != remote.is_ipv4() => {
                let family = |ip: &IpAddr| if ip.is_ipv4() { "IPv4" } else { "IPv6" };
                let (far, near) = (family(&remote), family(endpoint));
                let message = format!("{remote} is {far}, endpoint {} is {near}", tunnel.endpoint);
                let fitting = config.endpoints.iter().find(|(_, ip)| ip.is_ipv4() == remote.is_ipv4());
                let fix = match fitting {
                    Some((name, _)) => format!("write the router's {near} address, or use endpoint: {name}"),
                    None => format!("write the router's {near} address, or add an {far} endpoint"),
                };
                self.error(&format!("{}.remote", path()), message, fix);
            }
            _ => {}
        }
        if self.is_ours(remote) {
            let message = format!("{remote} is an address of this gateway");
            self.error(&format!("{}.remote", path()), message, "write the address of the customer's router");
        } else if let Some((prefix, (_, owner))) = owners.covering(remote, 128) {
            let message = format!("{remote} is inside {prefix} ({owner}), which is reached through tunnels");
            let fix = "a tunnel cannot run inside itself: write an address of the router's own provider";
            self.error(&format!("{}.remote", path()), message, fix);
        }
    }

    fn sizes(&mut self, path: &dyn Fn() -> String, tunnel: &TunnelConfig, largest_link: u16) {
        // The remote is of the endpoint's family.
        let v6 = match tunnel.remote {
            Remote::At(address) => address.is_ipv6(),
            Remote::Any => self.config.endpoints.get(&tunnel.endpoint).is_some_and(IpAddr::is_ipv6),
        };
        // Of an IPsec tunnel the least that any suite needs; what its own needs is known with its keys.
        let fits = match &tunnel.kind {
            TunnelKind::Gre(gre) => {
                largest_link.saturating_sub(gre_overhead(v6, gre.key.is_some(), gre.checksum))
            }
            TunnelKind::Ipsec(_) => {
                Suite::all().map(|suite| suite.inner_mtu(largest_link, v6, false)).max().unwrap_or(0)
            }
        };
        let overhead = largest_link.saturating_sub(fits);
        let mtu = match tunnel.mtu {
            Auto::Auto => fits,
            Auto::Fixed(mtu) => mtu,
        };
        if mtu > fits {
            let message =
                format!("{mtu} and {overhead} bytes of headers are more than any port's MTU, {largest_link}");
            self.warn(&format!("{}.mtu", path()), message, format!("write auto, or at most {fits}"));
        }
        if mtu < MIN_IPV6_MTU {
            let message = format!("{mtu} is less than 1280: inner IPv6 is fragmented outside");
            self.warn(&format!("{}.mtu", path()), message, "write auto, or at least 1280");
        }
        if let Mss::Bytes(mss) = tunnel.mss
            && mss > mtu.saturating_sub(40)
        {
            let message =
                format!("{mss} is more than the tunnel's MTU leaves for TCP, {}", mtu.saturating_sub(40));
            self.warn(&format!("{}.mss", path()), message, "write auto");
        }
    }
}
