//! One story each.

use std::num::NonZeroU64;
use std::time::Duration;

use super::super::*;
use super::fake::{CHARON, HOUR, Lab, SECOND, an_hour, home, inbound, outbound};
use crate::ike::protocol::{Installed, Lifetimes, Limit as Span};
use crate::leases::MAX_KEY_LIFE;

fn expire(id: SaId, hard: bool) -> (Instance, Event) {
    (CHARON, Event::Expire { id, hard })
}

/// One tunnel with one pair that is in use.
fn up() -> Lab {
    let mut lab = Lab::new();
    lab.pair(1, 0x1001, 0x2001);
    lab.choose(1, 0x2001).unwrap();
    lab.sad.take_notices();
    lab
}

#[test]
fn the_first_pair_is_used_at_once() {
    let mut lab = Lab::new();
    let spi = lab.spi(CHARON).unwrap();
    lab.add(CHARON, Direction::Inbound, 1, spi.0, an_hour()).unwrap();
    assert_eq!((lab.receives(), lab.sends(1)), (vec![spi.0], None));
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, an_hour()).unwrap();
    assert_eq!(lab.sends(1), Some(0x2001));
    lab.choose(1, 0x2001).unwrap();
    assert_eq!(lab.sad.take_notices(), [Notice::Switched { reqid: 1, to: Some(Spi(0x2001)) }]);
    assert_eq!(lab.sends(2), None);
}

#[test]
fn a_rekey_switches_when_charon_says_so() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.turn();
    assert_eq!((lab.sends(1), lab.receives()), (Some(0x2001), vec![0x1001, 0x1002]));
    let states = [
        (0x1001, State::Current),
        (0x1002, State::Current),
        (0x2001, State::Current),
        (0x2002, State::Pending),
    ];
    assert_eq!(lab.states(1), states);
    lab.choose(1, 0x2002).unwrap();
    assert_eq!(lab.sends(1), Some(0x2002));
    lab.delete(outbound(1, 0x2001)).unwrap();
    lab.delete(inbound(1, 0x1001)).unwrap();
    assert_eq!(
        lab.states(1),
        [(0x1001, State::Retiring), (0x1002, State::Current), (0x2002, State::Current)]
    );
    lab.wait(GRACE - SECOND);
    assert_eq!(lab.receives(), [0x1001, 0x1002], "for packets under way");
    lab.wait(SECOND);
    assert_eq!(lab.receives(), [0x1002]);
    assert!(lab.sad.take_events().is_empty());
}

#[test]
fn a_rekey_switches_when_the_peer_uses_it() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.fake.receive_packets(&inbound(1, 0x1001), 9);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2001));
    lab.fake.receive_packets(&inbound(1, 0x1002), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2002));
    // charon deletes the old one first, and says the same late.
    lab.delete(outbound(1, 0x2001)).unwrap();
    lab.choose(1, 0x2002).unwrap();
    assert_eq!(lab.sends(1), Some(0x2002));
}

#[test]
fn of_two_rekeys_at_the_same_time_charon_says_which() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.pair(1, 0x1003, 0x2003);
    lab.choose(1, 0x2002).unwrap();
    // The peer goes on under the other one for a moment. That decides nothing any more.
    lab.fake.receive_packets(&inbound(1, 0x1003), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2002));
    lab.delete(outbound(1, 0x2003)).unwrap();
    lab.delete(inbound(1, 0x1003)).unwrap();
    lab.delete(outbound(1, 0x2001)).unwrap();
    assert_eq!(lab.sends(1), Some(0x2002));
    // The other way round: the peer first, and its choice is deleted.
    lab.pair(1, 0x1004, 0x2004);
    lab.pair(1, 0x1005, 0x2005);
    lab.fake.receive_packets(&inbound(1, 0x1005), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2005));
    lab.choose(1, 0x2004).unwrap();
    lab.delete(outbound(1, 0x2005)).unwrap();
    assert_eq!(lab.sends(1), Some(0x2004));
}

