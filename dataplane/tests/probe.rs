//! Health probes: into their tunnel whatever else there is to do, and their answers to control, whoever else sends.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::net::IpAddr;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::frame::BURST;
use penstock_dataplane::ids::*;
use penstock_dataplane::probe::ProbeAnswer;
use penstock_dataplane::tables::fleet::{Token, Tokens};
use penstock_dataplane::tables::{DontFragment, TunnelSpec};
use penstock_dataplane::wire::probe::{MAX_LEN, Probe, Style};
use support::esp::{Agreement, Opener};
use support::*;

/// Our address inside the tunnel, and the router's.
const OURS: &str = "10.255.0.0";
const TARGET: &str = "10.255.0.1";
const PROBE: Probe = Probe { node: 3, tunnel: 0, serial: 77 };

fn key() -> Token {
    Token::new([7; 16])
}

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.change(|tables| tables.set_probe_keys(Some(Tokens { current: key(), other: None })));
    lab
}

fn write(style: Style, ours: &str, target: &str, key: &Token) -> Vec<u8> {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut out = [0; MAX_LEN];
    let len = PROBE.write(&mut out, style, ip(ours), ip(target), key).unwrap();
    out[..len].to_vec()
}

/// A request of so many bytes.
fn large(len: usize, v6: bool) -> Vec<u8> {
    let (ours, target) = if v6 { ("2001:db8:255::", "2001:db8:255::1") } else { (OURS, TARGET) };
    let mut out = vec![0; len];
    PROBE.fill(&mut out, Style::Request, ours.parse().unwrap(), target.parse().unwrap(), &key()).unwrap();
    out
}

/// A reply is an answer as it is.
fn answer(ours: &str) -> Vec<u8> {
    write(Style::Reply, ours, TARGET, &key())
}

fn told(lab: &mut Lab) -> Vec<(Probe, Option<TunnelId>)> {
    let answers = std::iter::from_fn(|| lab.prober.answer());
    answers.map(|ProbeAnswer { probe, via, .. }| (probe, via)).collect()
}

#[test]
fn a_probe_goes_into_its_tunnel_whatever_the_routes_say() {
    let mut lab = lab();
    // The tenant's table leads nowhere.
    lab.change(|tables| tables.set_vrf(TENANT, table(&[], &[])));
    for (ours, target, at) in [(OURS, TARGET, 20), ("2001:db8:255::", "2001:db8:255::1", 40)] {
        let probe = write(Style::Request, ours, target, &key());
        lab.prober.send(TUNNEL, 0, &probe).unwrap();
        lab.worker.turn();
        let (edge, core) = lab.drain();
        assert!(edge.is_empty() && core.len() == 1, "{:?}", lab.all_drops());
        let outer = &core[0][14..];
        assert_eq!(outer[9], 47);
        assert_eq!(outer[24..], one_hop_less(&probe));
        // What the far end makes of it.
        let mut reply = probe;
        reply[at] = if at == 20 { 0 } else { 129 };
        assert_eq!(Probe::answered(&reply, at == 40, &Tokens { current: key(), other: None }), Some(PROBE));
    }
    let counters = lab.stats.tunnel(TUNNEL).unwrap();
    assert_eq!(counters.encap_packets.get(), 2);
    lab.assert_balanced();
}

/// Whether it passes is the question: it is neither cut nor refused, and no router may cut it.
#[test]
fn a_probe_larger_than_the_tunnel_goes_whole() {
    for df in [DontFragment::Set, DontFragment::Copy] {
        let mut lab = Lab::with(&TunnelSpec { df, mtu: 1176, underlay_mtu: 1200, ..spec() });
        for (len, v6) in
            [(1476, false), (1476, true), (1250, true), (1177, false), (1177, true), (300, false)]
        {
            let probe = large(len, v6);
            lab.prober.send(TUNNEL, 0, &probe).unwrap();
            lab.worker.turn();
            let (edge, core) = lab.drain();
            assert!(edge.is_empty() && core.len() == 1, "{len} {v6}: {:?}", lab.all_drops());
            let outer = &core[0][14..];
            assert_eq!((outer.len(), &outer[6..8]), (len + 24, &[0x40, 0][..]), "{len} {v6}");
            assert_eq!(outer[24..], one_hop_less(&probe));
        }
        // What else is as large is refused as ever.
        let (edge, core) = lab.feed(&frame(&request(1300)));
        assert_eq!((edge.len(), core.len(), lab.all_drops()), (1, 0, vec![("too_big", 1)]));
        lab.assert_balanced();
    }
}

