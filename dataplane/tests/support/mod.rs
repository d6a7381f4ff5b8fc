//! A worker on heap buffers with two ports and one tenant, and frames to feed it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and fails by panic")]

pub mod esp;
pub mod fleet;

use std::net::IpAddr;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::EspParts;
use penstock_dataplane::esp::cipher::{Backend, Engine};
use penstock_dataplane::esp::feed::{SaFeed, SaReceiver};
use penstock_dataplane::esp::iv::{Lease, LeaseStore, SenderId};
use penstock_dataplane::frame::heap::{Heap, HeapBuffer, HeapPool, HeapQueue, NoFragmentation};
use penstock_dataplane::handoff::{Peers, peers};
use penstock_dataplane::ids::*;
use penstock_dataplane::ike::IkeGate;
use penstock_dataplane::pipeline::{Event, Parts};
use penstock_dataplane::probe::{ProbeAnswers, ProbeSender, probe_answers, probe_queue};
use penstock_dataplane::publish::Publisher;
use penstock_dataplane::punt::{InjectReceiver, Injector, PuntReceiver, inject_queue, punt_queue};
use penstock_dataplane::stats::WorkerStats;
use penstock_dataplane::tables::fib::{Fib4, Fib6, Prefix};
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::checksum;
use penstock_dataplane::worker::Worker;

pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const CORE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub const ENDPOINT: &str = "203.0.113.1";
pub const REMOTE: &str = "192.0.2.77";
pub const CLIENT: &str = "8.8.8.8";
pub const INSIDE: &str = "198.51.100.5";
pub const TENANT: VrfId = VrfId(1);
pub const TUNNEL: TunnelId = TunnelId(0);
pub const HZ: u64 = 1_000_000_000;

pub struct Lab {
    pub worker: Worker<Heap>,
    pub rx: HeapQueue,
    pub edge: HeapQueue,
    pub core: HeapQueue,
    pub punted: PuntReceiver<HeapBuffer>,
    pub injector: Injector<HeapBuffer, HeapPool>,
    pub prober: ProbeSender<HeapBuffer, HeapPool>,
    pub answers: ProbeAnswers,
    pub events: Arc<ArrayQueue<Event>>,
    pub publisher: Publisher,
    pub feed: SaFeed,
    pub tables: Snapshot,
    pub stats: Arc<WorkerStats>,
}

pub fn v4(text: &str) -> u32 {
    u32::from(text.parse::<std::net::Ipv4Addr>().unwrap())
}

pub fn v6(text: &str) -> u128 {
    u128::from(text.parse::<std::net::Ipv6Addr>().unwrap())
}

/// The tunnel of the tests: GRE from our endpoint to the remote router.
pub fn spec() -> TunnelSpec {
    TunnelSpec {
        local: ENDPOINT.parse().unwrap(),
        remote: REMOTE.parse().unwrap(),
        encapsulation: Encapsulation::Gre { key: None, checksum: false },
        incarnation: 0,
        ttl: Ttl::Fixed(64),
        dscp: Dscp::Inherit,
        df: DontFragment::Set,
        mtu: 1476,
        mss: Mss::Auto,
        vrf: TENANT,
        filter: None,
        underlay: Hop::adjacency(AdjacencyId(1)),
        underlay_mtu: 1500,
        address_v4: v4("10.255.0.0"),
        address_v6: v6("2001:db8:255::"),
    }
}

/// Inbound associations that a worker of the tests has room for.
pub const ASSOCIATIONS: usize = 64;

/// The fastest backend, unless `PENSTOCK_TEST_BACKEND` names another.
pub fn backend() -> Backend {
    std::env::var("PENSTOCK_TEST_BACKEND").map_or_else(|_| Backend::best(), |name| name.parse().unwrap())
}

pub fn esp_parts(receiver: SaReceiver) -> EspParts {
    let engine = Engine::new(backend()).unwrap();
    EspParts { receiver, engine, associations: ASSOCIATIONS, tunnels: 16 }
}

/// Sender IDs for the life of one test.
pub struct Senders(pub u32);

impl LeaseStore for Senders {
    type Error = std::convert::Infallible;

    fn next_sender(&mut self) -> Result<SenderId, Self::Error> {
        self.0 += 1;
        Ok(SenderId::new(self.0).unwrap())
    }
}

pub fn lease(number: u32) -> Lease {
    Lease::take(&mut Senders(number)).unwrap()
}