#[test]
fn a_tunnel_sends_as_long_as_there_is_something_to_send_under() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.delete(outbound(1, 0x2001)).unwrap();
    assert_eq!(lab.sends(1), Some(0x2002));
    lab.delete(outbound(1, 0x2002)).unwrap();
    assert_eq!(lab.sends(1), None);
    assert_eq!(lab.sad.take_notices().last(), Some(&Notice::Switched { reqid: 1, to: None }));
    // An SA that is there before its inbound one.
    lab.add(CHARON, Direction::Outbound, 1, 0x2003, an_hour()).unwrap();
    assert_eq!(lab.sends(1), Some(0x2003));
}

#[test]
fn numbers_go_on_where_an_sa_is_sent_under_again() {
    let mut lab = up();
    lab.fake.send_packets(TunnelId(1), 5000);
    lab.pair(1, 0x1002, 0x2002);
    lab.choose(1, 0x2002).unwrap();
    lab.delete(outbound(1, 0x2002)).unwrap();
    // The fake sees to it that no number comes twice.
    assert_eq!(lab.fake.send_packets(TunnelId(1), 7), Some(outbound(1, 0x2001)));
    let usage = lab.sad.query(CHARON, &outbound(1, 0x2001), &lab.fake).unwrap();
    assert_eq!((usage.packets, usage.bytes), (5007, 500_700));
}

#[test]
fn seconds_run_out() {
    let mut lab = up();
    lab.wait(Duration::from_secs(2999));
    assert!(lab.sad.take_events().is_empty());
    lab.wait(SECOND);
    assert_eq!(
        lab.sad.take_events(),
        [expire(inbound(1, 0x1001), false), expire(outbound(1, 0x2001), false)]
    );
    lab.wait(Duration::from_secs(599));
    assert!(lab.sad.take_events().is_empty(), "told once");
    lab.wait(SECOND);
    assert_eq!(lab.sad.take_events(), [expire(inbound(1, 0x1001), true), expire(outbound(1, 0x2001), true)]);
    let ended = |direction, id| Notice::Ended {
        reqid: 1,
        id,
        direction,
        limit: Limit::Time,
        orphan: false,
        another: false,
        asked: true,
    };
    assert_eq!(
        lab.sad.take_notices(),
        [ended(Direction::Inbound, inbound(1, 0x1001)), ended(Direction::Outbound, outbound(1, 0x2001))]
    );
    // Packets die as what they are, for a while.
    assert!(lab.fake.outbound[&TunnelId(1)].1.borrow().stopped && lab.receives().is_empty());
    assert_eq!(lab.states(1), [(0x1001, State::Stopped), (0x2001, State::Stopped)]);
    lab.wait(STOPPED_STAYS);
    assert!(lab.sad.is_empty() && lab.fake.outbound.is_empty() && lab.fake.inbound.is_empty());
}

#[test]
fn bytes_and_packets_run_out() {
    let mut lab = Lab::new();
    let limit = |hard, soft| Span { hard: NonZeroU64::new(hard), soft: NonZeroU64::new(soft) };
    let bytes = Lifetimes { bytes: limit(10_000, 5_000), ..an_hour() };
    let packets = Lifetimes { packets: limit(200, 60), ..an_hour() };
    lab.add(CHARON, Direction::Inbound, 1, 0x1001, bytes).unwrap();
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, packets).unwrap();
    lab.choose(1, 0x2001).unwrap();
    lab.fake.receive_packets(&inbound(1, 0x1001), 50);
    lab.fake.send_packets(TunnelId(1), 59);
    lab.wait(SECOND);
    assert_eq!(lab.sad.take_events(), [expire(inbound(1, 0x1001), false)]);
    lab.fake.send_packets(TunnelId(1), 1);
    lab.wait(SECOND);
    assert_eq!(lab.sad.take_events(), [expire(outbound(1, 0x2001), false)]);
    // What went through it before a restart counts.
    lab.restart_control();
    lab.sad.hello(CHARON);
    lab.sad.take_events();
    lab.fake.receive_packets(&inbound(1, 0x1001), 50);
    lab.wait(SECOND);
    assert!(lab.sad.take_events().contains(&expire(inbound(1, 0x1001), true)));
    assert_eq!(lab.receives(), [] as [u32; 0]);
    assert_eq!(lab.sends(1), Some(0x2001));
    let known = lab.sad.query(CHARON, &outbound(1, 0x2001), &lab.fake).unwrap().packets;
    assert!((58..=60).contains(&known), "a hundredth of the limit may be forgotten: {known}");
}

