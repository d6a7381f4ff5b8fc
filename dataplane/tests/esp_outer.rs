//! What is around ESP: outer headers row by row, as for GRE; and what the inner packet gets from them.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::ids::*;
use penstock_dataplane::pipeline::Event;
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::checksum;
use support::esp::*;
use support::*;

/// All four ways to carry ESP.
fn ways() -> impl Iterator<Item = Agreement> {
    [(false, false), (true, false), (false, true), (true, true)].into_iter().map(|(udp, v6)| Agreement {
        udp,
        v6,
        ..Agreement::default()
    })
}

/// The checksum of an IPv4 header, whatever its length.
fn mend(packet: &mut [u8]) {
    let len = usize::from(packet[0] & 15) * 4;
    packet[10..12].fill(0);
    let sum = checksum::checksum(&packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn options_in_front_of_esp_are_skipped() {
    for in_udp in [false, true] {
        let agreement = Agreement { udp: in_udp, ..Agreement::default() };
        let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
        for words in 0..=10usize {
            let esp = peer.payload(1, &reply(50), 4);
            let mut outer = agreement.arriving(&esp)[14..].to_vec();
            outer.splice(20..20, std::iter::repeat_n(1u8, words * 4));
            outer[0] = 0x45 + words as u8;
            let len = outer.len() as u16;
            outer[2..4].copy_from_slice(&len.to_be_bytes());
            mend(&mut outer);
            assert_eq!(lab.leaves_by_edge(&frame(&outer)), one_hop_less(&reply(50)), "{words} words");
            outer.truncate(20 + words * 4 + 5);
            let len = outer.len() as u16;
            outer[2..4].copy_from_slice(&len.to_be_bytes());
            mend(&mut outer);
            let (edge, core) = lab.feed(&frame(&outer));
            assert!(edge.is_empty() && core.is_empty());
        }
        lab.assert_balanced();
    }
}

#[test]
fn extension_headers_in_front_of_esp_are_skipped() {
    for in_udp in [false, true] {
        let agreement = Agreement { udp: in_udp, v6: true, ..Agreement::default() };
        let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
        let last = if in_udp { 17 } else { 50 };
        // Hop-by-hop, destination options, routing; each names the one behind it.
        for chain in [vec![60u8], vec![0], vec![0, 60], vec![0, 60, 43], vec![60, 60, 60, 60]] {
            let plain = agreement.arriving(&peer.payload(1, &reply(50), 4))[14..].to_vec();
            let mut outer = plain[..40].to_vec();
            outer[6] = chain[0];
            for (place, _) in chain.iter().enumerate() {
                let next = chain.get(place + 1).copied().unwrap_or(last);
                outer.extend_from_slice(&[next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            }
            outer.extend_from_slice(&plain[40..]);
            let len = (outer.len() - 40) as u16;
            outer[4..6].copy_from_slice(&len.to_be_bytes());
            assert_eq!(lab.leaves_by_edge(&frame(&outer)), one_hop_less(&reply(50)), "{chain:?}");
        }
        lab.assert_balanced();
    }
}

#[test]
fn vlan_tags_on_both_sides() {
    let agreement = Agreement::default();
    let (mut near, mut far) = agreement.both();
    near.change(|tables| {
        let tagged = Adjacency::resolved(InterfaceId(1), PortId(1), Some(300), PEER_MAC, CORE_MAC, 1500);
        tables.set_adjacency(AdjacencyId(1), tagged);
    });
    let (_, core) = near.feed(&frame(&request(50)));
    assert_eq!(core[0][12..18], [0x81, 0, 0x01, 0x2c, 8, 0]);
    let outer = &core[0][18..];
    let tag = |tci: u16| ethernet(0x8100, &[&tci.to_be_bytes()[..], &[8, 0], outer].concat());
    // A priority tag is none; VLAN 100 is another interface, with a table of its own.
    assert_eq!(far.leaves_by_edge(&tag(0xe000))[12..], request(50)[12..]);
    far.change(|tables| {
        let routes =
            [("192.0.2.77/32", Hop::endpoint(EndpointId(0))), ("0.0.0.0/0", Hop::adjacency(AdjacencyId(0)))];
        tables.set_vrf(TENANT, table(&routes, &[]));
    });
    assert_eq!(far.leaves_by_edge(&tag(100))[12..], request(50)[12..]);
    far.dies(&tag(101), DropReason::VlanUnknown);
    far.assert_balanced();
}

#[test]
fn ecn_crosses_the_tunnel_as_rfc_6040_says() {
    for agreement in ways() {
        let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
        for outer in 0..4u8 {
            for inner in 0..4u8 {
                // RFC 6040 figure 4.
                let expected = match (inner, outer) {
                    (0, 3) => None,
                    (0, _) => Some(0),
                    (_, 3) => Some(3),
                    (2, 1) => Some(1),
                    (inner, _) => Some(inner),
                };
                let four = Ip4 { tos: 0xb8 | inner, ..Ip4::default() }.build(INSIDE, CLIENT, &udp(4));
                let six = ip6(17, 0xb8 | inner, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(4));
                for (packet, protocol) in [(four, 4), (six, 41)] {
                    let arriving = agreement.marked(0x28 | outer, &peer.payload(1, &packet, protocol));
                    let Some(ecn) = expected else {
                        lab.dies(&arriving, DropReason::EcnCongestion);
                        continue;
                    };
                    let out = lab.leaves_by_edge(&arriving);
                    assert_eq!(class(&out), 0xb8 | ecn, "inner {inner} outer {outer}");
                    assert!(out[0] >> 4 == 6 || checksum::sum(&out[..20]) == 0xffff);
                }
                // Normal mode on the way in: copied.
                let packet = Ip4 { tos: 0x48 | inner, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(4));
                assert_eq!(class(&lab.leaves_by_core(&frame(&packet))), 0x48 | inner);
                let packet = ip6(17, 0x48 | inner, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(4));
                assert_eq!(class(&lab.leaves_by_core(&frame(&packet))), 0x48 | inner);
            }
        }
        lab.assert_balanced();
    }
}

fn class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[0] << 4 | packet[1] >> 4 } else { packet[1] }
}

fn hops(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 6 { packet[7] } else { packet[8] }
}

#[test]
fn dscp_and_ttl_follow_the_tunnels_model() {
    for agreement in ways() {
        let fixed = TunnelSpec { dscp: Dscp::Fixed(10), ttl: Ttl::Inherit, ..agreement.spec() };
        let mut lab = agreement.gateway_with(&fixed);
        let four = Ip4 { tos: 0xb9, ttl: 33, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(4));
        let six = ip6(17, 0xb9, 33, "2001:db8:9::9", "2001:db8:100::5", &udp(4));
        for packet in [four, six] {
            let out = lab.leaves_by_core(&frame(&packet));
            assert_eq!((class(&out), hops(&out)), (10 << 2 | 1, 32));
            assert!(agreement.v6 || checksum::sum(&out[..20]) == 0xffff);
        }
        let mut peer = Forger::of(&agreement);
        for (dscp, expected) in [(Dscp::Uniform, 0x28), (Dscp::Inherit, 0), (Dscp::Fixed(3), 0)] {
            let mut lab =
                agreement.gateway_with(&TunnelSpec { dscp, ttl: Ttl::Fixed(9), ..agreement.spec() });
            let out = lab.leaves_by_edge(&agreement.marked(0x28, &peer.payload(1, &reply(4), 4)));
            assert_eq!(class(&out), expected);
            assert_eq!(checksum::sum(&out[..20]), 0xffff);
            let out = lab.leaves_by_core(&frame(&Ip4 { tos: 0x68, ..Ip4::default() }.build(
                CLIENT,
                INSIDE,
                &udp(4),
            )));
            let sent = if dscp == Dscp::Fixed(3) { 3 << 2 } else { 0x68 };
            assert_eq!((class(&out), hops(&out)), (sent, 9));
        }
    }
}

#[test]
fn df_copy_and_clear() {
    for in_udp in [false, true] {
        for (df, inner_flags, outer_df) in [
            (DontFragment::Copy, 0x4000, true),
            (DontFragment::Copy, 0x0000, false),
            (DontFragment::Clear, 0x4000, false),
            (DontFragment::Set, 0x0000, true),
        ] {
            let agreement = Agreement { udp: in_udp, ..Agreement::default() };
            let mut lab = agreement.near_with(&TunnelSpec { df, ..agreement.spec() });
            let mut ids = Vec::new();
            for _ in 0..3 {
                let packet = Ip4 { flags: inner_flags, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(4));
                let out = lab.leaves_by_core(&frame(&packet));
                assert_eq!(out[6] & 0x40 != 0, outer_df);
                assert_eq!(checksum::sum(&out[..20]), 0xffff);
                ids.push([out[4], out[5]]);
            }
            ids.dedup();
            assert_eq!(ids.len(), if outer_df { 1 } else { 3 }, "only datagrams that may be cut need an ID");
        }
    }
}

/// A SYN with this MSS; with the pseudo-header's checksum.
fn syn(v6_inner: bool, to_customer: bool, mss: u16) -> Vec<u8> {
    let mut tcp = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
    tcp.extend_from_slice(&mss.to_be_bytes());
    let (client, inside) = if v6_inner { ("2001:db8:9::9", "2001:db8:100::5") } else { (CLIENT, INSIDE) };
    let (src, dst) = if to_customer { (client, inside) } else { (inside, client) };
    let mut sum = if v6_inner {
        checksum::Checksum::pseudo_v6(v6(src), v6(dst), 6, 24)
    } else {
        checksum::Checksum::pseudo_v4(v4(src), v4(dst), 6, 24)
    };
    sum.add_bytes(&tcp);
    tcp[16..18].copy_from_slice(&sum.finish().to_be_bytes());
    if v6_inner {
        ip6(6, 0, 64, src, dst, &tcp)
    } else {
        Ip4 { protocol: 6, ..Ip4::default() }.build(src, dst, &tcp)
    }
}

/// The MSS of a SYN, whose checksum must be right.
fn mss_of(packet: &[u8]) -> u16 {
    let is_v6 = packet[0] >> 4 == 6;
    let tcp = if is_v6 { &packet[40..] } else { &packet[20..] };
    let mut sum = if is_v6 {
        let address = |at: usize| u128::from_be_bytes(packet[at..at + 16].try_into().unwrap());
        checksum::Checksum::pseudo_v6(address(8), address(24), 6, 24)
    } else {
        let address = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        checksum::Checksum::pseudo_v4(address(12), address(16), 6, 24)
    };
    sum.add_bytes(tcp);
    assert_eq!(sum.sum(), 0xffff, "the TCP checksum is right after the change");
    u16::from_be_bytes([tcp[22], tcp[23]])
}

#[test]
fn mss_is_clamped_both_ways_to_what_the_suite_leaves() {
    for suite in Suite::all() {
        for agreement in ways() {
            let agreement = Agreement { suite, ..agreement };
            let (mut near, mut far) = agreement.both();
            let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
            let mtu = suite.inner_mtu(1500, agreement.v6, agreement.udp);
            for (inner_v6, limit) in [(false, mtu - 40), (true, mtu - 60)] {
                for mss in [1460, limit + 1, limit, 536] {
                    let outer = sealed(&mut near, &syn(inner_v6, true, mss));
                    assert_eq!(mss_of(&far.leaves_by_edge(&frame(&outer))), mss.min(limit), "{suite}");
                    // Out of the tunnel, sealed by a peer that does not clamp.
                    let protocol = if inner_v6 { 41 } else { 4 };
                    let esp = peer.payload(1, &syn(inner_v6, false, mss), protocol);
                    let out = lab.leaves_by_edge(&agreement.arriving(&esp));
                    assert_eq!(mss_of(&out), mss.min(limit), "{suite}");
                }
            }
            assert_eq!(near.stats.tunnel(TUNNEL).unwrap().clamped.get(), 4);
            assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().clamped.get(), 4);
        }
    }
}

/// "Too big" about a packet of ours, which is quoted for so many bytes.
fn notice(agreement: &Agreement, mtu: u16, sent: &[u8], quoted: usize) -> Vec<u8> {
    let quote = &sent[..quoted.min(sent.len())];
    if agreement.v6 {
        let mut icmp = vec![2, 0, 0, 0, 0, 0];
        icmp.extend_from_slice(&mtu.to_be_bytes());
        icmp.extend_from_slice(quote);
        let router = "2001:db8:5::1";
        let mut sum = checksum::Checksum::pseudo_v6(v6(router), v6(ENDPOINT6), 58, icmp.len() as u32);
        sum.add_bytes(&icmp);
        icmp[2..4].copy_from_slice(&sum.finish().to_be_bytes());
        return frame(&ip6(58, 0, 64, router, ENDPOINT6, &icmp));
    }
    let mut icmp = vec![3, 4, 0, 0, 0, 0];
    icmp.extend_from_slice(&mtu.to_be_bytes());
    icmp.extend_from_slice(quote);
    let sum = checksum::checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    frame(&Ip4 { protocol: 1, ..Ip4::default() }.build("10.9.9.9", ENDPOINT, &icmp))
}

#[test]
fn too_big_about_our_outer_packet_reaches_control() {
    for agreement in ways() {
        let mut lab = agreement.near();
        let sent = sealed(&mut lab, &request(1000));
        let at = esp_at(&sent);
        lab.dies(&notice(&agreement, 1300, &sent, at + 8), DropReason::TooBigNotice);
        assert_eq!(lab.events.pop(), Some(Event::PathMtu { tunnel: TUNNEL, mtu: 1300 }));
        // Not smaller than what is believed: nothing to tell.
        lab.dies(&notice(&agreement, 1500, &sent, at + 8), DropReason::TooBigNotice);
        assert_eq!(lab.events.pop(), None);
        // About packets that we cannot have sent: the kernel's, and no event.
        let mut others = vec![];
        for place in [at, at + 3, if agreement.v6 { 39 } else { 19 }, if agreement.v6 { 23 } else { 15 }] {
            let mut other = sent.clone();
            other[place] ^= 1;
            others.push(other);
        }
        for other in others {
            let (edge, core) = lab.feed(&notice(&agreement, 1300, &other, at + 8));
            assert!(edge.is_empty() && core.is_empty());
            assert_eq!((lab.punts().len(), lab.events.pop()), (1, None));
        }
        // What an association sent that is gone no longer counts.
        lab.feed.clear_outbound(TUNNEL);
        lab.feed(&notice(&agreement, 1300, &sent, at + 8));
        assert_eq!((lab.punts().len(), lab.events.pop()), (1, None));
        lab.assert_balanced();
    }
}

#[test]
fn what_is_inside_is_checked_like_a_packet_from_outside() {
    for agreement in ways() {
        let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
        let mut arriving = |payload: &[u8], protocol| agreement.arriving(&peer.payload(1, payload, protocol));
        let mut bad = reply(64);
        bad[10] ^= 0xff;
        lab.dies(&arriving(&bad, 4), DropReason::Ipv4Checksum);
        lab.dies(&arriving(&reply(64)[..50], 4), DropReason::FrameTruncated);
        lab.dies(&arriving(&reply(64)[..19], 4), DropReason::FrameTruncated);
        lab.dies(&arriving(&[], 4), DropReason::FrameTruncated);
        lab.dies(&arriving(&[], 41), DropReason::FrameTruncated);
        let six = ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(4));
        lab.dies(&arriving(&six, 4), DropReason::Ipv4Header);
        lab.dies(&arriving(&reply(64), 41), DropReason::Ipv6Header);
        let martian = Ip4::default().build("127.0.0.1", CLIENT, &udp(4));
        lab.dies(&arriving(&martian, 4), DropReason::SourceInvalid);
        lab.dies(&arriving(&ip6(17, 0, 64, "::1", "2001:db8:9::9", &udp(4)), 41), DropReason::SourceInvalid);
        // To the tunnel's own far end.
        let looped = if agreement.v6 {
            (ip6(17, 0, 64, "2001:db8:100::5", REMOTE6, &udp(4)), 41)
        } else {
            (Ip4::default().build(INSIDE, REMOTE, &udp(4)), 4)
        };
        lab.dies(&arriving(&looped.0, looped.1), DropReason::TunnelLoop);
        // The last hop.
        let old = Ip4 { ttl: 1, ..Ip4::default() }.build(INSIDE, CLIENT, &udp(4));
        let (edge, core) = lab.feed(&arriving(&old, 4));
        // The error goes back into the tunnel.
        assert_eq!((edge.len(), core.len(), lab.stats.drops(DropReason::TtlExpired)), (0, 1, 1));
        assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().dropped.get(), 11);
        lab.assert_balanced();
    }
}

