//! What records come to.

use proptest::prelude::*;

use super::*;
use crate::fleet::nodes::conflict::Conflict;
use crate::fleet::nodes::members::{Members, Notice, Us};
use crate::fleet::nodes::node_record::BadRecord;

const NOW: u64 = 1_800_000_000_000;

fn members() -> Members {
    Members::new(Us { name: name("fra1"), number: NodeNumber(1), incarnation: Incarnation(1000) })
}

fn put(members: &mut Members, record: &NodeRecord) {
    members.put(NOW, &format!("nodes/{}", record.name), &record.to_json());
}

fn names(members: &Members) -> Vec<String> {
    members.live().map(|member| member.record.name.to_string()).collect()
}

#[test]
fn a_record_is_this_json() {
    let json = r#"{"name":"fra2","number":2,"incarnation":"00000000000007d0","address":"127.0.0.2","port":4790,
        "started":1800000000000,"clock":1800000000000,"version":"0.1.0","ready":true,"applied":0}"#;
    assert_eq!(NodeRecord::read(json.as_bytes()), Ok(record("fra2", 2)));
    let written: serde_json::Value = serde_json::from_slice(&record("fra2", 2).to_json()).unwrap();
    assert_eq!(written, serde_json::from_str::<serde_json::Value>(json).unwrap());
    // A later version says more.
    let more = json.replace("\"ready\"", "\"site\":{\"a\":[1]},\"ready\"");
    assert_eq!(NodeRecord::read(more.as_bytes()), Ok(record("fra2", 2)));
}

#[test]
fn what_is_no_record() {
    let good = String::from_utf8(record("fra2", 2).to_json()).unwrap();
    for (from, to, field) in [
        ("\"fra2\"", "\"fra 2\"", "name"),
        (":2,", ":1024,", "number"),
        ("00000000000007d0", "7d0", "incarnation"),
        ("00000000000007d0", "+0000000000007d0", "incarnation"),
        ("00000000000007d0", "00000000000007D0", "incarnation"),
        ("127.0.0.2", "0.0.0.0", "address"),
        ("127.0.0.2", "224.0.0.1", "address"),
        ("4790", "0", "port"),
        ("4790", "65535", "port"),
        ("0.1.0", "0.1\\u001b[2J", "version"),
    ] {
        assert!(good.contains(from), "{from}");
        assert_eq!(NodeRecord::read(good.replace(from, to).as_bytes()), Err(BadRecord::Value(field)), "{to}");
    }
    for (from, to) in [("\"ready\":true,", ""), (":2,", ":-2,"), ("127.0.0.2", "x"), ("true", "1"), ("}", "")]
    {
        let read = NodeRecord::read(good.replacen(from, to, 1).as_bytes());
        assert!(matches!(read, Err(BadRecord::Json(_))), "{to}: {read:?}");
    }
    assert_eq!(NodeRecord::read(&[b' '; 5000]), Err(BadRecord::Size(5000)));
}

#[test]
fn nodes_come_and_go() {
    let mut members = members();
    let (two, three) = (record("fra2", 2).to_json(), record("fra3", 3).to_json());
    members.listed(NOW, [("nodes/fra2", &two[..]), ("nodes/fra3", &three[..])]);
    assert_eq!(names(&members), ["fra2", "fra3"]);
    let came = |node: &str, number: u16| {
        Notice::Came(name(node), NodeNumber(number), IpAddr::from([127, 0, 0, number as u8]))
    };
    assert_eq!(members.take_notices(), [came("fra2", 2), came("fra3", 3)]);
    // The same again says nothing.
    members.put(NOW, "nodes/fra2", &two);
    assert_eq!(members.take_notices(), []);
    put(&mut members, &NodeRecord { incarnation: Incarnation(5), ..record("fra2", 2) });
    put(&mut members, &NodeRecord { incarnation: Incarnation(5), ..record("fra2", 7) });
    members.deleted("nodes/fra3");
    members.deleted("nodes/fra3");
    members.deleted("nodes/nobody");
    let notices = members.take_notices();
    assert_eq!(
        notices,
        [
            Notice::Restarted(name("fra2")),
            Notice::Renumbered(name("fra2"), NodeNumber(2), NodeNumber(7)),
            Notice::Went(name("fra3")),
        ]
    );
    assert_eq!(notices[1].to_string(), "node fra2 has the number 7 now, it had 2");
    assert_eq!(members.numbered(NodeNumber(7)).unwrap().record.name, name("fra2"));
    assert!(members.numbered(NodeNumber(2)).is_none() && members.named(&name("fra3")).is_none());
    // A new list without it.
    members.listed(NOW, []);
    assert_eq!((names(&members).len(), members.take_notices()), (0, vec![Notice::Went(name("fra2"))]));
}

