//! Whatever is done to the tables, they are as a naive map says.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database};

use super::super::entry::{Entry, LeaseId, Revision};
use super::super::feed::Event;
use super::super::txn::{Condition, Txn, Write};
use super::tables::{Change, Tables, Written};

/// What was done.
#[derive(Clone, Debug)]
enum Step {
    Commit(Txn),
    End(LeaseId),
}

fn key() -> impl Strategy<Value = String> {
    (0..6_u8).prop_map(|n| format!("{}/{n}", if n < 3 { "a" } else { "b" }))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    (1..3_i64).prop_map(LeaseId)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        key().prop_map(Condition::Absent),
        (key(), 1..4_u64).prop_map(|(key, version)| Condition::Version(key, version)),
        (key(), 1..12_u64).prop_map(|(key, at)| Condition::Modified(key, Revision(at))),
    ]
}

fn write() -> impl Strategy<Value = Write> {
    let put = (key(), any::<[u8; 2]>(), proptest::option::of(lease()));
    prop_oneof![
        3 => put.prop_map(|(key, value, lease)| Write::Put { key, value: value.into(), lease }),
        1 => key().prop_map(Write::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let txn = (vec(condition(), 0..2), vec(write(), 0..4));
    let txn = txn.prop_map(|(conditions, writes)| Txn { conditions, writes });
    prop_oneof![
        8 => txn.prop_filter("a key twice", |txn| txn.check().is_ok()).prop_map(Step::Commit),
        1 => lease().prop_map(Step::End),
    ]
}

/// The naive map.
#[derive(Default)]
struct Model {
    revision: u64,
    entries: BTreeMap<String, Entry>,
}

impl Model {
    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent(key) => !self.entries.contains_key(key),
            Condition::Version(key, n) => self.entries.get(key).is_some_and(|e| e.version == *n),
            Condition::Modified(key, at) => self.entries.get(key).is_some_and(|e| e.modified == *at),
        }
    }

    /// Whether anything changed.
    fn write(&mut self, writes: &[Write]) -> bool {
        let revision = Revision(self.revision + 1);
        let mut changed = false;
        for write in writes {
            changed |= match write {
                Write::Put { key, value, lease } => {
                    let old = self.entries.get(key);
                    let (version, created) = old.map_or((1, revision), |old| (old.version + 1, old.created));
                    let (key, value, lease) = (key.clone(), value.clone(), *lease);
                    let new = Entry { key: key.clone(), value, version, created, modified: revision, lease };
                    self.entries.insert(key, new);
                    true
                }
                Write::Delete(key) => self.entries.remove(key).is_some(),
            };
        }
        self.revision += u64::from(changed);
        changed
    }

    fn end(&mut self, lease: LeaseId) -> bool {
        let on_lease = self.entries.values().filter(|entry| entry.lease == Some(lease));
        let deletions: Vec<_> = on_lease.map(|entry| Write::Delete(entry.key.clone())).collect();
        self.write(&deletions)
    }
}

/// Applies what a watch of `a/` would see.
fn watch(seen: &mut BTreeMap<String, Entry>, change: Option<Change>) {
    if let Some(Event::Changed { puts, deletes, .. }) = change.and_then(|change| change.below("a/")) {
        seen.extend(puts.into_iter().map(|entry| (entry.key.clone(), entry)));
        for key in deletes {
            assert!(seen.remove(&key).is_some());
        }
    }
}

fn database() -> Database {
    Builder::new().create_with_backend(InMemoryBackend::new()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn tables_are_as_a_map_says(steps in vec(step(), 1..24)) {
        let database = database();
        Tables::make(&database).unwrap();
        let (tables, _) = Tables::open(database).unwrap();
        let (mut model, mut seen) = (Model { revision: 1, ..Model::default() }, BTreeMap::new());
        for step in steps {
            match step {
                Step::Commit(txn) => match tables.commit(&txn, |_| true).unwrap() {
                    Written::Done(revision, change) => {
                        prop_assert!(txn.conditions.iter().all(|condition| model.holds(condition)));
                        prop_assert_eq!(model.write(&txn.writes), change.is_some());
                        prop_assert_eq!(revision.0, model.revision);
                        watch(&mut seen, change);
                    }
                    Written::Conflict => {
                        prop_assert!(!txn.conditions.iter().all(|condition| model.holds(condition)));
                    }
                    Written::LeaseEnded(_) => prop_assert!(false, "all live"),
                },
                Step::End(lease) => {
                    let change = tables.end(lease).unwrap();
                    prop_assert_eq!(model.end(lease), change.is_some());
                    watch(&mut seen, change);
                }
            }
            let listing = tables.list("").unwrap();
            prop_assert_eq!(listing.revision.0, model.revision);
            prop_assert_eq!(listing.entries, model.entries.values().cloned().collect::<Vec<_>>());
            prop_assert_eq!(tables.list("a/").unwrap().entries, seen.values().cloned().collect::<Vec<_>>());
        }
    }
}

#[test]
fn leases_are_found_again() {
    let database = database();
    Tables::make(&database).unwrap();
    let (tables, leases) = Tables::open(database).unwrap();
    assert_eq!(leases, []);
    let ttl = std::time::Duration::from_millis(2500);
    tables.grant(LeaseId(7), ttl).unwrap();
    let Tables(database) = tables;
    let (tables, leases) = Tables::open(database).unwrap();
    assert_eq!(leases, [(LeaseId(7), ttl)]);
    tables.end(LeaseId(7)).unwrap();
    assert_eq!(Tables::open(tables.0).unwrap().1, []);
}
