//! Packets that belong to another node of the fleet: one hop, unchanged, and no further.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::cell::RefCell;
use std::collections::HashMap;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::frame::BURST;
use penstock_dataplane::frame::heap::Heap;
use penstock_dataplane::ids::*;
use penstock_dataplane::ike::IkeLimits;
use penstock_dataplane::tables::fleet::Node;
use penstock_dataplane::tables::*;
use penstock_dataplane::wire::checksum;
use proptest::collection::vec;
use proptest::prelude::*;
use support::esp::*;
use support::fleet::*;
use support::*;

/// All ways to carry ESP, and data addresses of both families.
fn ways() -> impl Iterator<Item = (Agreement, bool)> {
    (0..8).map(|bits| {
        let bit = |n| bits >> n & 1 == 1;
        (Agreement { udp: bit(0), v6: bit(1), ..Agreement::default() }, bit(2))
    })
}

fn site(number: u16, v6: bool) -> Site {
    Site { number, v6 }
}

/// A node that has the tunnel, but has not heard of its association, and the owner.
fn pair(agreement: &Agreement, v6: bool) -> (Lab, Lab) {
    let (mut deaf, mut owner) = (Lab::with(&agreement.spec()), agreement.gateway());
    site(OTHER, v6).join(&mut deaf, &[OWNER]);
    site(OWNER, v6).join(&mut owner, &[OTHER]);
    (deaf, owner)
}

/// The packet inside what one node sends another; all around it must be as agreed.
fn unwrapped(outer: &[u8], from: Site, to: Site) -> Vec<u8> {
    let at = if from.v6 {
        assert_eq!(outer[0] >> 4, 6);
        assert_eq!(usize::from(u16::from_be_bytes([outer[4], outer[5]])), outer.len() - 40);
        assert_eq!((outer[6], outer[7]), (17, 64));
        assert_eq!(outer[8..24], v6(&from.address()).to_be_bytes());
        assert_eq!(outer[24..40], v6(&to.address()).to_be_bytes());
        40
    } else {
        assert_eq!((outer[0], checksum::sum(&outer[..20])), (0x45, 0xffff));
        assert_eq!(usize::from(u16::from_be_bytes([outer[2], outer[3]])), outer.len());
        assert_eq!(outer[6..10], [0, 0, 64, 17], "may be cut");
        assert_eq!(outer[12..16], v4(&from.address()).to_be_bytes());
        assert_eq!(outer[16..20], v4(&to.address()).to_be_bytes());
        20
    };
    assert!(outer[at] >= 0xc0, "a source port that nobody is registered for");
    assert_eq!(outer[at + 2..at + 4], PORT.to_be_bytes());
    assert_eq!(usize::from(u16::from_be_bytes([outer[at + 4], outer[at + 5]])), outer.len() - at);
    assert_eq!(outer[at + 6..at + 8], [0, 0], "no checksum");
    assert_eq!(outer[at + 8..at + 32], rescue(&TOKEN, &[]));
    outer[at + 32..].to_vec()
}

#[test]
fn esp_reaches_its_owner_unchanged() {
    for (agreement, v6) in ways() {
        let (mut deaf, mut owner) = pair(&agreement, v6);
        let mut peer = Forger::of(&agreement);
        for number in 1..20 {
            let arriving = agreement.marked(0xb9, &peer.payload(number, &reply(100), 4));
            let outer = deaf.leaves_by_core(&arriving);
            let inside = unwrapped(&outer, site(OTHER, v6), site(OWNER, v6));
            assert_eq!(inside, arriving[14..], "unchanged, TTL included");
            let class = if v6 { outer[0] << 4 | outer[1] >> 4 } else { outer[1] };
            assert_eq!(class, 0xb8, "DSCP crosses, ECN does not");
            assert_eq!(owner.leaves_by_edge(&frame(&outer))[12..], reply(100)[12..]);
        }
        for (lab, out, back) in [(&deaf, 19, 0), (&owner, 0, 19)] {
            let node = lab.stats.node(if back == 0 { OWNER } else { OTHER }).unwrap();
            assert_eq!((node.rescued_out.get(), node.rescued_in.get()), (out, back));
            assert_eq!((lab.stats.rescued_out(), lab.stats.rescued_in()), (out, back));
            lab.assert_balanced();
        }
        assert_eq!(owner.stats.tunnel(TUNNEL).unwrap().decap_packets.get(), 19);
    }
}