#[test]
fn a_tunnel_in_a_tunnel_is_refused() {
    for agreement in ways() {
        let mut lab = agreement.gateway();
        let mut peer = Forger::of(&agreement);
        let esp = peer.payload(1, &reply(4), 4);
        let in_ipv4 = Ip4 { protocol: 50, ..Ip4::default() }.build(INSIDE, ENDPOINT, &esp);
        let in_udp = Ip4::default().build(INSIDE, ENDPOINT, &natt(&esp));
        let in_gre = Ip4 { protocol: 47, ..Ip4::default() }.build(INSIDE, ENDPOINT, &gre(0, &[], &reply(4)));
        let in_ipv6 = ip6(50, 0, 64, "2001:db8:100::5", ENDPOINT6, &esp);
        for (nested, protocol) in [(in_ipv4.clone(), 4), (in_udp, 4), (in_gre, 4), (in_ipv6, 41)] {
            let frame = agreement.arriving(&peer.payload(1, &nested, protocol));
            lab.dies(&frame, DropReason::TunnelNested);
        }
        // To another gateway it is a packet like any other.
        let passing = Ip4 { protocol: 50, ..Ip4::default() }.build(INSIDE, CLIENT, &esp);
        let out = lab.leaves_by_edge(&agreement.arriving(&peer.payload(1, &passing, 4)));
        assert_eq!(out, one_hop_less(&passing));
        let mut lab = Lab::new();
        lab.feed.add_inbound(&agreement.inbound()).unwrap();
        lab.dies(&frame(&from_remote(&gre(0, &[], &in_ipv4))), DropReason::TunnelNested);
    }
}