pub fn gre_options(key: Option<u32>, checksum: bool) -> Encapsulation {
    Encapsulation::Gre { key, checksum }
}

pub fn table(v4_routes: &[(&str, Hop)], v6_routes: &[(&str, Hop)]) -> RouteTable {
    let split = |text: &str| {
        let (addr, len) = text.split_once('/').unwrap();
        (addr.to_owned(), len.parse::<u8>().unwrap())
    };
    let four: Vec<_> = v4_routes
        .iter()
        .map(|(prefix, hop)| {
            let (addr, len) = split(prefix);
            (Prefix::new(v4(&addr), len).unwrap(), hop.bits())
        })
        .collect();
    let six: Vec<_> = v6_routes
        .iter()
        .map(|(prefix, hop)| {
            let (addr, len) = split(prefix);
            (Prefix::new(v6(&addr), len).unwrap(), hop.bits())
        })
        .collect();
    RouteTable { v4: Arc::new(Fib4::build(&four).unwrap()), v6: Arc::new(Fib6::build(&six).unwrap()) }
}

impl Lab {
    pub fn new() -> Self {
        Self::with(&spec())
    }

    /// Port 0 faces the Internet, port 1 the customers' routers. The tenant owns 198.51.100.0/24 and
    /// 2001:db8:100::/48 behind the tunnel.
    pub fn with(tunnel: &TunnelSpec) -> Self {
        let mut lab = Self::unpublished();
        lab.tables = tables(tunnel);
        lab.publisher.publish(&lab.tables);
        lab
    }

    /// As control leaves a worker before the first tables.
    pub fn unpublished() -> Self {
        let stats = Arc::new(WorkerStats::new(2, 16));
        let (feed, mut receivers) = SaFeed::new([Arc::clone(&stats)], ASSOCIATIONS);
        Self::assemble(stats, feed, receivers.remove(0), peers(1).remove(0), None)
    }

    /// Two workers of one gateway, each with queues of its own; the first one's feed serves both. They spread.
    pub fn two(tunnel: &TunnelSpec) -> (Self, Self) {
        let stats = || Arc::new(WorkerStats::new(2, 16));
        let (one, two) = (stats(), stats());
        let (feed, mut receivers) = SaFeed::new([Arc::clone(&one), Arc::clone(&two)], ASSOCIATIONS);
        let (nothing, _) = SaFeed::new([], 0);
        let (mut peers, ike) = (peers(2), IkeGate::new());
        let mut second = Self::assemble(two, nothing, receivers.remove(1), peers.remove(1), Some(&ike));
        let mut first = Self::assemble(one, feed, receivers.remove(0), peers.remove(0), Some(&ike));
        for lab in [&mut first, &mut second] {
            lab.tables = tables(tunnel);
            lab.publisher.publish(&lab.tables);
        }
        (first, second)
    }

    fn assemble(
        stats: Arc<WorkerStats>,
        feed: SaFeed,
        receiver: SaReceiver,
        peers: Peers<HeapBuffer>,
        others: Option<&IkeGate>,
    ) -> Self {
        let (rx, edge, core) = (HeapQueue::default(), HeapQueue::default(), HeapQueue::default());
        let (publisher, mut subscribers) = Publisher::new([Arc::clone(&stats)]);
        let (punt, punted) = punt_queue();
        let (injector, injected): (_, InjectReceiver<HeapBuffer>) = inject_queue(HeapPool);
        let answers = probe_answers();
        let (prober, probes) = probe_queue(HeapPool, &answers);
        let events = Arc::new(ArrayQueue::new(16));
        let parts = Parts {
            tx: vec![Some(edge.clone()), Some(core.clone())],
            pool: HeapPool,
            fragmentation: NoFragmentation::default(),
            strangers: NoFragmentation::default(),
            punt,
            probes,
            ike: others.cloned().unwrap_or_default(),
            events: Arc::clone(&events),
            stats: Arc::clone(&stats),
            esp: esp_parts(receiver),
            peers,
            spread: others.is_some(),
            hz: HZ,
        };
        // Nothing comes by the second port.
        let queues = vec![(PortId(0), rx.clone()), (PortId(1), HeapQueue::default())];
        let worker = Worker::new(parts, queues, injected, subscribers.remove(0));
        let tables = Snapshot::default();
        Self {
            worker,
            rx,
            edge,
            core,
            punted,
            injector,
            prober,
            answers,
            events,
            publisher,
            feed,
            tables,
            stats,
        }
    }

