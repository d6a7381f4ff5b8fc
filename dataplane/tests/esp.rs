//! ESP tunnels on heap buffers: two gateways, each the other's customer, and every reason to refuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::cipher::{Backend, Cipher};
use penstock_dataplane::esp::key::KeyMaterial;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::pipeline::Event;
use penstock_dataplane::tables::*;
use support::*;

const SPI: Spi = Spi(0x1001);

/// What both ends agree on.
#[derive(Clone)]
struct Agreement {
    suite: Suite,
    esn: bool,
    window: Option<u32>,
    selectors: Selectors,
    hard_limit: u64,
    first: u64,
    udp: bool,
    v6: bool,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            suite: Suite::AES128_GCM,
            esn: false,
            window: None,
            selectors: Selectors::any(),
            hard_limit: u64::MAX,
            first: 0,
            udp: false,
            v6: false,
        }
    }
}

impl Agreement {
    fn cipher(&self) -> Arc<Cipher> {
        let bytes = |len| (0..len).map(|i| (i * 7 + 1) as u8).collect::<Vec<u8>>();
        let encryption = bytes(self.suite.encryption_key_len() + self.suite.salt_len());
        let keys = KeyMaterial::new(self.suite, &encryption, &bytes(self.suite.integrity_key_len())).unwrap();
        Arc::new(Cipher::new(self.suite, &keys, Backend::best()).unwrap())
    }

    fn spec(&self) -> TunnelSpec {
        let (local, remote) = if self.v6 { (ENDPOINT6, REMOTE6) } else { (ENDPOINT, REMOTE) };
        let udp = self.udp.then_some(UdpPorts { local: 4500, remote: 4500 });
        let mtu = self.suite.inner_mtu(1500, self.v6, self.udp);
        TunnelSpec {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            encapsulation: Encapsulation::Esp { udp },
            incarnation: 7,
            mtu,
            ..spec()
        }
    }

    fn outbound(&self, remote: &str) -> OutboundSpec {
        OutboundSpec {
            spi: SPI,
            tunnel: TUNNEL,
            incarnation: 7,
            cipher: self.cipher(),
            esn: self.esn,
            numbering: Numbering::Shared(Arc::new(AtomicU64::new(self.first))),
            selectors: Arc::new(self.selectors.clone()),
            remote: remote.parse().unwrap(),
            soft_limit: u64::MAX,
            hard_limit: self.hard_limit,
        }
    }

    fn inbound(&self, selectors: Selectors) -> InboundSpec {
        InboundSpec {
            spi: SPI,
            endpoint: EndpointId(u16::from(self.v6)),
            tunnel: TUNNEL,
            incarnation: 7,
            cipher: self.cipher(),
            esn: self.esn,
            replay: self.window.map(|size| Arc::new(ReplayWindow::new(size, self.esn).unwrap())),
            selectors: Arc::new(selectors),
        }
    }

    /// Us: clients' packets go into the tunnel.
    fn near(&self) -> Lab {
        let mut lab = Lab::with(&self.spec());
        lab.feed.set_outbound(&self.outbound(&lab_remote(self)));
        lab.feed.lease(0, lease(1));
        lab
    }

    /// The customer's end of the same tunnel: another gateway, which delivers to the edge.
    fn far(&self) -> Lab {
        let ours = self.spec();
        let mut lab = Lab::with(&TunnelSpec { local: ours.remote, remote: ours.local, ..ours.clone() });
        lab.change(|tables| {
            let endpoint = Hop::endpoint(EndpointId(u16::from(self.v6)));
            let underlay = table(&[("192.0.2.77/32", endpoint)], &[("2001:db8:7::77/128", endpoint)]);
            tables.set_vrf(VrfId::INTERNET, underlay);
            let edge = Hop::adjacency(AdjacencyId(0));
            tables.set_vrf(TENANT, table(&[("0.0.0.0/0", edge)], &[("::/0", edge)]));
        });
        lab.feed.add_inbound(&self.inbound(self.selectors_of_far())).unwrap();
        lab
    }

    fn selectors_of_far(&self) -> Selectors {
        self.selectors.clone()
    }

    fn both(&self) -> (Lab, Lab) {
        (self.near(), self.far())
    }
}

const ENDPOINT6: &str = "2001:db8:ffff::1";
const REMOTE6: &str = "2001:db8:7::77";

