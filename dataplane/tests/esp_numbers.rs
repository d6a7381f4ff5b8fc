//! Sequence numbers and IVs: across the border of 32 bits, at their limits, from several workers at once.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;

use penstock_dataplane::drop_reason::DropReason;
use penstock_dataplane::esp::replay::ReplayWindow;
use penstock_dataplane::esp::sa::{InboundSpec, Numbering, OutboundSpec};
use penstock_dataplane::esp::suite::Suite;
use support::esp::*;
use support::*;

const BORDER: u64 = 1 << 32;

/// Both ends as they are after so many packets.
fn at(number: u64, agreement: Agreement) -> (Lab, Lab) {
    let agreement = Agreement { first: number, ..agreement };
    let inbound = agreement.inbound();
    if let Some(window) = &inbound.replay {
        window.mark(number).unwrap();
    }
    let mut far = agreement.deaf_with(&agreement.spec());
    far.feed.add_inbound(&inbound).unwrap();
    (agreement.near(), far)
}

#[test]
fn extended_numbers_cross_the_border_at_both_ends() {
    for suite in Suite::all() {
        for size in [64, 65536] {
            let agreement = Agreement { suite, esn: true, window: Some(size), ..Agreement::default() };
            let (mut near, mut far) = at(BORDER - 50, agreement);
            let mut sent: Vec<_> = (0..100).map(|_| frame(&sealed(&mut near, &request(5)))).collect();
            assert_eq!(sent[49][38..42], [0; 4], "the high half is not sent");
            // In an order of their own, but none further back than the window reaches.
            sent.chunks_mut(32).for_each(<[_]>::reverse);
            for frame in &sent {
                far.leaves_by_edge(frame);
            }
            sent.chunks_mut(32).for_each(<[_]>::reverse);
            let remembered = if size == 64 { 64 } else { 100 };
            for frame in sent.iter().rev().take(remembered) {
                far.dies(frame, DropReason::EspReplay);
            }
            if size == 64 {
                // Numbers that far back are taken for those of the next 2^32, which are not authentic.
                far.dies(&sent[0], DropReason::EspAuth);
            }
            far.assert_balanced();
        }
    }
}

#[test]
fn the_high_half_is_authenticated() {
    for suite in Suite::all() {
        let esn = Agreement { suite, esn: true, window: Some(64), ..Agreement::default() };
        let short = Agreement { esn: false, ..esn.clone() };
        let (mut near, mut far) = at(BORDER + 5, esn.clone());
        let outer = frame(&sealed(&mut near, &request(5)));
        // One that believes in another high half, one that has none.
        let (_, mut behind) = at(5, esn.clone());
        behind.dies(&outer, DropReason::EspAuth);
        let (_, mut ahead) = at(2 * BORDER + 5, esn.clone());
        ahead.dies(&outer, DropReason::EspAuth);
        let (mut short_near, mut short_far) = at(5, short);
        short_far.dies(&outer, DropReason::EspAuth);
        far.dies(&frame(&sealed(&mut short_near, &request(5))), DropReason::EspAuth);
        far.leaves_by_edge(&outer);
    }
}

#[test]
fn numbers_end_at_the_hard_limit_and_never_start_again() {
    let last = u64::from(u32::MAX);
    for (first, hard_limit, numbering_shared) in
        [(last - 7, u64::MAX, true), (last - 7, last - 2, true), (0, 9, true), (0, 9, false)]
    {
        let agreement = Agreement { first, hard_limit, ..Agreement::default() };
        let left = hard_limit.min(last) - first;
        let mut near = agreement.near();
        if !numbering_shared {
            near.feed.set_outbound(&OutboundSpec { numbering: Numbering::PerCore, ..agreement.outbound() });
        }
        // A burst that begins before the limit and ends behind it, then more of them.
        for round in 0..3 {
            for _ in 0..20 {
                near.rx.push(&frame(&request(1)));
            }
            near.worker.turn();
            let (_, core) = near.drain();
            let numbers: Vec<_> =
                core.iter().map(|f| u32::from_be_bytes(f[38..42].try_into().unwrap())).collect();
            let expected: Vec<_> = (first + 1..=first + left).map(|n| n as u32).collect();
            assert_eq!(numbers, if round == 0 { expected } else { vec![] });
        }
        assert_eq!(near.stats.drops(DropReason::EspSequence), 60 - left);
        near.assert_balanced();
    }
}

