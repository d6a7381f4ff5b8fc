//! What goes through the feed, in which order, and who frees it.

use std::sync::Weak;

use super::*;
use crate::drop_reason::DropReason;
use crate::esp::selector::Selectors;
use crate::support::esp::{Agreement, Opener};
use crate::support::{ASSOCIATIONS, CLIENT, INSIDE, Ip4, Lab, TUNNEL, frame, lease, request, udp};

#[test]
fn a_lease_that_is_used_up_seals_nothing_and_a_new_one_goes_on() {
    let agreement = Agreement::default();
    let mut near = agreement.near();
    let give = |near: &mut Lab, id, left| {
        let sender = Sender::almost_used_up(lease(id), left);
        near.feed.generation += 1;
        let change = (near.feed.generation, Change::Send(sender));
        assert!(near.feed.workers[0].changes.push(change).is_ok());
    };
    let burst = |near: &mut Lab| {
        (0..10).for_each(|_| near.rx.push(&frame(&request(8))));
        near.worker.turn();
        near.drain()
            .1
            .iter()
            .map(|sent| u64::from_be_bytes(sent[42..50].try_into().unwrap()))
            .collect::<Vec<_>>()
    };
    give(&mut near, 5, 4);
    let ivs = burst(&mut near);
    let end = 7u64 << 40;
    assert_eq!(ivs, (1..=4).rev().map(|n| end - 1 - n).collect::<Vec<_>>());
    assert_eq!(near.stats.drops(DropReason::EspIvExhausted), 6);
    assert_eq!(burst(&mut near), [] as [u64; 0]);
    assert_eq!(near.stats.drops(DropReason::EspIvExhausted), 16);
    near.worker.turn();
    near.feed.lease(0, lease(6));
    let ivs = burst(&mut near);
    assert_eq!(ivs, (1..=10).map(|n| (7 << 40) + n).collect::<Vec<_>>());
    assert!((1..1000).contains(&((1 << 40) - near.stats.ivs_left.get())));
    near.feed.end_lease(0);
    assert_eq!(burst(&mut near), [] as [u64; 0]);
    assert_eq!((near.stats.drops(DropReason::EspNoLease), near.stats.sender_id.get()), (10, 0));
    near.assert_balanced();
}

/// An association whose memory is watched by the selectors that it holds.
fn watched(agreement: &Agreement) -> (OutboundSpec, Weak<Selectors>) {
    let selectors = Arc::new(Selectors::any());
    let watch = Arc::downgrade(&selectors);
    (OutboundSpec { selectors, ..agreement.outbound() }, watch)
}

#[test]
fn control_frees_what_workers_let_go_of() {
    let agreement = Agreement::default();
    let mut lab = agreement.gateway();
    lab.worker.turn();
    let (outbound, watch_out) = watched(&agreement);
    lab.feed.set_outbound(&outbound);
    let (other, watch_in) = watched(&agreement);
    let spec =
        InboundSpec { spi: crate::esp::sa::Spi(0x7777), selectors: other.selectors, ..agreement.inbound() };
    let handle = lab.feed.add_inbound(&spec).unwrap();
    drop((outbound, spec));
    lab.worker.turn();
    lab.feed.clear_outbound(TUNNEL);
    lab.feed.remove_inbound(&handle);
    // It holds the counters, and what is with them.
    drop(handle);
    lab.feed.lease(0, lease(9));
    lab.worker.turn();
    lab.worker.turn();
    assert!(lab.feed.is_applied(lab.feed.generation()));
    let retired = lab.feed.workers[0].retired.slots();
    assert_eq!(retired, 3, "the key, the association, the sender");
    assert!(watch_out.upgrade().is_some() && watch_in.upgrade().is_some(), "a worker must not free them");
    lab.feed.turn();
    assert!(watch_out.upgrade().is_none() && watch_in.upgrade().is_none());
}

#[test]
fn more_changes_than_the_queue_holds_wait_and_keep_their_order() {
    let agreement = Agreement::default();
    let mut near = agreement.near();
    near.worker.turn();
    let spec = agreement.outbound();
    let mut opener = Opener::new();
    let count = CHANGES as u32 * 3 + 7;
    for number in 0..count {
        let spi = crate::esp::sa::Spi(0x10000 + number);
        near.feed.set_outbound(&OutboundSpec { spi, ..spec.clone() });
        opener.add(spi, spec.cipher.clone());
    }
    assert_eq!(near.feed.workers[0].backlog.len(), count as usize - CHANGES);
    let generation = near.feed.generation();
    let mut last = 0;
    for turn in 0.. {
        near.rx.push(&frame(&request(1)));
        near.worker.turn();
        let (_, core) = near.drain();
        let spi = opener.open(&core[0][14..]).unwrap().spi.0;
        assert_eq!(spi - 0xffff, ((turn + 1) * CHANGES_A_TURN as u32).min(count), "a few each turn");
        assert!(spi > last || near.feed.is_applied(generation));
        last = spi;
        near.feed.turn();
        if near.feed.is_applied(generation) {
            break;
        }
    }
    assert_eq!(last, 0xffff + count);
    assert_eq!(near.stats.drops_total(), 0, "every packet had an association");
}

