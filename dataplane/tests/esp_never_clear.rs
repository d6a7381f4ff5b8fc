//! Architecture invariant: nothing leaves an ipsec tunnel unencrypted, whatever control does and in whatever order.
//!
//! A model of the feed and the tables takes random changes between bursts. All that leaves by the underlay is ESP that
//! opens under a key that was installed for that tunnel, with an IV and number that were not seen before; inside is a
//! packet that went in. The rest is counted.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penstock_dataplane::esp::cipher::Cipher;
use penstock_dataplane::esp::feed::SaHandle;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::tables::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use support::esp::*;
use support::*;

#[derive(Clone, Debug)]
enum Step {
    /// Suite, number of the key, incarnation, kind of numbering, whether nearly used up, narrow selectors.
    SetOutbound(Index, u8, u32, u8, bool, bool),
    ClearOutbound,
    /// A tunnel that is not there.
    SetStranger(u32),
    AddInbound(u8),
    RemoveInbound(Index),
    Lease,
    /// Incarnation, in UDP, DF, smaller MTU.
    SetTunnel(u32, bool, DontFragment, bool),
    RemoveTunnel,
    BreakUnderlay,
    /// Packets of one kind.
    Send(u8, usize),
    Receive(usize),
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let df = prop_oneof![Just(DontFragment::Set), Just(DontFragment::Copy), Just(DontFragment::Clear)];
    let step = prop_oneof![
        3 => (any::<Index>(), 0u8..6, 6u32..9, 0u8..3, prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(suite, key, incarnation, numbering, near_end, narrow)|
                Step::SetOutbound(suite, key, incarnation, numbering, near_end, narrow)),
        1 => Just(Step::ClearOutbound),
        1 => any::<u32>().prop_map(Step::SetStranger),
        1 => (0u8..6).prop_map(Step::AddInbound),
        1 => any::<Index>().prop_map(Step::RemoveInbound),
        1 => Just(Step::Lease),
        2 => (6u32..9, any::<bool>(), df, any::<bool>())
            .prop_map(|(incarnation, udp, df, small)| Step::SetTunnel(incarnation, udp, df, small)),
        1 => Just(Step::RemoveTunnel),
        1 => Just(Step::BreakUnderlay),
        8 => (0u8..6, 1usize..12).prop_map(|(kind, count)| Step::Send(kind, count)),
        2 => (1usize..5).prop_map(Step::Receive),
        1 => Just(Step::Turn),
    ];
    vec(step, 1..60)
}

struct World {
    lab: Lab,
    opener: Opener,
    inbound: Vec<SaHandle>,
    forgers: Vec<Forger>,
    /// Of each key, as each is used with one suite and one numbering in a run.
    outbound: HashMap<u8, OutboundSpec>,
    spis: u32,
    leases: u32,
    spec: TunnelSpec,
    /// What went in, as it must come out.
    inner: HashSet<Vec<u8>>,
    used: HashSet<(Spi, u32)>,
    /// By key, not by SPI.
    ivs: HashSet<(*const Cipher, Vec<u8>)>,
    /// What each SPI was installed with last.
    installed: HashMap<Spi, (*const Cipher, u32)>,
    live: bool,
    marks: u32,
}

