//! Frames that nobody sane sends: whatever comes in, nothing panics and every frame ends in exactly one
//! place; and a burst of n is n bursts of one.

mod support;

use penstock_dataplane::frame::heap::Heap;
use proptest::collection::vec;
use proptest::prelude::*;
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
    let packets = prop_oneof![inner4, inner6, tunnelled, nested, syn, icmp, fragment, to_kernel];
    (packets, any::<Option<u16>>()).prop_map(|(packet, vlan)| match vlan {
        Some(tci) => {
            let inner_type = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
            ethernet(0x8100, &[&tci.to_be_bytes()[..], &inner_type, &packet].concat())
        }
        None => frame(&packet),
    })
}

/// The same with bits flipped, cut, or bytes in the middle replaced.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        Just(None),
        (any::<prop::sample::Index>(), 0u8..8).prop_map(|(at, bit)| Some((at, Some(bit), 0))),
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, value)| Some((at, None, value))),
    ];
    (sound(), vec(change, 0..4), any::<prop::sample::Index>(), any::<bool>()).prop_map(
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
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_frame_ends_in_exactly_one_place(frames in vec(prop_oneof![9 => mutated(), 1 => vec(any::<u8>(), 0..200)], 1..64)) {
        let mut lab = Lab::new();
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

    #[test]
    fn a_burst_is_its_packets_one_by_one(frames in vec(mutated(), 1..64)) {
        let mut together = Lab::new();
        for frame in &frames {
            together.rx.push(frame);
        }
        together.worker.turn();
        let mut apart = Lab::new();
        let mut out = (Vec::new(), Vec::new());
        for frame in &frames {
            let (edge, core) = apart.feed(frame);
            out.0.extend(edge);
            out.1.extend(core);
        }
        // The order of packets that take different ways is not kept, and ICMP errors come last.
        let sorted = |mut frames: Vec<Vec<u8>>| { frames.sort(); frames };
        let (edge, core) = together.drain();
        prop_assert_eq!(sorted(edge), sorted(out.0));
        prop_assert_eq!(sorted(core), sorted(out.1));
        prop_assert_eq!(together.all_drops(), apart.all_drops());
        Heap::advance(1);
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