#[test]
fn a_broken_record_is_named_once_and_changes_nothing() {
    let mut members = members();
    put(&mut members, &record("fra2", 2));
    members.take_notices();
    for _ in 0..3 {
        members.put(NOW, "nodes/fra2", b"{}");
    }
    members.put(NOW, "nodes/fra3", &record("fra2", 2).to_json());
    members.put(NOW, "nodes/\u{1b}[2J", &record("fra2", 2).to_json());
    assert_eq!(names(&members), ["fra2"]);
    assert_eq!(members.bad_records(), 5);
    let lines: Vec<String> = members.take_notices().iter().map(ToString::to_string).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("the store's record nodes/fra2 is ignored: missing field `name`"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("nodes/fra3 is ignored: it is of a node with another name"), "{}", lines[1]);
    assert!(!lines[2].contains('\u{1b}'), "{}", lines[2]);
    // A list in which it is broken: its key says that it lives.
    members.listed(NOW, [("nodes/fra2", &b"x"[..])]);
    assert_eq!(names(&members), ["fra2"]);
    // Good again, then broken again: named again.
    put(&mut members, &record("fra2", 2));
    members.put(NOW, "nodes/fra2", b"{}");
    assert_eq!(members.take_notices().len(), 1);
}

#[test]
fn another_process_with_our_name_or_number() {
    let mut members = members();
    let us = record("fra1", 1);
    let former = NodeRecord { incarnation: Incarnation(9), ..us.clone() };
    put(&mut members, &former);
    assert!(matches!(members.conflict(), Some(Conflict::Name { incarnation: Incarnation(9), .. })));
    assert_eq!(members.fatal(), None, "it may be our own former life");
    put(&mut members, &us);
    assert_eq!((members.conflict(), members.fatal()), (None, None));
    put(&mut members, &former);
    let fatal = members.fatal().unwrap().to_string();
    assert!(fatal.starts_with(
        "another process runs as node fra1 (at 127.0.0.1, incarnation 0000000000000009): stop it"
    ));
    members.deleted("nodes/fra1");
    assert_eq!(members.fatal(), None);
    put(&mut members, &former);
    members.listed(NOW, []);
    assert_eq!(members.fatal(), None);

    put(&mut members, &NodeRecord { number: NodeNumber(1), ..record("fra2", 2) });
    assert_eq!(
        members.fatal().unwrap().to_string(),
        "node fra2 (at 127.0.0.2) has the number 1, too: give this node another node.number"
    );
    put(&mut members, &record("fra2", 2));
    assert_eq!(members.fatal(), None);
    assert_eq!(members.live().count(), 1, "we are not among the others");
}

#[test]
fn two_others_with_one_number_are_named() {
    let mut members = members();
    put(&mut members, &record("fra2", 2));
    put(&mut members, &NodeRecord { started: NOW + 1, number: NodeNumber(2), ..record("fra3", 3) });
    put(&mut members, &NodeRecord { started: NOW + 1, number: NodeNumber(2), ..record("fra3", 3) });
    let notices = members.take_notices();
    assert_eq!(notices.len(), 3);
    assert_eq!(notices[2], Notice::SameNumber(name("fra3"), name("fra2"), NodeNumber(2)));
    assert_eq!(members.numbered(NodeNumber(2)).unwrap().record.name, name("fra3"));
}

#[test]
fn clocks_are_compared_when_a_record_is_fresh() {
    let mut members = members();
    let difference = |members: &Members| members.named(&name("fra2")).unwrap().clock_difference();
    let write = |members: &mut Members, clock: u64, now: u64| {
        members.put(now, "nodes/fra2", &NodeRecord { clock, ..record("fra2", 2) }.to_json());
    };
    // A list may be old: that it is behind says nothing, that it is ahead says something.
    let old = record("fra2", 2).to_json();
    members.listed(NOW + 4000, [("nodes/fra2", &old[..])]);
    assert_eq!(difference(&members), None);
    members.listed(NOW - 4000, [("nodes/fra2", &old[..])]);
    assert_eq!(difference(&members), Some(4000));
    for i in 1..=4 {
        write(&mut members, NOW + i * 1000, NOW + i * 1000 + 3);
    }
    assert_eq!(difference(&members), Some(-3));
    // One that was on its way for long does not count against it.
    write(&mut members, NOW + 5000, NOW + 9000);
    assert_eq!(difference(&members), Some(-3));
    // A clock that was put back is found when its last records all say so.
    for i in 6..=9 {
        write(&mut members, NOW + i * 1000, NOW + i * 1000 + 60_000);
    }
    assert_eq!(difference(&members), Some(-60_000));
    // No number is too large.
    write(&mut members, u64::MAX, NOW);
    assert_eq!(difference(&members), Some(i64::MAX));
    assert_eq!(members.clocks_that_are_off().collect::<Vec<_>>(), [(&name("fra2"), i64::MAX)]);
}

