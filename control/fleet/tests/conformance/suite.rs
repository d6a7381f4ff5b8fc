//! The rules of a store. Each engine's tests run all of them, each on a store of its own fleet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use penstock_fleet::store::{
    CommitError, Condition, Entry, Event, LeaseId, MOST_VALUE_BYTES, Revision, Store, StoreError, Txn,
    TxnError, Watch, Why,
};
use tokio::time::{Instant, sleep, timeout};

/// A test that waits longer has failed. The machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The next event that is not about quiet.
pub async fn next(watch: &mut Watch) -> Event {
    loop {
        let event = timeout(PATIENCE, watch.next()).await.expect("no event").expect("the watch ended");
        if !matches!(event, Event::Progress(_)) {
            return event;
        }
    }
}

/// The listing that the watch begins with, or begins again with.
pub async fn reset(watch: &mut Watch, expected: Why) -> (Revision, Vec<Entry>) {
    match next(watch).await {
        Event::Reset { why, revision, entries, .. } if why == expected => (revision, entries),
        other => panic!("not a reset for {expected:?}: {other:?}"),
    }
}

/// What one transaction changed.
pub async fn changed(watch: &mut Watch) -> (Revision, Vec<Entry>, Vec<String>) {
    match next(watch).await {
        Event::Changed { revision, puts, deletes } => (revision, puts, deletes),
        other => panic!("not a change: {other:?}"),
    }
}

/// A put of one key.
pub fn put(key: &str, value: &str) -> Txn {
    Txn::new().put(key, value, None)
}

/// The keys of entries.
pub fn keys(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}

/// Makes a test of each rule, on a store that the engine's `fixture` opens for it.
macro_rules! conformance {
    ($fixture:expr; $($rule:ident)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            let fixture = $fixture.await;
            crate::suite::$rule(fixture.store()).await;
        }
    )* };
    ($fixture:expr) => {
        crate::suite::conformance! { $fixture;
            versions_and_revisions_count
            listings_are_of_one_prefix_and_revision
            conditions_decide_over_all_writes
            impossible_transactions_are_refused
            a_counter_loses_no_increment
            a_lease_that_nobody_keeps_takes_its_keys_along
            a_lease_that_is_kept_stays
            a_lease_belongs_to_the_last_put
            a_revoked_lease_takes_its_keys_along
            a_watch_sees_each_change_once_and_in_order
            watches_that_begin_amid_changes_miss_nothing
            a_watch_sees_its_prefix_only
            a_watch_goes_on_after_a_revision
            a_quiet_watch_says_that_it_works
            a_slow_reader_starts_over
            a_store_has_one_name
        }
    };
}
pub(crate) use conformance;

pub async fn versions_and_revisions_count(store: &Store) {
    assert_eq!(store.get("a").await.unwrap(), None);
    let first = store.commit(&put("a", "1")).await.unwrap();
    let second = store.commit(&put("a", "2")).await.unwrap();
    assert_eq!(second.0, first.0 + 1);
    let entry = store.get("a").await.unwrap().unwrap();
    let expected = Entry {
        key: "a".into(),
        value: b"2".into(),
        version: 2,
        created: first,
        modified: second,
        lease: None,
    };
    assert_eq!(entry, expected);
    let gone = store.commit(&Txn::new().delete("a")).await.unwrap();
    assert_eq!(gone.0, second.0 + 1);
    assert_eq!(store.get("a").await.unwrap(), None);
    // What changes nothing is no revision.
    assert_eq!(store.commit(&Txn::new().delete("a")).await.unwrap(), gone);
    assert_eq!(store.commit(&Txn::new()).await.unwrap(), gone);
    let again = store.commit(&put("a", "3")).await.unwrap();
    let entry = store.get("a").await.unwrap().unwrap();
    assert_eq!((entry.version, entry.created), (1, again));
}

