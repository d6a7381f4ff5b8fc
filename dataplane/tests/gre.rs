//! GRE row by row: RFC 2784, 2890, 7676, 6040 against literal bytes.

mod support;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::*;
use penstock_dataplane::pipeline::Event;
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::{checksum, keepalive};
use support::*;

#[test]
fn encapsulates_in_plain_gre() {
    let mut lab = Lab::new();
    let inner = request(100);
    let out = lab.leaves_by_core(&frame(&inner));
    // RFC 2784: IPv4, DF, ID 0 (atomic, RFC 6864), TTL 64, protocol 47, then four bytes of GRE.
    assert_eq!(out[..2], [0x45, 0]);
    assert_eq!(u16::from_be_bytes([out[2], out[3]]) as usize, inner.len() + 24);
    assert_eq!(out[4..10], [0, 0, 0x40, 0, 64, 47]);
    assert_eq!(checksum::sum(&out[..20]), 0xffff);
    assert_eq!(out[12..20], [203, 0, 113, 1, 192, 0, 2, 77]);
    assert_eq!(out[20..24], [0, 0, 8, 0]);
    assert_eq!(out[24..], one_hop_less(&inner));
    let counters = lab.stats.tunnel(TUNNEL).unwrap();
    assert_eq!((counters.encap_packets.get(), counters.encap_bytes.get()), (1, inner.len() as u64));
    lab.assert_balanced();
}

#[test]
fn encapsulates_ipv6_with_key_and_checksum() {
    let mut lab =
        Lab::with(&TunnelSpec { encapsulation: gre_options(Some(0xdead_beef), true), mtu: 1468, ..spec() });
    let inner = ip6(17, 0, 9, "2001:db8:9::9", "2001:db8:100::5", &udp(33));
    let out = lab.leaves_by_core(&frame(&inner));
    assert_eq!(out[20..24], [0xa0, 0, 0x86, 0xdd]);
    assert_eq!(out[28..32], [0xde, 0xad, 0xbe, 0xef]);
    assert_eq!(checksum::sum(&out[20..]), 0xffff, "the GRE checksum covers header and payload");
    assert_eq!(out[32..], one_hop_less(&inner));
}

#[test]
fn encapsulates_over_ipv6() {
    let tunnel = TunnelSpec {
        local: "2001:db8:ffff::1".parse().unwrap(),
        remote: "2001:db8:77::7".parse().unwrap(),
        mtu: 1456,
        ..spec()
    };
    let mut lab = Lab::with(&tunnel);
    let inner = request(100);
    let out = lab.leaves_by_core(&frame(&inner));
    assert_eq!(out[0] >> 4, 6);
    assert_eq!(u16::from_be_bytes([out[4], out[5]]) as usize, inner.len() + 4);
    assert_eq!(out[6..8], [47, 64]);
    assert_eq!(out[8..24], v6("2001:db8:ffff::1").to_be_bytes());
    assert_eq!(out[24..40], v6("2001:db8:77::7").to_be_bytes());
    assert_eq!(out[40..44], [0, 0, 8, 0]);
    assert_eq!(out[44..], one_hop_less(&inner));
    // RFC 6438: a flow label of the inner flow, the same for every packet of it.
    let label = |packet: &[u8]| u32::from_be_bytes(packet[..4].try_into().unwrap()) & 0xf_ffff;
    assert_ne!(label(&out), 0);
    assert_eq!(label(&out), label(&lab.leaves_by_core(&frame(&request(10)))));
}

