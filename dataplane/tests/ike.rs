//! IKE on its way to the kernel: budgets, queues, and floods.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::frame::BURST;
use penstock_dataplane::frame::heap::Heap;
use penstock_dataplane::ids::*;
use penstock_dataplane::ike::IkeLimits;
use support::esp::*;
use support::*;

/// Another address of ours, a port's.
const PORT_ADDRESS: &str = "192.0.2.1";
/// A first message has no responder's SPI; the first payload is the proposal (33) or a cookie's Notify (41).
const FIRST: [u8; 2] = [0, 33];
const COOKIE: [u8; 2] = [0, 41];
const ENGAGED: [u8; 2] = [7, 46];

/// An IKE header and a little more.
fn ike([responder, payload]: [u8; 2]) -> Vec<u8> {
    let mut message = vec![1; 8];
    message.extend_from_slice(&[responder; 8]);
    message.extend_from_slice(&[payload, 0x20, 34, 8, 0, 0, 0, 0, 0, 0, 0, 60]);
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

fn behind_nat(message: &[u8]) -> Vec<u8> {
    datagram(4500, &[&[0; 4], message].concat())
}

fn from(source: &str, kind: [u8; 2]) -> Vec<u8> {
    frame(&Ip4::default().build(source, ENDPOINT, &datagram(500, &ike(kind))))
}

/// A source that nobody knows.
fn stranger(number: u32) -> String {
    std::net::Ipv4Addr::from(0x0b00_0000 + number).to_string()
}

/// An IPsec tunnel to `REMOTE`, and so much IKE.
fn lab(rate: u32, source_rate: u32) -> Lab {
    let mut lab = Agreement::default().gateway();
    lab.change(|tables| {
        tables.limits.ike = IkeLimits { rate, source_rate };
        tables.add_remote(EndpointId(0), REMOTE.parse().unwrap());
        tables.add_remote(EndpointId(1), REMOTE6.parse().unwrap());
    });
    lab.worker.turn();
    // Budgets begin to count before any packet of a test.
    Heap::advance(HZ);
    lab
}

/// Feeds frames, as many as fit into a burst a turn, and gives the pump no time. Returns how many were punted.
fn flood(lab: &mut Lab, frames: impl IntoIterator<Item = Vec<u8>>) -> usize {
    let mut punted = 0;
    let mut frames = frames.into_iter().peekable();
    while frames.peek().is_some() {
        frames.by_ref().take(BURST).for_each(|frame| lab.rx.push(&frame));
        lab.worker.turn();
        punted += lab.punts().len();
    }
    lab.assert_balanced();
    punted
}

#[test]
fn what_counts_as_ike() {
    let v4 = |options: &[u8], to: &str, payload: &[u8]| {
        let mut packet = Ip4::default().build("11.0.0.1", to, &[options, payload].concat());
        packet[0] += (options.len() / 4) as u8;
        packet[10..12].fill(0);
        let sum = penstock_dataplane::wire::checksum::checksum(&packet[..20 + options.len()]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        frame(&packet)
    };
    let v6 = |next: u8, payload: &[u8]| frame(&ip6(next, 0, 64, "2001:db8:b::1", ENDPOINT6, payload));
    let first = ike(FIRST);
    let plain = datagram(500, &first);
    let with_options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &plain].concat();
    for (is_ike, frame) in [
        (true, v4(&[], ENDPOINT, &plain)),
        (true, v4(&[1, 1, 1, 0], ENDPOINT, &plain)),
        (true, v4(&[], ENDPOINT, &behind_nat(&first))),
        (true, v4(&[1, 1, 1, 0], ENDPOINT, &behind_nat(&first))),
        (true, v4(&[], PORT_ADDRESS, &plain)),
        (true, v4(&[], PORT_ADDRESS, &behind_nat(&first))),
        (true, v4(&[], ENDPOINT, &datagram(500, b""))),
        (true, v6(17, &plain)),
        (true, v6(60, &with_options)),
        (true, v6(17, &behind_nat(&first))),
        (false, v4(&[], ENDPOINT, &datagram(501, &first))),
        (false, v4(&[], PORT_ADDRESS, &datagram(4501, &[0; 40]))),
        // ESP to an address that is no endpoint.
        (false, v4(&[], PORT_ADDRESS, &datagram(4500, &[1; 40]))),
        (false, v6(58, &[128, 0, 0, 0, 0, 0, 0, 0])),
    ] {
        // Nothing but one message an hour may pass: the second one tells which budget it was.
        let mut lab = lab(0, 500);
        assert_eq!(
            flood(&mut lab, [frame.clone(), frame.clone()]),
            if is_ike { 1 } else { 2 },
            "{frame:02x?}"
        );
        assert_eq!(lab.stats.drops(DropReason::IkeRate), u64::from(is_ike), "{frame:02x?}");
    }
}

#[test]
fn what_comes_out_is_what_came_in() {
    let mut lab = lab(10_000, 500);
    for frame in [from(REMOTE, ENGAGED), from("11.0.0.1", FIRST)] {
        lab.rx.push(&frame);
        lab.worker.turn();
        assert_eq!(lab.punts(), [(InterfaceId(0), frame)]);
    }
    // From inside a tunnel nobody negotiates.
    let mut peer = Forger::of(&Agreement::default());
    for to in [ENDPOINT, PORT_ADDRESS] {
        let inner = Ip4::default().build(INSIDE, to, &datagram(500, &ike(FIRST)));
        let esp = peer.payload(1, &inner, 4);
        let reason = if to == ENDPOINT { DropReason::TunnelNested } else { DropReason::TunnelAddress };
        lab.dies(&Agreement::default().arriving(&esp), reason);
    }
}

#[test]
fn a_flood_with_invented_sources_leaves_negotiations_and_customers_alone() {
    let mut lab = lab(1000, 50);
    // A tenth of a second's first messages, a quarter of everything, may come at once.
    let count = 100_000;
    assert_eq!(flood(&mut lab, (0..count).map(|n| from(&stranger(n), FIRST))), 25);
    assert_eq!(lab.stats.drops(DropReason::IkeRate), u64::from(count) - 25);
    // Whoever has a cookie, or is further already, goes on; so does a customer, whatever he says.
    assert_eq!(flood(&mut lab, (0..5).map(|_| from("10.7.7.7", COOKIE))), 5);
    assert_eq!(flood(&mut lab, (0..5).map(|_| from("10.7.7.8", ENGAGED))), 5);
    assert_eq!(flood(&mut lab, [FIRST, ENGAGED].map(|kind| from(REMOTE, kind))), 2);
    // Invented negotiations take nothing from customers either.
    let passed = flood(&mut lab, (0..count).map(|n| from(&stranger(n), ENGAGED)));
    assert_eq!(passed, 25 - 10);
    assert_eq!(flood(&mut lab, (0..8).map(|_| from(REMOTE, ENGAGED))), 8);
    assert_eq!(lab.stats.drops(DropReason::IkeSourceRate), 0);
    // And the budget fills again: a quarter of it each, over 100 ms in steps of 1 ms.
    let mut passed = 0;
    for step in 0..100 {
        Heap::advance(HZ / 1000);
        passed += flood(&mut lab, (0..200).map(|n| from(&stranger(step * 200 + n), FIRST)));
    }
    assert_eq!(passed, 25);
}

#[test]
fn one_source_has_its_own_budget() {
    let mut lab = lab(100_000, 50);
    // A fifth of a second's at once.
    assert_eq!(flood(&mut lab, (0..1000).map(|_| from("11.0.0.1", FIRST))), 10);
    assert_eq!(lab.stats.drops(DropReason::IkeSourceRate), 990);
    assert_eq!(flood(&mut lab, (0..1000).map(|_| from(REMOTE, ENGAGED))), 10);
    let others = flood(&mut lab, (0..100).map(|n| from(&stranger(n), FIRST)));
    assert!(others >= 100 - 10, "few of them share a bucket: {others}");
    // A host has all of its /64, and no more.
    let v6 = |net: u32, host: u32| {
        let source = format!("2001:db8:b:{net:x}::{host:x}");
        frame(&ip6(17, 0, 64, &source, ENDPOINT6, &datagram(500, &ike(FIRST))))
    };
    assert_eq!(flood(&mut lab, (1..1000).map(|host| v6(0, host))), 10);
    assert!(flood(&mut lab, (1..50).map(|net| v6(net, 1))) > 40);
    assert_eq!(lab.stats.drops(DropReason::IkeRate), 0);
}

#[test]
fn limits_change_with_the_tables() {
    let mut lab = lab(100_000, 100_000);
    lab.change(|tables| tables.limits.ike = IkeLimits { rate: 400, source_rate: 100_000 });
    assert_eq!(flood(&mut lab, (0..100).map(|n| from(&stranger(n), FIRST))), 10);
}

#[test]
fn workers_share_one_budget() {
    let agreement = Agreement::default();
    let (mut one, mut two) = Lab::two(&agreement.spec());
    for lab in [&mut one, &mut two] {
        lab.change(|tables| tables.limits.ike = IkeLimits { rate: 1000, source_rate: 1000 });
        lab.worker.turn();
    }
    Heap::advance(HZ);
    let mut passed = 0;
    for n in 0..1000 {
        let lab = if n % 2 == 0 { &mut one } else { &mut two };
        passed += flood(lab, [from(&stranger(n), FIRST)]);
    }
    assert_eq!(passed, 25);
}

fn ping(number: u16) -> Vec<u8> {
    let mut echo = vec![8, 0, 0, 0, 0, 0];
    echo.extend_from_slice(&number.to_be_bytes());
    frame(&Ip4 { protocol: 1, ..Ip4::default() }.build(CLIENT, PORT_ADDRESS, &echo))
}

#[test]
fn neither_queue_to_the_kernel_takes_the_others_place() {
    let mut lab = lab(1_000_000_000, 1_000_000_000);
    lab.change(|tables| (tables.limits.punt_rate, tables.limits.punt_burst) = (1_000_000, 1_000_000));
    let fill = |lab: &mut Lab, frame: &[u8]| {
        for _ in 0..40 {
            (0..BURST).for_each(|_| lab.rx.push(frame));
            lab.worker.turn();
        }
    };
    fill(&mut lab, &from("11.0.0.1", FIRST));
    assert_eq!(lab.stats.drops(DropReason::PuntQueueFull), 40 * BURST as u64 - 1024);
    lab.rx.push(&ping(1));
    lab.worker.turn();
    assert_eq!(lab.stats.drops(DropReason::PuntQueueFull), 40 * BURST as u64 - 1024);
    // The pump takes from both in turn, and what is left of one when the other is empty.
    let is_ike = |frame: &[u8]| frame[23] == 17;
    let mut order = Vec::new();
    lab.punted.drain(4, |_, frame| order.push(is_ike(frame)));
    assert_eq!(order, [true, false, true, true]);
    fill(&mut lab, &ping(2));
    fill(&mut lab, &from("11.0.0.1", FIRST));
    let mut counts = [0, 0];
    assert_eq!(lab.punted.drain(256, |_, frame| counts[usize::from(is_ike(frame))] += 1), 256);
    assert_eq!(counts, [128, 128]);
    assert_eq!(lab.punted.drain(10_000, |_, _| {}), 2048 - 256);
    lab.assert_balanced();
}

#[test]
fn forwarding_goes_on_through_a_flood() {
    let mut lab = lab(10_000, 500);
    let mut sent = 0;
    for round in 0..2_000u32 {
        // Of each burst one in eight is a customer's or a client's packet.
        for n in 0..BURST as u32 {
            match n {
                0 => lab.rx.push(&frame(&request(60))),
                8 => lab.rx.push(&frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30)))),
                16 => lab.rx.push(&ping(9)),
                _ => lab.rx.push(&from(&stranger(round * 64 + n), FIRST)),
            }
        }
        // A burst takes 5 us: 12.8 million packets a second.
        Heap::advance(HZ / 200_000);
        lab.worker.turn();
        let (edge, core) = lab.drain();
        assert_eq!((edge.len(), core.len()), (1, 1), "in this very turn");
        sent += 2;
        if round % 20 == 0 {
            lab.punts();
        }
    }
    let (floods, pings) = (2_000 * 61, 2_000);
    // What may come at once, and a quarter of the rate over 10 ms, of which the first burst took its part.
    let passed = 250 + 2_500 / 100 - 1;
    assert_eq!(lab.stats.drops(DropReason::IkeRate), floods - passed);
    assert_eq!(lab.stats.port(PortId(0)).unwrap().rx_packets.get(), floods + pings + sent);
    assert_eq!(lab.all_drops().iter().map(|(_, count)| count).sum::<u64>(), floods - passed + 2_000 - 1_199);
    lab.assert_balanced();
}