#[test]
fn a_probe_larger_than_an_ipsec_tunnel_is_sealed_whole() {
    for (udp, v6) in [(false, false), (true, false), (false, true), (true, true)] {
        let agreement = Agreement { udp, v6, ..Agreement::default() };
        let most = agreement.spec().mtu;
        let mut lab = agreement.near_with(&TunnelSpec { mtu: 1100, underlay_mtu: 1280, ..agreement.spec() });
        let mut opener = Opener::new();
        opener.add(agreement.spi(), agreement.cipher());
        for inner_v6 in [false, true] {
            let probe = large(usize::from(most), inner_v6);
            lab.prober.send(agreement.tunnel(), agreement.spec().incarnation, &probe).unwrap();
            lab.worker.turn();
            let (edge, core) = lab.drain();
            assert!(edge.is_empty() && core.len() == 1, "{:?}", lab.all_drops());
            let outer = &core[0][14..];
            assert!((1496..=1500).contains(&outer.len()), "{}", outer.len());
            assert!(v6 || outer[6..8] == [0x40, 0]);
            assert_eq!(opener.open(outer).unwrap().payload, one_hop_less(&probe));
        }
        lab.assert_balanced();
    }
}

#[test]
fn a_tunnel_that_took_the_place_of_another_gets_none_of_its_probes() {
    let mut lab = lab();
    for (tunnel, incarnation) in [(TUNNEL, 1), (TunnelId(9), 0)] {
        lab.prober.send(tunnel, incarnation, &write(Style::Request, OURS, TARGET, &key())).unwrap();
    }
    lab.worker.turn();
    assert_eq!(lab.drain(), (vec![], vec![]));
    assert_eq!(lab.stats.drops(DropReason::TunnelGone), 2);
    lab.assert_balanced();
}

#[test]
fn probes_leave_under_full_load() {
    let mut lab = lab();
    // The port takes only half of what is to be forwarded there.
    lab.core.limit(32);
    let probe = write(Style::Request, OURS, TARGET, &key());
    let mut left = 0;
    for _ in 0..100 {
        for _ in 0..BURST {
            lab.rx.push(&frame(&request(30)));
        }
        lab.prober.send(TUNNEL, 0, &probe).unwrap();
        lab.worker.turn();
        let (_, core) = lab.drain();
        left += core.iter().filter(|frame| frame[14 + 24..] == one_hop_less(&probe)).count();
    }
    assert_eq!(left, 100, "each in the turn after it came");
    lab.assert_balanced();
}

#[test]
fn more_probes_than_a_worker_takes_hold_up_nothing() {
    let mut lab = lab();
    let probe = write(Style::Request, OURS, TARGET, &key());
    let mut sent = 0;
    while lab.prober.send(TUNNEL, 0, &probe).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 1024);
    let (mut probes, mut forwarded) = (0, 0);
    for _ in 0..sent / 16 {
        lab.rx.push(&frame(&Ip4::default().build(CLIENT, "1.2.3.4", &udp(30))));
        lab.worker.turn();
        let (edge, core) = lab.drain();
        probes += core.len();
        forwarded += edge.len();
    }
    assert_eq!((probes, forwarded), (1024, 64));
    lab.assert_balanced();
}

