//! What watching packets notes of them, and what it must not change.
#![allow(clippy::unwrap_used, reason = "tests fail by panic")]

mod support;

use std::sync::Arc;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::ids::*;
use penstock_dataplane::tables::*;
use penstock_dataplane::watch::{
    Drops, End, Journey, MAX_SESSIONS, MAX_STEPS, Origin, Session, SessionReader, Step, WatchSpec,
};
use support::esp::*;
use support::*;

const EVERYTHING: WatchSpec =
    WatchSpec { snaplen: 2048, outer: true, inner: true, tunnel: None, drops: Drops::Any, waiting: 256 };

/// A session and what reads it.
struct Watching {
    session: Arc<Session>,
    rings: SessionReader,
}

impl Watching {
    fn new(id: u64, spec: WatchSpec, workers: usize) -> Self {
        let (session, rings) = Session::new(id, spec, workers);
        Self { session, rings }
    }
}

fn watch(lab: &mut Lab, spec: WatchSpec) -> Watching {
    let watching = Watching::new(1, spec, 1);
    lab.publisher.watch(vec![Arc::clone(&watching.session)]);
    lab.change(|_| {});
    lab.worker.turn();
    watching
}

fn caught(watching: &mut Watching) -> Vec<Journey> {
    std::iter::from_fn(|| watching.rings.take(0).map(|journey| *journey)).collect()
}

fn one(watching: &mut Watching) -> Journey {
    let mut all = caught(watching);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn syn(mss: u16) -> Vec<u8> {
    let mut segment =
        vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
    segment.extend_from_slice(&mss.to_be_bytes());
    Ip4 { protocol: 6, ..Ip4::default() }.build(CLIENT, INSIDE, &segment)
}

#[test]
fn a_packet_on_its_way_into_a_gre_tunnel() {
    let mut lab = Lab::new();
    let mut watching = watch(&mut lab, EVERYTHING);
    let arrived = frame(&syn(1460));
    let outer = lab.leaves_by_core(&arrived);
    let journey = one(&mut watching);
    assert_eq!(journey.origin, Origin::Received { port: PortId(0), queue: 0 });
    assert_eq!(journey.end, End::Sent { port: PortId(1) });
    assert_eq!((journey.tunnel_in, journey.tunnel_out), (None, Some(TUNNEL)));
    assert_eq!(
        journey.steps[..],
        [
            Step::Classified { interface: InterfaceId(0), vrf: VrfId::INTERNET },
            Step::LookedUp {
                vrf: VrfId::INTERNET,
                behind: Some(TENANT),
                dst: u128::from(v4(INSIDE)),
                v6: false,
                hop: Hop::tunnel(TUNNEL),
                of_group: false,
            },
            Step::IntoTunnel { tunnel: TUNNEL, mss: Some((1460, 1436)) },
            Step::Encapsulated { adjacency: AdjacencyId(1), len: outer.len() as u16 },
        ]
    );
    assert_eq!(journey.arrived.bytes(), arrived);
    assert_eq!(journey.went_in.bytes(), &outer[24..]);
    assert_eq!(journey.left.bytes()[14..], outer);
    assert!(!journey.came_out.is_there());
}

#[test]
fn a_packet_on_its_way_out_of_a_gre_tunnel() {
    // Once by the short way, once by the long one.
    for key in [None, Some(7u32)] {
        let mut lab = Lab::with(&TunnelSpec { encapsulation: gre_options(key, false), ..spec() });
        let mut watching = watch(&mut lab, EVERYTHING);
        let options = key.map(u32::to_be_bytes);
        let flags = if key.is_some() { 0x2000 } else { 0 };
        let gre = gre(flags, options.as_ref().map_or(&[], |key| &key[..]), &reply(100));
        let inner = lab.leaves_by_edge(&frame(&from_remote(&gre)));
        let journey = one(&mut watching);
        assert_eq!((journey.tunnel_in, journey.tunnel_out), (Some(TUNNEL), None));
        assert!(journey.steps.contains(&Step::CameOut { tunnel: TUNNEL, len: 128 }), "{journey:?}");
        assert_eq!(journey.came_out.bytes(), reply(100));
        assert_eq!(journey.left.bytes()[14..], inner);
        let last = journey.steps.last().unwrap();
        assert_eq!(*last, Step::Forwarded { adjacency: AdjacencyId(0), mss: None });
    }
}

#[test]
fn esp_shows_its_association_both_ways_and_never_less_than_the_inner_packet() {
    for agreement in agreements() {
        let mut lab = mixed();
        let mut watching = watch(&mut lab, EVERYTHING);
        let tunnel = agreement.tunnel();
        let request = Ip4::default().build(CLIENT, &agreement.inside(), &udp(400));
        let outer = sealed(&mut lab, &request);
        let journey = one(&mut watching);
        assert_eq!(journey.went_in.bytes(), one_hop_less(&request), "{}", agreement.suite);
        let sealed_under = journey.steps.iter().find_map(|step| match step {
            Step::Sealed { spi, sequence, len, .. } => Some((*spi, *sequence, usize::from(*len))),
            _ => None,
        });
        assert_eq!(sealed_under, Some((agreement.spi().0, 1, outer.len())), "{journey:?}");
        assert_eq!(journey.tunnel_out, Some(tunnel));

        let back = agreement.arriving(&Forger::of(&agreement).payload(5, &reply(300), 4));
        let edge = lab.leaves_by_edge(&back);
        let journey = one(&mut watching);
        assert_eq!(journey.came_out.bytes(), reply(300));
        assert_eq!(journey.left.bytes()[14..], edge);
        let association = Step::Association { tunnel, spi: agreement.spi().0, sequence: 5 };
        assert!(journey.steps.contains(&association), "{journey:?}");

        let mut forged = back.clone();
        *forged.last_mut().unwrap() ^= 1;
        lab.dies(&forged, DropReason::EspAuth);
        let journey = one(&mut watching);
        assert_eq!((journey.end, journey.tunnel_in), (End::Dropped(DropReason::EspAuth), Some(tunnel)));
        assert!(!journey.came_out.is_there(), "what is not authentic is not shown as inner");
    }
}

#[test]
fn what_is_dropped_shows_why_and_what_was_made_of_it() {
    let mut lab = Lab::new();
    let mut watching = watch(&mut lab, EVERYTHING);
    let (edge, _) = lab.feed(&frame(&request(1460)));
    let all = caught(&mut watching);
    assert_eq!((edge.len(), all.len()), (1, 2));
    assert_eq!(all[0].end, End::Dropped(DropReason::TooBig));
    assert!(all[0].steps.contains(&Step::TooBig { mtu: 1476, into_tunnel: true }));
    assert_eq!((all[1].origin, all[1].end), (Origin::IcmpError, End::Sent { port: PortId(0) }));
    assert_eq!(all[1].left.bytes(), edge[0]);

    lab.dies(&[1, 2, 3], DropReason::FrameTruncated);
    let journey = one(&mut watching);
    assert_eq!(journey.arrived.bytes(), [1, 2, 3]);
    assert!(journey.steps.is_empty());
}

#[test]
fn punted_and_injected_frames_and_pings_inside() {
    let mut lab = Lab::new();
    let mut watching = watch(&mut lab, EVERYTHING);
    lab.feed(&ethernet(0x0806, &[0; 28]));
    assert_eq!(one(&mut watching).end, End::Punted { interface: InterfaceId(0) });
    lab.injector.inject(PortId(1), &[9; 60]).unwrap();
    lab.worker.turn();
    let journey = one(&mut watching);
    assert_eq!(journey.origin, Origin::Injected { port: PortId(1) });
    assert_eq!(journey.left.bytes(), [9; 60]);
    lab.drain();
    let ping =
        Ip4 { protocol: 1, ..Ip4::default() }.build(INSIDE, "10.255.0.0", &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &ping))));
    let journey = one(&mut watching);
    assert!(journey.steps.contains(&Step::PingAnswered), "{journey:?}");
    assert_eq!((journey.tunnel_in, journey.tunnel_out), (Some(TUNNEL), Some(TUNNEL)));
}