#[test]
fn decapsulates_every_combination_of_options() {
    for (flags, options) in [
        (0x0000u16, vec![]),
        (0x1000, vec![0, 0, 0, 9]),
        (0x8000, vec![0, 0, 0, 0]),
        (0x9000, vec![0, 0, 0, 0, 0, 0, 0, 9]),
        (0x2000, vec![0, 0, 0, 7]),
        (0x3000, vec![0, 0, 0, 7, 0, 0, 0, 9]),
        (0xa000, vec![0, 0, 0, 0, 0, 0, 0, 7]),
        (0xb000, vec![0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 9]),
    ] {
        let key = (flags & 0x2000 != 0).then_some(7);
        let mut lab = Lab::with(&TunnelSpec { encapsulation: gre_options(key, false), ..spec() });
        let inner = reply(64);
        let mut packet = gre(flags, &options, &inner);
        if flags & 0x8000 != 0 {
            let sum = checksum::checksum(&packet);
            packet[4..6].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(lab.leaves_by_edge(&frame(&from_remote(&packet))), one_hop_less(&inner), "{flags:04x}");
        // Bits 6 to 12 are ignored on receipt (RFC 2784 2.3), in another checksum if there is one.
        if flags & 0x8000 == 0 {
            packet[1] |= 0xf8;
            packet[0] |= 0x03;
            assert_eq!(lab.leaves_by_edge(&frame(&from_remote(&packet))), one_hop_less(&inner));
        } else {
            packet[30] ^= 1;
            lab.dies(&frame(&from_remote(&packet)), DropReason::GreChecksum);
        }
        lab.assert_balanced();
    }
}

#[test]
fn refuses_what_is_not_plain_gre() {
    let mut lab = Lab::new();
    let inner = reply(64);
    for bit in [0x4000u16, 0x0800, 0x0400] {
        lab.dies(&frame(&from_remote(&gre(bit, &[], &inner))), DropReason::GreReserved);
    }
    lab.dies(&frame(&from_remote(&gre(1, &[], &inner))), DropReason::GreVersion);
    lab.dies(&frame(&from_remote(&[0, 0, 8])), DropReason::GreTruncated);
    lab.dies(&frame(&from_remote(&[0x80, 0, 8, 0, 0, 0])), DropReason::GreTruncated);
    let mut bridged = gre(0, &[], &inner);
    bridged[2..4].copy_from_slice(&[0x65, 0x58]);
    lab.dies(&frame(&from_remote(&bridged)), DropReason::GreProtocol);
    lab.dies(&frame(&from_remote(&gre(0x2000, &[0, 0, 0, 1], &inner))), DropReason::GreKeyWrong);
    let stranger = Ip4 { protocol: 47, ..Ip4::default() }.build("192.0.2.78", ENDPOINT, &gre(0, &[], &inner));
    lab.dies(&frame(&stranger), DropReason::GreTunnelUnknown);
    let mut keyed = Lab::with(&TunnelSpec { encapsulation: gre_options(Some(5), false), ..spec() });
    keyed.dies(&frame(&from_remote(&gre(0, &[], &inner))), DropReason::GreKeyMissing);
    keyed.dies(&frame(&from_remote(&gre(0x2000, &[0, 0, 0, 6], &inner))), DropReason::GreKeyWrong);
}

#[test]
fn inner_packets_are_checked_like_outer_ones() {
    let mut lab = Lab::new();
    let mut bad = reply(64);
    bad[10] ^= 0xff;
    lab.dies(&frame(&from_remote(&gre(0, &[], &bad))), DropReason::Ipv4Checksum);
    let cut = reply(64);
    lab.dies(&frame(&from_remote(&gre(0, &[], &cut[..50]))), DropReason::FrameTruncated);
    let looped = Ip4::default().build(INSIDE, REMOTE, &udp(4));
    lab.dies(&frame(&from_remote(&gre(0, &[], &looped))), DropReason::TunnelLoop);
    let nested = Ip4 { protocol: 47, ..Ip4::default() }.build(INSIDE, ENDPOINT, &gre(0, &[], &reply(4)));
    lab.dies(&frame(&from_remote(&gre(0, &[], &nested))), DropReason::TunnelNested);
    let martian = Ip4::default().build("127.0.0.1", CLIENT, &udp(4));
    lab.dies(&frame(&from_remote(&gre(0, &[], &martian))), DropReason::SourceInvalid);
    assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().dropped.get(), 5);
    lab.assert_balanced();
}

