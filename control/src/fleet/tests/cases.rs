//! One story each.

use std::time::Duration;

use penstock_dataplane::esp::sa::Spi;
use penstock_dataplane::ids::{EndpointId, TunnelId};
use penstock_fleet::names::NodeNumber;

use super::super::*;
use super::lab::{Lab, site, state, tunnel};
use crate::fleet::record::{SaName, State};
use crate::ike::protocol::UpdateSa;
use crate::ike::sad::tests::fake::{HOUR, SECOND, home, id};
use crate::ike::sad::{Direction, GRACE, Moment, STOPPED_STAYS};

/// Two nodes; the first has negotiated a pair, and both know.
fn up() -> Lab {
    let mut lab = Lab::new(2);
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    lab
}

fn name(owner: u16, direction: Direction, spi: u32) -> SaName {
    SaName { owner: NodeNumber(owner), tunnel: tunnel(1), direction, spi }
}

#[test]
fn all_nodes_receive_and_send_under_what_one_has_negotiated() {
    let lab = up();
    assert_eq!(lab.sends(1), [Some(0x2001), Some(0x2001)]);
    assert!(lab.nodes.iter().all(|node| node.receives(0x1001)));
    let (first, second) = (&lab.nodes[0].fleet, &lab.nodes[1].fleet);
    assert_eq!(first.sender(TunnelId(1)), Some(Sender::Own));
    assert_eq!(second.sender(TunnelId(1)), Some(Sender::Foreign(name(0, Direction::Outbound, 0x2001))));
    let found = second.foreign().inbound(EndpointId(0), Spi(0x1001)).unwrap();
    assert_eq!((found.owner, found.state), (lab.nodes[0].me, State::Current));
    assert!(second.foreign().inbound(EndpointId(0), Spi(0x2001)).is_none(), "that one is outbound");
    assert!(second.foreign().is_taken(Spi(0x1001)) && !first.foreign().is_taken(Spi(0x1001)));
}

#[test]
fn a_rekey_goes_the_same_way() {
    let mut lab = up();
    lab.nodes[0].pair(1, 0x1002, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001), Some(0x2001)]);
    lab.nodes[0].choose(1, 0x2002, lab.now);
    assert_eq!(lab.sends(1), [Some(0x2002), Some(0x2001)], "the log is behind");
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002), Some(0x2002)]);
    lab.nodes[0].delete(Direction::Outbound, 1, 0x2001, lab.now);
    lab.nodes[0].delete(Direction::Inbound, 1, 0x1001, lab.now);
    lab.sync();
    lab.wait(GRACE - SECOND);
    assert!(lab.nodes.iter().all(|node| node.receives(0x1001)), "for packets under way");
    lab.wait(SECOND);
    assert!(lab.nodes.iter().all(|node| !node.receives(0x1001) && node.receives(0x1002)));
    lab.sync();
    assert_eq!(lab.store.contents.len(), 2);
}

#[test]
fn a_late_reader_does_not_receive_for_longer_than_others() {
    let mut lab = up();
    lab.nodes[0].delete(Direction::Inbound, 1, 0x1001, lab.now);
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].publish(store, usize::MAX, *now);
    lab.wait(GRACE - SECOND);
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[1].apply(store, usize::MAX, *now);
    assert!(lab.nodes[1].receives(0x1001));
    lab.wait(SECOND);
    assert!(!lab.nodes[1].receives(0x1001));
}

#[test]
fn a_record_that_vanishes_is_received_for_the_grace() {
    let mut lab = up();
    let revision = lab.store.revision + 1;
    let (node, now) = (&mut lab.nodes[1], lab.now);
    node.fleet.deleted(&name(0, Direction::Inbound, 0x1001), revision, &mut node.fake, now);
    node.fleet.deleted(&name(0, Direction::Outbound, 0x2001), revision, &mut node.fake, now);
    node.settle();
    assert_eq!((node.sends(1), node.receives(0x1001)), (None, true));
    lab.wait(GRACE);
    assert!(!lab.nodes[1].receives(0x1001));
    assert!(lab.nodes[1].fleet.foreign().sas().next().is_none());
}