#[test]
fn numbers_run_out() {
    let mut lab = up();
    lab.fake.last_number = 1000;
    lab.fake.send_packets(TunnelId(1), 900);
    lab.sad.numbers_run_out(TunnelId(1), Spi(0x2002));
    lab.sad.numbers_run_out(TunnelId(2), Spi(0x2001));
    assert!(lab.sad.take_events().is_empty(), "of another SA");
    lab.sad.numbers_run_out(TunnelId(1), Spi(0x2001));
    lab.sad.numbers_run_out(TunnelId(1), Spi(0x2001));
    assert_eq!(lab.sad.take_events(), [expire(outbound(1, 0x2001), false)], "told once");
    lab.fake.send_packets(TunnelId(1), 100);
    lab.wait(SECOND);
    assert_eq!(lab.sad.take_events(), [expire(outbound(1, 0x2001), true)]);
    let ended = |notice: &Notice| matches!(notice, Notice::Ended { limit: Limit::Numbers, asked: true, .. });
    assert!(lab.sad.take_notices().iter().any(ended));
}

#[test]
fn a_hard_limit_goes_on_under_what_is_pending() {
    let mut lab = up();
    lab.wait(HOUR - SECOND);
    lab.pair(1, 0x1002, 0x2002);
    lab.wait(SECOND);
    assert_eq!(lab.sends(1), Some(0x2002));
    assert!(
        lab.sad.take_notices().iter().any(|notice| matches!(
            notice,
            Notice::Ended { direction: Direction::Outbound, another: true, .. }
        ))
    );
}

#[test]
fn no_key_is_older_than_any_may_be() {
    let mut lab = Lab::new();
    lab.add(CHARON, Direction::Inbound, 1, 0x1001, Lifetimes::default()).unwrap();
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, Lifetimes::default()).unwrap();
    lab.wait(MAX_KEY_LIFE - 25 * HOUR);
    assert!(lab.sad.take_events().is_empty());
    lab.wait(HOUR);
    assert_eq!(lab.sad.take_events().len(), 2, "charon gave no life; a rekey is asked for all the same");
    lab.wait(24 * HOUR - SECOND);
    assert_eq!(lab.sends(1), Some(0x2001));
    // By the date, whatever the other clock says.
    lab.now.date += SECOND;
    lab.check();
    assert!(lab.sad.is_empty() && lab.sends(1).is_none());
    assert!(lab.sad.take_events().contains(&expire(outbound(1, 0x2001), true)));
}

#[test]
fn orphans_go_on_until_a_new_charon_has_something_better() {
    let mut lab = up();
    let other = Instance(7);
    assert!(lab.spi(other).is_err(), "it has not said hello");
    lab.sad.hello(other);
    assert_eq!(lab.sad.take_notices(), [Notice::Orphans(2)]);
    assert_eq!((lab.sends(1), lab.receives()), (Some(0x2001), vec![0x1001]));
    assert_eq!(lab.states(1), [(0x1001, State::Orphan), (0x2001, State::Orphan)]);
    assert!(lab.sync(other, &[]).is_empty());
    assert_eq!(lab.sends(1), Some(0x2001));
    assert!(lab.delete(outbound(1, 0x2001)).is_err(), "the old one has nothing to say");
    lab.add(other, Direction::Inbound, 1, 0x1002, an_hour()).unwrap();
    lab.add(other, Direction::Outbound, 1, 0x2002, an_hour()).unwrap();
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2001), "nobody knows whether the peer has it");
    lab.sad.choose(other, 1, Spi(0x2002), &mut lab.fake, lab.now).unwrap();
    assert_eq!(
        lab.states(1),
        [(0x1001, State::Retiring), (0x1002, State::Current), (0x2002, State::Current)]
    );
    lab.wait(GRACE);
    assert_eq!(lab.receives(), [0x1002]);
}