#[test]
fn flows_differ_by_source_port_and_keep_theirs() {
    let agreement = Agreement::default();
    let (mut deaf, _) = pair(&agreement, false);
    let mut port = |source: u8| {
        let source = format!("10.1.1.{source}");
        let packet =
            Ip4 { protocol: 50, ..Ip4::default() }.build(&source, ENDPOINT, &[0, 0, 0x10, 1, 0, 0, 0, 1]);
        let outer = deaf.leaves_by_core(&frame(&packet));
        u16::from_be_bytes([outer[20], outer[21]])
    };
    let ports: Vec<_> = (0..200).map(&mut port).collect();
    assert_eq!(ports, (0..200).map(&mut port).collect::<Vec<_>>());
    let different: std::collections::BTreeSet<_> = ports.iter().collect();
    assert!(different.len() > 190, "{}", different.len());
}

#[test]
fn what_belongs_to_no_other_live_node_stays() {
    for (agreement, _) in ways() {
        let mut lab = Lab::with(&agreement.spec());
        let with_spi = |spi: u32| agreement.arriving(&[&spi.to_be_bytes()[..], &[0, 0, 0, 1, 9, 9]].concat());
        // Without a fleet.
        lab.dies(&with_spi(SPI.0), DropReason::EspSaUnknown);
        site(OTHER, false).join(&mut lab, &[OWNER, OTHER, 1023]);
        lab.leaves_by_core(&with_spi(SPI.0));
        lab.leaves_by_core(&with_spi(u32::MAX));
        // This node's own, and a node's that is not there.
        for number in [u32::from(OTHER), 1, 6, 1022] {
            lab.dies(&with_spi(number << 22 | 0x1234), DropReason::EspSaUnknown);
        }
        if !agreement.udp {
            lab.dies(&with_spi(0), DropReason::EspSpiReserved);
        }
        lab.dies(&with_spi(255), DropReason::EspSpiReserved);
        // The node dies.
        lab.change(|tables| tables.set_fleet(Some(Site::v4(OTHER).fleet(&[]))));
        lab.dies(&with_spi(SPI.0), DropReason::EspSaUnknown);
        lab.assert_balanced();
    }
    // What is known here is handled here, whoever made the SPI.
    let agreement = Agreement::default();
    let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
    Site::v4(OTHER).join(&mut lab, &[OWNER]);
    lab.leaves_by_edge(&agreement.arriving(&peer.payload(1, &reply(9), 4)));
    assert_eq!(lab.stats.rescued_out(), 0);
}

#[test]
fn only_esp_and_ike_to_an_endpoint_are_handed_over() {
    let (mut deaf, _) = pair(&Agreement::default(), false);
    let esp = [&SPI.0.to_be_bytes()[..], &[0; 60]].concat();
    // To the data address, to another address of ours, from inside a tunnel.
    let to = |dst: &str| frame(&Ip4 { protocol: 50, ..Ip4::default() }.build(REMOTE, dst, &esp));
    for address in [site(OTHER, false).address().as_str(), "192.0.2.1"] {
        assert_eq!(deaf.feed(&to(address)), (vec![], vec![]));
        assert_eq!(deaf.punts().len(), 1);
    }
    let mut lab = Lab::new();
    Site::v4(OTHER).join(&mut lab, &[OWNER]);
    let nested = Ip4 { protocol: 50, ..Ip4::default() }.build(INSIDE, ENDPOINT, &esp);
    lab.dies(&frame(&from_remote(&gre(0, &[], &nested))), DropReason::TunnelNested);
    let nested = Ip4::default().build(INSIDE, &site(OTHER, false).address(), &udp(30));
    lab.dies(&frame(&from_remote(&gre(0, &[], &nested))), DropReason::TunnelAddress);
    assert_eq!((deaf.stats.rescued_out(), lab.stats.rescued_out()), (0, 0));
}