#[test]
fn source_filter_accepts_only_the_tenants_prefixes() {
    let mut lab = Lab::with(&TunnelSpec { filter: Some(FilterId(3)), ..spec() });
    lab.change(|tables| {
        let yes = Hop::LOCAL;
        let accepted = table(&[("198.51.100.0/24", yes)], &[("2001:db8:100::/48", yes)]);
        tables.set_filter(FilterId(3), SourceFilter::new(accepted, None));
    });
    lab.leaves_by_edge(&frame(&from_remote(&gre(0, &[], &reply(4)))));
    let spoofed = Ip4::default().build("198.51.101.5", CLIENT, &udp(4));
    lab.dies(&frame(&from_remote(&gre(0, &[], &spoofed))), DropReason::SourceFilter);
    let six = ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(4));
    lab.leaves_by_edge(&frame(&from_remote(&gre(0, &[], &six))));
    let spoofed = ip6(17, 0, 64, "2001:db8:101::5", "2001:db8:9::9", &udp(4));
    lab.dies(&frame(&from_remote(&gre(0, &[], &spoofed))), DropReason::SourceFilter);
}

#[test]
fn ecn_crosses_the_tunnel_as_rfc_6040_says() {
    for outer in 0..4u8 {
        for inner in 0..4u8 {
            let mut lab = Lab::new();
            let packet = Ip4 { tos: 0xb8 | inner, ..Ip4::default() }.build(INSIDE, CLIENT, &udp(4));
            let outer_packet = Ip4 { tos: 0x28 | outer, protocol: 47, ..Ip4::default() }.build(
                REMOTE,
                ENDPOINT,
                &gre(0, &[], &packet),
            );
            // RFC 6040 figure 4.
            let expected = match (inner, outer) {
                (0, 3) => None,
                (0, _) => Some(0),
                (_, 3) => Some(3),
                (2, 1) => Some(1),
                (inner, _) => Some(inner),
            };
            match expected {
                None => lab.dies(&frame(&outer_packet), DropReason::EcnCongestion),
                Some(ecn) => {
                    let out = lab.leaves_by_edge(&frame(&outer_packet));
                    assert_eq!(out[1], 0xb8 | ecn, "inner {inner} outer {outer}");
                    assert_eq!(checksum::sum(&out[..20]), 0xffff);
                }
            }
            // Normal mode on the way in: copied.
            let out = lab.leaves_by_core(&frame(&Ip4 { tos: 0x48 | inner, ..Ip4::default() }.build(
                CLIENT,
                INSIDE,
                &udp(4),
            )));
            assert_eq!(out[1], 0x48 | inner);
        }
    }
}

#[test]
fn dscp_and_ttl_follow_the_tunnels_model() {
    let tunnel = TunnelSpec { dscp: Dscp::Fixed(10), ttl: Ttl::Inherit, ..spec() };
    let mut lab = Lab::with(&tunnel);
    let out = lab.leaves_by_core(&frame(&Ip4 { tos: 0xb9, ttl: 33, ..Ip4::default() }.build(
        CLIENT,
        INSIDE,
        &udp(4),
    )));
    assert_eq!((out[1], out[8]), (10 << 2 | 1, 32));
    assert_eq!(checksum::sum(&out[..20]), 0xffff);
    let mut lab = Lab::with(&TunnelSpec { dscp: Dscp::Uniform, ..spec() });
    let marked =
        Ip4 { tos: 0x28, protocol: 47, ..Ip4::default() }.build(REMOTE, ENDPOINT, &gre(0, &[], &reply(4)));
    let out = lab.leaves_by_edge(&frame(&marked));
    assert_eq!(out[1], 0x28);
    assert_eq!(checksum::sum(&out[..20]), 0xffff);
}

#[test]
fn df_copy_and_clear() {
    for (df, inner_flags, outer_df) in [
        (DontFragment::Copy, 0x4000, true),
        (DontFragment::Copy, 0x0000, false),
        (DontFragment::Clear, 0x4000, false),
        (DontFragment::Set, 0x0000, true),
    ] {
        let mut lab = Lab::with(&TunnelSpec { df, ..spec() });
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

#[test]
fn keepalives_are_answered_and_replies_noted() {
    let mut lab = Lab::new();
    let mut request = [0u8; 64];
    // The peer's request: inner packet from our endpoint to the peer, GRE with protocol type 0.
    let len = keepalive::write_v4(&mut request, v4(REMOTE), v4(ENDPOINT), None).unwrap();
    let inner = request[..len].to_vec();
    let answer = lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &inner))));
    assert_eq!(answer[12..20], inner[12..20]);
    assert_eq!(answer[20..], inner[20..]);
    assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().keepalives_answered.get(), 1);
    lab.dies(&frame(&from_remote(&[0, 0, 0, 0])), DropReason::GreKeepalive);
    assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().keepalives_received.get(), 1);
}