#[test]
fn of_two_nodes_that_negotiate_at_once_the_newest_choice_counts_everywhere() {
    let mut lab = Lab::new(3);
    for (node, spi) in [(0, 1), (1, 2)] {
        lab.nodes[node].pair(1, 0x1000 + spi, 0x2000 + spi, lab.now);
        lab.nodes[node].choose(1, 0x2000 + spi, lab.now);
    }
    assert_eq!(lab.sends(1), [Some(0x2001), Some(0x2002), None]);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 3], "it was told later");
    assert_eq!(
        lab.nodes[0].fleet.sender(TunnelId(1)),
        Some(Sender::Foreign(name(1, Direction::Outbound, 0x2002)))
    );
    // For the state machine its own is current all the time, and counted.
    assert_eq!(lab.nodes[0].sad.current(1).unwrap().id.spi, Spi(0x2001));
    assert!((0..3).all(|node| lab.nodes[node].receives(0x1001) && lab.nodes[node].receives(0x1002)));
    lab.nodes[1].delete(Direction::Outbound, 1, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001); 3], "the own one is put back");
}

/// A node is cut off, and the peer negotiates with another one meanwhile. What is told late is not newer by that.
#[test]
fn a_choice_that_is_told_late_does_not_come_before_what_the_peer_did_since() {
    let mut lab = Lab::new(3);
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.wait(20 * SECOND);
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[1].choose(1, 0x2002, lab.now);
    lab.nodes[1].publish(&mut lab.store, usize::MAX, lab.now);
    lab.nodes[0].publish(&mut lab.store, usize::MAX, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 3]);
    assert!((0..3).all(|node| lab.nodes[node].receives(0x1001)), "what it received goes on");
    lab.reboot(2);
    assert_eq!(lab.sends(1), [Some(0x2002); 3], "whoever comes late agrees");
    lab.nodes[1].delete(Direction::Outbound, 1, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001); 3], "there is nothing else");
    // Also where the node that was cut off goes on: that is newer.
    lab.nodes[1].pair(1, 0x1003, 0x2003, lab.now);
    lab.nodes[1].choose(1, 0x2003, lab.now);
    lab.wait(20 * SECOND);
    lab.nodes[0].pair(1, 0x1004, 0x2004, lab.now);
    lab.nodes[0].choose(1, 0x2004, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2004); 3]);
}

/// A clock that is ahead by half an hour: what its node had does not come before what is negotiated after it for so long.
#[test]
fn a_clock_that_is_ahead_gives_no_precedence() {
    let mut lab = Lab::new(3);
    let ahead = Moment { date: lab.now.date + HOUR / 2, ..lab.now };
    lab.nodes[0].pair(1, 0x1001, 0x2001, ahead);
    lab.nodes[0].choose(1, 0x2001, ahead);
    lab.nodes[0].publish(&mut lab.store, usize::MAX, ahead);
    for node in [1, 2] {
        lab.nodes[node].apply(&lab.store, usize::MAX, lab.now);
    }
    assert_eq!(lab.sends(1), [Some(0x2001); 3]);
    lab.wait(20 * SECOND);
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[1].choose(1, 0x2002, lab.now);
    lab.nodes[1].publish(&mut lab.store, usize::MAX, lab.now);
    lab.nodes[2].apply(&lab.store, usize::MAX, lab.now);
    assert_eq!(lab.sends(1)[1..], [Some(0x2002); 2]);
}

