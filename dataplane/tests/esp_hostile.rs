//! What an authentic peer may send and should not, and what becomes of packets whose tunnel is not there any more.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::sa::{InboundSpec, OutboundSpec, Spi};
use penstock_dataplane::esp::suite::Suite;
use penstock_dataplane::tables::*;
use support::esp::*;
use support::*;

fn every_suite() -> impl Iterator<Item = (Agreement, Lab, Forger)> {
    Suite::all().map(|suite| {
        let agreement = Agreement { suite, ..Agreement::default() };
        let (lab, peer) = (agreement.gateway(), Forger::of(&agreement));
        (agreement, lab, peer)
    })
}

#[test]
fn every_sound_padding_is_accepted() {
    for (agreement, mut lab, mut peer) in every_suite() {
        let mut accepted = 0;
        for pad in 0..=255 {
            for len in 0..4 {
                let Some(esp) = peer.padded(1, &reply(len), pad, 4) else { continue };
                let frame = agreement.arriving(&esp);
                // RFC 4303 2.4: to a multiple of four bytes, whatever the cipher.
                if (reply(len).len() + usize::from(pad) + 2).is_multiple_of(4) {
                    assert_eq!(lab.leaves_by_edge(&frame), one_hop_less(&reply(len)), "{pad}");
                    accepted += 1;
                } else {
                    lab.dies(&frame, DropReason::EspTruncated);
                }
            }
        }
        assert_eq!(accepted, 4 * 256 / agreement.suite.block_len().max(4));
        lab.assert_balanced();
    }
}

#[test]
fn bad_padding_is_refused() {
    for (agreement, mut lab, mut peer) in every_suite() {
        let inner = reply(20);
        let body = |pad: &[u8], pad_len: u8| [&inner[..], pad, &[pad_len, 4]].concat();
        // 48 bytes of packet and 16 of trailer.
        let sound: Vec<u8> = (1..=14).collect();
        for place in 0..14 {
            let mut padding = sound.clone();
            padding[place] ^= 0x80;
            let esp = peer.seal(1, &body(&padding, 14)).unwrap();
            lab.dies(&agreement.arriving(&esp), DropReason::EspPadding);
        }
        for pad_len in [63, 64, 200, 255] {
            // Longer than the packet, or made of it.
            let esp = peer.seal(1, &body(&sound, pad_len)).unwrap();
            lab.dies(&agreement.arriving(&esp), DropReason::EspPadding);
        }
        // Nothing but padding: no packet inside.
        let esp = peer.seal(1, &[&sound[..], &[14, 4]].concat()).unwrap();
        lab.dies(&agreement.arriving(&esp), DropReason::FrameTruncated);
        lab.leaves_by_edge(&agreement.arriving(&peer.seal(1, &body(&sound, 14)).unwrap()));
        lab.assert_balanced();
    }
}

#[test]
fn padding_for_traffic_flow_confidentiality_is_cut_off() {
    for (agreement, mut lab, mut peer) in every_suite() {
        for extra in [1, 3, 16, 100, 1000] {
            let mut four = reply(30);
            four.resize(four.len() + extra, 0xee);
            let esp = peer.payload(1, &four, 4);
            assert_eq!(lab.leaves_by_edge(&agreement.arriving(&esp)), one_hop_less(&reply(30)));
            let six = ip6(17, 0, 64, "2001:db8:100::5", "2001:db8:9::9", &udp(30));
            let padded = [&six[..], &vec![0xee; extra]].concat();
            let esp = peer.payload(1, &padded, 41);
            assert_eq!(lab.leaves_by_edge(&agreement.arriving(&esp)), one_hop_less(&six));
        }
        let counters = lab.stats.tunnel(TUNNEL).unwrap();
        assert_eq!(counters.decap_bytes.get(), 5 * (58 + 78), "padding is not the customer's traffic");
        lab.assert_balanced();
    }
}

#[test]
fn dummies_and_other_protocols_end() {
    for (agreement, mut lab, mut peer) in every_suite() {
        for len in [0, 1, 20, 1000] {
            let esp = peer.payload(1, &vec![0xaa; len], 59);
            lab.dies(&agreement.arriving(&esp), DropReason::EspDummy);
        }
        for protocol in (0..=255).filter(|protocol| ![4, 41, 59].contains(protocol)) {
            let esp = peer.payload(1, &reply(8), protocol);
            lab.dies(&agreement.arriving(&esp), DropReason::EspNextHeader);
        }
        lab.assert_balanced();
    }
}

