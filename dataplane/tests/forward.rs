//! Plain forwarding, errors to the sender, the kernel, VLANs, groups.

mod support;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::frame::heap::Heap;
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::checksum;
use support::*;

#[test]
fn frames_wait_until_there_are_tables() {
    let mut lab = Lab::new();
    let mut early = Lab::unpublished();
    early.rx.push(&frame(&request(1)));
    assert_eq!((early.worker.turn(), early.drain()), (0, (vec![], vec![])));
    let tables = lab.tables.clone();
    early.change(|empty| *empty = tables);
    assert_eq!(early.worker.turn(), 1);
    assert_eq!(early.drain().1, lab.feed(&frame(&request(1))).1);
}

#[test]
fn forwards_with_one_hop_less() {
    let mut lab = Lab::new();
    let out = lab.leaves_by_edge(&frame(&Ip4::default().build("192.0.2.66", "1.2.3.4", &udp(5))));
    assert_eq!(out[8], 63);
    assert_eq!(checksum::sum(&out[..20]), 0xffff);
    let out = lab.leaves_by_edge(&frame(&ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:8::8", &udp(5))));
    assert_eq!(out[7], 63);
}

#[test]
fn padding_of_short_frames_is_removed() {
    let mut lab = Lab::new();
    let mut short = frame(&Ip4::default().build(CLIENT, INSIDE, &udp(1)));
    short.resize(60, 0xee);
    let out = lab.leaves_by_core(&short);
    assert_eq!(out.len(), 24 + 29);
}

#[test]
fn expired_packets_are_told_to_their_sender() {
    let mut lab = Lab::new();
    let packet = Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(100));
    let out = lab.leaves_by_edge(&frame(&packet));
    assert_eq!(out[8..10], [64, 1]);
    assert_eq!(out[12..20], [192, 0, 2, 1, 8, 8, 8, 8]);
    assert_eq!(out[20..22], [11, 0]);
    assert_eq!(checksum::sum(&out[20..]), 0xffff);
    assert_eq!(&out[28..28 + packet.len()], packet);
    assert_eq!(lab.stats.drops(DropReason::TtlExpired), 1);
    // From inside the tunnel: the tunnel's own address, back through the tunnel.
    let packet = Ip4 { ttl: 1, ..Ip4::default() }.build(INSIDE, CLIENT, &udp(100));
    let out = lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &packet))));
    assert_eq!(out[36..44], [10, 255, 0, 0, 198, 51, 100, 5]);
    lab.assert_balanced();
}

#[test]
fn too_big_is_told_with_the_tunnels_mtu() {
    let mut lab = Lab::new();
    let fits = request(1476 - 28);
    assert_eq!(lab.leaves_by_core(&frame(&fits)).len(), 1500);
    let out = lab.leaves_by_edge(&frame(&request(1477 - 28)));
    assert_eq!(out[20..22], [3, 4]);
    assert_eq!(u16::from_be_bytes([out[26], out[27]]), 1476);
    let big = ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(1477 - 48));
    let out = lab.leaves_by_edge(&frame(&big));
    assert_eq!(out[40..42], [2, 0]);
    assert_eq!(u32::from_be_bytes(out[44..48].try_into().unwrap()), 1476);
    assert_eq!(lab.stats.drops(DropReason::TooBig), 2);
    lab.assert_balanced();
}

#[test]
fn icmp_errors_stay_within_their_budget() {
    let mut lab = Lab::new();
    lab.change(|tables| tables.limits = Limits { icmp_rate: 10, icmp_burst: 5, ..Limits::default() });
    let expired = frame(&Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(1)));
    let sent = |lab: &mut Lab| (0..50).map(|_| lab.feed(&expired).0.len()).sum::<usize>();
    assert_eq!(sent(&mut lab), 5);
    Heap::advance(HZ / 5);
    assert_eq!(sent(&mut lab), 2);
    assert_eq!(lab.stats.icmp_suppressed.get(), 93);
    assert_eq!(lab.stats.drops(DropReason::TtlExpired), 100);
    lab.assert_balanced();
}

#[test]
fn no_error_about_an_error_or_from_nobody() {
    let mut lab = Lab::new();
    let mut icmp = vec![11, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend_from_slice(&request(0));
    let about_error = Ip4 { ttl: 1, protocol: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &icmp);
    lab.dies(&frame(&about_error), DropReason::TtlExpired);
    let fragment = Ip4 { ttl: 1, flags: 0x0010, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(8));
    lab.dies(&frame(&fragment), DropReason::TtlExpired);
}

#[test]
fn routes_to_nowhere() {
    let mut lab = Lab::new();
    lab.dies(&frame(&Ip4::default().build(CLIENT, "100.64.1.1", &udp(1))), DropReason::Blackhole);
    let lost = Ip4::default().build(INSIDE, "172.31.0.1", &udp(1));
    let out = lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &lost))));
    assert_eq!(out[44..46], [3, 0]);
    assert_eq!(lab.stats.drops(DropReason::NoRoute), 1);
    lab.change(|tables| tables.set_vrf(TENANT, table(&[("0.0.0.0/0", Hop::vrf(TENANT))], &[])));
    lab.dies(&frame(&request(1)), DropReason::RouteLoop);
}

