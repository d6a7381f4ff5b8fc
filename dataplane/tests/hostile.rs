//! Frames that nobody sane sends: whatever comes in, nothing panics and every frame ends in exactly one
//! place; and a burst of n is n bursts of one.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::cell::RefCell;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::frame::heap::Heap;
use proptest::collection::vec;
use proptest::prelude::*;
use support::esp::*;
use support::fleet::{OTHER, OWNER, Site, TOKEN, rescue};
use support::*;

/// A sound frame of each kind that the pipeline knows.
fn sound() -> impl Strategy<Value = Vec<u8>> {
    let inner4 = (any::<u8>(), 0u8..4, 0usize..1600)
        .prop_map(|(ttl, tos, len)| Ip4 { ttl, tos, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(len)));
    let inner6 = (any::<u8>(), 0usize..1600)
        .prop_map(|(hops, len)| ip6(17, 0, hops, "2001:db8:9::9", "2001:db8:100::5", &udp(len)));
    let tunnelled =
        (prop_oneof![Just(0u16), any::<u16>()], 0usize..800, vec(any::<u8>(), 0..13), any::<bool>())
            .prop_map(|(flags, len, options, v6)| {
                let inner = if v6 {
                    ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(len))
                } else {
                    reply(len)
                };
                from_remote(&gre(flags, if flags == 0 { &[] } else { &options }, &inner))
            });
    let nested = (1usize..5).prop_map(|depth| {
        let mut packet = reply(10);
        for _ in 0..depth {
            packet = from_remote(&gre(0, &[], &packet));
        }
        packet
    });
    let syn = vec(any::<u8>(), 0..40).prop_map(|options| {
        let words = options.len().div_ceil(4);
        let mut tcp =
            vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, ((5 + words) as u8) << 4, 2, 9, 9, 0, 0, 0, 0];
        tcp.extend_from_slice(&options);
        tcp.resize(20 + words * 4, 0);
        Ip4 { protocol: 6, ..Ip4::default() }.build(CLIENT, INSIDE, &tcp)
    });
    let icmp = vec(any::<u8>(), 8..80).prop_map(|mut bytes| {
        bytes[0] = 3;
        bytes[1] = 4;
        Ip4 { protocol: 1, ..Ip4::default() }.build(CLIENT, ENDPOINT, &bytes)
    });
    let fragment = (any::<u16>(), 0usize..100).prop_map(|(flags, len)| {
        Ip4 { flags, protocol: 47, ..Ip4::default() }.build(REMOTE, ENDPOINT, &udp(len))
    });
    let to_kernel = Just(Ip4::default().build(CLIENT, "192.0.2.1", &udp(5)));
    let packets = prop_oneof![
        inner4,
        inner6,
        tunnelled,
        nested,
        syn,
        icmp,
        fragment,
        to_kernel,
        into_esp(),
        out_of_esp(),
        out_of_esp().prop_map(|packet| rescued(&packet)),
        elsewhere()
    ];
    let vlans = prop_oneof![Just(0u16), Just(100), any::<u16>()];
    (packets, prop::option::weighted(0.15, vlans)).prop_map(|(packet, vlan)| match vlan {
        Some(tci) => {
            let inner_type = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
            ethernet(0x8100, &[&tci.to_be_bytes()[..], &inner_type, &packet].concat())
        }
        None => frame(&packet),
    })
}

/// What another node of the fleet hands over.
fn rescued(packet: &[u8]) -> Vec<u8> {
    Site::v4(OTHER).sends(Site::v4(OWNER), &rescue(&TOKEN, packet))[14..].to_vec()
}

/// ESP and IKE that belong to another node, by the wire and by way of that node.
fn elsewhere() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..1400), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(body, ike, v6, back)| {
            let spi = u32::from(OTHER) << 22 | 0x1001;
            let (protocol, payload) = if ike {
                let message = [&spi.to_be_bytes()[..], &[0; 12], &[0, 0x20, 37, 0x20], &body].concat();
                let len = (8 + message.len() as u16).to_be_bytes();
                (17, [&[1, 0xf4, 1, 0xf4, len[0], len[1], 0, 0], &message[..]].concat())
            } else {
                (50, [&spi.to_be_bytes()[..], &body].concat())
            };
            let packet = if v6 {
                ip6(protocol, 0, 64, "2001:db8:9::9", ENDPOINT6, &payload)
            } else {
                Ip4 { protocol, ..Ip4::default() }.build(CLIENT, ENDPOINT, &payload)
            };
            if back { rescued(&packet) } else { packet }
        },
    )
}

/// Packets for the customers behind ESP tunnels.
fn into_esp() -> impl Strategy<Value = Vec<u8>> {
    (any::<prop::sample::Index>(), any::<(u8, u8)>(), 0usize..1600, any::<bool>()).prop_map(
        |(which, (tos, ttl), len, v6)| {
            let agreements = agreements();
            let agreement = which.get(&agreements);
            if v6 {
                ip6(17, tos, ttl, "2001:db8:9::9", &agreement.inside6(), &udp(len))
            } else {
                Ip4 { tos, ttl, ..Ip4::default() }.build(CLIENT, &agreement.inside(), &udp(len))
            }
        },
    )
}