pub async fn listings_are_of_one_prefix_and_revision(store: &Store) {
    for key in ["sas", "sas/2", "sas/1", "sas0", "sb/1", "sas/10"] {
        store.commit(&put(key, key)).await.unwrap();
    }
    let listing = store.list("sas/").await.unwrap();
    assert_eq!(keys(&listing.entries), ["sas/1", "sas/10", "sas/2"]);
    assert_eq!(listing.revision, store.get("sas/10").await.unwrap().unwrap().modified);
    assert!(listing.entries.iter().all(|entry| entry.value == entry.key.as_bytes()));
    assert_eq!(store.list("none/").await.unwrap().entries, []);
    // More than one page of any engine's.
    for batch in 0..3 {
        let txn = (0..100).fold(Txn::new(), |txn, i| txn.put(format!("many/{batch}-{i:03}"), "x", None));
        store.commit(&txn).await.unwrap();
    }
    let many = store.list("many/").await.unwrap().entries;
    assert_eq!(many.len(), 300);
    assert!(many.is_sorted_by(|a, b| a.key < b.key));
    let all = store.list("").await.unwrap().entries;
    assert_eq!(all.len(), 307, "with meta: {:?}", keys(&all));
}

pub async fn conditions_decide_over_all_writes(store: &Store) {
    let create = put("a", "1").when(Condition::Absent("a".into())).put("b", "1", None);
    let revision = store.commit(&create).await.unwrap();
    assert!(matches!(store.commit(&create).await, Err(CommitError::Conflict)));
    let (a, b) = (store.get("a").await.unwrap().unwrap(), store.get("b").await.unwrap().unwrap());
    assert_eq!((a.modified, b.modified, a.version, b.version), (revision, revision, 1, 1));
    for (condition, holds) in [
        (Condition::Version("a".into(), 2), false),
        (Condition::Version("none".into(), 1), false),
        (Condition::Modified("a".into(), Revision(revision.0 - 1)), false),
        (Condition::Modified("none".into(), revision), false),
        (Condition::Absent("b".into()), false),
        (Condition::Modified("a".into(), revision), true),
        (Condition::Version("b".into(), 1), true),
        (Condition::Absent("none".into()), true),
    ] {
        // With one that holds before it.
        let txn = put("c", "1").when(Condition::Version("a".into(), 1)).when(condition.clone());
        let done = store.commit(&txn).await;
        assert_eq!(done.is_ok(), holds, "{condition:?}");
        assert!(matches!(done, Ok(_) | Err(CommitError::Conflict)), "{done:?}");
        assert_eq!(store.get("c").await.unwrap().is_some(), holds, "{condition:?}");
        store.commit(&Txn::new().delete("c")).await.unwrap();
    }
}

pub async fn impossible_transactions_are_refused(store: &Store) {
    let twice = put("a", "1").delete("a");
    assert!(matches!(store.commit(&twice).await, Err(CommitError::Txn(TxnError::Twice(_)))));
    let ended = Txn::new().put("a", "1", Some(LeaseId(4711)));
    let refused = store.commit(&ended).await;
    assert!(matches!(refused, Err(CommitError::Store(StoreError::LeaseEnded(LeaseId(4711))))), "{refused:?}");
    assert_eq!(store.get("a").await.unwrap(), None);
    // The largest that is allowed.
    store.commit(&Txn::new().put("a", vec![7; MOST_VALUE_BYTES], None)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap().unwrap().value.len(), MOST_VALUE_BYTES);
}