#[test]
fn an_answer_out_of_the_tunnel_is_for_control_and_no_drop() {
    let mut lab = lab();
    let out = lab.feed(&frame(&from_remote(&gre(0, &[], &answer(OURS)))));
    assert_eq!(out, (vec![], vec![]));
    assert_eq!(told(&mut lab), [(PROBE, Some(TUNNEL))]);
    let answer6 = write(Style::Reply, "2001:db8:255::", "2001:db8:255::1", &key());
    lab.feed(&frame(&from_remote(&gre(0, &[], &answer6))));
    assert_eq!(told(&mut lab), [(PROBE, Some(TUNNEL))]);
    assert_eq!(lab.all_drops(), []);
    assert_eq!(lab.stats.tunnel(TUNNEL).unwrap().dropped.get(), 0);
    // One as large as the tunnel takes.
    let mut large = large(1476, false);
    large[20] = 0;
    let sum = penstock_dataplane::wire::checksum::checksum(&[&large[20..22], &[0, 0], &large[24..]].concat());
    large[22..24].copy_from_slice(&sum.to_be_bytes());
    large[12..20].rotate_left(4);
    lab.feed(&frame(&from_remote(&gre(0, &[], &large))));
    assert_eq!(told(&mut lab), [(PROBE, Some(TUNNEL))]);
    assert_eq!(lab.stats.probe_answers.get(), 3);
    assert_eq!(lab.punts(), []);
    lab.assert_balanced();
}

#[test]
fn an_answer_by_the_internet_is_for_control_and_not_for_the_kernel() {
    let mut lab = lab();
    assert_eq!(lab.feed(&frame(&answer(ENDPOINT))), (vec![], vec![]));
    let answer6 = write(Style::Reply, "2001:db8:ffff::1", "2001:db8:9::1", &key());
    assert_eq!(lab.feed(&frame(&answer6)), (vec![], vec![]));
    assert_eq!(told(&mut lab), [(PROBE, None), (PROBE, None)]);
    assert_eq!((lab.punts(), lab.all_drops()), (vec![], vec![]));
    lab.assert_balanced();
}

#[test]
fn what_is_forged_is_no_answer() {
    let mut lab = lab();
    let wrong = Token::new([8; 16]);
    let inside = write(Style::Reply, OURS, TARGET, &wrong);
    lab.dies(&frame(&from_remote(&gre(0, &[], &inside))), DropReason::TunnelAddress);
    // As any ICMP to an endpoint.
    lab.feed(&frame(&write(Style::Reply, ENDPOINT, TARGET, &wrong)));
    assert_eq!(lab.punts().len(), 1);
    // Nor is anything, where no tunnel is probed.
    lab.change(|tables| tables.set_probe_keys(None));
    lab.dies(&frame(&from_remote(&gre(0, &[], &answer(OURS)))), DropReason::TunnelAddress);
    assert_eq!(told(&mut lab), []);
    lab.assert_balanced();
}

/// A customer may ping our address, and probe us as we probe him.
#[test]
fn requests_are_answered_as_ever() {
    let mut lab = lab();
    let request = write(Style::Request, TARGET, OURS, &key());
    lab.change(|tables| {
        tables.set_vrf(
            TENANT,
            table(
                &[
                    ("10.255.0.0/32", penstock_dataplane::tables::Hop::tunnel_address(TUNNEL)),
                    ("10.255.0.1/32", penstock_dataplane::tables::Hop::tunnel(TUNNEL)),
                ],
                &[],
            ),
        );
    });
    let back = lab.leaves_by_core(&frame(&from_remote(&gre(0, &[], &request))));
    assert_eq!((back[24 + 20], &back[24 + 12..24 + 20]), (0, &[10, 255, 0, 0, 10, 255, 0, 1][..]));
    assert_eq!(told(&mut lab), []);
}

#[test]
fn answers_that_nobody_takes_are_counted_and_others_cannot_take_their_place() {
    let mut lab = lab();
    // The kernel's queues are full.
    for _ in 0..3000 {
        lab.feed(&frame(&Ip4 { protocol: 6, ..Ip4::default() }.build(CLIENT, ENDPOINT, &udp(30))));
    }
    assert!(lab.stats.drops(DropReason::PuntQueueFull) + lab.stats.drops(DropReason::PuntRate) > 0);
    lab.feed(&frame(&answer(ENDPOINT)));
    assert_eq!(told(&mut lab).len(), 1);
    for _ in 0..8192 {
        lab.feed(&frame(&answer(ENDPOINT)));
    }
    assert_eq!(lab.stats.drops(DropReason::ProbeQueueFull), 0);
    lab.dies(&frame(&answer(ENDPOINT)), DropReason::ProbeQueueFull);
    assert_eq!(told(&mut lab).len(), 8192);
    lab.assert_balanced();
}