#[test]
fn only_what_is_wanted_is_caught() {
    let mut lab = Lab::new();
    let mut of_tunnel = watch(&mut lab, WatchSpec { tunnel: Some(TUNNEL), ..EVERYTHING });
    let mut all_drops = Watching::new(2, WatchSpec { drops: Drops::All, ..EVERYTHING }, 1);
    let ttl = Drops::Only(DropReason::TtlExpired);
    let mut one_reason = Watching::new(3, WatchSpec { drops: ttl, outer: false, ..EVERYTHING }, 1);
    let sessions = [&of_tunnel, &all_drops, &one_reason].map(|watching| Arc::clone(&watching.session));
    lab.publisher.watch(sessions.to_vec());
    lab.change(|_| {});
    lab.feed(&frame(&request(10)));
    lab.feed(&frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30))));
    lab.feed(&frame(&Ip4::default().build(CLIENT, "100.64.1.1", &udp(30))));
    lab.feed(&frame(&Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(9))));
    let ends =
        |watching: &mut Watching| caught(watching).iter().map(|journey| journey.end).collect::<Vec<_>>();
    assert_eq!(ends(&mut of_tunnel), [End::Sent { port: PortId(1) }]);
    let dropped = [DropReason::Blackhole, DropReason::TtlExpired].map(End::Dropped);
    assert_eq!(ends(&mut all_drops), dropped);
    let journey = one(&mut one_reason);
    assert_eq!(journey.end, dropped[1]);
    assert!(!journey.arrived.is_there(), "frames were not asked for");
}