fn lab_remote(agreement: &Agreement) -> String {
    if agreement.v6 { REMOTE6 } else { REMOTE }.to_owned()
}

/// Sends a packet through our end; returns the outer packet.
fn sealed(near: &mut Lab, inner: &[u8]) -> Vec<u8> {
    let (edge, core) = near.feed(&frame(inner));
    let mut out: Vec<_> = edge.into_iter().chain(core).collect();
    assert_eq!(out.len(), 1, "{:?}", near.all_drops());
    out.remove(0)[14..].to_vec()
}

fn suites() -> impl Iterator<Item = Suite> {
    Suite::all()
}

#[test]
fn every_suite_family_and_size_comes_out_as_it_went_in() {
    for suite in suites() {
        for (udp, v6) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut near, mut far) = Agreement { suite, udp, v6, ..Agreement::default() }.both();
            let mtu = usize::from(suite.inner_mtu(1500, v6, udp));
            for len in (0..40).chain([100, 576, 1000, mtu - 29, mtu - 28]) {
                let inner = request(len);
                let outer = sealed(&mut near, &inner);
                assert!(outer.len() <= 1500, "{suite} {udp} {v6} {len}: {}", outer.len());
                let back = far.leaves_by_edge(&frame(&outer));
                // One hop at each end.
                assert_eq!((back[8] + 2, &back[12..]), (inner[8], &inner[12..]), "{suite} {len}");
            }
            let inner6 = ip6(17, 0x29, 64, "2001:db8:9::9", "2001:db8:100::5", &udp_payload());
            let outer = sealed(&mut near, &inner6);
            let back = far.leaves_by_edge(&frame(&outer));
            assert_eq!((back[7] + 2, &back[8..]), (inner6[7], &inner6[8..]));
            near.assert_balanced();
            far.assert_balanced();
        }
    }
}

fn udp_payload() -> Vec<u8> {
    udp(333)
}

#[test]
fn the_largest_packet_fits_and_one_byte_more_does_not() {
    for suite in suites() {
        let agreement = Agreement { suite, ..Agreement::default() };
        let mut near = agreement.near();
        let mtu = usize::from(suite.inner_mtu(1500, false, false));
        let outer = sealed(&mut near, &request(mtu - 28));
        let block = suite.block_len();
        assert!(outer.len() <= 1500 && outer.len() + block > 1500, "{suite}: {}", outer.len());
        near.feed(&frame(&request(mtu - 27)));
        assert_eq!(near.stats.drops(DropReason::TooBig), 1, "{suite}");
    }
}

#[test]
fn what_is_on_the_wire() {
    let agreement = Agreement { udp: true, ..Agreement::default() };
    let mut near = agreement.near();
    let first = sealed(&mut near, &request(30));
    let second = sealed(&mut near, &request(30));
    assert_eq!((first[0], first[6] & 0x40, first[8], first[9]), (0x45, 0x40, 64, 17));
    assert_eq!(penstock_dataplane::wire::checksum::sum(&first[..20]), 0xffff);
    assert_eq!(usize::from(u16::from_be_bytes([first[2], first[3]])), first.len());
    assert_eq!(first[20..24], [0x11, 0x94, 0x11, 0x94]);
    assert_eq!(usize::from(u16::from_be_bytes([first[24], first[25]])), first.len() - 20);
    assert_eq!(first[26..28], [0, 0], "no UDP checksum over IPv4");
    assert_eq!(first[28..36], [0, 0, 0x10, 0x01, 0, 0, 0, 1]);
    assert_eq!(second[32..36], [0, 0, 0, 2]);
    // Sender 2 of the tests' store, then its counter.
    assert_eq!(first[36..44], [0, 0, 2, 0, 0, 0, 0, 1]);
    assert_eq!(second[36..44], [0, 0, 2, 0, 0, 0, 0, 2]);
}