#[test]
fn a_dummy_counts_as_received() {
    let agreement = Agreement { window: Some(64), ..Agreement::default() };
    let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
    let dummy = agreement.arriving(&peer.payload(7, &[], 59));
    lab.dies(&dummy, DropReason::EspDummy);
    lab.dies(&dummy, DropReason::EspReplay);
    // A forged number moves no window.
    let mut forged = agreement.arriving(&peer.payload(8, &reply(9), 4));
    forged[14 + 20 + 4] = 0x70;
    lab.dies(&forged, DropReason::EspAuth);
    lab.leaves_by_edge(&agreement.arriving(&peer.payload(6, &reply(9), 4)));
    // Nobody sends number 0 (RFC 4303 2.2).
    lab.dies(&agreement.arriving(&peer.payload(0, &reply(9), 4)), DropReason::EspTooOld);
}

#[test]
fn every_truncation_has_its_reason() {
    for (agreement, mut lab, mut peer) in every_suite() {
        let esp = peer.payload(1, &reply(30), 4);
        let suite = agreement.suite;
        let least = 8 + suite.iv_len() + suite.icv_len();
        for len in 0..esp.len() {
            let expected = if len < 4 {
                DropReason::EspTruncated
            } else if len >= least + 2 && (len - least).is_multiple_of(suite.block_len()) {
                DropReason::EspAuth
            } else {
                DropReason::EspTruncated
            };
            lab.dies(&agreement.arriving(&esp[..len]), expected);
        }
        // More than was sealed.
        for more in [1, 4, 16] {
            let long = [&esp[..], &vec![0; more]].concat();
            let fits = (long.len() - least).is_multiple_of(suite.block_len());
            let expected = if fits { DropReason::EspAuth } else { DropReason::EspTruncated };
            lab.dies(&agreement.arriving(&long), expected);
        }
        lab.leaves_by_edge(&agreement.arriving(&esp));
        lab.assert_balanced();
    }
}

#[test]
fn every_bit_is_authenticated() {
    for (agreement, mut lab, mut peer) in every_suite() {
        let esp = peer.payload(1, &reply(30), 4);
        for bit in 0..esp.len() * 8 {
            let mut damaged = esp.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let expected = match bit / 8 {
                // 0x1001 without its upper bit is in the reserved range.
                0..4 if u32::from_be_bytes(*damaged.first_chunk().unwrap()) < 256 => {
                    DropReason::EspSpiReserved
                }
                0..4 => DropReason::EspSaUnknown,
                _ => DropReason::EspAuth,
            };
            lab.dies(&agreement.arriving(&damaged), expected);
        }
        lab.leaves_by_edge(&agreement.arriving(&esp));
        lab.assert_balanced();
    }
}

#[test]
fn another_key_or_another_suite_opens_nothing() {
    for (agreement, mut lab, _) in every_suite() {
        for suite in Suite::all() {
            let other = Agreement { suite, ..agreement.clone() };
            let mut near = other.near();
            near.feed.set_outbound(&OutboundSpec { cipher: other.cipher_of(2), ..other.outbound() });
            let outer = sealed(&mut near, &request(40));
            let (edge, core) = lab.feed(&agreement.arriving(&outer[20..]));
            assert!(edge.is_empty() && core.is_empty());
        }
        let refused = lab.stats.drops(DropReason::EspAuth) + lab.stats.drops(DropReason::EspTruncated);
        assert_eq!(refused, Suite::all().count() as u64);
        lab.assert_balanced();
    }
}