#[test]
fn an_orphan_ends_without_a_word_to_charon() {
    let mut lab = up();
    lab.sad.hello(Instance(7));
    lab.wait(HOUR);
    assert!(lab.sad.take_events().is_empty());
    assert!(lab.sad.take_notices().iter().any(|notice| matches!(notice, Notice::Ended { orphan: true, .. })));
    lab.wait(STOPPED_STAYS);
    assert!(lab.sad.is_empty());
}

#[test]
fn a_restart_of_control_brings_all_back() {
    let mut lab = up();
    lab.fake.send_packets(TunnelId(1), 1000);
    lab.fake.receive_packets(&inbound(1, 0x1001), 77);
    lab.pair(1, 0x1002, 0x2002);
    lab.pair(2, 0x1003, 0x2003);
    lab.delete(inbound(2, 0x1003)).unwrap();
    lab.wait(SECOND);
    assert!(lab.restart_control().is_empty());
    assert_eq!((lab.sends(1), lab.sends(2)), (Some(0x2001), Some(0x2003)));
    assert_eq!(lab.receives(), [0x1001, 0x1002, 0x1003]);
    assert_eq!(
        lab.fake.inbound[&(home(1).local, Spi(0x1001))].borrow().newest,
        77,
        "the window goes on after it"
    );
    lab.fake.send_packets(TunnelId(1), 1);
    // The same charon goes on where it was, before it says hello even.
    lab.fake.receive_packets(&inbound(1, 0x1002), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2002), "the rekey that was under way");
    lab.delete(outbound(1, 0x2001)).unwrap();
    lab.sad.hello(CHARON);
    lab.wait(GRACE);
    assert_eq!(lab.receives(), [0x1001, 0x1002]);
}

#[test]
fn what_is_over_or_has_lost_its_tunnel_does_not_come_back() {
    let mut lab = up();
    lab.pair(2, 0x1003, 0x2003);
    let saved = lab.saved();
    lab.homes.remove(&2);
    assert_eq!(lab.restart_with(saved.clone()), [Serial(2), Serial(3)]);
    assert_eq!((lab.sends(1), lab.receives()), (Some(0x2001), vec![0x1001]));
    lab.now.uptime += HOUR;
    assert_eq!(lab.restart_with(saved).len(), 4);
    assert!(lab.sad.is_empty());
    let serial = lab.add(CHARON, Direction::Inbound, 1, 0x1004, an_hour()).unwrap();
    assert_eq!(serial, Serial(4), "no serial comes twice");
}

#[test]
fn a_comparison_takes_off_what_charon_does_not_have() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.choose(1, 0x2002).unwrap();
    let there = |inbound, id| Installed { inbound, id };
    let list = [there(true, inbound(1, 0x1001)), there(false, outbound(1, 0x2001))];
    let strange = there(true, inbound(1, 0x7777));
    assert_eq!(lab.sync(CHARON, &[list[0], list[1], strange]), [inbound(1, 0x7777)]);
    assert_eq!(lab.sends(1), Some(0x2001), "what charon has");
    assert_eq!(lab.states(1)[1], (0x1002, State::Retiring));
    assert_eq!(lab.sync(CHARON, &[there(true, inbound(1, 0x1002))]), [inbound(1, 0x1002)], "it is going");
    assert_eq!(lab.sends(1), None);
}

#[test]
fn a_rekey_that_was_asked_for_is_asked_for_again_after_a_restart() {
    let mut lab = up();
    lab.wait(Duration::from_secs(3000));
    assert_eq!(lab.sad.take_events().len(), 2);
    lab.restart_control();
    lab.wait(SECOND);
    assert_eq!(lab.sad.take_events().len(), 2);
}