/// An IKE header and a little more.
fn ike(initiator: u64, responder: u64, version: u8, flags: u8) -> Vec<u8> {
    let mut message = initiator.to_be_bytes().to_vec();
    message.extend_from_slice(&responder.to_be_bytes());
    message.extend_from_slice(&[46, version, 37, flags, 0, 0, 0, 1, 0, 0, 0, 60]);
    message.resize(60, 0xee);
    message
}

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0x30, 0x39];
    datagram.extend_from_slice(&port.to_be_bytes());
    datagram.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

/// An IKE message to our endpoint, in all forms.
fn in_all_forms(message: &[u8]) -> [Vec<u8>; 4] {
    let marked = [&[0; 4], message].concat();
    [datagram(500, message), datagram(4500, &marked)]
        .map(|datagram| {
            let four = Ip4::default().build(REMOTE, ENDPOINT, &datagram);
            [frame(&four), frame(&ip6(17, 0, 64, REMOTE6, ENDPOINT6, &datagram))]
        })
        .concat()
        .try_into()
        .unwrap()
}

/// An IKE SPI that this node made.
fn label(number: u16) -> u64 {
    u64::from(number) << 54 | 0x1234_5678_9abc
}

const FROM_INITIATOR: u8 = 0x08;
const RESPONSE: u8 = 0x20;

#[test]
fn ike_goes_where_our_spi_says() {
    let (owner, me, dead) = (label(OWNER), label(OTHER), label(77));
    for (elsewhere, message) in [
        // They began: ours is the responder's SPI.
        (true, ike(me, owner, 0x20, FROM_INITIATOR)),
        (true, ike(dead, owner, 0x20, FROM_INITIATOR | RESPONSE)),
        (false, ike(owner, me, 0x20, FROM_INITIATOR)),
        (false, ike(owner, dead, 0x20, FROM_INITIATOR)),
        // There is none yet.
        (false, ike(owner, 0, 0x20, FROM_INITIATOR)),
        // We began: ours is the initiator's.
        (true, ike(owner, me, 0x20, RESPONSE)),
        (true, ike(owner, 0, 0x20, RESPONSE)),
        (true, ike(owner, dead, 0x20, 0)),
        (false, ike(me, owner, 0x20, RESPONSE)),
        (false, ike(dead, owner, 0x20, RESPONSE)),
        (false, ike(0, owner, 0x20, RESPONSE)),
        // A later minor version; and IKEv1, whose flags mean something else.
        (true, ike(owner, me, 0x23, RESPONSE)),
        (false, ike(owner, me, 0x10, RESPONSE)),
    ] {
        for v6 in [false, true] {
            let (mut deaf, mut there) = pair(&Agreement::default(), v6);
            for arriving in in_all_forms(&message) {
                let (edge, core) = deaf.feed(&arriving);
                assert!(edge.is_empty(), "{message:02x?}");
                let punts = deaf.punts();
                assert_eq!(
                    (core.len(), punts.len()),
                    if elsewhere { (1, 0) } else { (0, 1) },
                    "{message:02x?}"
                );
                let [outer] = core.as_slice() else { continue };
                let outer = &outer[14..];
                let inside = unwrapped(outer, site(OTHER, v6), site(OWNER, v6));
                assert_eq!(inside, arriving[14..]);
                assert_eq!(there.feed(&frame(outer)), (vec![], vec![]));
                // For the owner's kernel it is a neighbour's packet, unchanged.
                let punts = there.punts();
                assert_eq!(punts[0].0, InterfaceId(0));
                let (ethernet, l3) = punts[0].1.split_at(14);
                assert_eq!(
                    (&ethernet[..6], &ethernet[12..], l3),
                    (&OUR_MAC[..], &arriving[12..14], &arriving[14..])
                );
            }
            deaf.assert_balanced();
            there.assert_balanced();
        }
    }
}

#[test]
fn a_message_cut_short_is_this_nodes() {
    let (mut deaf, _) = pair(&Agreement::default(), false);
    let message = ike(label(OWNER), label(OTHER), 0x20, RESPONSE);
    for len in 0..message.len() {
        let arriving = frame(&Ip4::default().build(REMOTE, ENDPOINT, &datagram(500, &message[..len])));
        let (_, core) = deaf.feed(&arriving);
        // Up to the flags.
        assert_eq!((core.len(), deaf.punts().len()), if len < 20 { (0, 1) } else { (1, 0) }, "{len}");
    }
    deaf.assert_balanced();
}