#[test]
fn an_association_goes_on_at_the_number_it_is_told() {
    let agreement = Agreement { hard_limit: 70_002, ..Agreement::default() };
    for (numbering, first) in [
        (Numbering::PerCore, 70_000),
        (Numbering::Pinned { worker: 0 }, 70_000),
        (Numbering::Shared(Arc::new(AtomicU64::new(0))), 70_000),
        // The counter of an association that lives on is never turned back.
        (Numbering::Shared(Arc::new(AtomicU64::new(69_999))), 1),
    ] {
        let mut near = Lab::with(&agreement.spec());
        let handle = near.feed.set_outbound(&OutboundSpec { numbering, first, ..agreement.outbound() });
        near.feed.lease(0, lease(1));
        assert_eq!(handle.newest_sequence(), 69_999, "before the first packet");
        for number in 70_000..=70_002u32 {
            assert_eq!(sealed(&mut near, &request(9))[24..28], number.to_be_bytes());
        }
        assert_eq!(handle.newest_sequence(), 70_002);
        near.dies(&frame(&request(9)), DropReason::EspSequence);
    }
}

#[test]
fn a_window_goes_on_where_another_one_was() {
    let agreement = Agreement { window: Some(64), ..Agreement::default() };
    let (mut near, mut far) = agreement.both();
    let outer = [(); 40].map(|()| frame(&sealed(&mut near, &request(60))));
    for outer in &outer[..30] {
        far.leaves_by_edge(outer);
    }
    let mut again = agreement.deaf_with(&agreement.spec());
    let window = Arc::new(ReplayWindow::resume(64, false, 30).unwrap());
    let handle =
        again.feed.add_inbound(&InboundSpec { replay: Some(window), ..agreement.inbound() }).unwrap();
    assert_eq!(handle.newest_sequence(), 30);
    for outer in &outer[..30] {
        again.dies(outer, DropReason::EspReplay);
    }
    for outer in outer[30..].iter().rev() {
        again.leaves_by_edge(outer);
    }
    assert_eq!(handle.newest_sequence(), 40);
}

#[test]
fn with_extended_numbers_the_border_is_no_limit() {
    // Near 2^64 there is one: whatever is tried then, the counter must not come to 0.
    let first = u64::MAX - BORDER - 2;
    let agreement = Agreement { esn: true, first, ..Agreement::default() };
    let counter = Arc::new(AtomicU64::new(first));
    let mut near = agreement.near();
    let numbering = Numbering::Shared(Arc::clone(&counter));
    let handle = near.feed.set_outbound(&OutboundSpec { numbering, ..agreement.outbound() });
    for _ in 0..3 {
        sealed(&mut near, &request(1));
    }
    for _ in 0..100 {
        near.dies(&frame(&request(1)), DropReason::EspSequence);
    }
    assert_eq!(
        (handle.newest_sequence(), counter.load(std::sync::atomic::Ordering::Relaxed)),
        (first + 3, first + 3)
    );
}

#[test]
fn each_core_may_number_its_own_packets() {
    let agreement = Agreement::default();
    let spec = OutboundSpec { numbering: Numbering::PerCore, ..agreement.outbound() };
    let mut ivs = HashSet::new();
    let mut far = agreement.far();
    for worker in 0..4 {
        let mut near = agreement.near();
        near.feed.set_outbound(&spec);
        near.feed.lease(0, lease(10 + worker));
        for number in 1..100u32 {
            let outer = sealed(&mut near, &request(9));
            assert_eq!(outer[24..28], number.to_be_bytes());
            assert!(ivs.insert(outer[28..36].to_vec()));
            far.leaves_by_edge(&frame(&outer));
        }
    }
}

#[test]
fn a_lease_is_replaced_under_traffic() {
    for suite in Suite::all() {
        let agreement = Agreement { suite, window: Some(64), ..Agreement::default() };
        let (mut near, mut far) = agreement.both();
        let mut ivs = HashSet::new();
        for round in 0..20u32 {
            for _ in 0..70 {
                near.rx.push(&frame(&request(9)));
            }
            near.worker.turn();
            near.feed.lease(0, lease(100 + round));
            near.worker.turn();
            assert_eq!(near.stats.sender_id.get(), u64::from(101 + round) + 1);
            for sent in near.drain().1 {
                let iv = &sent[42..42 + suite.iv_len()];
                assert!(suite.iv_len() == 0 || ivs.insert(iv.to_vec()));
                if suite.iv_len() == 8 {
                    let sender = u32::from_be_bytes([0, iv[0], iv[1], iv[2]]);
                    assert!([101 + round, 100 + round, 2].contains(&sender));
                }
                far.leaves_by_edge(&frame(&sent[14..]));
            }
        }
        assert_eq!(far.stats.ports[0].tx_packets.get(), 20 * 70);
        near.assert_balanced();
    }
}