#[test]
fn a_reload_takes_off_what_has_lost_its_place() {
    let mut lab = up();
    lab.pair(2, 0x1003, 0x2003);
    lab.homes.insert(1, home(5));
    lab.set_tunnels();
    assert_eq!(lab.sad.take_events(), [expire(inbound(1, 0x1001), true)]);
    assert_eq!((lab.sends(1), lab.sends(2), lab.receives()), (None, Some(0x2003), vec![0x1003]));
    lab.homes.remove(&2);
    lab.set_tunnels();
    assert!(lab.sad.is_empty() && lab.fake.outbound.is_empty() && lab.fake.inbound.is_empty());
    assert!(lab.add(CHARON, Direction::Inbound, 2, 0x1004, an_hour()).is_err());
}

#[test]
fn a_peer_moves() {
    let mut lab = up();
    let (there, here) = ("198.51.100.9:31000", "203.0.113.1:4500");
    lab.update(inbound(1, 0x1001), there, here).unwrap();
    lab.update(outbound(1, 0x2001), here, there).unwrap();
    assert!(lab.sad.take_reshaped().contains(&1));
    let moved = SaId { src: there.parse().unwrap(), ..inbound(1, 0x1001) };
    assert_eq!(lab.sad.current(1).unwrap().peer(), there.parse().unwrap());
    lab.sad.query(CHARON, &moved, &lab.fake).unwrap();
    // By its old name, if the news was lost.
    lab.sad.query(CHARON, &inbound(1, 0x1001), &lab.fake).unwrap();
    assert!(lab.update(moved, there, "203.0.113.2:4500").is_err(), "an endpoint does not move");
    lab.delete(moved).unwrap();
}

#[test]
fn calls_that_make_no_sense_change_nothing() {
    let mut lab = up();
    for refused in [
        lab.add(CHARON, Direction::Inbound, 9, 0x1009, an_hour()).err(),
        lab.add(CHARON, Direction::Inbound, 1, 0x1001, an_hour()).err(),
        lab.add(CHARON, Direction::Outbound, 1, 0x2001, an_hour()).err(),
        lab.add(CHARON, Direction::Inbound, 1, 0xff, an_hour()).err(),
        lab.choose(1, 0x2002).err(),
        lab.choose(2, 0x2001).err(),
        lab.delete(inbound(1, 0x1002)).err(),
        lab.delete(inbound(1, 0x2001)).err(),
        lab.sad.query(CHARON, &outbound(1, 0x1001), &lab.fake).err(),
    ] {
        assert!(!refused.unwrap().reason.is_empty());
    }
    assert_eq!((lab.sends(1), lab.receives(), lab.sad.len()), (Some(0x2001), vec![0x1001], 2));
}

#[test]
fn an_spi_is_taken_until_the_grace_is_over() {
    let mut lab = up();
    assert!(lab.sad.is_taken(Spi(0x1001)) && !lab.sad.is_taken(Spi(0x1002)));
    lab.delete(inbound(1, 0x1001)).unwrap();
    assert!(lab.sad.is_taken(Spi(0x1001)));
    lab.wait(GRACE);
    assert!(!lab.sad.is_taken(Spi(0x1001)));
    let elsewhere = "203.0.113.9".parse().unwrap();
    assert!(lab.sad.may_negotiate(CHARON, elsewhere).is_err(), "no tunnel ends there");
}

#[test]
fn what_was_deleted_makes_room() {
    let mut lab = Lab::new();
    lab.fake.room = 2;
    lab.pair(1, 0x1001, 0x2001);
    lab.add(CHARON, Direction::Inbound, 2, 0x1002, an_hour()).unwrap();
    lab.delete(inbound(1, 0x1001)).unwrap();
    let refused = lab.add(CHARON, Direction::Inbound, 2, 0x1003, an_hour()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoRoom);
    lab.add(CHARON, Direction::Inbound, 2, 0x1003, an_hour()).unwrap();
    assert_eq!(lab.receives(), [0x1002, 0x1003]);
}

#[test]
fn a_flush_takes_all() {
    let mut lab = up();
    lab.pair(2, 0x1003, 0x2003);
    lab.sad.flush(CHARON, &mut lab.fake, lab.now).unwrap();
    assert!(lab.fake.outbound.is_empty());
    lab.wait(GRACE);
    assert!(lab.sad.is_empty() && lab.fake.inbound.is_empty());
}