#[test]
fn nodes_that_disagree_make_no_loop() {
    // Each believes that the other is the owner of all SPIs that begin with ten zeros.
    for v6 in [false, true] {
        let agreement = Agreement { v6, ..Agreement::default() };
        let node = |number: u16, at: u16| {
            let address = site(at, v6).address().parse().unwrap();
            let node = |number| (number, Node { address, underlay: Hop::adjacency(AdjacencyId(1)) });
            let mut lab = Lab::with(&agreement.spec());
            site(number, v6).join(&mut lab, &[]);
            lab.change(|tables| tables.set_fleet(Some(site(number, v6).fleet_of([node(OWNER), node(at)]))));
            lab
        };
        let (mut one, mut two) = (node(5, 7), node(7, 5));
        let esp = agreement.arriving(&[&SPI.0.to_be_bytes()[..], &[0; 60]].concat());
        two.dies(&frame(&one.leaves_by_core(&esp)), DropReason::EspSaUnknown);
        one.dies(&frame(&two.leaves_by_core(&esp)), DropReason::EspSaUnknown);
        for arriving in in_all_forms(&ike(label(OWNER), label(9), 0x20, RESPONSE)) {
            let outer = one.leaves_by_core(&arriving);
            assert_eq!(two.feed(&frame(&outer)), (vec![], vec![]));
            assert_eq!(two.punts().len(), 1);
        }
        one.assert_balanced();
        two.assert_balanced();
    }
}

#[test]
fn only_nodes_with_a_token_are_heard() {
    for (agreement, v6) in ways() {
        let (_, mut owner) = pair(&agreement, v6);
        let mut peer = Forger::of(&agreement);
        let packet = agreement.arriving(&peer.payload(1, &reply(100), 4))[14..].to_vec();
        let (other, me) = (site(OTHER, v6), site(OWNER, v6));
        owner.leaves_by_edge(&other.sends(me, &rescue(&TOKEN, &packet)));
        owner.leaves_by_edge(&other.sends(me, &rescue(&OLD_TOKEN, &packet)));
        // A node that is not there, one that is this one, and a stranger.
        owner.dies(&site(6, v6).sends(me, &rescue(&TOKEN, &packet)), DropReason::RescueSource);
        owner.dies(&me.sends(me, &rescue(&TOKEN, &packet)), DropReason::RescueSource);
        owner.dies(&site(6, v6).sends(me, b"scan"), DropReason::RescueSource);
        for at in 0..16 {
            let mut token = TOKEN;
            token[at] ^= 1;
            owner.dies(&other.sends(me, &rescue(&token, &packet)), DropReason::RescueToken);
        }
        owner.dies(&other.sends(me, &rescue(&[0; 16], &packet)), DropReason::RescueToken);
        owner.assert_balanced();
    }
}