#[test]
fn source_filter_accepts_only_the_tenants_prefixes() {
    let agreement = Agreement::default();
    let mut lab = agreement.gateway_with(&TunnelSpec { filter: Some(FilterId(3)), ..agreement.spec() });
    let mut peer = Forger::of(&agreement);
    lab.change(|tables| {
        let yes = Hop::LOCAL;
        let accepted = table(&[("198.51.100.0/24", yes)], &[("2001:db8:100::/48", yes)]);
        tables.set_filter(FilterId(3), SourceFilter::new(accepted, None));
    });
    let mut arriving = |payload: &[u8], protocol| agreement.arriving(&peer.payload(1, payload, protocol));
    lab.leaves_by_edge(&arriving(&reply(4), 4));
    let spoofed = Ip4::default().build("198.51.101.5", CLIENT, &udp(4));
    lab.dies(&arriving(&spoofed, 4), DropReason::SourceFilter);
    lab.leaves_by_edge(&arriving(&ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(4)), 41));
    let spoofed = ip6(17, 0, 64, "2001:db8:101::5", "2001:db8:9::9", &udp(4));
    lab.dies(&arriving(&spoofed, 41), DropReason::SourceFilter);
}

#[test]
fn the_tunnels_address_answers_pings_through_the_tunnel() {
    for agreement in ways() {
        let (mut lab, mut far) = (agreement.gateway(), agreement.far());
        let mut peer = Forger::of(&agreement);
        let mut echo = vec![8, 0, 0, 0, 1, 2, 0, 1, b'p'];
        let sum = checksum::checksum(&echo);
        echo[2..4].copy_from_slice(&sum.to_be_bytes());
        let ping = Ip4 { protocol: 1, ..Ip4::default() }.build(INSIDE, "10.255.0.0", &echo);
        let outer = lab.leaves_by_core(&agreement.arriving(&peer.payload(1, &ping, 4)));
        let back = far.leaves_by_edge(&frame(&outer));
        assert_eq!(back[12..20], [10, 255, 0, 0, 198, 51, 100, 5]);
        assert_eq!((back[20], checksum::sum(&back[20..])), (0, 0xffff));
    }
}