    /// Changes the tables and publishes them.
    pub fn change(&mut self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.tables);
        self.publisher.publish(&self.tables);
    }

    /// Feeds one frame and returns what left by the edge and core ports.
    pub fn feed(&mut self, frame: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        self.rx.push(frame);
        self.worker.turn();
        self.drain()
    }

    pub fn drain(&mut self) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        (std::iter::from_fn(|| self.edge.pop()).collect(), std::iter::from_fn(|| self.core.pop()).collect())
    }

    /// Feeds a frame that must come out alone by the core port, and returns its layer 3.
    pub fn leaves_by_core(&mut self, frame: &[u8]) -> Vec<u8> {
        let (edge, core) = self.feed(frame);
        assert!(edge.is_empty() && core.len() == 1, "{:?}", self.all_drops());
        assert_eq!(&core[0][..6], &PEER_MAC);
        core[0][14..].to_vec()
    }

    /// As `leaves_by_core`, by the edge port.
    pub fn leaves_by_edge(&mut self, frame: &[u8]) -> Vec<u8> {
        let (edge, core) = self.feed(frame);
        assert!(core.is_empty() && edge.len() == 1, "{:?}", self.all_drops());
        edge[0][14..].to_vec()
    }

    /// Feeds a frame that must die of this reason, silently.
    pub fn dies(&mut self, frame: &[u8], reason: DropReason) {
        let before = self.stats.drops(reason);
        let out = self.feed(frame);
        assert_eq!(out, (vec![], vec![]), "{:?}", self.all_drops());
        assert_eq!(self.stats.drops(reason), before + 1, "{:?}", self.all_drops());
    }

    pub fn punts(&mut self) -> Vec<(InterfaceId, Vec<u8>)> {
        let mut frames = Vec::new();
        self.punted.drain(1000, |interface, frame| frames.push((interface, frame.to_vec())));
        frames
    }

    pub fn all_drops(&self) -> Vec<(&'static str, u64)> {
        DropReason::ALL.iter().map(|r| (r.name(), self.stats.drops(*r))).filter(|(_, n)| *n > 0).collect()
    }

    pub fn assert_balanced(&self) {
        let (came, went) = self.stats.balance();
        assert_eq!(came, went, "{:?}", self.all_drops());
    }
}

/// The underlay's routes.
pub const INTERNET: [(&str, Hop); 6] = [
    ("0.0.0.0/0", Hop::adjacency(AdjacencyId(0))),
    ("192.0.2.1/32", Hop::LOCAL),
    ("192.0.2.200/32", Hop::adjacency(AdjacencyId(2))),
    ("203.0.113.1/32", Hop::endpoint(EndpointId(0))),
    ("198.51.100.0/24", Hop::vrf(TENANT)),
    ("100.64.0.0/16", Hop::BLACKHOLE),
];
pub const INTERNET6: [(&str, Hop); 3] = [
    ("::/0", Hop::adjacency(AdjacencyId(0))),
    ("2001:db8:ffff::1/128", Hop::endpoint(EndpointId(1))),
    ("2001:db8:100::/48", Hop::vrf(TENANT)),
];

