//! A compiler with a make-believe kernel, and look-ups that answer in words.

use std::collections::HashMap;
use std::net::IpAddr;

use penstock_dataplane::ids::{AdjacencyId, GroupId, VrfId};
use penstock_dataplane::tables::{AdjacencyState, Hop, HopKind, RouteTable};

use crate::compile::{Compiled, Compiler};
use crate::config::{Name, parse_str};
use crate::kernel::state::{
    Address, Change, IfIndex, KernelUpdate, Link, Neighbour, NeighbourState, NextHop, Route, RouteKind,
};

pub(super) const SMALL: &str = "\
cores: {control: 0, workers: [1]}
ports:
  edge0:
    device: net_null0
    addresses: [192.0.2.1/24]
endpoints:
  gw: 203.0.113.1
tenants:
  acme:
    prefixes: [198.51.100.0/24]
    tunnels:
      dc1:
        endpoint: gw
        remote: 192.0.2.77
        address: [10.255.0.0/31]
    routes:
      - {prefix: 198.51.100.0/24, via: dc1}
      - {prefix: 10.66.0.0/16, via: blackhole}
      - {prefix: 10.67.0.0/16, via: unreachable}
      - {prefix: 0.0.0.0/0, via: internet}
";

pub(super) struct Lab {
    pub(super) compiler: Compiler,
    generation: u64,
}

impl Lab {
    pub(super) fn new(text: &str) -> Self {
        let config = parse_str(text).unwrap();
        let macs = (1..=32).map(|i| [2, 0, 0, 0, 0, i]).collect();
        let mut lab = Self { compiler: Compiler::new(config, macs), generation: 0 };
        lab.settle();
        lab
    }

    /// Compiles and lets all workers take it at once.
    pub(super) fn settle(&mut self) -> Compiled {
        let compiled = self.compiler.compile();
        assert_eq!(compiled.errors, []);
        self.generation += 1;
        self.compiler.published(self.generation);
        self.compiler.settled(self.generation);
        compiled
    }

    pub(super) fn configure(&mut self, text: &str) -> Compiled {
        self.compiler.configure(parse_str(text).unwrap());
        self.settle()
    }

    pub(super) fn change(&mut self, change: Change) -> Compiled {
        self.compiler.kernel(KernelUpdate { changes: vec![change], resync: false });
        self.settle()
    }

    /// The port's twin, its address and connected prefix, a default route and its router.
    pub(super) fn wire_up(&mut self) {
        self.link(2, "edge0");
        self.address(2, "192.0.2.1/24");
        self.route("192.0.2.0/24", &[(None, 2, 1)]);
        self.route("0.0.0.0/0", &[(Some("192.0.2.254"), 2, 1)]);
        self.neighbour(2, "192.0.2.254", Some(0xfe));
    }

    pub(super) fn link(&mut self, index: u32, name: &str) -> Compiled {
        self.change(link(index, Some(name)))
    }

    pub(super) fn address(&mut self, index: u32, net: &str) -> Compiled {
        self.change(address(index, net, true))
    }

    pub(super) fn route(&mut self, prefix: &str, hops: &[(Option<&str>, u32, u16)]) -> Compiled {
        self.change(route(prefix, RouteKind::Unicast, hops))
    }

    pub(super) fn neighbour(&mut self, index: u32, ip: &str, mac: Option<u8>) -> Compiled {
        self.change(neighbour(index, ip, mac))
    }

    fn table(&self, name: &str) -> &RouteTable {
        let vrf = match Name::new(name).and_then(|tenant| self.compiler.vrf(&tenant)) {
            Some(vrf) => vrf,
            None if name == "internet" => VrfId::INTERNET,
            None => panic!("no tenant {name}"),
        };
        self.compiler.tables().vrf(vrf).unwrap()
    }

    /// Where a packet from a table (`internet` or a tenant) to an address goes.
    pub(super) fn find(&self, table: &str, ip: &str) -> String {
        let ip: IpAddr = ip.parse().unwrap();
        self.follow(lookup(self.table(table), ip), ip)
    }