/// What the customers' routers send: authentic whatever is inside, then outer headers of all kinds.
fn out_of_esp() -> impl Strategy<Value = Vec<u8>> {
    let inner = prop_oneof![
        4 => (any::<prop::sample::Index>(), 0usize..300).prop_map(|(to, len)| {
            // To a client, into a tunnel again, to an endpoint, to a tunnel's address, to the kernel.
            let to = *to.get(&[CLIENT, INSIDE, "198.51.103.5", ENDPOINT, "10.255.0.0", "192.0.2.1"]);
            (Ip4::default().build(INSIDE, to, &udp(len)), 4u8)
        }),
        2 => (any::<prop::sample::Index>(), 0usize..300).prop_map(|(to, len)| {
            let to = *to.get(&["2001:db8:9::9", "2001:db8:100::5", "2001:db8:103::5", ENDPOINT6]);
            (ip6(17, 0, 64, "2001:db8:100::5", to, &udp(len)), 41)
        }),
        // ESP in ESP.
        1 => Just((Ip4 { protocol: 50, ..Ip4::default() }.build(INSIDE, ENDPOINT, &[0, 0, 0x10, 2, 0, 0, 0, 1]), 4)),
        1 => (vec(any::<u8>(), 0..200), any::<u8>()),
    ];
    let damage = prop_oneof![
        3 => Just(None),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some),
    ];
    let around = (0u8..4, 0usize..11, any::<bool>());
    (any::<prop::sample::Index>(), 0u64..200, inner, damage, vec(any::<u8>(), 0..40), around).prop_map(
        |(which, sequence, (mut inner, next_header), damage, tail, (tos, options, more))| {
            let agreements = agreements();
            let which = which.index(agreements.len());
            if let Some((at, value)) = damage
                && !inner.is_empty()
            {
                let place = at.index(inner.len());
                inner[place] = value;
            }
            // Padding for confidentiality, or a trailer that is none.
            if more {
                inner.extend_from_slice(&tail);
            }
            let esp = FORGERS.with_borrow_mut(|forgers| {
                let forger = &mut forgers[which];
                let broken = if more { None } else { forger.seal(sequence, &[&inner[..], &tail].concat()) };
                broken.unwrap_or_else(|| forger.payload(sequence, &inner, next_header))
            });
            let mut outer = agreements[which].marked(tos, &esp)[14..].to_vec();
            if outer[0] == 0x45 && options > 5 {
                outer.splice(20..20, std::iter::repeat_n(1u8, (options - 5) * 4));
                outer[0] = 0x40 + options as u8;
                let len = outer.len() as u16;
                outer[2..4].copy_from_slice(&len.to_be_bytes());
                outer[10..12].fill(0);
                let sum = penstock_dataplane::wire::checksum::checksum(&outer[..options * 4]);
                outer[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            outer
        },
    )
}

thread_local! {
    static FORGERS: RefCell<Vec<Forger>> = RefCell::new(agreements().iter().map(Forger::of).collect());
}

/// With replay windows at every second tunnel.
fn gateway() -> Lab {
    let mut lab = mixed_tables_only();
    for agreement in agreements() {
        let window = (agreement.number % 2 == 0).then_some(64);
        lab.feed.add_inbound(&Agreement { window, ..agreement.clone() }.inbound()).unwrap();
        lab.feed.set_outbound(&agreement.outbound());
    }
    lab.feed.lease(0, lease(1));
    // Turns take only so many changes.
    lab.worker.turn();
    lab.worker.turn();
    lab
}

/// Frames as they left, in no order; of ESP what is in it, for IVs and numbers depend on the order.
fn sorted(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    thread_local! {
        static OPENER: RefCell<Opener> = RefCell::new({
            let mut opener = Opener::new();
            agreements().iter().for_each(|agreement| opener.add(agreement.spi(), agreement.cipher()));
            opener
        });
    }
    let mut frames: Vec<_> = frames
        .into_iter()
        .map(|frame| match OPENER.with_borrow_mut(|opener| opener.open(&frame[14..])) {
            Some(opened) => {
                let before_esp = 14 + esp_at(&frame[14..]);
                // Not the UDP checksum, which covers the rest.
                let mut headers = frame[..before_esp].to_vec();
                if before_esp == 14 + 40 + 8 {
                    headers[60..].fill(0);
                }
                [headers, opened.spi.0.to_be_bytes().to_vec(), vec![opened.next_header], opened.payload]
                    .concat()
            }
            None => frame,
        })
        .collect();
    frames.sort();
    frames
}

/// Drops by reason. That an earlier packet of the same burst makes one too old or a replay shows only when it is found
/// to be authentic.
fn drops(lab: &Lab) -> Vec<(&'static str, u64)> {
    const BY_NUMBER: [DropReason; 3] = [DropReason::EspReplay, DropReason::EspTooOld, DropReason::EspAuth];
    let mut drops = lab.all_drops();
    drops.retain(|(name, _)| !BY_NUMBER.iter().any(|reason| reason.name() == *name));
    drops.push(("by number", BY_NUMBER.iter().map(|reason| lab.stats.drops(*reason)).sum()));
    drops
}

/// The same with bits flipped, cut, or bytes in the middle replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        3 => Just(None),
        1 => (any::<prop::sample::Index>(), 0u8..8).prop_map(|(at, bit)| Some((at, Some(bit), 0))),
        1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, value)| Some((at, None, value))),
    ];
    (sound(), vec(change, 0..4), any::<prop::sample::Index>(), prop::bool::weighted(0.15)).prop_map(
        |(mut frame, changes, cut, shorten)| {
            for (at, bit, value) in changes.into_iter().flatten() {
                // Mostly headers: the first 80 bytes.
                let place = at.index(frame.len().min(80));
                frame[place] = bit.map_or(value, |bit| frame[place] ^ 1 << bit);
            }
            if shorten {
                frame.truncate(cut.index(frame.len() + 1));
            }
            frame
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    /// A hundred thousand frames.
    #[test]
    fn every_frame_ends_in_exactly_one_place(frames in vec(prop_oneof![9 => mutated(), 1 => vec(any::<u8>(), 0..200)], 1..256)) {
        let mut lab = gateway();
        for frame in &frames {
            lab.rx.push(frame);
        }
        while lab.worker.turn() > 0 {}
        let (edge, core) = lab.drain();
        let (came, went) = lab.stats.balance();
        prop_assert_eq!(came, went, "{:?}", lab.all_drops());
        let sent: u64 = lab.stats.ports.iter().map(|p| p.tx_packets.get()).sum();
        prop_assert_eq!(sent, (edge.len() + core.len()) as u64);
        prop_assert_eq!(lab.stats.ports[0].punted.get() + lab.stats.ports[1].punted.get(), lab.punts().len() as u64);
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_burst_is_its_packets_one_by_one(frames in vec(mutated(), 1..64)) {
        let mut together = gateway();
        for frame in &frames {
            together.rx.push(frame);
        }
        together.worker.turn();
        let mut apart = gateway();
        let mut out = (Vec::new(), Vec::new());
        for frame in &frames {
            let (edge, core) = apart.feed(frame);
            out.0.extend(edge);
            out.1.extend(core);
        }
        // The order of packets that take different ways is not kept, and ICMP errors come last.
        let (edge, core) = together.drain();
        prop_assert_eq!(sorted(edge), sorted(out.0));
        prop_assert_eq!(sorted(core), sorted(out.1));
        prop_assert_eq!(drops(&together), drops(&apart));
        Heap::advance(1);
    }

    #[test]
    fn opening_undoes_sealing(
        suite in prop::sample::select(Suite::all().collect::<Vec<_>>()), in_udp: bool, v6: bool, esn: bool,
        // An IPv6 packet of the MTU that the longest suite leaves, 1390 bytes.
        len in 0usize..=1342, tos in any::<u8>(), ttl in 3u8.., inner_v6: bool, window in prop::option::of(6u32..17),
    ) {
        let window = window.map(|bits| 1 << bits).or(esn.then_some(64));
        let agreement = Agreement { suite, udp: in_udp, v6, esn, window, ..Agreement::default() };
        let (mut near, mut far) = agreement.both();
        let inner = if inner_v6 {
            ip6(17, tos, ttl, "2001:db8:9::9", "2001:db8:100::5", &udp(len))
        } else {
            Ip4 { tos, ttl, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(len))
        };
        for _ in 0..3 {
            let outer = sealed(&mut near, &inner);
            prop_assert!(outer.len() <= 1500);
            prop_assert_eq!(far.leaves_by_edge(&frame(&outer)), one_hop_less(&one_hop_less(&inner)));
        }
    }

    #[test]
    fn decapsulation_undoes_encapsulation(len in 0usize..1400, key in any::<Option<u32>>(), checksum in any::<bool>(), tos in any::<u8>(), ttl in 3u8..) {
        let tunnel = penstock_dataplane::tables::TunnelSpec { encapsulation: gre_options(key, checksum), mtu: 1460, ..spec() };
        let mut lab = Lab::with(&tunnel);
        let inner = Ip4 { tos, ttl, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(len));
        let outer = lab.leaves_by_core(&frame(&inner));
        // Our twin at the customer's: the same tunnel seen from the other end.
        let mut far = Lab::with(&penstock_dataplane::tables::TunnelSpec { remote: ENDPOINT.parse().unwrap(), local: REMOTE.parse().unwrap(), ..tunnel });
        far.change(|tables| {
            use penstock_dataplane::{ids::*, tables::*};
            tables.set_vrf(VrfId::INTERNET, table(&[("192.0.2.77/32", Hop::endpoint(EndpointId(0)))], &[]));
            tables.set_vrf(TENANT, table(&[("198.51.100.0/24", Hop::adjacency(AdjacencyId(0)))], &[]));
        });
        let back = far.leaves_by_edge(&frame(&outer));
        prop_assert_eq!(&back[..8], &inner[..8]);
        prop_assert_eq!(back[8], inner[8] - 2);
        prop_assert_eq!(&back[12..], &inner[12..]);
    }
}