fn tables(spec: &TunnelSpec) -> Snapshot {
    let mut tables = Snapshot::default();
    let mut interfaces = Interfaces::default();
    interfaces.push(Interface {
        port: PortId(0),
        vlan: None,
        mac: OUR_MAC,
        vrf: VrfId::INTERNET,
        mtu: 1500,
        address_v4: v4("192.0.2.1"),
        address_v6: v6("2001:db8:1::1"),
    });
    interfaces.push(Interface {
        port: PortId(1),
        vlan: None,
        mac: CORE_MAC,
        vrf: VrfId::INTERNET,
        mtu: 1500,
        address_v4: v4("192.0.2.129"),
        address_v6: 0,
    });
    interfaces.push(Interface {
        port: PortId(0),
        vlan: Some(100),
        mac: OUR_MAC,
        vrf: TENANT,
        mtu: 1500,
        address_v4: v4("10.1.0.1"),
        address_v6: 0,
    });
    tables.interfaces = Arc::new(interfaces);
    tables.set_adjacency(
        AdjacencyId(0),
        Adjacency::resolved(InterfaceId(0), PortId(0), None, PEER_MAC, OUR_MAC, 1500),
    );
    tables.set_adjacency(
        AdjacencyId(1),
        Adjacency::resolved(InterfaceId(1), PortId(1), None, PEER_MAC, CORE_MAC, 1500),
    );
    tables.set_adjacency(AdjacencyId(2), Adjacency::unresolved(InterfaceId(1), PortId(1), 1500));
    tables.set_vrf(VrfId::INTERNET, table(&INTERNET, &INTERNET6));
    tables.set_vrf(
        TENANT,
        table(
            &[
                ("0.0.0.0/0", Hop::vrf(VrfId::INTERNET)),
                ("198.51.100.0/24", Hop::tunnel(TUNNEL)),
                ("10.255.0.0/32", Hop::tunnel_address(TUNNEL)),
                ("172.31.0.0/16", Hop::NO_ROUTE),
            ],
            &[
                ("::/0", Hop::vrf(VrfId::INTERNET)),
                ("2001:db8:100::/48", Hop::tunnel(TUNNEL)),
                ("2001:db8:255::/128", Hop::tunnel_address(TUNNEL)),
            ],
        ),
    );
    let endpoint = EndpointId(if matches!(spec.local, IpAddr::V4(_)) { 0 } else { 1 });
    tables.set_tunnel(TUNNEL, Tunnel::new(spec).unwrap());
    if let Encapsulation::Gre { key, .. } = spec.encapsulation {
        tables.bind_tunnel(endpoint, spec.remote, key, TUNNEL);
    }
    tables
}

pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = OUR_MAC.to_vec();
    frame.extend_from_slice(&PEER_MAC);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A frame with an IP packet.
pub fn frame(l3: &[u8]) -> Vec<u8> {
    ethernet(if l3[0] >> 4 == 6 { 0x86dd } else { 0x0800 }, l3)
}

pub struct Ip4 {
    pub tos: u8,
    pub ttl: u8,
    pub flags: u16,
    pub protocol: u8,
}

impl Default for Ip4 {
    fn default() -> Self {
        Self { tos: 0, ttl: 64, flags: 0x4000, protocol: 17 }
    }
}

impl Ip4 {
    pub fn build(&self, src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, self.tos];
        packet.extend_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0x12, 0x34]);
        packet.extend_from_slice(&self.flags.to_be_bytes());
        packet.extend_from_slice(&[self.ttl, self.protocol, 0, 0]);
        packet.extend_from_slice(&v4(src).to_be_bytes());
        packet.extend_from_slice(&v4(dst).to_be_bytes());
        let sum = checksum::checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }
}

pub fn ip6(next: u8, class: u8, hops: u8, src: &str, dst: &str, payload: &[u8]) -> Vec<u8> {
    let mut packet = (0x6000_0000u32 | u32::from(class) << 20).to_be_bytes().to_vec();
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[next, hops]);
    packet.extend_from_slice(&v6(src).to_be_bytes());
    packet.extend_from_slice(&v6(dst).to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

pub fn udp(len: usize) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39, 0, 53];
    datagram.extend_from_slice(&(8 + len as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend((0..len).map(|i| i as u8));
    datagram
}

/// GRE of an IP packet with these flags and option words.
pub fn gre(flags: u16, options: &[u8], inner: &[u8]) -> Vec<u8> {
    let protocol: u16 = if inner.first().is_some_and(|b| b >> 4 == 6) { 0x86dd } else { 0x0800 };
    let mut packet = flags.to_be_bytes().to_vec();
    packet.extend_from_slice(&protocol.to_be_bytes());
    packet.extend_from_slice(options);
    packet.extend_from_slice(inner);
    packet
}

/// A GRE packet from the customer's router to our endpoint.
pub fn from_remote(gre: &[u8]) -> Vec<u8> {
    Ip4 { protocol: 47, ..Ip4::default() }.build(REMOTE, ENDPOINT, gre)
}

/// An inner packet from the customer to a client.
pub fn reply(len: usize) -> Vec<u8> {
    Ip4::default().build(INSIDE, CLIENT, &udp(len))
}

/// A client's packet to the customer.
pub fn request(len: usize) -> Vec<u8> {
    Ip4::default().build(CLIENT, INSIDE, &udp(len))
}

/// The inner packet as it must leave: one hop less.
pub fn one_hop_less(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 6 {
        packet[7] -= 1;
        return packet;
    }
    packet[8] -= 1;
    packet[10..12].fill(0);
    let len = usize::from(packet[0] & 15) * 4;
    let sum = checksum::checksum(&packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}