pub async fn a_counter_loses_no_increment(store: &Store) {
    const TASKS: u64 = 8;
    const EACH: u64 = 20;
    store.commit(&put("count", "0")).await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..EACH {
                    while !increment(&store).await {}
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let count = store.get("count").await.unwrap().unwrap();
    assert_eq!(count.value, (TASKS * EACH).to_string().into_bytes());
    assert_eq!(count.version, TASKS * EACH + 1);
}

async fn increment(store: &Store) -> bool {
    let old = store.get("count").await.unwrap().unwrap();
    let value: u64 = String::from_utf8(old.value).unwrap().parse().unwrap();
    let txn = put("count", &(value + 1).to_string()).when(Condition::Version("count".into(), old.version));
    match store.commit(&txn).await {
        Ok(_) => true,
        Err(CommitError::Conflict) => false,
        Err(e) => panic!("{e}"),
    }
}

pub async fn a_lease_that_nobody_keeps_takes_its_keys_along(store: &Store) {
    let mut watch = store.watch("nodes/", None);
    reset(&mut watch, Why::Start).await;
    let lease = store.grant(Duration::from_secs(2)).await.unwrap();
    let txn = Txn::new()
        .put("nodes/a", "1", Some(lease))
        .put("nodes/b", "1", Some(lease))
        .put("nodes/c", "1", None);
    store.commit(&txn).await.unwrap();
    assert_eq!(store.get("nodes/a").await.unwrap().unwrap().lease, Some(lease));
    let (_, puts, _) = changed(&mut watch).await;
    assert_eq!(puts.len(), 3);
    let (_, puts, mut deletes) = changed(&mut watch).await;
    deletes.sort();
    assert_eq!((puts, deletes), (vec![], vec!["nodes/a".to_owned(), "nodes/b".into()]));
    assert_eq!(keys(&store.list("nodes/").await.unwrap().entries), ["nodes/c"]);
    let kept = store.keep_alive(lease).await;
    assert!(matches!(kept, Err(StoreError::LeaseEnded(ended)) if ended == lease), "{kept:?}");
}

pub async fn a_lease_that_is_kept_stays(store: &Store) {
    let lease = store.grant(Duration::from_secs(4)).await.unwrap();
    store.commit(&Txn::new().put("a", "1", Some(lease))).await.unwrap();
    let until = Instant::now() + Duration::from_secs(9);
    while Instant::now() < until {
        store.keep_alive(lease).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
    assert!(store.get("a").await.unwrap().is_some());
}

pub async fn a_lease_belongs_to_the_last_put(store: &Store) {
    let [first, second] = [(); 2].map(|()| store.grant(Duration::from_secs(600)));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_ne!(first, second);
    for key in ["moved", "freed"] {
        store.commit(&Txn::new().put(key, "1", Some(first))).await.unwrap();
    }
    store.commit(&Txn::new().put("moved", "2", Some(second)).put("freed", "2", None)).await.unwrap();
    store.revoke(first).await.unwrap();
    assert_eq!(store.get("moved").await.unwrap().unwrap().lease, Some(second));
    assert_eq!(store.get("freed").await.unwrap().unwrap().lease, None);
    store.revoke(second).await.unwrap();
    assert_eq!(store.get("moved").await.unwrap(), None);
    assert!(store.get("freed").await.unwrap().is_some());
}

pub async fn a_revoked_lease_takes_its_keys_along(store: &Store) {
    let lease = store.grant(Duration::from_secs(600)).await.unwrap();
    store.commit(&Txn::new().put("a", "1", Some(lease))).await.unwrap();
    store.revoke(lease).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), None);
    store.revoke(lease).await.unwrap();
    assert!(matches!(store.keep_alive(lease).await, Err(StoreError::LeaseEnded(_))));
    assert!(store.commit(&Txn::new().put("a", "2", Some(lease))).await.is_err());
}

/// What a watcher knows.
#[derive(Default)]
pub struct Seen {
    pub revision: Revision,
    pub entries: BTreeMap<String, Entry>,
}

impl Seen {
    /// Applies an event; panics if it repeats, skips or swaps anything.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::Reset { revision, entries, .. } => {
                self.revision = revision;
                self.entries = entries.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
            }
            Event::Changed { revision, puts, deletes } => {
                assert!(revision > self.revision, "{revision} after {}", self.revision);
                self.revision = revision;
                for entry in puts {
                    assert_eq!(entry.modified, revision);
                    let before = self.entries.get(&entry.key).map_or(0, |before| before.version);
                    assert_eq!(entry.version, before + 1, "of {}", entry.key);
                    self.entries.insert(entry.key.clone(), entry);
                }
                for key in deletes {
                    assert!(self.entries.remove(&key).is_some(), "{key} was not there");
                }
            }
            Event::Progress(revision) => assert!(revision >= self.revision),
            Event::Away { .. } | Event::Back => {}
        }
    }

    /// Until the key is there.
    pub async fn follow(&mut self, watch: &mut Watch, key: &str) {
        while !self.entries.contains_key(key) {
            let event = timeout(PATIENCE, watch.next()).await.expect("no event").expect("the watch ended");
            self.apply(event);
        }
    }
}