#[test]
fn what_nodes_never_send_is_refused() {
    for (agreement, v6) in ways() {
        let (_, mut owner) = pair(&agreement, v6);
        let mut peer = Forger::of(&agreement);
        let packet = agreement.arriving(&peer.payload(1, &reply(10), 4))[14..].to_vec();
        let (other, me) = (site(OTHER, v6), site(OWNER, v6));
        let mut refused = |payload: &[u8], reason| owner.dies(&other.sends(me, payload), reason);
        let whole = rescue(&TOKEN, &packet);
        for len in 0..whole.len() {
            refused(&whole[..len], DropReason::RescueMalformed);
        }
        for at in 0..7 {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            refused(&bad, DropReason::RescueMalformed);
        }
        let mut inside = |packet: &[u8], reason| refused(&rescue(&TOKEN, packet), reason);
        let mut version = packet.clone();
        version[0] = 0x50;
        inside(&version, DropReason::RescueMalformed);
        if !agreement.v6 {
            let mut sum = packet.clone();
            sum[10] ^= 1;
            inside(&sum, DropReason::RescueMalformed);
        }
        // Not ESP, not IKE, or a piece of something.
        let four = |protocol: u8, flags: u16, payload: &[u8]| {
            Ip4 { protocol, flags, ..Ip4::default() }.build(REMOTE, ENDPOINT, payload)
        };
        for packet in [
            four(47, 0, &gre(0, &[], &reply(5))),
            four(1, 0, &[8, 0, 0, 0]),
            four(17, 0, &udp(30)),
            four(17, 0, &[1, 2, 3]),
            four(50, 0x2000, &[0, 0, 0x10, 1, 0, 0, 0, 1]),
            four(50, 1, &[0, 0, 0x10, 1, 0, 0, 0, 1]),
            ip6(47, 0, 64, REMOTE6, ENDPOINT6, &gre(0, &[], &reply(5))),
            ip6(44, 0, 64, REMOTE6, ENDPOINT6, &[50, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0x10, 1, 0, 0, 0, 1]),
            ip6(58, 0, 64, REMOTE6, ENDPOINT6, &[128, 0, 0, 0]),
            ip6(0, 0, 64, REMOTE6, ENDPOINT6, &[]),
        ] {
            inside(&packet, DropReason::RescueMalformed);
        }
        // ESP that ends too early is known as such.
        inside(&four(50, 0, &[0, 0, 0x10]), DropReason::EspTruncated);
        inside(&four(50, 0, &[0, 0, 0, 9, 0, 0, 0, 1]), DropReason::EspSpiReserved);
        inside(&four(17, 0, &natt(&[0xff])), DropReason::NatTKeepalive);
        // To no endpoint: a host, the kernel, the data address itself, a tunnel's customer.
        for to in [CLIENT, "192.0.2.1", &site(OWNER, false).address(), INSIDE, "100.64.0.1"] {
            let packet =
                Ip4 { protocol: 50, ..Ip4::default() }.build(REMOTE, to, &[0, 0, 0x10, 1, 0, 0, 0, 1]);
            inside(&packet, DropReason::RescueEndpoint);
        }
        let again = other.sends(me, &whole)[14..].to_vec();
        inside(&again, DropReason::RescueEndpoint);
        let martian = Ip4 { protocol: 50, ..Ip4::default() }.build("127.0.0.1", ENDPOINT, &[0; 16]);
        inside(&martian, DropReason::RescueMalformed);
        // A datagram's length that is not the packet's.
        let mut frame = other.sends(me, &whole);
        let at = 14 + if v6 { 40 } else { 20 };
        frame[at + 5] ^= 1;
        owner.dies(&frame, DropReason::RescueMalformed);
        assert_eq!(owner.stats.rescued_out(), 0);
        owner.assert_balanced();
    }
}