#[test]
fn a_stop_allows_for_the_last_second_and_not_for_all_before() {
    let mut lab = up();
    for _ in 0..60 {
        lab.fake.send_packets(TunnelId(1), 10_000_000);
        lab.wait(SECOND);
    }
    lab.fake.send_packets(TunnelId(1), 9_000_000);
    let current = lab.sad.current(1).unwrap().serial;
    let progress = lab.sad.take_all_progress(&lab.fake);
    let (_, progress) = progress.into_iter().find(|(serial, _)| *serial == current).unwrap();
    assert!((609_000_001..=700_000_000).contains(&progress.sequence), "{}", progress.sequence);
}

#[test]
fn peers_that_chose_the_same_spi_are_told_apart() {
    let mut lab = up();
    lab.pair(2, 0x1002, 0x2001);
    lab.delete(outbound(2, 0x2001)).unwrap();
    assert!(lab.delete(outbound(2, 0x2001)).is_err(), "it is gone, and the other tunnel's is another");
    assert_eq!((lab.sends(1), lab.sends(2)), (Some(0x2001), None));
}

#[test]
fn what_charon_decided_against_is_not_waited_for_after_a_restart() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.pair(1, 0x1003, 0x2003);
    lab.fake.receive_packets(&inbound(1, 0x1003), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2003));
    lab.choose(1, 0x2002).unwrap();
    lab.restart_control();
    lab.fake.receive_packets(&inbound(1, 0x1003), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2002));
}

#[test]
fn what_charon_decided_against_before_it_was_used_is_not_waited_for_after_a_restart() {
    let mut lab = up();
    lab.pair(1, 0x1002, 0x2002);
    lab.pair(1, 0x1003, 0x2003);
    lab.choose(1, 0x2002).unwrap();
    lab.restart_control();
    lab.fake.receive_packets(&inbound(1, 0x1003), 1);
    lab.turn();
    assert_eq!(lab.sends(1), Some(0x2002));
}

#[test]
fn the_journal_hears_of_an_sa_when_something_about_it_is_different() {
    let mut lab = up();
    lab.sad.take_changes();
    lab.choose(1, 0x2001).unwrap();
    assert!(lab.sad.take_changes().is_empty(), "charon brings the same policy for each pair of selectors");
    let inbound = lab.add(CHARON, Direction::Inbound, 2, 0x1002, an_hour()).unwrap();
    assert!(lab.sad.take_changes().is_empty());
    lab.add(CHARON, Direction::Outbound, 2, 0x2002, an_hour()).unwrap();
    let changes = lab.sad.take_changes();
    assert_eq!(
        changes.into_iter().collect::<Vec<_>>(),
        [(inbound, Change::Changed)],
        "the new one is written whole"
    );
}

#[test]
fn a_kill_forgets_a_minute_of_what_was_counted() {
    let mut lab = Lab::new();
    // In this order the inbound one has no window.
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, an_hour()).unwrap();
    lab.pair(2, 0x1003, 0x2003);
    lab.add(CHARON, Direction::Inbound, 1, 0x1001, an_hour()).unwrap();
    for _ in 0..119 {
        lab.fake.receive_packets(&inbound(1, 0x1001), 10);
        lab.fake.send_packets(TunnelId(1), 10);
        lab.wait(SECOND);
    }
    let saved = lab.saved();
    lab.restart_with(saved);
    for id in [inbound(1, 0x1001), outbound(1, 0x2001)] {
        let known = lab.sad.query(CHARON, &id, &lab.fake).unwrap();
        assert!((590..=1190).contains(&known.packets), "{id}: {} of 1190", known.packets);
        assert_eq!(known.bytes, known.packets * 100);
    }
}