#[test]
fn numbers_and_counters_go_on_where_the_own_one_is_put_back() {
    let mut lab = up();
    lab.nodes[0].fake.send_packets(TunnelId(1), 500);
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[1].choose(1, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
    lab.nodes[0].fake.send_packets(TunnelId(1), 70);
    let usage = |lab: &mut Lab| {
        let node = &mut lab.nodes[0];
        let current = node.sad.current(1).unwrap();
        current.usage(&node.fleet.workers(&mut node.fake)).packets
    };
    assert_eq!(usage(&mut lab), 500, "what it has, whoever is sent under");
    lab.nodes[1].delete(Direction::Outbound, 1, 0x2002, lab.now);
    lab.sync();
    // The fake sees to it that no number comes twice.
    lab.nodes[0].fake.send_packets(TunnelId(1), 3);
    assert_eq!((lab.nodes[0].sends(1), usage(&mut lab)), (Some(0x2001), 503));
    // The same with a foreign one that comes back.
    lab.nodes[1].fake.send_packets(TunnelId(1), 9);
    let newest = lab.nodes[1].fake.outbound[&TunnelId(1)].1.borrow().newest;
    lab.nodes[1].pair(1, 0x1003, 0x2003, lab.now);
    lab.nodes[1].choose(1, 0x2003, lab.now);
    lab.nodes[1].delete(Direction::Outbound, 1, 0x2003, lab.now);
    lab.nodes[1].fake.send_packets(TunnelId(1), 1);
    let fake = &lab.nodes[1].fake;
    assert!(fake.outbound[&TunnelId(1)].1.borrow().newest > newest + 1000);
}

#[test]
fn a_first_pair_does_not_take_over_before_it_is_chosen() {
    let mut lab = up();
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    assert_eq!(lab.nodes[1].sends(1), Some(0x2001), "nobody knows whether the peer has it");
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
    lab.receive(1, 1, 0x1002);
    lab.wait(SECOND);
    assert_eq!(lab.nodes[1].sends(1), Some(0x2002), "the peer has shown it");
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
}

#[test]
fn a_policy_that_is_put_back_is_no_new_choice() {
    let mut lab = up();
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[1].choose(1, 0x2002, lab.now);
    lab.sync();
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
    // But after another it is.
    lab.nodes[0].pair(1, 0x1003, 0x2003, lab.now);
    lab.nodes[0].choose(1, 0x2003, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
}

#[test]
fn a_record_that_is_written_again_is_no_new_choice() {
    let mut lab = Lab::new(3);
    for (node, spi) in [(0, 1), (1, 2)] {
        lab.nodes[node].pair(1, 0x1000 + spi, 0x2000 + spi, lab.now);
        lab.nodes[node].choose(1, 0x2000 + spi, lab.now);
    }
    lab.sync();
    // The peer of the older one moves.
    let (node, id) = (&mut lab.nodes[0], id(Direction::Outbound, 1, 0x2001));
    let dst = "198.51.100.9:31000".parse().unwrap();
    let change = UpdateSa { id, src: id.src, dst, encap: true, new_encap: true, new_reqid: 0 };
    node.sad.update(node.charon, &change).unwrap();
    let revision = lab.store.revision;
    lab.sync();
    assert!(lab.store.revision > revision);
    let found = lab.nodes[2].fleet.foreign().get(&name(0, Direction::Outbound, 0x2001)).unwrap();
    assert_eq!(found.peer(), dst);
    lab.reboot(2);
    assert_eq!(lab.sends(1), [Some(0x2002); 3], "whoever comes late agrees");
}

#[test]
fn a_peers_first_packet_at_another_node_switches_there_at_once() {
    let mut lab = up();
    lab.nodes[0].pair(1, 0x1002, 0x2002, lab.now);
    lab.sync();
    lab.wait(SECOND);
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
    lab.receive(1, 1, 0x1002);
    lab.wait(SECOND);
    assert_eq!(lab.sends(1), [Some(0x2001), Some(0x2002)]);
    // The owner's word makes it so everywhere, and then it counts like any other.
    lab.nodes[0].choose(1, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
}

#[test]
fn a_peers_packet_under_what_was_decided_against_changes_nothing() {
    let mut lab = up();
    lab.nodes[0].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[0].pair(1, 0x1003, 0x2003, lab.now);
    lab.sync();
    lab.nodes[0].choose(1, 0x2003, lab.now);
    lab.sync();
    lab.receive(1, 1, 0x1002);
    lab.wait(SECOND);
    assert_eq!(lab.nodes[1].sends(1), Some(0x2003));
}

#[test]
fn every_node_stops_at_the_hard_end_by_itself() {
    let mut lab = up();
    // The owner is gone, and nobody says anything.
    lab.nodes.remove(0);
    lab.wait(HOUR - SECOND);
    assert_eq!((lab.sends(1), lab.nodes[0].receives(0x1001)), (vec![Some(0x2001)], true));
    assert_eq!(lab.nodes[0].fleet.over().count(), 0);
    lab.wait(SECOND);
    assert_eq!((lab.sends(1), lab.nodes[0].receives(0x1001)), (vec![None], false));
    assert_eq!(lab.nodes[0].fleet.over().count(), 2, "their records are of no use any more");
    assert_eq!(lab.nodes[0].fake.inbound.len(), 1, "what comes is dropped for that reason");
    lab.wait(STOPPED_STAYS);
    assert!(lab.nodes[0].fake.inbound.is_empty());
    // What is found in the store after that does not come back.
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].look(store, *now);
    assert!(nodes[0].fleet.foreign().sas().next().is_none());
    assert_eq!(nodes[0].fleet.over().count(), 2);
}

#[test]
fn no_record_makes_a_key_live_for_longer_than_is_safe() {
    let mut lab = up();
    for (name, (_, bytes)) in lab.store.contents.clone() {
        let mut record = record::SaRecord::decode(&bytes).unwrap();
        record.hard_end = record::Date(u64::MAX);
        let (node, now) = (&mut lab.nodes[1], lab.now);
        let revision = lab.store.revision + 1;
        node.fleet.put(&name, revision, record, super::lab::expand, &node.sad, &mut node.fake, now).unwrap();
        node.settle();
    }
    lab.nodes.remove(0);
    lab.wait(MAX_SHARED_KEY_LIFE - SECOND);
    assert!(lab.nodes[0].receives(0x1001) && lab.nodes[0].sends(1).is_some());
    lab.wait(SECOND);
    assert!(!lab.nodes[0].receives(0x1001) && lab.nodes[0].sends(1).is_none());
}

#[test]
fn a_node_that_comes_back_goes_on_with_what_it_had_negotiated() {
    let mut lab = up();
    lab.reboot(0);
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
    assert!(lab.nodes[0].receives(0x1001));
    let sender = lab.nodes[0].fleet.sender(TunnelId(1));
    assert_eq!(sender, Some(Sender::Foreign(name(0, Direction::Outbound, 0x2001))), "of an earlier life");
    lab.nodes[0].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[0].choose(1, 0x2002, lab.now);
    lab.sync();
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
}

#[test]
fn a_restart_of_control_is_no_new_choice() {
    let mut lab = up();
    lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[1].choose(1, 0x2002, lab.now);
    lab.sync();
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].restart(store, *now);
    assert_eq!(lab.sends(1), [Some(0x2002); 2]);
    let revision = lab.store.revision;
    lab.sync();
    assert_eq!((lab.sends(1), lab.store.revision), (vec![Some(0x2002); 2], revision), "nothing is new");
}

#[test]
fn what_was_deleted_and_not_told_goes_when_the_node_is_back() {
    let mut lab = up();
    lab.nodes[0].pair(1, 0x1002, 0x2002, lab.now);
    lab.nodes[0].choose(1, 0x2002, lab.now);
    lab.sync();
    for (inbound, outbound) in [(0x1001, 0x2001), (0x1002, 0x2002)] {
        lab.nodes[0].delete(Direction::Outbound, 1, outbound, lab.now);
        lab.nodes[0].delete(Direction::Inbound, 1, inbound, lab.now);
    }
    lab.wait(GRACE);
    // Nothing of it was told, and the journal is empty: it is the same journal all the same.
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].restart(store, *now);
    assert_eq!((lab.store.contents.len(), lab.sends(1)), (4, vec![None, Some(0x2002)]));
    lab.sync();
    assert_eq!((lab.store.contents.len(), lab.sends(1)), (0, vec![None, None]));
    assert!(lab.nodes[1].receives(0x1001), "for packets under way");
    lab.wait(GRACE);
    assert!(!lab.nodes[1].receives(0x1001) && !lab.nodes[1].receives(0x1002));
}