#[test]
fn the_kernel_gets_what_is_not_ours_to_forward() {
    let mut lab = Lab::new();
    let arp = {
        let mut frame = ethernet(0x0806, &[0; 28]);
        frame[..6].fill(0xff);
        frame
    };
    let ping = frame(&Ip4 { protocol: 1, ..Ip4::default() }.build(CLIENT, "192.0.2.1", &[8, 0, 0, 0]));
    let ike = frame(&Ip4::default().build(CLIENT, ENDPOINT, &udp(40)));
    let lldp = ethernet(0x88cc, &[1; 50]);
    for frame in [&arp, &ping, &ike, &lldp] {
        assert_eq!(lab.feed(frame), (vec![], vec![]));
    }
    let frames: Vec<_> = lab.punts().into_iter().collect();
    assert_eq!(frames, [arp, ping, ike, lldp].map(|frame| (InterfaceId(0), frame)));
    lab.assert_balanced();
}

#[test]
fn unresolved_neighbours_are_reached_through_the_kernel() {
    let mut lab = Lab::new();
    let packet = Ip4::default().build(CLIENT, "192.0.2.200", &udp(4));
    assert_eq!(lab.feed(&frame(&packet)), (vec![], vec![]));
    let punted = lab.punts();
    assert_eq!(punted.len(), 1);
    assert_eq!(punted[0].0, InterfaceId(1));
    assert_eq!(punted[0].1[..6], CORE_MAC);
    assert_eq!(punted[0].1[12..14], [8, 0]);
    assert_eq!(punted[0].1[22], 63);
    lab.change(|tables| tables.limits = Limits { punt_rate: 1, punt_burst: 1, ..Limits::default() });
    lab.feed(&frame(&packet));
    lab.dies(&frame(&packet), DropReason::NeighborUnresolved);
    lab.assert_balanced();
}

#[test]
fn what_the_kernel_sends_leaves_by_the_port() {
    let mut lab = Lab::new();
    let bytes = ethernet(0x0806, &[7; 28]);
    lab.injector.inject(PortId(1), &bytes).unwrap();
    lab.worker.turn();
    assert_eq!(lab.drain(), (vec![], vec![bytes.clone()]));
    lab.injector.inject(PortId(9), &bytes).unwrap();
    lab.worker.turn();
    assert_eq!(lab.stats.drops(DropReason::TxPortMissing), 1);
}

#[test]
fn frames_of_others_and_broken_frames_are_dropped() {
    let mut lab = Lab::new();
    let mut other = frame(&request(4));
    other[5] ^= 0x40;
    lab.dies(&other, DropReason::NotOurMac);
    lab.dies(&[0; 9], DropReason::FrameTruncated);
    lab.dies(&[], DropReason::FrameTruncated);
    let whole = frame(&request(40));
    for len in 0..whole.len() {
        lab.feed(&whole[..len]);
    }
    assert_eq!(lab.stats.drops(DropReason::FrameTruncated), 2 + whole.len() as u64);
    let mut bad = frame(&request(4));
    bad[14] = 0x55;
    lab.dies(&bad, DropReason::Ipv4Header);
    let loopback = Ip4::default().build("127.1.2.3", INSIDE, &udp(1));
    lab.dies(&frame(&loopback), DropReason::SourceInvalid);
    let multicast = ip6(17, 0, 64, "ff02::1", "2001:db8:100::5", &udp(1));
    lab.dies(&frame(&multicast), DropReason::SourceInvalid);
    lab.assert_balanced();
}

#[test]
fn vlans_belong_to_their_tenant() {
    let mut lab = Lab::new();
    let mut tagged = ethernet(0x8100, &[0, 100, 8, 0]);
    tagged.extend_from_slice(&Ip4::default().build("10.1.0.9", INSIDE, &udp(3)));
    let out = lab.leaves_by_core(&tagged);
    assert_eq!(out[9], 47);
    tagged[15] = 99;
    lab.dies(&tagged, DropReason::VlanUnknown);
    // A priority tag is an untagged frame.
    tagged[15] = 0;
    lab.leaves_by_core(&tagged);
    lab.change(|tables| {
        let tagged = Adjacency::resolved(InterfaceId(2), PortId(0), Some(100), PEER_MAC, OUR_MAC, 1500);
        tables.set_adjacency(AdjacencyId(0), tagged);
    });
    let (edge, _) = lab.feed(&frame(&Ip4::default().build(CLIENT, "1.1.1.1", &udp(3))));
    assert_eq!(edge[0][12..18], [0x81, 0, 0, 100, 8, 0]);
}

#[test]
fn flows_stay_on_their_member_and_follow_it_when_it_goes() {
    let mut lab = Lab::new();
    let member = |port: u32| Member {
        hop: Hop::adjacency(AdjacencyId(port)),
        weight: 1,
        identity: u64::from(port) + 5,
    };
    lab.change(|tables| {
        tables.set_group(GroupId(0), Group::new(&[member(0), member(1)]));
        tables.set_vrf(VrfId::INTERNET, table(&[("0.0.0.0/0", Hop::group(GroupId(0)))], &[]));
    });
    let packets: Vec<_> = (0..200)
        .map(|i| frame(&Ip4::default().build(CLIENT, &format!("9.9.{}.{}", i / 250, i % 250), &udp(1))))
        .collect();
    let by_edge = |lab: &mut Lab| packets.iter().map(|p| lab.feed(p).0.len() == 1).collect::<Vec<_>>();
    let first = by_edge(&mut lab);
    assert_eq!(first, by_edge(&mut lab));
    let share = first.iter().filter(|edge| **edge).count();
    assert!((60..140).contains(&share), "{share}");
    lab.change(|tables| tables.set_group(GroupId(0), Group::new(&[member(0)])));
    assert!(by_edge(&mut lab).iter().all(|edge| *edge));
}