pub async fn a_watch_sees_each_change_once_and_in_order(store: &Store) {
    store.commit(&put("w/before", "1")).await.unwrap();
    let mut watch = store.watch("w/", None);
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..25 {
                    // Some together, some again and again, some that go.
                    let txn = put(&format!("w/{writer}/{i}"), "x").put(format!("w/{writer}"), "x", None);
                    store.commit(&txn).await.unwrap();
                    if i % 3 == 0 {
                        store.commit(&Txn::new().delete(format!("w/{writer}/{i}"))).await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut seen = Seen::default();
    let all = async {
        for writer in writers {
            writer.await.unwrap();
        }
        store.commit(&put("w/end", "1")).await.unwrap();
    };
    tokio::join!(all, seen.follow(&mut watch, "w/end"));
    let listing = store.list("w/").await.unwrap();
    assert_eq!(seen.revision, listing.revision);
    assert_eq!(seen.entries.into_values().collect::<Vec<_>>(), listing.entries);
}

pub async fn watches_that_begin_amid_changes_miss_nothing(store: &Store) {
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for i in 0..200 {
            writer.commit(&put("w/count", &i.to_string()).put(format!("w/{i}"), "x", None)).await.unwrap();
        }
        writer.commit(&put("w/end", "1")).await.unwrap();
    });
    let mut watching = Vec::new();
    while !writing.is_finished() && watching.len() < 100 {
        let mut watch = store.watch("w/", None);
        watching.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            seen.follow(&mut watch, "w/end").await;
            seen.entries
        }));
        sleep(Duration::from_millis(5)).await;
    }
    writing.await.unwrap();
    let listed = store.list("w/").await.unwrap().entries;
    assert_eq!(listed.len(), 202);
    for watch in watching {
        assert_eq!(watch.await.unwrap().into_values().collect::<Vec<_>>(), listed);
    }
}

pub async fn a_watch_sees_its_prefix_only(store: &Store) {
    let mut watch = store.watch("a/", None);
    assert_eq!(reset(&mut watch, Why::Start).await.1, []);
    store.commit(&put("b/1", "x")).await.unwrap();
    let both = store.commit(&put("b/2", "x").put("a/1", "x", None)).await.unwrap();
    let (revision, puts, deletes) = changed(&mut watch).await;
    assert_eq!((revision, keys(&puts), deletes.len()), (both, vec!["a/1"], 0));
    store.commit(&Txn::new().delete("a/1").delete("b/1")).await.unwrap();
    assert_eq!(changed(&mut watch).await.2, ["a/1"]);
}

pub async fn a_watch_goes_on_after_a_revision(store: &Store) {
    let before = store.commit(&put("a/1", "x")).await.unwrap();
    let mut watch = store.watch("a/", Some(before));
    // Once it listens: the embedded engine keeps no history.
    sleep(Duration::from_secs(1)).await;
    store.commit(&put("a/2", "x")).await.unwrap();
    assert_eq!(keys(&changed(&mut watch).await.1), ["a/2"]);
    let mut ahead = store.watch("a/", Some(Revision(before.0 + 1000)));
    assert_eq!(keys(&reset(&mut ahead, Why::WentBack).await.1), ["a/1", "a/2"]);
}

pub async fn a_quiet_watch_says_that_it_works(store: &Store) {
    let mut watch = store.watch("a/", None);
    let (start, _) = reset(&mut watch, Why::Start).await;
    let event = timeout(PATIENCE, watch.next()).await.unwrap();
    assert!(matches!(event, Some(Event::Progress(revision)) if revision >= start), "{event:?}");
}

pub async fn a_slow_reader_starts_over(store: &Store) {
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    // Far more than is kept for it, also in the sockets' buffers.
    for i in 0..600 {
        store.commit(&Txn::new().put(format!("a/{}", i % 100), vec![1; 20_000], None)).await.unwrap();
    }
    sleep(Duration::from_secs(8)).await;
    store.commit(&put("a/end", "x")).await.unwrap();
    let (mut seen, mut starts) = (Seen::default(), BTreeSet::new());
    let listed = store.list("a/").await.unwrap();
    while seen.revision < listed.revision {
        let event = timeout(PATIENCE, watch.next()).await.unwrap().unwrap();
        match &event {
            Event::Reset { why, .. } => assert!(starts.insert(format!("{why:?}"))),
            // Its queue is from before it was too slow, and the listing is not.
            Event::Changed { .. } if starts.is_empty() => continue,
            _ => {}
        }
        seen.apply(event);
    }
    assert_eq!(starts.into_iter().collect::<Vec<_>>(), ["Slow"]);
    assert_eq!(seen.entries.into_values().collect::<Vec<_>>(), listed.entries);
}

pub async fn a_store_has_one_name(store: &Store) {
    let id = store.id().await.unwrap();
    assert_eq!(store.id().await.unwrap(), id);
    let mut watch = store.watch("a/", None);
    match next(&mut watch).await {
        Event::Reset { store, .. } => assert_eq!(store, id),
        other => panic!("{other:?}"),
    }
    // What it is named after is gone: it is another one.
    store.commit(&Txn::new().delete("meta")).await.unwrap();
    assert_ne!(store.id().await.unwrap(), id);
}