#[test]
fn what_is_over_is_named_until_the_store_does_not_have_it() {
    let mut lab = up();
    lab.nodes.remove(0);
    lab.wait(HOUR);
    let node = &mut lab.nodes[0];
    let over: Vec<_> = node.fleet.over().map(|(name, revision)| (name.clone(), revision)).collect();
    assert_eq!((over.len(), node.fleet.over().count()), (2, 2), "again and again");
    let (inbound, outbound) = (over[0].clone(), over[1].clone());
    node.fleet.over_is_gone(&inbound.0, inbound.1 + 1);
    assert_eq!(node.fleet.over().count(), 2, "that was another one");
    node.fleet.over_is_gone(&inbound.0, inbound.1);
    node.fleet.deleted(&outbound.0, lab.store.revision + 1, &mut node.fake, lab.now);
    assert_eq!(node.fleet.over().count(), 0);
    // A look at the store says which are still there.
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].look(store, *now);
    assert_eq!(nodes[0].fleet.over().count(), 2);
    store.contents.remove(&inbound.0);
    nodes[0].look(store, *now);
    assert_eq!(nodes[0].fleet.over().collect::<Vec<_>>(), [(&outbound.0, outbound.1)]);
    // What has its name afterwards is another one.
    let (_, bytes) = &store.contents[&outbound.0];
    let mut record = record::SaRecord::decode(bytes).unwrap();
    record.hard_end = record.hard_end.after(HOUR);
    let (node, revision) = (&mut nodes[0], store.revision + 2);
    node.fleet
        .put(&outbound.0, revision, record, super::lab::expand, &node.sad, &mut node.fake, *now)
        .unwrap();
    assert_eq!(node.fleet.over().count(), 0);
}