    pub(super) fn follow(&self, hop: Hop, ip: IpAddr) -> String {
        let tables = self.compiler.tables();
        let tunnel = || {
            let view = self.compiler.tunnels().find(|t| t.id.0 == hop.slot()).unwrap();
            format!("{}/{}", view.tenant, view.name)
        };
        match hop.kind() {
            HopKind::NoRoute => "no route".into(),
            HopKind::Tunnel => format!("tunnel {}", tunnel()),
            HopKind::TunnelAddress => format!("address in {}", tunnel()),
            HopKind::Endpoint if hop == Hop::FLEET => "fleet".into(),
            HopKind::Endpoint => {
                let found = self.compiler.endpoints.iter().find(|(_, id)| u32::from(id.0) == hop.slot());
                format!("endpoint {}", found.unwrap().0)
            }
            HopKind::Local => "local".into(),
            HopKind::Blackhole => "blackhole".into(),
            HopKind::Unreachable => "unreachable".into(),
            HopKind::Vrf => self.follow(lookup(tables.vrf(VrfId(hop.slot() as u16)).unwrap(), ip), ip),
            HopKind::Adjacency => {
                let id = AdjacencyId(hop.slot());
                let key = self.compiler.next_hops.key_of(id).unwrap();
                let name = self.compiler.interface_name(key.interface).unwrap();
                let via = key.ip.map_or(String::new(), |ip| format!(" via {ip}"));
                let state = match tables.adjacency(id).unwrap().state() {
                    AdjacencyState::Resolved => "resolved",
                    AdjacencyState::Unresolved => "unresolved",
                    AdjacencyState::Empty => "EMPTY",
                };
                format!("{name}{via} {state}")
            }
            HopKind::Group => {
                let buckets = tables.group(GroupId(hop.slot())).unwrap().buckets();
                let mut shares: HashMap<String, usize> = HashMap::new();
                for hop in buckets {
                    *shares.entry(self.follow(*hop, ip)).or_default() += 1;
                }
                let mut shares: Vec<_> = shares.into_iter().map(|(way, n)| format!("{way} x{n}")).collect();
                shares.sort();
                format!("[{}]", shares.join(", "))
            }
        }
    }

    /// What workers have of a tunnel.
    pub(super) fn tunnel(&self, tenant: &str, name: &str) -> String {
        let id = self.compiler.tunnel_id(&Name::new(tenant).unwrap(), &Name::new(name).unwrap()).unwrap();
        let tunnel = self.compiler.tables().tunnel(id).unwrap();
        assert!(tunnel.is_live());
        let remote = self.compiler.tunnels().find(|t| t.id == id).unwrap().remote;
        let (v4, v6) = tunnel.mss();
        let mss = |mss: Option<u16>| mss.map_or("off".into(), |mss| mss.to_string());
        let by = remote.map_or("nowhere".into(), |remote| self.follow(tunnel.underlay(), remote));
        format!("mtu {} mss {}/{} by {by}", tunnel.mtu(), mss(v4), mss(v6))
    }

    /// Whether a source may come out of a tunnel.
    pub(super) fn accepts(&self, tenant: &str, name: &str, source: &str) -> bool {
        let id = self.compiler.tunnel_id(&Name::new(tenant).unwrap(), &Name::new(name).unwrap()).unwrap();
        let filter = self.compiler.tunnels.entries[&id].written.unwrap().filter;
        let Some(filter) = filter else { return true };
        self.compiler.tables().filter(filter).unwrap().accepts(source.parse().unwrap())
    }
}

pub(super) fn lookup(table: &RouteTable, ip: IpAddr) -> Hop {
    Hop::from_bits(match ip {
        IpAddr::V4(ip) => table.v4.lookup(ip.into()),
        IpAddr::V6(ip) => table.v6.lookup(ip.into()),
    })
}

pub(super) fn link(index: u32, name: Option<&str>) -> Change {
    let index = IfIndex(index);
    let link = name.map(|name| Link {
        index,
        name: name.into(),
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu_bytes: 1500,
        admin_up: true,
        carrier: true,
        running: true,
        loopback: name == "lo",
    });
    Change::Link(index, link)
}

pub(super) fn address(index: u32, net: &str, there: bool) -> Change {
    Change::Address(Address { interface: IfIndex(index), net: net.parse().unwrap() }, there)
}

pub(super) fn route(prefix: &str, kind: RouteKind, hops: &[(Option<&str>, u32, u16)]) -> Change {
    let prefix = prefix.parse().unwrap();
    let nexthops = hops
        .iter()
        .map(|(via, interface, weight)| NextHop {
            via: via.map(|via| via.parse().unwrap()),
            interface: IfIndex(*interface),
            weight: *weight,
        })
        .collect();
    Change::Route(prefix, Some(Route { prefix, kind, nexthops, metric: 0, protocol: 4 }))
}

pub(super) fn no_route(prefix: &str) -> Change {
    Change::Route(prefix.parse().unwrap(), None)
}

/// A neighbour with a MAC that ends in this byte; without: one that does not answer.
pub(super) fn neighbour(index: u32, ip: &str, mac: Option<u8>) -> Change {
    let (interface, ip) = (IfIndex(index), ip.parse().unwrap());
    let state = if mac.is_some() { NeighbourState::Reachable } else { NeighbourState::Failed };
    let neighbour = Neighbour { interface, ip, mac: mac.map(|last| [2, 0, 0, 0, 1, last]), state };
    Change::Neighbour((interface, ip), Some(neighbour))
}
