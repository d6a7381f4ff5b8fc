//! ESP tunnels on heap buffers: two gateways, each the other's customer, and every reason to refuse.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec, Spi};
use penstock_dataplane::esp::selector::{Selectors, TrafficSelector};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::frame::heap::Heap;
use penstock_dataplane::pipeline::Event;
use support::esp::*;
use support::*;

#[test]
fn every_suite_family_and_size_comes_out_as_it_went_in() {
    for suite in Suite::all() {
        for (in_udp, v6) in [(false, false), (true, false), (false, true), (true, true)] {
            let (mut near, mut far) = Agreement { suite, udp: in_udp, v6, ..Agreement::default() }.both();
            let mtu = usize::from(suite.inner_mtu(1500, v6, in_udp));
            for len in (0..40).chain([100, 576, 1000, mtu - 29, mtu - 28]) {
                let inner = request(len);
                let outer = sealed(&mut near, &inner);
                assert!(outer.len() <= 1500, "{suite} {in_udp} {v6} {len}: {}", outer.len());
                let back = far.leaves_by_edge(&frame(&outer));
                // One hop at each end.
                assert_eq!((back[8] + 2, &back[12..]), (inner[8], &inner[12..]), "{suite} {len}");
            }
            let inner6 = ip6(17, 0x29, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(333));
            let outer = sealed(&mut near, &inner6);
            let back = far.leaves_by_edge(&frame(&outer));
            assert_eq!((back[7] + 2, &back[8..]), (inner6[7], &inner6[8..]));
            near.assert_balanced();
            far.assert_balanced();
        }
    }
}