#[test]
fn what_was_written_late_is_not_taken_for_anothers() {
    let mut lab = Lab::new(1);
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].publish(store, usize::MAX, *now);
    // Its own log comes back when it has the SA no more.
    nodes[0].delete(Direction::Outbound, 1, 0x2001, *now);
    nodes[0].apply(store, usize::MAX, *now);
    assert!(lab.nodes[0].fleet.foreign().sas().next().is_none());
    assert_eq!(lab.sends(1), [None]);
}

#[test]
fn a_tunnel_that_is_configured_later_has_its_sas() {
    let mut lab = Lab::new(2);
    lab.nodes[1].sites.clear();
    lab.nodes[1].set_tunnels();
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    assert_eq!((lab.nodes[1].sends(1), lab.nodes[1].receives(0x1001)), (None, false));
    lab.nodes[1].sites.insert(tunnel(1), site(1));
    lab.nodes[1].set_tunnels();
    assert_eq!((lab.nodes[1].sends(1), lab.nodes[1].receives(0x1001)), (Some(0x2001), true));
    // It moves, and goes.
    lab.nodes[1].sites.insert(tunnel(1), Site { reqid: 1, home: home(2) });
    lab.nodes[1].set_tunnels();
    assert_eq!((lab.nodes[1].sends(1), lab.nodes[1].sends(2)), (None, Some(0x2001)));
    lab.nodes[1].sites.clear();
    lab.nodes[1].set_tunnels();
    assert!(lab.nodes[1].fake.inbound.is_empty() && lab.nodes[1].fake.outbound.is_empty());
}

#[test]
fn a_tunnel_that_ends_elsewhere_is_told_of_once() {
    let mut lab = Lab::new(2);
    let elsewhere = "203.0.113.9".parse().unwrap();
    let moved = Site { reqid: 1, home: ike_home(elsewhere) };
    lab.nodes[1].sites.insert(tunnel(1), moved);
    lab.nodes[1].set_tunnels();
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    let name = name(0, Direction::Inbound, 0x1001);
    let notices = lab.nodes[1].fleet.take_notices();
    assert_eq!(notices, [Notice::Elsewhere { name, there: home(1).local, here: elsewhere }]);
    lab.wait(SECOND);
    assert!(lab.nodes[1].fleet.take_notices().is_empty() && lab.nodes[1].fake.inbound.is_empty());
    lab.nodes[1].sites.insert(tunnel(1), site(1));
    lab.nodes[1].set_tunnels();
    assert_eq!((lab.nodes[1].sends(1), lab.nodes[1].receives(0x1001)), (Some(0x2001), true));
}

fn ike_home(local: std::net::IpAddr) -> crate::ike::sad::Home {
    crate::ike::sad::Home { local, ..home(1) }
}

#[test]
fn what_there_is_no_room_for_comes_when_there_is() {
    let mut lab = Lab::new(2);
    lab.nodes[1].fake.room = 0;
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    let notices = lab.nodes[1].fleet.take_notices();
    assert_eq!(notices, [Notice::NoRoom(name(0, Direction::Inbound, 0x1001))]);
    lab.nodes[1].fake.room = 1;
    lab.wait(SECOND);
    lab.wait(SECOND);
    assert!(lab.nodes[1].receives(0x1001) && lab.nodes[1].fleet.take_notices().is_empty());
}

