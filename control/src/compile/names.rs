//! What the numbers in the tables are called, for whoever follows packets through them.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use penstock_dataplane::ids::{AdjacencyId, EndpointId, InterfaceId, TunnelId, VrfId};

use super::Compiler;

/// The underlay's table.
const INTERNET: &str = "internet";

/// Names of one generation of tables.
#[derive(Clone, Debug, Default)]
pub struct Names {
    tables: HashMap<VrfId, String>,
    tunnels: HashMap<TunnelId, String>,
    endpoints: HashMap<EndpointId, String>,
    interfaces: HashMap<InterfaceId, String>,
    adjacencies: HashMap<AdjacencyId, String>,
}

impl Names {
    /// A table: `internet`, or whose it is.
    pub fn table(&self, id: VrfId) -> String {
        // Each link has a small table of its own, which needs no name.
        self.tables.get(&id).cloned().unwrap_or_else(|| "the link".to_owned())
    }

    /// A tunnel: `acme/dc1`.
    pub fn tunnel(&self, id: TunnelId) -> String {
        self.tunnels.get(&id).cloned().unwrap_or_else(|| format!("number {id}, which is gone"))
    }

    /// An endpoint.
    pub fn endpoint(&self, id: EndpointId) -> String {
        self.endpoints.get(&id).cloned().unwrap_or_else(|| "the fleet's data address".to_owned())
    }

    /// An interface: `edge0`, `edge0.100`.
    pub fn interface(&self, id: InterfaceId) -> String {
        self.interfaces.get(&id).cloned().unwrap_or_else(|| "an unknown interface".to_owned())
    }

    /// A next hop: `edge0 via 192.0.2.254`.
    pub fn next_hop(&self, id: AdjacencyId) -> String {
        self.adjacencies.get(&id).cloned().unwrap_or_else(|| "a next hop that is gone".to_owned())
    }
}

impl Compiler {
    /// What everything is called now.
    pub fn names(&self) -> Names {
        let tenants = self.tenants.iter().map(|(name, entry)| (entry.vrf, name.to_string()));
        let interfaces: HashMap<_, _> =
            self.links.iter().map(|(id, link)| (id, link.name.to_string())).collect();
        let next_hops = self.next_hops.adjacencies().map(|(id, key)| {
            let link = interfaces.get(&key.interface).cloned().unwrap_or_default();
            (id, key.ip.map_or_else(|| link.clone(), |ip| format!("{link} via {ip}")))
        });
        Names {
            adjacencies: next_hops.collect(),
            tables: tenants.chain([(VrfId::INTERNET, INTERNET.to_owned())]).collect(),
            tunnels: self
                .tunnels
                .entries
                .iter()
                .map(|(id, entry)| (*id, format!("{}/{}", entry.tenant, entry.name)))
                .collect(),
            endpoints: self.endpoints.iter().map(|(name, id)| (*id, name.to_string())).collect(),
            interfaces,
        }
    }

    /// The prefix by which a table sends packets to an address on: the longest that covers it.
    pub fn covering(&self, vrf: VrfId, address: IpAddr) -> Option<IpNet> {
        let kernel = self.underlay.routes(vrf).map(|(prefix, _)| *prefix);
        let ours = self.links.kernel.addresses.iter();
        let ours = ours.filter(|a| self.links.vrf_of(a.interface) == vrf).map(|a| IpNet::from(a.net.addr()));
        let tenant = self.tenants.iter().find(|(_, entry)| entry.vrf == vrf).map(|(name, _)| name);
        let tenant = tenant.and_then(|name| self.config.tenants.get(name));
        let routes = tenant.into_iter().flat_map(|tenant| tenant.routes.iter().map(|route| route.prefix));
        let links = tenant
            .into_iter()
            .flat_map(|tenant| tenant.tunnels.values())
            .flat_map(|tunnel| tunnel.address.iter().flat_map(|net| [net.trunc(), IpNet::from(net.addr())]));
        let is_internet = vrf == VrfId::INTERNET;
        let public = self.config.tenants.values().filter(|_| is_internet).flat_map(|t| t.prefixes.clone());
        let endpoints = self.config.endpoints.values().filter(|_| is_internet).map(|ip| IpNet::from(*ip));
        kernel
            .chain(ours)
            .chain(routes)
            .chain(links)
            .chain(public)
            .chain(endpoints)
            .filter(|prefix| prefix.contains(&address))
            .max_by_key(IpNet::prefix_len)
    }
}