#[test]
fn tunnel_address_answers_ping_in_both_families() {
    let mut lab = Lab::new();
    let mut echo = vec![8, 0, 0, 0, 1, 2, 0, 1, b'p'];
    let sum = checksum::checksum(&echo);
    echo[2..4].copy_from_slice(&sum.to_be_bytes());
    let ping = Ip4 { protocol: 1, ..Ip4::default() }.build(INSIDE, "10.255.0.0", &echo);
    let out = lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &ping))));
    let reply = &out[24..];
    assert_eq!(reply[12..20], [10, 255, 0, 0, 198, 51, 100, 5]);
    assert_eq!((reply[8], reply[20]), (64, 0));
    assert_eq!(checksum::sum(&reply[20..]), 0xffff);
    assert_eq!(checksum::sum(&reply[..20]), 0xffff);
    let other = Ip4::default().build(INSIDE, "10.255.0.0", &udp(1));
    lab.dies(&frame(&from_remote(&gre(0, &[], &other))), DropReason::TunnelAddress);
}

#[test]
fn too_big_about_our_outer_packet_reaches_control() {
    let mut lab = Lab::new();
    let sent = lab.leaves_by_core(&frame(&request(1000)));
    let mut icmp = vec![3, 4, 0, 0, 0, 0, 0x05, 0x14];
    icmp.extend_from_slice(&sent[..28]);
    let sum = checksum::checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let notice = Ip4 { protocol: 1, ..Ip4::default() }.build("10.9.9.9", ENDPOINT, &icmp);
    lab.dies(&frame(&notice), DropReason::TooBigNotice);
    assert_eq!(lab.events.pop(), Some(Event::PathMtu { tunnel: TUNNEL, mtu: 1300 }));
    // About a packet that we cannot have sent: the kernel's, and no event.
    icmp[20] ^= 1;
    let sum = checksum::checksum(&[&icmp[..2], &[0, 0], &icmp[4..]].concat());
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let (edge, core) =
        lab.feed(&frame(&Ip4 { protocol: 1, ..Ip4::default() }.build("10.9.9.9", ENDPOINT, &icmp)));
    assert!(edge.is_empty() && core.is_empty());
    assert_eq!(lab.punts().len(), 1);
    assert_eq!(lab.events.pop(), None);
}

#[test]
fn a_removed_tunnel_forwards_nothing() {
    let mut lab = Lab::new();
    lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::default()));
    lab.dies(&frame(&request(10)), DropReason::TunnelGone);
    lab.dies(&frame(&from_remote(&gre(0, &[], &reply(4)))), DropReason::TunnelGone);
    lab.change(|tables| {
        let down = Tunnel::new(&TunnelSpec { underlay: Hop::NO_ROUTE, ..spec() }).unwrap();
        tables.set_tunnel(TUNNEL, down);
    });
    lab.dies(&frame(&request(10)), DropReason::TunnelDown);
}

#[test]
fn mss_is_clamped_to_the_table() {
    for (mss, expected) in [(1460u16, 1436u16), (1436, 1436), (1200, 1200)] {
        let mut lab = Lab::new();
        let mut syn =
            vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
        syn.extend_from_slice(&mss.to_be_bytes());
        let pseudo = checksum::Checksum::pseudo_v4(v4(CLIENT), v4(INSIDE), 6, 24);
        let mut sum = pseudo;
        sum.add_bytes(&syn);
        let sum = sum.finish();
        syn[16..18].copy_from_slice(&sum.to_be_bytes());
        let out =
            lab.leaves_by_core(&frame(&Ip4 { protocol: 6, ..Ip4::default() }.build(CLIENT, INSIDE, &syn)));
        let tcp = &out[44..];
        assert_eq!(u16::from_be_bytes([tcp[22], tcp[23]]), expected);
        let mut sum = pseudo;
        sum.add_bytes(tcp);
        assert_eq!(sum.sum(), 0xffff, "the TCP checksum is right after the change");
        assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().clamped.get(), u64::from(mss > expected));
    }
}