impl World {
    fn new() -> Self {
        let agreement = Agreement::default();
        Self {
            lab: Lab::with(&agreement.spec()),
            opener: Opener::new(),
            inbound: Vec::new(),
            forgers: Vec::new(),
            outbound: HashMap::new(),
            spis: 0x10_0000,
            leases: 0,
            spec: agreement.spec(),
            inner: HashSet::new(),
            used: HashSet::new(),
            ivs: HashSet::new(),
            installed: HashMap::new(),
            live: true,
            marks: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::SetOutbound(suite, key, incarnation, numbering, near_end, narrow) => {
                let suite = *suite.get(&Suite::all().collect::<Vec<_>>());
                self.set_outbound(suite, *key, *incarnation, *numbering, *near_end, *narrow);
            }
            Step::ClearOutbound => self.lab.feed.clear_outbound(TUNNEL),
            Step::SetStranger(tunnel) => {
                let tunnel = penstock_dataplane::ids::TunnelId(tunnel.max(&1).to_owned());
                self.lab.feed.set_outbound(&OutboundSpec { tunnel, ..Agreement::default().outbound() });
            }
            Step::AddInbound(key) => {
                let agreement = Agreement { number: u32::from(*key), ..Agreement::default() };
                let spec = InboundSpec { tunnel: TUNNEL, ..agreement.inbound() };
                if self.inbound.len() < 20 {
                    self.inbound.push(self.lab.feed.add_inbound(&spec).unwrap());
                    self.forgers.push(Forger::of(&agreement));
                }
            }
            Step::RemoveInbound(which) => {
                if !self.inbound.is_empty() {
                    let which = which.index(self.inbound.len());
                    self.lab.feed.remove_inbound(&self.inbound[which]);
                    self.inbound.swap_remove(which);
                }
            }
            Step::Lease => {
                self.leases += 1;
                self.lab.feed.lease(0, lease(self.leases));
            }
            Step::SetTunnel(incarnation, in_udp, df, small) => {
                let udp = in_udp.then_some(UdpPorts { local: 4500, remote: 4500 });
                let mtu = if *small { 600 } else { 1300 };
                self.spec = TunnelSpec {
                    incarnation: *incarnation,
                    encapsulation: Encapsulation::Esp { udp },
                    df: *df,
                    mtu,
                    ..Agreement::default().spec()
                };
                self.live = true;
                let tunnel = Tunnel::new(&self.spec).unwrap();
                self.lab.change(|tables| tables.set_tunnel(TUNNEL, tunnel));
            }
            Step::RemoveTunnel => {
                self.live = false;
                self.lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::default()));
            }
            Step::BreakUnderlay => {
                let broken = TunnelSpec { underlay: Hop::NO_ROUTE, ..self.spec.clone() };
                self.lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::new(&broken).unwrap()));
            }
            Step::Send(kind, count) => self.send(*kind, *count),
            Step::Receive(count) => self.receive(*count),
            Step::Turn => {
                self.lab.worker.turn();
            }
        }
    }

    fn set_outbound(
        &mut self,
        suite: Suite,
        key: u8,
        incarnation: u32,
        numbering: u8,
        near_end: bool,
        narrow: bool,
    ) {
        // A key has one suite and one counter for as long as it lives; control puts it in again as it was.
        let spis = &mut self.spis;
        let spec = self.outbound.entry(key).or_insert_with(|| {
            *spis += 1;
            let agreement = Agreement { suite, ..Agreement::default() };
            let first = if near_end { u64::from(u32::MAX) - 20 } else { 0 };
            OutboundSpec {
                spi: Spi(*spis),
                cipher: agreement.cipher_of(key),
                numbering: Numbering::Shared(Arc::new(AtomicU64::new(first))),
                ..agreement.outbound()
            }
        });
        let range = |first: &str, last: &str| {
            TrafficSelector::addresses(first.parse().unwrap(), last.parse().unwrap())
        };
        let selectors = if narrow {
            let everything = range("0.0.0.0", "255.255.255.255");
            Selectors::new(vec![everything], vec![range("198.51.100.5", "198.51.100.5")]).unwrap()
        } else {
            Selectors::any()
        };
        let mut spec = OutboundSpec { incarnation, selectors: Arc::new(selectors), ..spec.clone() };
        if numbering == 1 {
            // Numbers from 1 each time: only the IVs keep apart what is sealed. A key of its own.
            self.spis += 1;
            let spi = Spi(self.spis);
            let cipher = Agreement { suite, ..Agreement::default() }.cipher_of(100 + key);
            spec = OutboundSpec { spi, cipher, numbering: Numbering::PerCore, ..spec };
        }
        self.opener.add(spec.spi, Arc::clone(&spec.cipher));
        self.installed.insert(spec.spi, (Arc::as_ptr(&spec.cipher), incarnation));
        self.lab.feed.set_outbound(&spec);
    }

    /// Each packet carries a mark, so that it can be told where it came out.
    fn send(&mut self, kind: u8, count: usize) {
        for _ in 0..count {
            self.marks += 1;
            let mut datagram = udp(match kind {
                2 => 700,
                3 => 1400,
                _ => 20,
            });
            datagram[8..12].copy_from_slice(&self.marks.to_be_bytes());
            let packet = match kind {
                0 => ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &datagram),
                1 => Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &datagram),
                4 => Ip4 { flags: 0, ..Ip4::default() }.build(CLIENT, "198.51.100.200", &datagram),
                _ => Ip4::default().build(CLIENT, INSIDE, &datagram),
            };
            self.inner.insert(one_hop_less(&packet));
            self.lab.rx.push(&frame(&packet));
        }
        self.lab.worker.turn();
        self.judge();
    }

    /// Packets out of the tunnel, of which some go into it again.
    fn receive(&mut self, count: usize) {
        for forger in self.forgers.iter_mut().take(count) {
            for to in [CLIENT, INSIDE, "10.255.0.0"] {
                let packet = Ip4::default().build(INSIDE, to, &udp(20));
                if to == INSIDE {
                    self.inner.insert(one_hop_less(&packet));
                }
                self.lab.rx.push(&Agreement::default().arriving(&forger.payload(1, &packet, 4)));
            }
        }
        self.lab.worker.turn();
        self.judge();
    }

    fn judge(&mut self) {
        let (edge, core) = self.lab.drain();
        for sent in core {
            let opened = self.opener.open(&sent[14..]);
            let opened = opened.unwrap_or_else(|| unreachable!("in the clear: {sent:02x?}"));
            // What is bigger than the MTU is cut with DPDK only; here it is a counted drop.
            assert!(self.inner.contains(&opened.payload), "nobody sent {:02x?}", opened.payload);
            assert!(self.used.insert((opened.spi, opened.sequence)), "a number twice");
            let (key, incarnation) = self.installed[&opened.spi];
            assert!(opened.iv.is_empty() || self.ivs.insert((key, opened.iv)), "an IV twice");
            assert!(self.live && incarnation == self.spec.incarnation, "under another tunnel's key");
        }
        for sent in edge {
            let destination = &sent[30..34];
            assert!(sent[12] == 0x86 || destination[..3] != [198, 51, 100], "in the clear: {sent:02x?}");
            assert!(
                sent[12] == 8 || sent[38..44] != [0x20, 1, 0x0d, 0xb8, 1, 0],
                "in the clear: {sent:02x?}"
            );
        }
        // To the kernel goes nothing for the inside either, and what did not leave was counted.
        for (_, punted) in self.lab.punts() {
            assert!(self.opener.open(&punted[14..]).is_some(), "in the clear to the kernel: {punted:02x?}");
        }
        self.lab.assert_balanced();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_control_does_nothing_leaves_in_the_clear(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        // And afterwards all is as control left it: with a key and a lease of now, packets leave again.
        world.step(&Step::SetTunnel(7, false, DontFragment::Set, false));
        world.set_outbound(Suite::AES128_GCM, 50, 7, 0, false, false);
        world.step(&Step::Lease);
        (0..20).for_each(|_| world.step(&Step::Turn));
        let before = world.lab.stats.ports[1].tx_packets.get();
        world.step(&Step::Send(5, 10));
        prop_assert_eq!(world.lab.stats.ports[1].tx_packets.get(), before + 10);
    }
}