#[test]
fn a_full_ring_is_counted_and_holds_up_nothing() {
    let mut lab = Lab::new();
    let mut watching = watch(&mut lab, WatchSpec { waiting: 10, ..EVERYTHING });
    for _ in 0..1000 {
        lab.leaves_by_core(&frame(&request(10)));
    }
    let read = caught(&mut watching);
    assert!(read.len() >= 10, "{}", read.len());
    assert_eq!(read.len() as u64 + watching.session.missed(), 1000);
    assert_eq!(watching.session.seen(), 1000);
    // In order, and with room again once they were read.
    assert!(read.iter().map(|journey| journey.number).eq(1..=read.len() as u64));
    read.into_iter().for_each(|journey| watching.rings.give_back(Box::new(journey)));
    lab.leaves_by_core(&frame(&request(10)));
    assert_eq!(one(&mut watching).number, 1001);
    lab.assert_balanced();
}

#[test]
fn whoever_watches_changes_nothing_and_is_forgotten_afterwards() {
    let frames: Vec<Vec<u8>> = (0..400u32)
        .map(|i| match i % 5 {
            0 => frame(&request(i as usize)),
            1 => frame(&from_remote(&gre(0, &[], &reply(i as usize)))),
            2 => frame(&ip6(17, 0, 64, "2001:db8:9::9", "2001:db8:100::5", &udp(i as usize))),
            3 => frame(&Ip4 { ttl: 1, ..Ip4::default() }.build(CLIENT, INSIDE, &udp(9))),
            _ => frame(&request(1460))[..30].to_vec(),
        })
        .collect();
    let run = |lab: &mut Lab| frames.iter().map(|frame| lab.feed(frame)).collect::<Vec<_>>();
    let mut plain = Lab::new();
    let mut watched = Lab::new();
    let watching = watch(&mut watched, WatchSpec { waiting: 4096, ..EVERYTHING });
    // Identifications are chosen by the clock, which stands still for both.
    assert_eq!(run(&mut plain), run(&mut watched));
    assert_eq!(plain.all_drops(), watched.all_drops());
    assert_eq!(watching.session.missed(), 0);
    // What control takes out of the tables is let go by the worker before control may free it.
    watched.publisher.watch(Vec::new());
    watched.change(|_| {});
    watched.worker.turn();
    watched.publisher.reap();
    assert_eq!(Arc::strong_count(&watching.session), 1);
    let before = watching.session.seen();
    watched.leaves_by_core(&frame(&request(10)));
    assert_eq!(watching.session.seen(), before);
}

#[test]
fn what_one_worker_hands_to_another_is_noted_by_both() {
    // A pinned association: the other worker seals.
    let agreement = Agreement::default();
    let (mut first, mut second) = Lab::two(&agreement.spec());
    let (session, mut rings) = Session::new(1, EVERYTHING, 2);
    for lab in [&mut first, &mut second] {
        lab.publisher.watch(vec![Arc::clone(&session)]);
        lab.change(|_| {});
    }
    let mut outbound = agreement.outbound();
    outbound.numbering = penstock_dataplane::esp::sa::Numbering::Pinned { worker: 1 };
    first.feed.set_outbound(&outbound);
    first.feed.lease(0, lease(1));
    first.feed.lease(1, lease(2));
    first.worker.turn();
    second.worker.turn();
    first.feed(&frame(&request(10)));
    second.worker.turn();
    let here = rings.take(0).unwrap();
    assert_eq!(here.end, End::HandedOn { worker: 1 });
    let there = rings.take(1).unwrap();
    assert_eq!((there.origin, there.worker), (Origin::HandedIn { worker: 0 }, 1));
    assert!(matches!(there.end, End::Sent { .. }), "{there:?}");
}

#[test]
fn there_is_an_end_to_what_is_noted() {
    const { assert!(MAX_STEPS >= 16 && MAX_SESSIONS >= 2) };
    let mut lab = Lab::new();
    let sessions: Vec<_> = (0..10).map(|id| Session::new(id, EVERYTHING, 1).0).collect();
    lab.publisher.watch(sessions.clone());
    lab.change(|_| {});
    lab.leaves_by_core(&frame(&request(10)));
    let watching = sessions.iter().filter(|session| session.seen() > 0).count();
    assert_eq!(watching, MAX_SESSIONS);
}

#[test]
fn who_comes_later_takes_nothing_from_who_was_there() {
    let mut lab = Lab::new();
    let mut first = watch(&mut lab, EVERYTHING);
    lab.leaves_by_core(&frame(&request(10)));
    let mut second = Watching::new(2, EVERYTHING, 1);
    let mut number = 0;
    // The second comes, and goes and comes again, while the first stays.
    for sessions in [vec![&first, &second], vec![&first], vec![&second, &first]] {
        lab.publisher.watch(sessions.iter().map(|watching| Arc::clone(&watching.session)).collect());
        lab.change(|_| {});
        lab.leaves_by_core(&frame(&request(10)));
        number += 1;
    }
    assert_eq!((caught(&mut first).len(), first.session.missed()), (1 + number, 0));
    assert_eq!((caught(&mut second).len(), second.session.missed()), (2, 0));
}
