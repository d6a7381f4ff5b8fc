//! The frames of a scenario: what comes in, and what must go out for it.
//!
//! Both are built from the flow's addresses, so nothing that the data path did enters the judgement.

use std::collections::HashSet;

use anyhow::{Result, ensure};

use crate::esp::{self, Association};
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

/// One flow: its inner addresses and ports, the tunnel it comes by or, if none, goes by, and its packets' size.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    src: u32,
    dst: u32,
    port: u16,
    tunnel: usize,
    size: usize,
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
                Case::GreEncap | Case::GreEncapSyn | Case::EspEncap => {
                    (internet.destination(&mut random), inside)
                }
                Case::GreDecap | Case::EspDecap => (inside, internet.destination(&mut random)),
                Case::GreTransit | Case::EspTransit => (inside, network(tunnel + scenario.tunnels) + 1),
            };
            Flow { src, dst, port: 1024 + (i % 60_000) as u16, tunnel, size: scenario.size.of(i) }
        })
        .collect();
    // Else one tunnel's tables would follow the other's in memory and be fetched ahead.
    random.shuffle(&mut flows);
    flows
}

/// The frames that come in at one of several workers. Each tunnel's ESP packets are numbered as if they had come by one
/// link and been dealt out in turn.
pub fn frames_in(
    scenario: &Scenario,
    flows: &[Flow],
    worker: usize,
    workers: usize,
) -> impl Iterator<Item = Result<Vec<u8>>> {
    let mut numbers = Numbers::new(scenario);
    flows.iter().map(move |flow| {
        let number = (numbers.next(flow.tunnel) - 1) * workers as u32 + worker as u32 + 1;
        flow.frame_in(scenario, number)
    })
}

/// What must go out, frame by frame.
pub struct Expected<'a> {
    scenario: &'a Scenario,
    internet: &'a Internet,
    numbers: Numbers,
    ivs: HashSet<Vec<u8>>,
}

impl<'a> Expected<'a> {
    pub fn new(scenario: &'a Scenario, internet: &'a Internet) -> Self {
        Self { scenario, internet, numbers: Numbers::new(scenario), ivs: HashSet::new() }
    }

    /// The flow's frame. The IV of an ESP packet is the sender's choice: it is taken from what was `sent`, and must be
    /// one that was not seen before.
    pub fn next(&mut self, flow: &Flow, sent: &[u8]) -> Result<Vec<u8>> {
        let mut iv = [].as_slice();
        if !self.scenario.outbound().is_empty() {
            let start = packet::ETHERNET_LEN + packet::IPV4_LEN + esp::HEADER_LEN;
            let len = esp::iv_len(self.scenario.protection.suite);
            iv = sent.get(start..start + len).unwrap_or_default();
            ensure!(iv.len() == len, "a frame of {} bytes holds no ESP packet", sent.len());
            ensure!(len == 0 || self.ivs.insert(iv.to_vec()), "the IV {iv:02x?} was used twice");
        }
        let number = self.numbers.next(flow.tunnel);
        flow.frame_out(self.scenario, self.internet, number, iv)
    }
}

/// Sequence numbers of every tunnel.
struct Numbers(Vec<u32>);

impl Numbers {
    fn new(scenario: &Scenario) -> Self {
        Self(vec![0; scenario.tunnels])
    }

    /// The first one is 1 (RFC 4303 2.2).
    fn next(&mut self, tunnel: usize) -> u32 {
        self.0[tunnel] += 1;
        self.0[tunnel]
    }
}

impl Flow {
    /// The number of the tunnel that the packet comes in by.
    pub fn tunnel_in(&self) -> usize {
        self.tunnel
    }

    /// The number of the tunnel that the packet goes out by.
    pub fn tunnel_out(&self, scenario: &Scenario) -> usize {
        if scenario.case.is_transit() { self.tunnel + scenario.tunnels } else { self.tunnel }
    }

    fn inner(&self, scenario: &Scenario, ttl: u8, mss: u16) -> Vec<u8> {
        let syn = (scenario.case == Case::GreEncapSyn).then_some(mss);
        let segment = packet::tcp(self.src, self.dst, (self.port, 443), syn, self.size - packet::IPV4_LEN);
        packet::ipv4(self.src, self.dst, ttl, 6, &segment)
    }

    /// The frame that comes in.
    fn frame_in(&self, scenario: &Scenario, number: u32) -> Result<Vec<u8>> {
        let inner = self.inner(scenario, 64, CLIENT_MSS);
        let packet = if scenario.case.comes_from_tunnel() {
            let (protocol, payload) = if scenario.case.is_esp() {
                let suite = scenario.protection.suite;
                // Another for every packet, as a peer would have it; nobody but the cipher looks at it.
                let iv = &[[0xa5; 12].as_slice(), &number.to_be_bytes()].concat()[16 - esp::iv_len(suite)..];
                let association = Association::of_tunnel(suite, self.tunnel);
                (50, association.seal(number, iv, esp::IPV4, &inner)?)
            } else {
                (47, packet::gre(&inner))
            };
            packet::ipv4(remote(self.tunnel), ENDPOINT, 57, protocol, &payload)
        } else {
            inner
        };
        Ok(packet::ethernet(MAC_IN, MAC_NEIGHBOR_IN, &packet))
    }

    /// The frame that must go out.
    pub fn frame_out(
        &self,
        scenario: &Scenario,
        internet: &Internet,
        number: u32,
        iv: &[u8],
    ) -> Result<Vec<u8>> {
        let inner = self.inner(scenario, 63, TUNNEL_MSS);
        let (packet, next_hop) = if scenario.case.into_tunnel() {
            let tunnel = self.tunnel_out(scenario);
            let (protocol, payload) = if scenario.case.is_esp() {
                let association = Association::of_tunnel(scenario.protection.suite, tunnel);
                (50, association.seal(number, iv, esp::IPV4, &inner)?)
            } else {
                (47, packet::gre(&inner))
            };
            (packet::ipv4(ENDPOINT, remote(tunnel), 64, protocol, &payload), 0)
        } else {
            (inner, internet.next_hop(self.dst))
        };
        Ok(packet::ethernet(neighbor(next_hop), MAC_OUT, &packet))
    }
}