#[test]
fn without_a_lease_or_an_association_nothing_leaves() {
    let agreement = Agreement::default();
    let mut lab = Lab::with(&agreement.spec());
    lab.dies(&frame(&request(30)), DropReason::EspNoSa);
    lab.feed.set_outbound(&agreement.outbound(REMOTE));
    lab.dies(&frame(&request(30)), DropReason::EspNoLease);
    lab.feed.lease(0, lease(1));
    sealed(&mut lab, &request(30));
    lab.feed.clear_outbound(TUNNEL);
    lab.dies(&frame(&request(30)), DropReason::EspNoSa);
    let other = OutboundSpec { incarnation: 8, ..agreement.outbound(REMOTE) };
    lab.feed.set_outbound(&other);
    lab.dies(&frame(&request(30)), DropReason::EspNoSa);
    lab.assert_balanced();
}

#[test]
fn damage_and_replays_each_have_their_reason() {
    let agreement = Agreement { window: Some(64), ..Agreement::default() };
    let (mut near, mut far) = agreement.both();
    let outer = sealed(&mut near, &request(60));
    for at in [24, 27, 28, 40, outer.len() - 1] {
        // The SPI stays as it is.
        let mut damaged = outer.clone();
        damaged[at] ^= 0x40;
        far.dies(&frame(&damaged), DropReason::EspAuth);
    }
    far.leaves_by_edge(&frame(&outer));
    far.dies(&frame(&outer), DropReason::EspReplay);
    for _ in 0..64 {
        let next = sealed(&mut near, &request(9));
        far.leaves_by_edge(&frame(&next));
    }
    far.dies(&frame(&outer), DropReason::EspTooOld);
    let esp = |bytes: &[u8]| frame(&Ip4 { protocol: 50, ..Ip4::default() }.build(ENDPOINT, REMOTE, bytes));
    far.dies(&esp(&[0, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 0]), DropReason::EspSpiReserved);
    far.dies(&esp(&[0, 0, 0x10, 2, 0, 0, 0, 1, 0, 0, 0, 0]), DropReason::EspSaUnknown);
    far.dies(&esp(&[0, 0]), DropReason::EspTruncated);
    for len in 8..8 + 8 + 16 + 4 {
        let mut short = vec![0u8; len];
        short[..8].copy_from_slice(&[0, 0, 0x10, 1, 0, 1, 0, 0]);
        far.dies(&esp(&short), DropReason::EspTruncated);
    }
    far.assert_balanced();
}

#[test]
fn two_copies_in_one_burst_are_one_packet() {
    let (mut near, mut far) = Agreement { window: Some(64), ..Agreement::default() }.both();
    let outer = frame(&sealed(&mut near, &request(60)));
    far.rx.push(&outer);
    far.rx.push(&outer);
    far.worker.turn();
    assert_eq!(far.drain().0.len(), 1);
    assert_eq!(far.stats.drops(DropReason::EspReplay), 1);
    far.assert_balanced();
}

#[test]
fn numbers_end_at_the_hard_limit() {
    let agreement = Agreement { first: u64::from(u32::MAX) - 2, ..Agreement::default() };
    let mut near = agreement.near();
    sealed(&mut near, &request(1));
    let last = sealed(&mut near, &request(1));
    assert_eq!(last[24..28], [0xff; 4]);
    near.dies(&frame(&request(1)), DropReason::EspSequence);
    let agreement = Agreement { esn: true, window: Some(64), ..agreement };
    let (mut near, mut far) = agreement.both();
    // The far end has to be taken there in steps that it can follow.
    for _ in 0..5 {
        let outer = sealed(&mut near, &request(1));
        let _ = far.feed(&frame(&outer));
    }
    assert_eq!(near.stats.drops(DropReason::EspSequence), 0);
}

#[test]
fn the_soft_limit_is_told_once() {
    let agreement = Agreement::default();
    let mut lab = Lab::with(&agreement.spec());
    lab.feed.set_outbound(&OutboundSpec { soft_limit: 2, ..agreement.outbound(REMOTE) });
    lab.feed.lease(0, lease(1));
    for _ in 0..4 {
        sealed(&mut lab, &request(1));
    }
    assert_eq!(lab.events.pop(), Some(Event::SequenceSoftLimit { tunnel: TUNNEL, spi: SPI.0 }));
    assert_eq!(lab.events.pop(), None);
}

