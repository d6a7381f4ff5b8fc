//! The frames of a scenario: what comes in, and what must go out for it.
//!
//! Both are built from the flow's addresses, so nothing that the data path did enters the judgement.

use crate::packet;
use crate::routes::{Internet, Random};
use crate::scenario::{Case, Scenario};

/// Our addresses on the two links.
pub const MAC_IN: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const MAC_OUT: [u8; 6] = [2, 0, 0, 0, 0, 2];
const MAC_NEIGHBOR_IN: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// The anycast endpoint, 203.0.113.1.
pub const ENDPOINT: u32 = 0xcb00_7101;
/// The tenant's public prefix, 100.64.0.0/10; each tunnel has a /28 of it.
pub const TENANT: (u32, u8) = (0x6440_0000, 10);
pub const TUNNEL_PREFIX_LEN: u8 = 28;
/// Inner MTU and the MSS it leaves.
pub const TUNNEL_MTU: u16 = 1476;
const TUNNEL_MSS: u16 = TUNNEL_MTU - 40;
const CLIENT_MSS: u16 = 1460;
/// Neighbours on the outgoing link.
pub const NEXT_HOPS: u32 = 16;

/// The customer's router of a tunnel: somewhere in 10.0.0.0/8, neighbours in number far apart.
pub fn remote(tunnel: usize) -> u32 {
    0x0a00_0000 | ((tunnel as u32 + 1).wrapping_mul(0x009e_3779) & 0x00ff_ffff)
}

/// The tenant's network behind a tunnel.
pub fn network(tunnel: usize) -> u32 {
    TENANT.0 + ((tunnel as u32) << (32 - TUNNEL_PREFIX_LEN))
}

/// The neighbour of a next hop.
pub fn neighbor(next_hop: u32) -> [u8; 6] {
    [2, 0, 0, 0, 2, next_hop as u8]
}

/// One flow: its inner addresses and ports, and the tunnels it comes by and goes by.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    src: u32,
    dst: u32,
    port: u16,
    tunnel: usize,
}

/// All flows of a scenario, in the order of their frames.
pub fn flows(scenario: &Scenario, internet: &Internet) -> Vec<Flow> {
    let mut random = Random(1);
    let mut flows: Vec<Flow> = (0..scenario.flows)
        .map(|i| {
            let tunnel = match scenario.flows {
                flows if flows < scenario.tunnels => i * scenario.tunnels / flows,
                _ => i % scenario.tunnels,
            };
            let inside = network(tunnel) + 1 + (i / scenario.tunnels % 14) as u32;
            let (src, dst) = match scenario.case {
                Case::Forward => (0xc612_0001 + i as u32 % 100_000, internet.destination(&mut random)),
                Case::GreEncap | Case::GreEncapSyn => (internet.destination(&mut random), inside),
                Case::GreDecap => (inside, internet.destination(&mut random)),
                Case::GreTransit => (inside, network(tunnel + scenario.tunnels) + 1),
            };
            Flow { src, dst, port: 1024 + (i % 60_000) as u16, tunnel }
        })
        .collect();
    // Else one tunnel's tables would follow the other's in memory and be fetched ahead.
    random.shuffle(&mut flows);
    flows
}

impl Flow {
    fn inner(&self, scenario: &Scenario, ttl: u8, mss: u16) -> Vec<u8> {
        let syn = (scenario.case == Case::GreEncapSyn).then_some(mss);
        let segment = packet::tcp(self.src, self.dst, (self.port, 443), syn, scenario.size - 20);
        packet::ipv4(self.src, self.dst, ttl, 6, &segment)
    }

    /// The frame that comes in.
    pub fn frame_in(&self, scenario: &Scenario) -> Vec<u8> {
        let inner = self.inner(scenario, 64, CLIENT_MSS);
        let packet = if scenario.case.comes_from_tunnel() {
            packet::ipv4(remote(self.tunnel), ENDPOINT, 57, 47, &packet::gre(&inner))
        } else {
            inner
        };
        packet::ethernet(MAC_IN, MAC_NEIGHBOR_IN, &packet)
    }

    /// The frame that must go out.
    pub fn frame_out(&self, scenario: &Scenario, internet: &Internet) -> Vec<u8> {
        let inner = self.inner(scenario, 63, TUNNEL_MSS);
        let next_tunnel = match scenario.case {
            Case::GreTransit => self.tunnel + scenario.tunnels,
            _ => self.tunnel,
        };
        let (packet, next_hop) = if scenario.case.into_tunnel() {
            let outer = packet::ipv4(ENDPOINT, remote(next_tunnel), 64, 47, &packet::gre(&inner));
            (outer, 0)
        } else {
            (inner, internet.next_hop(self.dst))
        };
        packet::ethernet(neighbor(next_hop), MAC_OUT, &packet)
    }
}
