//! The tables of a scenario, as control would compile them from a real configuration: one tenant whose
//! public prefix leads from the Internet's table to its own, where each tunnel has a network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::{AdjacencyId, EndpointId, FilterId, InterfaceId, PortId, TunnelId, VrfId};
use penstock_dataplane::tables::fib::{Fib4, Prefix4};
use penstock_dataplane::tables::tunnel::DEFAULT_TTL;
use penstock_dataplane::tables::{
    Adjacency, DontFragment, Dscp, Encapsulation, Hop, Interface, Interfaces, Mss, RouteTable, Snapshot,
    SourceFilter, Ttl, Tunnel, TunnelSpec,
};

use crate::routes::Internet;
use crate::scenario::{Case, Scenario};
use crate::traffic;

/// Frames come in by this port.
pub const PORT_IN: PortId = PortId(0);
/// And leave by this one.
pub const PORT_OUT: PortId = PortId(1);
/// How many ports the counters are for.
pub const PORTS: usize = 2;

const TENANT: VrfId = VrfId(1);
pub const ENDPOINT: EndpointId = EndpointId(0);
const TENANT_SOURCES: FilterId = FilterId(0);
const LINK_MTU: u16 = 1500;
/// Of all tunnels; see [`TunnelSpec::incarnation`].
pub const INCARNATION: u32 = 0;

/// The largest inner packet that fits the tunnels of a case.
pub fn tunnel_mtu(case: Case, suite: Suite) -> u16 {
    if case.is_esp() { suite.inner_mtu(LINK_MTU, false, false) } else { traffic::TUNNEL_MTU }
}

/// Builds them.
pub fn build(scenario: &Scenario, internet: &Internet) -> Result<Snapshot> {
    let mut tables = Snapshot::default();
    let mut interfaces = Interfaces::default();
    for (port, mac, address) in
        [(PORT_IN, traffic::MAC_IN, 0xc000_0201), (PORT_OUT, traffic::MAC_OUT, 0xc000_0281)]
    {
        interfaces.push(Interface {
            port,
            vlan: None,
            mac,
            vrf: VrfId::INTERNET,
            mtu: LINK_MTU,
            address_v4: address,
            address_v6: 0,
        });
    }
    tables.interfaces = Arc::new(interfaces);
    for next_hop in 0..traffic::NEXT_HOPS {
        let neighbor = traffic::neighbor(next_hop);
        let adjacency =
            Adjacency::resolved(InterfaceId(1), PORT_OUT, None, neighbor, traffic::MAC_OUT, LINK_MTU);
        tables.set_adjacency(AdjacencyId(next_hop), adjacency);
    }
    tables.set_vrf(VrfId::INTERNET, internet_routes(internet)?);
    tables.set_vrf(TENANT, tenant_routes(scenario)?);
    let (address, len) = traffic::TENANT;
    let sources = SourceFilter::new(table([(address, len, 1)])?, Some(Prefix4::new(address, len)?));
    tables.set_filter(TENANT_SOURCES, sources);
    for tunnel in 0..scenario.all_tunnels() {
        add_tunnel(&mut tables, scenario, tunnel)?;
    }
    Ok(tables)
}

/// The Internet, with what is ours in it.
fn internet_routes(internet: &Internet) -> Result<RouteTable> {
    let (address, len) = traffic::TENANT;
    let ours = [
        (traffic::ENDPOINT, 32, Hop::endpoint(ENDPOINT).bits()),
        (0xc000_0201, 32, Hop::LOCAL.bits()),
        (0xc000_0281, 32, Hop::LOCAL.bits()),
        (address, len, Hop::vrf(TENANT).bits()),
    ];
    let routes = internet.iter().map(|(addr, len, hop)| (addr, len, Hop::adjacency(AdjacencyId(hop)).bits()));
    table(routes.chain(ours))
}

/// The tenant's networks behind its tunnels; all else is the Internet's.
fn tenant_routes(scenario: &Scenario) -> Result<RouteTable> {
    let network = |tunnel: usize| {
        let hop = Hop::tunnel(TunnelId(tunnel as u32));
        (traffic::network(tunnel), traffic::TUNNEL_PREFIX_LEN, hop.bits())
    };
    let default = (0, 0, Hop::vrf(VrfId::INTERNET).bits());
    table((0..scenario.all_tunnels()).map(network).chain([default]))
}

fn table(routes: impl IntoIterator<Item = (u32, u8, u32)>) -> Result<RouteTable> {
    let routes: Result<Vec<_>, _> = routes
        .into_iter()
        .map(|(addr, len, value)| Prefix4::new(addr, len).map(|prefix| (prefix, value)))
        .collect();
    let v4 = Fib4::build(&routes.context("a prefix")?).context("the routing table")?;
    Ok(RouteTable { v4: Arc::new(v4), ..RouteTable::default() })
}

fn add_tunnel(tables: &mut Snapshot, scenario: &Scenario, tunnel: usize) -> Result<()> {
    let remote = IpAddr::V4(Ipv4Addr::from(traffic::remote(tunnel)));
    let id = TunnelId(tunnel as u32);
    let encapsulation = if scenario.case.is_esp() {
        Encapsulation::Esp { udp: None }
    } else {
        Encapsulation::Gre { key: None, checksum: false }
    };
    let spec = TunnelSpec {
        local: IpAddr::V4(Ipv4Addr::from(traffic::ENDPOINT)),
        remote,
        encapsulation,
        incarnation: INCARNATION,
        ttl: Ttl::Fixed(DEFAULT_TTL),
        dscp: Dscp::Inherit,
        df: DontFragment::Set,
        mtu: tunnel_mtu(scenario.case, scenario.protection.suite),
        mss: Mss::Auto,
        vrf: TENANT,
        filter: scenario.source_filter.then_some(TENANT_SOURCES),
        underlay: Hop::adjacency(AdjacencyId(0)),
        underlay_mtu: LINK_MTU,
        address_v4: 0,
        address_v6: 0,
    };
    tables.set_tunnel(id, Tunnel::new(&spec).context("a tunnel")?);
    // A packet's SPI names its ESP tunnel, whoever sent it.
    if !scenario.case.is_esp() {
        tables.bind_tunnel(ENDPOINT, remote, None, id);
    }
    Ok(())
}