#[test]
fn selectors_hold_both_ways() {
    let net =
        |first: &str, last: &str| TrafficSelector::addresses(first.parse().unwrap(), last.parse().unwrap());
    let narrow = |local, remote| Selectors::new(vec![local], vec![remote]).unwrap();
    let everything = net("0.0.0.0", "255.255.255.255");
    let selectors = narrow(everything.clone(), net("198.51.100.0", "198.51.100.3"));
    let mut near = Agreement { selectors, ..Agreement::default() }.near();
    near.dies(&frame(&request(1)), DropReason::EspSelector);
    let agreement = Agreement::default();
    let mut near = agreement.near();
    let mut far = agreement.far();
    far.feed.add_inbound(&InboundSpec { spi: Spi(0x9999), ..agreement.inbound(Selectors::any()) }).unwrap();
    far.leaves_by_edge(&frame(&sealed(&mut near, &request(1))));
    let strict = Agreement { selectors: Selectors::any(), ..agreement };
    let mut far = Lab::with(&TunnelSpec {
        local: REMOTE.parse().unwrap(),
        remote: ENDPOINT.parse().unwrap(),
        ..strict.spec()
    });
    far.change(|tables| {
        tables.set_vrf(VrfId::INTERNET, table(&[("192.0.2.77/32", Hop::endpoint(EndpointId(0)))], &[]));
    });
    let selectors = narrow(everything, net("9.9.9.9", "9.9.9.9"));
    far.feed.add_inbound(&strict.inbound(selectors)).unwrap();
    far.dies(&frame(&sealed(&mut near, &request(1))), DropReason::EspSelector);
}

#[test]
fn nat_t_keepalives_end_and_ike_goes_to_the_kernel() {
    let (_, mut far) = Agreement { udp: true, ..Agreement::default() }.both();
    let datagram = |payload: &[u8]| {
        let mut bytes = vec![0x11, 0x94, 0x11, 0x94, 0, 8 + payload.len() as u8, 0, 0];
        bytes.extend_from_slice(payload);
        frame(&Ip4::default().build(ENDPOINT, REMOTE, &bytes))
    };
    far.dies(&datagram(&[0xff]), DropReason::NatTKeepalive);
    far.dies(&datagram(&[0, 0, 0, 7, 0, 0, 0, 0]), DropReason::EspSpiReserved);
    far.feed(&datagram(&[0, 0, 0, 0, 1, 2, 3, 4]));
    assert_eq!(far.punts().len(), 1);
    far.assert_balanced();
}

#[test]
fn a_peer_behind_a_nat_may_move_but_not_by_an_old_packet() {
    let agreement = Agreement { udp: true, ..Agreement::default() };
    let (mut near, mut far) = agreement.both();
    let first = sealed(&mut near, &request(10));
    let mut moved = sealed(&mut near, &request(10));
    far.leaves_by_edge(&frame(&first));
    assert_eq!(far.events.pop(), None);
    // Another source address and port, the checksum of the header mended.
    let rewrite = |packet: &mut Vec<u8>| {
        packet[12..16].copy_from_slice(&[192, 0, 2, 55]);
        packet[20..22].copy_from_slice(&[0x30, 0x39]);
        packet[10..12].fill(0);
        let sum = penstock_dataplane::wire::checksum::checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    };
    rewrite(&mut moved);
    far.leaves_by_edge(&frame(&moved));
    let address = "192.0.2.55".parse().unwrap();
    let event = Event::PeerMoved { tunnel: TUNNEL, spi: SPI.0, address, port: 12345 };
    assert_eq!(far.events.pop(), Some(event));
    let mut old = first;
    rewrite(&mut old);
    far.leaves_by_edge(&frame(&old));
    assert_eq!(far.events.pop(), None);
}

#[test]
fn a_rekey_between_two_packets_loses_none() {
    let agreement = Agreement::default();
    let (mut near, mut far) = agreement.both();
    for round in 0..200u32 {
        let spi = Spi(0x2000 + round);
        let handle =
            far.feed.add_inbound(&InboundSpec { spi, ..agreement.inbound(Selectors::any()) }).unwrap();
        let before = sealed(&mut near, &request(5));
        near.feed.set_outbound(&OutboundSpec { spi, ..agreement.outbound(REMOTE) });
        let after = sealed(&mut near, &request(5));
        assert_ne!(before[20..24], after[20..24]);
        if round == 0 {
            far.leaves_by_edge(&frame(&before));
        }
        far.leaves_by_edge(&frame(&after));
        far.feed.remove_inbound(&handle);
        far.dies(&frame(&after), DropReason::EspSaUnknown);
    }
    far.assert_balanced();
}