#[test]
fn the_second_of_two_with_one_spi_waits_for_the_first_to_go() {
    let mut lab = Lab::new(3);
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.sync();
    lab.nodes[1].sites.remove(&tunnel(1));
    lab.nodes[1].set_tunnels();
    // A node that does not keep to its share of the SPIs: the tunnel is not here, so it does not see the other.
    lab.nodes[1].pair(2, 0x1001, 0x2002, lab.now);
    lab.sync();
    let second = SaName { tunnel: tunnel(2), ..name(1, Direction::Inbound, 0x1001) };
    for node in [0, 2] {
        assert_eq!(lab.nodes[node].fleet.take_notices(), [Notice::Twice(second.clone())]);
    }
    lab.nodes[0].delete(Direction::Inbound, 1, 0x1001, lab.now);
    lab.sync();
    lab.wait(GRACE);
    lab.wait(SECOND);
    assert!(lab.nodes[2].receives(0x1001));
    for node in [0, 2] {
        let received = lab.nodes[node].fleet.foreign().inbound(EndpointId(0), Spi(0x1001)).unwrap();
        assert_eq!(received.owner.number, 1);
        lab.nodes[node].check();
    }
    // One's own comes first.
    lab.nodes[2].pair(1, 0x1001, 0x2003, lab.now);
    assert!(lab.nodes[2].fleet.foreign().inbound(EndpointId(0), Spi(0x1001)).is_none());
    assert_eq!(lab.nodes[2].fleet.take_notices(), [Notice::Twice(second)]);
    lab.nodes[2].check();
}

#[test]
fn a_store_that_was_restored_forgets_nothing_that_nodes_know() {
    for bump in [0, 1_000_000] {
        let mut lab = Lab::new(3);
        let backup = lab.store.clone();
        lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
        lab.nodes[0].choose(1, 0x2001, lab.now);
        lab.nodes[1].pair(1, 0x1002, 0x2002, lab.now);
        lab.nodes[1].choose(1, 0x2002, lab.now);
        lab.sync();
        // The owner of the newest is gone, and with it its record.
        lab.nodes.remove(1);
        lab.store = super::lab::Store { restored: 1, revision: backup.revision + bump, ..backup };
        let Lab { store, nodes, now, .. } = &mut lab;
        nodes[1].apply(store, usize::MAX, *now);
        assert_eq!(nodes[1].sends(1), Some(0x2002));
        assert_eq!(nodes[1].fleet.take_notices(), [Notice::Forgotten(4)]);
        lab.sync();
        lab.wait(GRACE * 2);
        assert!(lab.nodes.iter().all(|node| node.receives(0x1001) && node.receives(0x1002)));
        // Told again, the other is the newest that the store knows of.
        assert_eq!(lab.sends(1), [Some(0x2001); 2], "bump {bump}");
        assert_eq!(state(&lab.store, &name(0, Direction::Outbound, 0x2001)), Some(State::Current));
        lab.wait(HOUR);
        assert!(lab.nodes.iter().all(|node| node.sends(1).is_none() && !node.receives(0x1002)));
    }
}

#[test]
fn the_owners_end_of_an_sa_is_everybodys() {
    let mut lab = up();
    lab.wait(HOUR);
    lab.sync();
    assert_eq!(lab.sends(1), [None; 2]);
    assert!(!lab.nodes[1].receives(0x1001));
    lab.wait(Duration::from_secs(400));
    lab.sync();
    assert!(lab.store.contents.is_empty());
    assert!(lab.nodes[1].fleet.foreign().sas().next().is_none());
}

/// As [`up`], on three nodes, and charon wants another key after so many packets.
fn up_with_a_volume(soft: u64, hard: u64) -> Lab {
    let mut lab = Lab::new(3);
    let [soft, hard] = [soft, hard].map(std::num::NonZeroU64::new);
    lab.nodes[0].lifetimes.packets = crate::ike::protocol::Limit { soft, hard };
    lab.nodes[0].pair(1, 0x1001, 0x2001, lab.now);
    lab.nodes[0].choose(1, 0x2001, lab.now);
    lab.sync();
    lab
}