#[test]
fn the_largest_packet_fits_and_one_byte_more_does_not() {
    for suite in Suite::all() {
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
    lab.feed.set_outbound(&agreement.outbound());
    lab.dies(&frame(&request(30)), DropReason::EspNoLease);
    lab.feed.lease(0, lease(1));
    sealed(&mut lab, &request(30));
    lab.feed.clear_outbound(TUNNEL);
    lab.dies(&frame(&request(30)), DropReason::EspNoSa);
    let other = OutboundSpec { incarnation: 8, ..agreement.outbound() };
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
fn the_soft_limit_is_told_once() {
    let agreement = Agreement::default();
    let mut lab = Lab::with(&agreement.spec());
    lab.feed.set_outbound(&OutboundSpec { soft_limit: 2, ..agreement.outbound() });
    lab.feed.lease(0, lease(1));
    for _ in 0..4 {
        sealed(&mut lab, &request(1));
    }
    assert_eq!(lab.events.pop(), Some(Event::SequenceSoftLimit { tunnel: TUNNEL, spi: SPI.0 }));
    assert_eq!(lab.events.pop(), None);
}

#[test]
fn the_soft_limit_is_told_again_when_nobody_could_hear_it() {
    let agreement = Agreement { hard_limit: 9, ..Agreement::default() };
    let mut lab = Lab::with(&agreement.spec());
    lab.feed.set_outbound(&OutboundSpec { soft_limit: 2, ..agreement.outbound() });
    lab.feed.lease(0, lease(1));
    let other = Event::PathMtu { tunnel: TUNNEL, mtu: 1400 };
    while lab.events.push(other).is_ok() {}
    for _ in 0..5 {
        sealed(&mut lab, &request(1));
    }
    while lab.events.pop() == Some(other) {}
    for _ in 0..4 {
        sealed(&mut lab, &request(1));
    }
    assert_eq!(lab.events.pop(), Some(Event::SequenceSoftLimit { tunnel: TUNNEL, spi: SPI.0 }));
    assert_eq!(lab.events.pop(), None);
    lab.dies(&frame(&request(1)), DropReason::EspSequence);
}

#[test]
fn a_stopped_association_carries_nothing_in_either_direction() {
    for (window, in_udp) in [(None, false), (Some(64), true)] {
        let agreement = Agreement { window, udp: in_udp, ..Agreement::default() };
        for numbering in [
            Numbering::PerCore,
            Numbering::Shared(Arc::new(AtomicU64::new(0))),
            Numbering::Pinned { worker: 0 },
        ] {
            let mut near = Lab::with(&agreement.spec());
            let out = near.feed.set_outbound(&OutboundSpec { numbering, ..agreement.outbound() });
            near.feed.lease(0, lease(1));
            let mut far = agreement.deaf_with(&agreement.spec());
            let into = far.feed.add_inbound(&agreement.inbound()).unwrap();
            let outer = [(); 3].map(|()| frame(&sealed(&mut near, &request(60))));
            far.leaves_by_edge(&outer[0]);
            out.stop();
            near.dies(&frame(&request(60)), DropReason::EspLifetime);
            // Larger, with a SYN's options or IPv6: the ways through the code differ, the end does not.
            near.dies(&frame(&request(1300)), DropReason::EspLifetime);
            near.dies(
                &frame(&ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(30))),
                DropReason::EspLifetime,
            );
            into.stop();
            far.dies(&outer[1], DropReason::EspLifetime);
            // Whatever its length, and authentic or not.
            for len in 0..300 {
                let mut esp = agreement.spi().0.to_be_bytes().to_vec();
                esp.resize(12 + len, 0);
                let payload = if in_udp { natt(&esp) } else { esp };
                let protocol = if in_udp { 17 } else { 50 };
                far.dies(
                    &frame(&Ip4 { protocol, ..Ip4::default() }.build(ENDPOINT, REMOTE, &payload)),
                    DropReason::EspLifetime,
                );
            }
            assert_eq!(out.total(|counters| &counters.refused), 3);
            assert_eq!(into.total(|counters| &counters.packets), 1);
            assert_eq!(into.total(|counters| &counters.refused), 301);
            near.assert_balanced();
            far.assert_balanced();
            // Only what was stopped is.
            near.feed.set_outbound(&agreement.outbound());
            far.feed.remove_inbound(&into);
            far.feed.add_inbound(&agreement.inbound()).unwrap();
            far.leaves_by_edge(&frame(&sealed(&mut near, &request(60))));
        }
    }
}

#[test]
fn whatever_is_authentic_shows_that_the_peer_lives() {
    let agreement = Agreement::default();
    let mut peer = Forger::of(&agreement);
    let mut lab = Lab::with(&agreement.spec());
    let handle = lab.feed.add_inbound(&agreement.inbound()).unwrap();
    let last_used = || handle.total(|counters| &counters.last_used);
    Heap::advance(1000);
    let mut forged = agreement.arriving(&peer.payload(1, &reply(9), 4));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    lab.dies(&forged, DropReason::EspAuth);
    assert_eq!(last_used(), 0);
    let dummy = agreement.arriving(&peer.payload(2, &[0; 30], 59));
    lab.dies(&dummy, DropReason::EspDummy);
    assert_eq!(last_used(), 1000);
    assert_eq!(handle.total(|counters| &counters.packets), 0);
    Heap::advance(1000);
    lab.leaves_by_edge(&agreement.arriving(&peer.payload(3, &reply(9), 4)));
    assert_eq!((last_used(), handle.total(|counters| &counters.packets)), (2000, 1));
}

#[test]
fn selectors_hold_both_ways() {
    let net =
        |first: &str, last: &str| TrafficSelector::addresses(first.parse().unwrap(), last.parse().unwrap());
    let everything = || net("0.0.0.0", "255.255.255.255");
    let with = |local, remote| Agreement {
        selectors: Selectors::new(vec![local], vec![remote]).unwrap(),
        ..Agreement::default()
    };
    let other = net("198.51.100.0", "198.51.100.3");
    with(everything(), other.clone()).near().dies(&frame(&request(1)), DropReason::EspSelector);
    let mut near = with(everything(), net("198.51.100.0", "198.51.100.5")).near();
    // The far end's own side is the customer's, so the same ranges the other way round.
    with(net("198.51.100.0", "198.51.100.5"), everything())
        .near()
        .dies(&frame(&request(1)), DropReason::EspSelector);
    let outer = frame(&sealed(&mut near, &request(1)));
    with(net("198.51.100.5", "198.51.100.5"), net("8.8.8.8", "8.8.8.8")).far().leaves_by_edge(&outer);
    with(other, everything()).far().dies(&outer, DropReason::EspSelector);
    with(everything(), net("9.9.9.9", "9.9.9.9")).far().dies(&outer, DropReason::EspSelector);
    // IPv4 ranges take no IPv6.
    let inner6 = ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(9));
    near.dies(&frame(&inner6), DropReason::EspSelector);
}

#[test]
fn nat_t_keepalives_end_and_ike_goes_to_the_kernel() {
    let (_, mut far) = Agreement { udp: true, ..Agreement::default() }.both();
    let datagram = |payload: &[u8]| frame(&Ip4::default().build(ENDPOINT, REMOTE, &natt(payload)));
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
        let handle = far.feed.add_inbound(&InboundSpec { spi, ..agreement.inbound() }).unwrap();
        let before = sealed(&mut near, &request(5));
        near.feed.set_outbound(&OutboundSpec { spi, ..agreement.outbound() });
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