#[test]
fn the_clock_that_is_off_is_the_one_that_most_do_not_have() {
    // What each node's clock shows more than ours; each has written twice.
    let with = |clocks: &[i64]| {
        let mut members = members();
        for (number, ahead) in (2..).zip(clocks) {
            for _ in 0..2 {
                let clock = NOW.saturating_add_signed(*ahead);
                put(&mut members, &NodeRecord { clock, ..record(&format!("fra{number}"), number) });
            }
        }
        members
    };
    let off = |members: &Members| {
        let others =
            members.clocks_that_are_off().map(|(name, by)| (name.to_string(), by)).collect::<Vec<_>>();
        (members.our_clock_is_off(), others)
    };
    assert_eq!(off(&with(&[])), (None, vec![]));
    assert_eq!(off(&with(&[900, -900])), (None, vec![]));
    assert_eq!(off(&with(&[3, 60_000])), (None, vec![("fra3".into(), 59_997)]));
    assert_eq!(off(&with(&[5000, 5100])), (Some(-5000), vec![]), "ours is behind");
    assert_eq!(off(&with(&[-5000, -5100, -5050])).0, Some(5000));
    // Of two nobody knows which is right.
    assert_eq!(off(&with(&[-5000])), (None, vec![("fra2".into(), -5000)]));
    // One record that says so may have been on its way for long.
    let mut members = members();
    for number in 2..4 {
        put(&mut members, &NodeRecord { clock: NOW - 5000, ..record(&format!("fra{number}"), number) });
    }
    assert_eq!(members.our_clock_is_off(), None);
}

#[test]
fn there_are_no_more_nodes_than_numbers() {
    let mut members = members();
    for i in 0..1100u16 {
        put(&mut members, &NodeRecord { number: NodeNumber(i % 1024), ..record(&format!("n{i}"), 2) });
    }
    assert_eq!((members.live().count(), members.bad_records()), (1023, 77));
    // Those that are there may still change.
    put(&mut members, &NodeRecord { ready: false, ..record("n7", 2) });
    assert!(!members.named(&name("n7")).unwrap().record.ready);
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut members = members();
        members.put(NOW, "nodes/fra2", &bytes);
        prop_assert_eq!(members.live().count() as u64 + members.bad_records(), 1);
    }

    #[test]
    fn a_damaged_record_is_one_of_the_same_name_or_none(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = record("fra2", 2).to_json();
        let at = at.index(json.len());
        json[at] = byte;
        if let Ok(read) = NodeRecord::read(&json) {
            let again = read.to_json();
            prop_assert_eq!(NodeRecord::read(&again), Ok(read));
        }
    }
}

#[test]
fn a_store_that_was_away_has_forgotten_nobody_who_lives() {
    let mut members = members();
    for (node, number) in [("fra2", 2), ("fra3", 3), ("fra4", 4)] {
        put(&mut members, &record(node, number));
    }
    members.take_notices();
    let back = std::time::Instant::now();
    let over = back + std::time::Duration::from_secs(5);
    members.store_returned(over);
    members.deleted("nodes/fra2");
    members.deleted("nodes/fra3");
    // Also when it is found out by a look at the whole store.
    members.listed(NOW, []);
    assert_eq!(names(&members), ["fra2", "fra3", "fra4"]);
    assert!(members.is_in_doubt());
    put(&mut members, &record("fra3", 3));
    put(&mut members, &record("fra4", 4));
    assert!(!members.turn(over - std::time::Duration::from_millis(1)));
    assert_eq!(members.take_notices(), []);
    // One of them did not come back: it has died meanwhile.
    assert!(members.turn(over));
    assert_eq!(names(&members), ["fra3", "fra4"]);
    assert_eq!(members.take_notices(), [Notice::Went(name("fra2"))]);
    assert!(!members.is_in_doubt() && !members.turn(over));
    // From then on who goes is gone.
    members.deleted("nodes/fra3");
    assert_eq!(names(&members), ["fra4"]);
}

#[test]
fn a_later_return_prolongs_the_doubt() {
    let mut members = members();
    put(&mut members, &record("fra2", 2));
    let first = std::time::Instant::now();
    let second = first + std::time::Duration::from_secs(2);
    members.store_returned(second);
    members.store_returned(first);
    members.deleted("nodes/fra2");
    assert!(!members.turn(first));
    assert_eq!(names(&members), ["fra2"]);
    assert!(members.turn(second));
    assert_eq!(names(&members), Vec::<String>::new());
}

#[test]
fn nodes_have_addresses_of_one_family() {
    let ours = record("fra1", 1);
    let mut other = record("fra3", 3);
    let all = |other: &NodeRecord| [record("fra2", 2), other.clone()];
    assert_eq!(Conflict::of_families(&ours, all(&other)), None);
    other.address = "2001:db8::3".parse().unwrap();
    let conflict = Conflict::of_families(&ours, all(&other)).unwrap().to_string();
    assert!(conflict.starts_with("node fra3 is at 2001:db8::3 and this one at 127.0.0.1"), "{conflict}");
    assert!(conflict.contains("fleet.address of the same family on all nodes"), "{conflict}");
    // A record of our own former life says nothing of others.
    other.name = ours.name.clone();
    assert_eq!(Conflict::of_families(&ours, all(&other)), None);
}