#[test]
fn a_peer_that_needs_no_udp_has_not_moved() {
    // RFC 7296 2.23: both forms may come at any time. What is in front of plain ESP are no ports.
    for is_v6 in [false, true] {
        let agreement = Agreement { udp: true, v6: is_v6, ..Agreement::default() };
        let plain = Agreement { udp: false, ..agreement.clone() };
        let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
        for sequence in 1..5 {
            lab.leaves_by_edge(&plain.arriving(&peer.payload(sequence, &reply(9), 4)));
            lab.leaves_by_edge(&agreement.arriving(&peer.payload(sequence, &reply(9), 4)));
        }
        assert_eq!(lab.events.pop(), None);
    }
}

#[test]
fn an_unresolved_neighbour_is_reached_through_the_kernel_and_sees_only_esp() {
    for agreement in ways() {
        let mut near =
            agreement.near_with(&TunnelSpec { underlay: Hop::adjacency(AdjacencyId(2)), ..agreement.spec() });
        let (edge, core) = near.feed(&frame(&request(50)));
        assert!(edge.is_empty() && core.is_empty());
        let punts = near.punts();
        assert_eq!(punts.len(), 1);
        let outer = &punts[0].1[14..];
        assert_eq!(agreement.far().leaves_by_edge(&frame(outer))[12..], request(50)[12..]);
        near.change(|tables| {
            let down = Tunnel::new(&TunnelSpec { underlay: Hop::NO_ROUTE, ..agreement.spec() }).unwrap();
            tables.set_tunnel(TUNNEL, down);
        });
        near.dies(&frame(&request(50)), DropReason::TunnelDown);
        near.assert_balanced();
    }
}