#[test]
fn all_else_to_the_data_address_is_the_kernels() {
    for v6 in [false, true] {
        let (_, mut owner) = pair(&Agreement::default(), v6);
        let (other, me) = (site(OTHER, v6), site(OWNER, v6));
        let raw = |protocol: u8, payload: &[u8]| {
            frame(&if v6 {
                ip6(protocol, 0, 64, "2001:db8:9::9", &me.address(), payload)
            } else {
                Ip4 { protocol, ..Ip4::default() }.build(CLIENT, &me.address(), payload)
            })
        };
        let mut frames = vec![
            other.sends_to(me, PORT + 1, b"control"),
            other.sends_to(me, 53, b"?"),
            site(9, v6).sends_to(me, 53, b"?"),
            raw(6, &[0; 20]),
            raw(if v6 { 58 } else { 1 }, &[8, 0, 0, 0, 0, 0, 0, 0]),
            raw(17, &datagram(500, &ike(label(OTHER), 0, 0x20, RESPONSE))),
            raw(17, &[0; 7]),
            raw(17, &[]),
            raw(47, &gre(0, &[], &reply(5))),
            raw(50, &[0, 0, 0x10, 1, 0, 0, 0, 1, 0, 0]),
        ];
        // Pieces of what is not from a node.
        frames.push(if v6 {
            raw(44, &[17, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
        } else {
            frame(&Ip4 { flags: 0x2000, ..Ip4::default() }.build(CLIENT, &me.address(), &udp(8)))
        });
        for frame in frames {
            assert_eq!(owner.feed(&frame), (vec![], vec![]), "{frame:02x?}");
            let punts = owner.punts();
            assert_eq!(punts, [(InterfaceId(0), frame)]);
        }
        owner.assert_balanced();
        assert_eq!(owner.all_drops(), []);
    }
}

#[test]
fn without_a_way_to_the_owner_it_is_dropped() {
    for v6 in [false, true] {
        let agreement = Agreement::default();
        let (mut deaf, _) = pair(&agreement, v6);
        let esp = agreement.arriving(&[&SPI.0.to_be_bytes()[..], &[0; 60]].concat());
        let leads_to = |lab: &mut Lab, to: Site, underlay: Hop| {
            let node = Node { address: to.address().parse().unwrap(), underlay };
            lab.change(|tables| tables.set_fleet(Some(site(OTHER, v6).fleet_of([(OWNER, node)]))));
        };
        for hop in [Hop::NO_ROUTE, Hop::BLACKHOLE, Hop::LOCAL, Hop::adjacency(AdjacencyId(999_999))] {
            leads_to(&mut deaf, site(OWNER, v6), hop);
            deaf.dies(&esp, DropReason::RescueUnreachable);
        }
        leads_to(&mut deaf, site(OWNER, !v6), Hop::adjacency(AdjacencyId(1)));
        deaf.dies(&esp, DropReason::RescueUnreachable);
        // One of several ways.
        deaf.change(|tables| {
            let member = |hop| Member { hop, weight: 1, identity: 1 };
            tables.set_group(GroupId(1), Group::new(&[member(Hop::adjacency(AdjacencyId(1)))]));
        });
        leads_to(&mut deaf, site(OWNER, v6), Hop::group(GroupId(1)));
        deaf.leaves_by_core(&esp);
        // A neighbour that the kernel has to resolve.
        leads_to(&mut deaf, site(OWNER, v6), Hop::adjacency(AdjacencyId(2)));
        assert_eq!(deaf.feed(&esp), (vec![], vec![]));
        let punts = deaf.punts();
        assert_eq!(punts.len(), 1);
        assert_eq!(unwrapped(&punts[0].1[14..], site(OTHER, v6), site(OWNER, v6)), esp[14..]);
        // Too large for the link, and this driver cannot cut.
        leads_to(&mut deaf, site(OWNER, v6), Hop::adjacency(AdjacencyId(1)));
        let long = agreement.arriving(&[&SPI.0.to_be_bytes()[..], &[0; 1460]].concat());
        deaf.dies(&long, DropReason::FragmentFailed);
        let longest = agreement.arriving(&[&SPI.0.to_be_bytes()[..], &vec![0; 65_535 - 24]].concat());
        deaf.dies(&longest, DropReason::FragmentFailed);
        deaf.assert_balanced();
    }
}

/// Feeds frames a burst a turn; returns how many left by the core port and how many were punted.
fn flood(lab: &mut Lab, frames: impl IntoIterator<Item = Vec<u8>>) -> (usize, usize) {
    let (mut sent, mut punted) = (0, 0);
    let mut frames = frames.into_iter().peekable();
    while frames.peek().is_some() {
        frames.by_ref().take(BURST).for_each(|frame| lab.rx.push(&frame));
        lab.worker.turn();
        sent += lab.drain().1.len();
        punted += lab.punts().len();
    }
    lab.assert_balanced();
    (sent, punted)
}

/// A source that nobody knows.
fn stranger(number: u32) -> String {
    std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string()
}

#[test]
fn invented_spis_reach_no_node_faster_than_the_budget() {
    let agreement = Agreement::default();
    let (mut deaf, _) = pair(&agreement, false);
    deaf.change(|tables| {
        (tables.limits.rescue_rate, tables.limits.rescue_rate_strangers) = (20_000, 2000);
        tables.add_remote(EndpointId(0), REMOTE.parse().unwrap());
    });
    deaf.worker.turn();
    Heap::advance(HZ);
    let esp = |source: &str| {
        frame(&Ip4 { protocol: 50, ..Ip4::default() }.build(source, ENDPOINT, &[0, 0, 0x10, 1, 0, 0, 0, 1]))
    };
    assert_eq!(flood(&mut deaf, (0..10_000).map(|n| esp(&stranger(n)))), (100, 0));
    assert_eq!(deaf.stats.drops(DropReason::RescueRate), 9900);
    // Customers' go on.
    assert_eq!(flood(&mut deaf, (0..900).map(|_| esp(REMOTE))), (900, 0));
    assert_eq!(flood(&mut deaf, (0..900).map(|_| esp(REMOTE))), (100, 0));
    Heap::advance(HZ / 100);
    assert_eq!(flood(&mut deaf, (0..900).map(|n| esp(&stranger(n)))), (20, 0));
    assert_eq!(flood(&mut deaf, (0..900).map(|_| esp(REMOTE))), (200, 0));
}

#[test]
fn forged_labels_are_no_way_around_the_budgets_of_ike() {
    let limit = |lab: &mut Lab| {
        lab.change(|tables| {
            tables.limits.ike = IkeLimits { rate: 1000, source_rate: 1000 };
            tables.add_remote(EndpointId(0), REMOTE.parse().unwrap());
        });
        lab.worker.turn();
    };
    let (mut deaf, mut owner) = pair(&Agreement::default(), false);
    limit(&mut deaf);
    limit(&mut owner);
    Heap::advance(HZ);
    let message = ike(label(9), label(OWNER), 0x20, FROM_INITIATOR);
    let packet = |source: &str| Ip4::default().build(source, ENDPOINT, &datagram(500, &message));
    let from = |source: &str| frame(&packet(source));
    // At the node that gets it: a tenth of a second's, a quarter of all; what stays and what goes together.
    let own = ike(label(9), label(OTHER), 0x20, FROM_INITIATOR);
    let own = frame(&Ip4::default().build("11.2.3.4", ENDPOINT, &datagram(500, &own)));
    assert_eq!(flood(&mut deaf, (0..5).map(|_| own.clone())), (0, 5));
    assert_eq!(flood(&mut deaf, (0..10_000).map(|n| from(&stranger(n)))), (20, 0));
    assert_eq!(flood(&mut deaf, (0..5).map(|_| from(REMOTE))), (5, 0), "customers have their share");
    assert_eq!(deaf.stats.drops(DropReason::IkeRate), 9980);
    // At the owner: half of each share, however many nodes pass a flood on.
    let (other, me) = (Site::v4(OTHER), Site::v4(OWNER));
    let rescued = |source: &str| other.sends(me, &rescue(&TOKEN, &packet(source)));
    assert_eq!(flood(&mut owner, (0..10_000).map(|n| rescued(&stranger(n)))), (0, 12));
    assert_eq!(
        flood(&mut owner, (0..10_000).map(|n| from(&stranger(n)))),
        (0, 13),
        "and the other half stays"
    );
    assert_eq!(flood(&mut owner, (0..100).map(|_| rescued(REMOTE))), (0, 25));
    assert_eq!(flood(&mut owner, (0..100).map(|_| from(REMOTE))), (0, 25));
    // It fills again.
    Heap::advance(HZ / 10);
    assert_eq!(flood(&mut owner, (0..100).map(|n| rescued(&stranger(n)))), (0, 12));
    // One source, whichever way.
    owner.change(|tables| tables.limits.ike = IkeLimits { rate: 1_000_000, source_rate: 50 });
    owner.worker.turn();
    Heap::advance(HZ);
    let both = (0..100).map(|n| if n % 2 == 0 { rescued("11.9.9.9") } else { from("11.9.9.9") });
    assert_eq!(flood(&mut owner, both), (0, 10));
}

#[test]
fn a_rescued_packet_may_be_spread() {
    let agreement = Agreement::default();
    let (mut one, mut two) = Lab::two(&agreement.spec());
    one.feed.add_inbound(&agreement.inbound()).unwrap();
    for lab in [&mut one, &mut two] {
        Site::v4(OWNER).join(lab, &[OTHER]);
        lab.worker.turn();
    }
    let mut peer = Forger::of(&agreement);
    let mut frames = |count: u64| -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| {
                let inner = Ip4::default().build(INSIDE, &format!("8.8.{n}.8"), &udp(20));
                let packet = agreement.arriving(&peer.payload(1, &inner, 4))[14..].to_vec();
                Site::v4(OTHER).sends(Site::v4(OWNER), &rescue(&TOKEN, &packet))
            })
            .collect()
    };
    let frames = frames(BURST as u64);
    let mut came = 0;
    for _ in 0..600 {
        frames.iter().for_each(|frame| one.rx.push(frame));
        one.worker.turn();
        two.worker.turn();
        came += one.drain().0.len() + two.drain().0.len();
    }
    two.worker.turn();
    came += two.drain().0.len();
    assert_eq!(came, 600 * BURST);
    assert!(two.stats.handed_in.get() > 0, "some of it was handed on");
    one.assert_balanced();
    two.assert_balanced();
}