#[test]
fn a_volume_is_that_of_all_nodes() {
    let mut lab = up_with_a_volume(9_000, 10_000);
    let asked = |lab: &mut Lab| lab.nodes[0].sad.take_events().len();
    let send = |lab: &mut Lab, packets: u64| {
        (0..3).for_each(|node| lab.nodes[node].fake.send_packets(TunnelId(1), packets).map(drop).unwrap());
        lab.wait(SECOND);
    };
    send(&mut lab, 2_900);
    assert_eq!(asked(&mut lab), 0);
    send(&mut lab, 300);
    assert_eq!(asked(&mut lab), 1, "charon is asked for a rekey");
    send(&mut lab, 300);
    assert_eq!(asked(&mut lab), 1, "it is over");
    lab.sync();
    assert_eq!(lab.sends(1), [None; 3]);
    assert!(lab.nodes.iter().all(|node| node.receives(0x1001)), "each direction counts for itself");
}

#[test]
fn what_comes_in_counts_too_and_so_does_what_was_before_a_restart() {
    let mut lab = up_with_a_volume(900, 1_000);
    for life in 0..2 {
        for _ in 0..300 {
            assert!(lab.receive(2, 1, 0x1001));
        }
        lab.wait(SECOND);
        assert!(lab.nodes[0].sad.take_events().is_empty(), "{life}");
        let Lab { store, nodes, now, .. } = &mut lab;
        nodes[2].restart(store, *now);
    }
    let receive = |lab: &mut Lab, packets: u64| {
        for _ in 0..packets {
            assert!(lab.receive(1, 1, 0x1001));
        }
        lab.wait(SECOND);
        lab.nodes[0].sad.take_events().len()
    };
    assert_eq!(receive(&mut lab, 310), 1, "600 in two lives of another node, and these");
    // The owner forgets what others told it, and hears it again from those that are still there.
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].restart(store, *now);
    assert_eq!((receive(&mut lab, 580), receive(&mut lab, 20)), (0, 1));
}

#[test]
fn little_is_told_often_only_when_it_is_much_of_the_limit() {
    let mut lab = up_with_a_volume(48_000, 50_000);
    let tell = |lab: &mut Lab, packets: u64| {
        let node = &mut lab.nodes[1];
        node.fake.send_packets(TunnelId(1), packets).unwrap();
        let others = Others { nodes: 3, life: 1, owner: |_| Some(7) };
        node.fleet.tell_usage(&others, &mut node.fake, lab.now).remove(&0).unwrap_or_default()
    };
    // A 16th of the limit, for all three.
    assert!(tell(&mut lab, 999).is_empty());
    let told = tell(&mut lab, 1);
    assert_eq!(
        (told.len(), told[0].packets, told[0].spi, told[0].direction),
        (1, 1000, Spi(0x1001), Direction::Outbound)
    );
    assert!(tell(&mut lab, 999).is_empty());
    // No number is left for a tunnel here, whatever the volume.
    assert!(lab.nodes[1].fleet.numbers_run_out(TunnelId(1), Spi(0x2001)));
    assert!(!lab.nodes[1].fleet.numbers_run_out(TunnelId(1), Spi(0x2002)));
    assert!(!lab.nodes[0].fleet.numbers_run_out(TunnelId(1), Spi(0x2001)), "that is its own");
    let told = tell(&mut lab, 1);
    assert_eq!((told.len(), told[0].runs_out, told[0].packets), (1, true, 2000));
    assert!(tell(&mut lab, 1).is_empty(), "once");
}

#[test]
fn an_owner_has_it_replaced_when_another_node_runs_out_of_numbers() {
    let mut lab = up();
    assert!(lab.nodes[1].fleet.numbers_run_out(TunnelId(1), Spi(0x2001)));
    lab.wait(SECOND);
    assert_eq!(lab.nodes[0].sad.take_events().len(), 1);
}

#[test]
fn without_an_owner_each_node_has_a_share_of_the_volume() {
    let mut lab = up_with_a_volume(900, 900);
    lab.nodes.remove(0);
    let send = |lab: &mut Lab, packets: u64| {
        lab.nodes[0].fake.send_packets(TunnelId(1), packets).unwrap();
        lab.wait(SECOND);
    };
    send(&mut lab, 299);
    assert_eq!(lab.sends(1), [Some(0x2001); 2]);
    send(&mut lab, 1);
    assert_eq!(lab.sends(1), [None, Some(0x2001)], "a third: the owner had one, too");
    lab.wait(STOPPED_STAYS * 2);
    let Lab { store, nodes, now, .. } = &mut lab;
    nodes[0].look(store, *now);
    lab.wait(SECOND);
    assert_eq!(lab.sends(1), [None, Some(0x2001)], "it does not begin anew");
}