#[test]
fn a_limit_that_is_reached_between_two_seconds_is_asked_for_before_the_end() {
    let limit = |hard, soft| Span { hard: NonZeroU64::new(hard), soft: NonZeroU64::new(soft) };
    for (limits, far) in
        [(limit(1_100_000, 1_000_000), 0), (limit(8_100_000_000, 8_000_000_000), 7_999_999_999)]
    {
        let mut lab = Lab::new();
        let packets = Lifetimes { packets: limits, ..an_hour() };
        lab.add(CHARON, Direction::Outbound, 1, 0x2001, packets).unwrap();
        lab.fake.send_packets(TunnelId(1), far);
        lab.wait(SECOND);
        for _ in 0..11 {
            lab.now.uptime += Duration::from_millis(20);
            lab.fake.send_packets(TunnelId(1), 100_000);
            lab.turn();
            if lab.sends(1).is_none() || lab.fake.outbound[&TunnelId(1)].1.borrow().stopped {
                break;
            }
        }
        let soft = lab.sad.take_events();
        assert_eq!(soft.first(), Some(&expire(outbound(1, 0x2001), false)), "{limits:?}");
        lab.fake.send_packets(TunnelId(1), 100_000_000);
        lab.turn();
        let ended =
            |notice: &Notice| matches!(notice, Notice::Ended { limit: Limit::Packets, asked: true, .. });
        assert!(lab.sad.take_notices().iter().any(ended), "{limits:?}");
    }
}

#[test]
fn an_end_that_came_before_a_rekey_could_be_asked_for_is_not_the_peers_fault() {
    let mut lab = Lab::new();
    let limit = Span { hard: NonZeroU64::new(110), soft: NonZeroU64::new(100) };
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, Lifetimes { packets: limit, ..an_hour() }).unwrap();
    lab.fake.send_packets(TunnelId(1), 110);
    lab.turn();
    let ended = |notice: &Notice| matches!(notice, Notice::Ended { limit: Limit::Packets, asked: false, .. });
    assert!(lab.sad.take_notices().iter().any(ended));
    assert_eq!(lab.sad.take_events(), [expire(outbound(1, 0x2001), true)]);
}

#[test]
fn what_goes_through_an_sa_elsewhere_counts() {
    let mut lab = Lab::new();
    let limit = |hard, soft| Span { hard: NonZeroU64::new(hard), soft: NonZeroU64::new(soft) };
    let bytes = Lifetimes { bytes: limit(10_000, 5_000), ..an_hour() };
    lab.add(CHARON, Direction::Inbound, 1, 0x1001, bytes).unwrap();
    lab.add(CHARON, Direction::Outbound, 1, 0x2001, bytes).unwrap();
    lab.choose(1, 0x2001).unwrap();
    let told = |life, direction, bytes| Told {
        life,
        spi: Spi(0x1001),
        direction,
        runs_out: false,
        bytes,
        packets: bytes / 100,
    };
    let mut tell = |told: Told| {
        lab.sad.used_elsewhere(told);
        lab.wait(SECOND);
        lab.sad.take_events()
    };
    assert_eq!(tell(told(1, Direction::Outbound, 3_000)), []);
    assert_eq!(tell(told(1, Direction::Outbound, 2_000)), [], "an old datagram takes nothing back");
    assert_eq!(tell(told(1, Direction::Outbound, 3_000)), [], "nor does one count twice");
    assert_eq!(tell(told(1, Direction::Inbound, 3_000)), []);
    assert_eq!(tell(told(2, Direction::Outbound, 2_000)), [expire(outbound(1, 0x2001), false)]);
    assert_eq!(tell(told(2, Direction::Inbound, 2_000)), [expire(inbound(1, 0x1001), false)]);
    let runs_out = Told { runs_out: true, ..told(2, Direction::Outbound, 2_000) };
    assert_eq!(tell(runs_out), [], "it was asked for");
    assert_eq!(
        tell(Told { spi: Spi(0x1002), ..told(2, Direction::Outbound, u64::MAX) }),
        [],
        "of none of ours"
    );
    assert_eq!(tell(told(3, Direction::Outbound, u64::MAX)), [expire(outbound(1, 0x2001), true)]);
    assert_eq!(lab.receives(), [0x1001]);
    assert_eq!(lab.sends(1), Some(0x2001), "what comes for it is dropped, and counted as that");
}