#[test]
fn a_worker_takes_no_change_that_it_could_not_give_back() {
    let agreement = Agreement::default();
    let mut near = agreement.near();
    near.worker.turn();
    let (spec, watch) = watched(&agreement);
    // Control makes changes and frees nothing: what only a test can do.
    let mut generation = near.feed.generation();
    for _ in 0..RETIRED * 2 {
        let sa = Slot::allocate(Outbound::new(&spec));
        generation += 1;
        if near.feed.workers[0].changes.push((generation, Change::SetOutbound(sa))).is_err() {
            generation -= 1;
        }
        near.worker.turn();
    }
    assert_eq!(near.feed.workers[0].retired.slots(), RETIRED);
    let waiting = CHANGES - near.feed.workers[0].changes.slots();
    assert!(waiting > 0 && near.stats.sa_generation.get() < generation);
    // Traffic goes on under the last one that was taken.
    near.rx.push(&frame(&request(1)));
    near.worker.turn();
    assert_eq!(near.drain().1.len(), 1);
    near.feed.turn();
    (0..waiting).for_each(|_| {
        near.worker.turn();
    });
    assert_eq!(near.stats.sa_generation.get(), generation);
    drop(spec);
    near.feed.turn();
    assert_eq!(watch.strong_count(), 1, "the one in use");
}

#[test]
fn a_slot_is_used_again_only_when_every_worker_has_emptied_it() {
    let stats = [Arc::new(WorkerStats::new(1, 1)), Arc::new(WorkerStats::new(1, 1))];
    let (mut feed, mut receivers) = SaFeed::new(stats.clone(), 2);
    let mut tables: Vec<_> = (0..2).map(|_| (SaTable::new(2, 1), None)).collect();
    let mut take = |worker: usize| {
        let (table, sender) = &mut tables[worker];
        receivers[worker].take(table, sender, &stats[worker]);
        (0..2).map(|slot| table.inbound(slot).map(|sa| sa.spi)).collect::<Vec<_>>()
    };
    let spec = |spi| InboundSpec { spi: crate::esp::sa::Spi(spi), ..Agreement::default().inbound() };
    let first = feed.add_inbound(&spec(1000)).unwrap();
    let second = feed.add_inbound(&spec(1001)).unwrap();
    assert_eq!(feed.add_inbound(&spec(1002)).err(), Some(FeedFull(2)));
    feed.remove_inbound(&first);
    assert_eq!(take(0), [None, Some(1001)]);
    assert_eq!(feed.add_inbound(&spec(1002)).err(), Some(FeedFull(2)), "the other worker still has it");
    assert_eq!(take(1), [None, Some(1001)]);
    feed.add_inbound(&spec(1002)).unwrap();
    assert_eq!((take(0), take(1)), (vec![Some(1002), Some(1001)], vec![Some(1002), Some(1001)]));
    feed.remove_inbound(&second);
    feed.remove_inbound(&second);
    take(0);
    take(1);
    feed.add_inbound(&spec(1003)).unwrap();
    assert_eq!(feed.add_inbound(&spec(1004)).err(), Some(FeedFull(2)), "a slot removed twice is one");
    assert_eq!((take(0), take(1)), (vec![Some(1002), Some(1003)], vec![Some(1002), Some(1003)]));
}

#[test]
fn an_spi_comes_and_goes_many_times_without_growth() {
    let agreement = Agreement { window: Some(64), ..Agreement::default() };
    let mut far = agreement.deaf_with(&agreement.spec());
    let mut near = agreement.near();
    for round in 0..ASSOCIATIONS as u32 * 10 {
        let handle = far.feed.add_inbound(&agreement.inbound()).unwrap();
        let sent = near.feed(&frame(&Ip4::default().build(CLIENT, INSIDE, &udp(round as usize % 50)))).1;
        far.leaves_by_edge(&frame(&sent[0][14..]));
        assert_eq!(handle.total(|counters| &counters.packets), 1);
        assert_eq!(handle.newest_sequence(), u64::from(round) + 1);
        far.feed.remove_inbound(&handle);
        far.dies(&frame(&sent[0][14..]), DropReason::EspSaUnknown);
    }
}