type Pair = (Lab, Lab);

thread_local! {
    /// Making a gateway takes longer than what most cases do with it.
    static PAIRS: RefCell<HashMap<(bool, bool, bool), Pair>> = RefCell::default();
}

/// Hands over a pair that earlier cases may have used.
fn with_pair<T>(agreement: &Agreement, v6: bool, run: impl FnOnce(&mut Pair) -> T) -> T {
    PAIRS.with_borrow_mut(|pairs| {
        let key = (agreement.udp, agreement.v6, v6);
        run(pairs.entry(key).or_insert_with(|| pair(agreement, v6)))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// Whatever the peer sends: the owner gets it as it was, and the sums are right.
    #[test]
    fn any_packet_of_the_owner_comes_as_it_was(
        tos: u8, ttl in 1u8.., udp: bool, v6: bool, data_v6: bool, sequence: u32,
        body in vec(any::<u8>(), 0..1340), options in 0usize..11, spi in 0x100u32..0x40_0000,
    ) {
        let agreement = Agreement { udp, v6, ..Agreement::default() };
        let esp = [&spi.to_be_bytes()[..], &sequence.to_be_bytes(), &body].concat();
        let mut arriving = agreement.marked(tos, &esp);
        if v6 {
            arriving[14 + 7] = ttl;
        } else {
            let header = 20 + options * 4;
            arriving.splice(34..34, std::iter::repeat_n(1u8, options * 4));
            arriving[14] = 0x45 + options as u8;
            let len = (arriving.len() - 14) as u16;
            arriving[16..18].copy_from_slice(&len.to_be_bytes());
            arriving[22] = ttl;
            arriving[24..26].fill(0);
            let sum = checksum::checksum(&arriving[14..14 + header]);
            arriving[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        // The budget for strangers is a burst's, and time stands still.
        Heap::advance(HZ);
        with_pair(&agreement, data_v6, |(deaf, owner)| {
            let outer = deaf.leaves_by_core(&arriving);
            prop_assert_eq!(&unwrapped(&outer, site(OTHER, data_v6), site(OWNER, data_v6)), &arriving[14..]);
            let before = owner.stats.rescued_in();
            owner.feed(&frame(&outer));
            prop_assert_eq!((owner.stats.rescued_in() - before, owner.stats.rescued_out()), (1, 0));
            deaf.assert_balanced();
            owner.assert_balanced();
            Ok(())
        })?;
    }

    /// Bytes of all kinds behind a good token, and behind none: counted, and nothing leaves.
    #[test]
    fn nothing_that_nodes_do_not_send_goes_anywhere(
        payload in vec(any::<u8>(), 0..200), flip in any::<(prop::sample::Index, u8)>(), token: bool, v6: bool,
    ) {
        let mut payload = if token { rescue(&TOKEN, &payload) } else { payload };
        let place = flip.0.index(payload.len().max(1));
        if let Some(byte) = payload.get_mut(place) {
            *byte ^= flip.1;
        }
        with_pair(&Agreement::default(), v6, |(_, owner)| {
            let before = owner.stats.drops_total();
            let out = owner.feed(&site(OTHER, v6).sends(site(OWNER, v6), &payload));
            prop_assert_eq!(out, (vec![], vec![]));
            prop_assert_eq!((owner.punts().len(), owner.stats.drops_total() - before), (0, 1));
            owner.assert_balanced();
            Ok(())
        })?;
    }
}