#[test]
fn an_association_outlives_its_tunnel_to_no_effect() {
    let agreement = Agreement::default();
    let (mut lab, mut peer) = (agreement.gateway(), Forger::of(&agreement));
    let arriving = agreement.arriving(&peer.payload(1, &reply(9), 4));
    lab.leaves_by_edge(&arriving);
    lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::default()));
    lab.dies(&frame(&request(9)), DropReason::TunnelGone);
    lab.dies(&arriving, DropReason::TunnelGone);
    // The number goes to another tunnel, of the same kind or not.
    for spec in [
        TunnelSpec { incarnation: INCARNATION + 1, ..agreement.spec() },
        TunnelSpec { incarnation: INCARNATION + 1, ..spec() },
        TunnelSpec { incarnation: INCARNATION, ..spec() },
    ] {
        lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::new(&spec).unwrap()));
        lab.dies(&arriving, DropReason::TunnelGone);
        if matches!(spec.encapsulation, Encapsulation::Esp { .. }) {
            lab.dies(&frame(&request(9)), DropReason::EspNoSa);
        } else {
            // A GRE tunnel never seals: what leaves is GRE, as its operator asked for.
            assert_eq!(lab.leaves_by_core(&frame(&request(9)))[9], 47);
        }
    }
    lab.change(|tables| tables.set_tunnel(TUNNEL, Tunnel::new(&agreement.spec()).unwrap()));
    lab.leaves_by_edge(&arriving);
    lab.leaves_by_core(&frame(&request(9)));
    lab.assert_balanced();
}

#[test]
fn an_spi_belongs_to_its_endpoint() {
    let agreement = Agreement::default();
    let other = Agreement { v6: true, ..Agreement::default() };
    let mut lab = agreement.gateway();
    let mut peer = Forger::of(&agreement);
    let esp = peer.payload(1, &reply(9), 4);
    lab.dies(&other.arriving(&esp), DropReason::EspSaUnknown);
    lab.feed.add_inbound(&InboundSpec { cipher: other.cipher_of(2), ..other.inbound() }).unwrap();
    lab.dies(&other.arriving(&esp), DropReason::EspAuth);
    lab.leaves_by_edge(&agreement.arriving(&esp));
    // Packets of both in one burst, in turns.
    for _ in 0..20 {
        lab.rx.push(&agreement.arriving(&esp));
        lab.rx.push(&other.arriving(&esp));
    }
    lab.worker.turn();
    assert_eq!(lab.drain().0.len(), 20);
    assert_eq!(lab.stats.drops(DropReason::EspAuth), 21);
    lab.assert_balanced();
}

#[test]
fn a_burst_of_many_associations_keeps_them_apart() {
    let agreement = Agreement { window: Some(64), ..Agreement::default() };
    let mut lab = agreement.deaf_with(&agreement.spec());
    let mut nears = Vec::new();
    for (number, suite) in Suite::all().enumerate() {
        let one = Agreement { suite, ..agreement.clone() };
        let spi = Spi(0x5000 + number as u32);
        let cipher = one.cipher_of(number as u8);
        lab.feed.add_inbound(&InboundSpec { spi, cipher: cipher.clone(), ..one.inbound() }).unwrap();
        let mut near = one.near();
        near.feed.set_outbound(&OutboundSpec { spi, cipher, ..one.outbound() });
        nears.push(near);
    }
    let mut sent = Vec::new();
    for round in 0..64 {
        let place = round * 5 % nears.len();
        sent.push(frame(&sealed(&mut nears[place], &request(round))));
    }
    // One in eight is damaged, one in eight comes twice.
    for (place, frame) in sent.iter_mut().enumerate() {
        if place % 8 == 3 {
            let last = frame.len() - 1;
            frame[last] ^= 1;
        }
    }
    for frame in &sent {
        lab.rx.push(frame);
    }
    lab.worker.turn();
    let (edge, _) = lab.drain();
    let expected: Vec<_> =
        (0..64).filter(|place| place % 8 != 3).map(|len| request(len)[20..].to_vec()).collect();
    assert_eq!(edge.iter().map(|frame| frame[34..].to_vec()).collect::<Vec<_>>(), expected, "in their order");
    assert_eq!(lab.stats.drops(DropReason::EspAuth), 8);
    for frame in &sent {
        lab.rx.push(frame);
    }
    lab.worker.turn();
    assert_eq!(lab.drain().0.len(), 0);
    assert_eq!(lab.stats.drops(DropReason::EspReplay), 56);
    assert_eq!(lab.stats.drops(DropReason::EspAuth), 16);
    lab.assert_balanced();
}