/// Workers that seal for one tunnel at once, and workers that open what they sent.
#[test]
fn many_workers_on_one_association_share_numbers_windows_and_no_iv() {
    const SEALERS: u32 = 4;
    const OPENERS: usize = 3;
    const BURSTS: usize = 40;
    const BURST: usize = 50;
    for suite in [Suite::AES128_GCM, "aes128-sha256".parse().unwrap()] {
        for esn in [false, true] {
            let first = if esn { BORDER - 1000 } else { 0 };
            let agreement = Agreement { suite, esn, window: Some(16384), first, ..Agreement::default() };
            let counter = Arc::new(AtomicU64::new(first));
            let window = agreement.replay().unwrap();
            if first > 0 {
                window.mark(first).unwrap();
            }
            let mut queues = Vec::new();
            let mut openers = Vec::new();
            for _ in 0..OPENERS {
                let (queue, frames) = mpsc::channel::<Vec<Vec<u8>>>();
                queues.push(queue);
                let (agreement, window) = (agreement.clone(), Arc::clone(&window));
                openers.push(std::thread::spawn(move || {
                    let mut far = agreement.deaf_with(&agreement.spec());
                    far.feed
                        .add_inbound(&InboundSpec { replay: Some(window), ..agreement.inbound() })
                        .unwrap();
                    let mut came = Vec::new();
                    for burst in frames {
                        burst.iter().for_each(|sent| far.rx.push(&frame(&sent[14..])));
                        far.worker.turn();
                        came.extend(far.drain().0.into_iter().map(|frame| frame[42..50].to_vec()));
                    }
                    far.assert_balanced();
                    let replays =
                        far.stats.drops(DropReason::EspReplay) + far.stats.drops(DropReason::EspTooOld);
                    assert_eq!(far.stats.drops_total(), replays, "{:?}", far.all_drops());
                    came
                }));
            }
            let sealers: Vec<_> = (0..SEALERS)
                .map(|worker| {
                    let (agreement, counter, queues) =
                        (agreement.clone(), Arc::clone(&counter), queues.clone());
                    std::thread::spawn(move || {
                        let mut near = Lab::with(&agreement.spec());
                        let numbering = Numbering::Shared(counter);
                        near.feed.set_outbound(&OutboundSpec { numbering, ..agreement.outbound() });
                        near.feed.lease(0, lease(50 + worker));
                        let mut sent = Vec::new();
                        for burst in 0..BURSTS {
                            for place in 0..BURST {
                                let mark =
                                    [worker, (burst * BURST + place) as u32].map(u32::to_be_bytes).concat();
                                let mut datagram = udp(0);
                                datagram.extend_from_slice(&mark);
                                datagram[5] = 16;
                                near.rx.push(&frame(&Ip4::default().build(CLIENT, INSIDE, &datagram)));
                            }
                            near.worker.turn();
                            let (_, core) = near.drain();
                            sent.extend(core.iter().map(|frame| {
                                (frame[38..42].to_vec(), frame[42..42 + suite.iv_len()].to_vec())
                            }));
                            // Each burst goes to two of the workers at the far end, as no network does.
                            let place = (worker as usize + burst) % queues.len();
                            queues[place].send(core.clone()).unwrap();
                            queues[(place + 1) % queues.len()].send(core).unwrap();
                        }
                        near.assert_balanced();
                        sent
                    })
                })
                .collect();
            drop(queues);
            let sent: Vec<_> = sealers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            let total = SEALERS as usize * BURSTS * BURST;
            let numbers: HashSet<_> = sent.iter().map(|(number, _)| number).collect();
            let ivs: HashSet<_> = sent.iter().map(|(_, iv)| iv).collect();
            assert_eq!((sent.len(), numbers.len(), ivs.len()), (total, total, total));
            let came: Vec<_> = openers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            let distinct: HashSet<_> = came.iter().collect();
            assert_eq!((came.len(), distinct.len()), (total, total), "each packet came out once");
            assert_eq!(window.newest(), first + total as u64);
        }
    }
}
