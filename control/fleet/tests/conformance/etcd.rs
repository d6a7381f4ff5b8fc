//! The etcd engine: the rules, who is let in, and what etcd goes through in its life.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use penstock_fleet::store::{
    CommitError, Engine, EtcdSettings, EtcdTls, EtcdUser, Event, MOST_VALUE_BYTES, OpenError, Settings,
    Store, StoreError, Txn, Watch, Why,
};
use tokio::time::{Instant, sleep, timeout};

use crate::server::{Cluster, Tokens, Wire};
use crate::suite::{self, PATIENCE, Seen, changed, keys, next, put, reset};

/// No call may take longer, whatever etcd does; with room for a busy machine.
const LONGEST_CALL: Duration = Duration::from_secs(15);

struct Fixture {
    store: Store,
    cluster: Cluster,
}

impl Fixture {
    async fn new() -> Self {
        Self::of(1).await
    }

    async fn of(members: usize) -> Self {
        let cluster = Cluster::start(members);
        let store = open(settings(cluster.urls())).await;
        ready(&store, &cluster).await;
        Self { store, cluster }
    }

    fn store(&self) -> &Store {
        &self.store
    }
}

fn settings(endpoints: Vec<String>) -> EtcdSettings {
    EtcdSettings { endpoints, tls: None, user: None }
}

async fn open(etcd: EtcdSettings) -> Store {
    open_fleet("test", etcd).await.unwrap()
}

async fn open_fleet(fleet: &str, etcd: EtcdSettings) -> Result<Store, OpenError> {
    Store::open(Settings { fleet: fleet.into(), engine: Engine::Etcd(etcd) }).await
}

async fn ready(store: &Store, cluster: &Cluster) {
    let until = Instant::now() + PATIENCE;
    while let Err(e) = store.id().await {
        assert!(Instant::now() < until, "{e}\n{}", cluster.members[0].log());
        sleep(Duration::from_millis(100)).await;
    }
}

/// Until the watch says so; it may tell other things before.
async fn away(watch: &mut Watch) -> StoreError {
    match next(watch).await {
        Event::Away { error } => error,
        other => panic!("not away: {other:?}"),
    }
}

async fn back(watch: &mut Watch) {
    let event = next(watch).await;
    assert!(matches!(event, Event::Back), "{event:?}");
}

/// Writes it, however long that takes.
async fn insist(store: &Store, key: &str) {
    let until = Instant::now() + PATIENCE;
    while let Err(e) = store.commit(&put(key, "x")).await {
        assert!(Instant::now() < until, "{e}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// The user, with this password.
fn penstock(cluster: &Cluster, password: &str) -> EtcdUser {
    let password_file = cluster.dir.path().join("password");
    fs::write(&password_file, password).unwrap();
    fs::set_permissions(&password_file, fs::Permissions::from_mode(0o600)).unwrap();
    EtcdUser { name: "penstock".into(), password_file }
}

suite::conformance!(Fixture::new());

#[tokio::test]
async fn certificates_users_and_permissions() {
    let cluster = Cluster::start_tls();
    let path = |name: &str| cluster.dir.path().join(name);
    let with = |ca: &str, certificate: bool, password: Option<&str>| {
        let certificate = certificate.then(|| (path("client.pem"), path("client.key")));
        let user = password.map(|password| penstock(&cluster, password));
        EtcdSettings { tls: Some(EtcdTls { ca: path(ca), certificate }), user, ..settings(cluster.urls()) }
    };
    let open_id = async |etcd| open(etcd).await.id().await;
    ready(&open(with("ca.pem", true, None)).await, &cluster).await;
    // Certificates.
    let strange = open_id(with("other.pem", true, None)).await.unwrap_err().to_string();
    assert!(strange.contains("certificate"), "{strange}");
    let naked = open_id(with("ca.pem", false, None)).await.unwrap_err();
    assert!(matches!(naked, StoreError::Away(_)), "{naked}");
    // Users: of a password without need it is said, too.
    let needless = open_id(with("ca.pem", true, Some("secret"))).await.unwrap_err();
    assert!(matches!(needless, StoreError::Refused(_)), "{needless}");
    cluster.let_in_penstock_only();
    let wrong = open_id(with("ca.pem", true, Some("guess"))).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Refused(_)) && !wrong.to_string().contains("guess"), "{wrong}");
    // Permissions: our prefix, no other one.
    let right = with("ca.pem", true, Some("secret\n"));
    let store = open(right.clone()).await;
    suite::versions_and_revisions_count(&store).await;
    suite::a_lease_that_nobody_keeps_takes_its_keys_along(&store).await;
    suite::a_watch_sees_each_change_once_and_in_order(&store).await;
    let other = open_fleet("test2", right).await.unwrap().get("a").await.unwrap_err();
    assert!(matches!(other, StoreError::Forbidden(_, _)), "{other}");
    assert!(other.to_string().contains("/penstock/test2/"), "{other}");
    assert!(!format!("{store:?}").contains("secret"));
}

/// Whatever is done with a token ends later than the token.
async fn goes_on_when_tokens_end(tokens: Tokens) {
    let cluster = Cluster::start_with_tokens(tokens, 2);
    ready(&open(settings(cluster.urls())).await, &cluster).await;
    cluster.let_in_penstock_only();
    let user = Some(penstock(&cluster, "secret"));
    let store = open(EtcdSettings { user, ..settings(cluster.urls()) }).await;
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    let lease = store.grant(Duration::from_secs(20)).await.unwrap();
    for round in 0..4 {
        let txn = Txn::new().put(format!("a/{round}"), "x", Some(lease));
        timeout(LONGEST_CALL, store.commit(&txn)).await.unwrap().unwrap();
        // At once, on the watch that there was or on one that goes on from where that ended.
        assert_eq!(keys(&changed(&mut watch).await.1), [format!("a/{round}")], "{tokens:?}");
        sleep(Duration::from_secs(4)).await;
        store.keep_alive(lease).await.unwrap();
        assert!(store.get("a/0").await.unwrap().is_some(), "{tokens:?}: round {round}");
    }
}

#[tokio::test]
async fn it_goes_on_when_tokens_that_are_not_used_end() {
    goes_on_when_tokens_end(Tokens::Simple).await;
}

#[tokio::test]
async fn it_goes_on_when_signed_tokens_end() {
    goes_on_when_tokens_end(Tokens::Signed).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_said_at_once() {
    let tls = EtcdTls { ca: "/nowhere/ca.pem".into(), certificate: None };
    let etcd = EtcdSettings { tls: Some(tls), ..settings(vec!["https://127.0.0.1:1".into()]) };
    assert!(matches!(open_fleet("test", etcd).await, Err(OpenError::Unread { .. })));
}

#[tokio::test]
async fn nobody_there() {
    let store = open(settings(vec!["http://127.0.0.1:1".into()])).await;
    let error = timeout(LONGEST_CALL, store.get("a")).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
    let not_sent = timeout(LONGEST_CALL, store.commit(&put("a", "1"))).await.unwrap().unwrap_err();
    assert!(matches!(not_sent, CommitError::Store(StoreError::Away(_))), "{not_sent}");
    let mut watch = store.watch("", None);
    away(&mut watch).await;
}

#[tokio::test]
async fn a_full_store_says_so_and_can_be_read() {
    let cluster = Cluster::start_small(8 << 20);
    let store = open(settings(cluster.urls())).await;
    ready(&store, &cluster).await;
    let mut full = None;
    for i in 0..32 {
        let txn = Txn::new().put(format!("a/{i}"), vec![1; MOST_VALUE_BYTES], None);
        full = store.commit(&txn).await.err();
        if full.is_some() {
            break;
        }
    }
    let full = full.unwrap();
    assert!(matches!(full, CommitError::Store(StoreError::Full(_))), "{full}");
    assert!(full.to_string().contains("defragment"), "{full}");
    // Values as long as they may be, more than one of them in a page.
    assert!(store.list("a/").await.unwrap().entries.len() > 2);
}

#[tokio::test]
async fn fleets_do_not_see_each_other() {
    let Fixture { store, cluster } = Fixture::new().await;
    let other = open_fleet("test2", settings(cluster.urls())).await.unwrap();
    store.commit(&put("a", "1")).await.unwrap();
    assert_ne!(store.id().await.unwrap(), other.id().await.unwrap());
    assert_eq!(keys(&other.list("").await.unwrap().entries), ["meta"]);
    assert_eq!(other.get("a").await.unwrap(), None);
    // What is in etcd is where it is said to be.
    assert_eq!(cluster.ctl(&["get", "/penstock/test/a"]), "/penstock/test/a\n1\n");
}

#[tokio::test]
async fn killed_and_restarted() {
    let Fixture { store, mut cluster } = Fixture::new().await;
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    let id = store.id().await.unwrap();
    for round in 0..2 {
        store.commit(&put(&format!("a/{round}"), "x")).await.unwrap();
        assert_eq!(keys(&changed(&mut watch).await.1), [format!("a/{round}")]);
        cluster.members[0].kill();
        away(&mut watch).await;
        assert!(timeout(LONGEST_CALL, store.get("a/0")).await.unwrap().is_err());
        cluster.members[0].restart();
        back(&mut watch).await;
    }
    insist(&store, "a/end").await;
    assert_eq!(keys(&changed(&mut watch).await.1), ["a/end"]);
    assert_eq!(store.id().await.unwrap(), id);
}

#[tokio::test]
async fn what_was_missed_follows() {
    let Fixture { store, cluster } = Fixture::new().await;
    let wire = Wire::to(&cluster.members[0].url).await;
    let mut watch = open(settings(vec![wire.url.clone()])).await.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    wire.cut();
    away(&mut watch).await;
    for i in 0..3 {
        store.commit(&put(&format!("a/{i}"), "x")).await.unwrap();
    }
    wire.mend();
    back(&mut watch).await;
    for i in 0..3 {
        assert_eq!(keys(&changed(&mut watch).await.1), [format!("a/{i}")]);
    }
}

#[tokio::test]
async fn compacted_under_a_watch() {
    let Fixture { store, cluster } = Fixture::new().await;
    let wire = Wire::to(&cluster.members[0].url).await;
    let mut watch = open(settings(vec![wire.url.clone()])).await.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    wire.cut();
    away(&mut watch).await;
    store.commit(&put("a/1", "x")).await.unwrap();
    let newest = store.commit(&put("a/1", "y")).await.unwrap();
    cluster.ctl(&["compact", &newest.to_string()]);
    wire.mend();
    back(&mut watch).await;
    let (revision, entries) = reset(&mut watch, Why::Compacted).await;
    assert_eq!((revision, entries[0].value.as_slice(), entries.len()), (newest, b"y".as_slice(), 1));
    store.commit(&put("a/2", "x")).await.unwrap();
    assert_eq!(keys(&changed(&mut watch).await.1), ["a/2"]);
}

#[tokio::test]
async fn stopped_for_a_while() {
    let Fixture { store, cluster } = Fixture::new().await;
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    cluster.members[0].stop();
    let unknown = timeout(LONGEST_CALL, store.commit(&put("a/1", "x"))).await.unwrap().unwrap_err();
    assert!(matches!(unknown, CommitError::Unknown(_)), "{unknown}");
    let not_sent = timeout(LONGEST_CALL, store.commit(&put("a/2", "x"))).await.unwrap().unwrap_err();
    assert!(matches!(not_sent, CommitError::Store(StoreError::Away(_))), "{not_sent}");
    assert!(not_sent.to_string().contains(&cluster.members[0].url), "{not_sent}");
    away(&mut watch).await;
    cluster.members[0].go_on();
    back(&mut watch).await;
    insist(&store, "a/end").await;
    let (mut seen, mut told) = (Seen::default(), BTreeSet::new());
    seen.follow(&mut watch, "a/end").await;
    told.extend(seen.entries.into_keys());
    assert!(!told.contains("a/2"), "{told:?}");
}

#[tokio::test]
async fn stopped_under_a_watch_that_nothing_else_uses() {
    let Fixture { store, cluster } = Fixture::new().await;
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    cluster.members[0].stop();
    let before = Instant::now();
    away(&mut watch).await;
    assert!(before.elapsed() < LONGEST_CALL, "{:?}", before.elapsed());
    cluster.members[0].go_on();
    back(&mut watch).await;
}

#[tokio::test]
async fn restored_from_a_backup() {
    for token in ["etcd-cluster", "another"] {
        let Fixture { store, mut cluster } = Fixture::new().await;
        let mut watch = store.watch("a/", None);
        reset(&mut watch, Why::Start).await;
        store.commit(&put("a/old", "x")).await.unwrap();
        let backup = cluster.dir.path().join("backup");
        cluster.ctl(&["snapshot", "save", backup.to_str().unwrap()]);
        let told = store.commit(&put("a/new", "x")).await.unwrap();
        changed(&mut watch).await;
        changed(&mut watch).await;
        cluster.members[0].restore(&backup, token);
        away(&mut watch).await;
        back(&mut watch).await;
        let (revision, entries) = reset(&mut watch, Why::WentBack).await;
        assert!(revision < told, "{revision}");
        assert_eq!(keys(&entries), ["a/old"]);
        insist(&store, "a/newer").await;
        assert_eq!(keys(&changed(&mut watch).await.1), ["a/newer"]);
    }
}

#[tokio::test]
async fn restored_and_written_to_before_anybody_looked() {
    let Fixture { store, mut cluster } = Fixture::new().await;
    let wire = Wire::to(&cluster.members[0].url).await;
    let mut watch = open(settings(vec![wire.url.clone()])).await.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    let backup = cluster.dir.path().join("backup");
    cluster.ctl(&["snapshot", "save", backup.to_str().unwrap()]);
    store.commit(&put("a/lost", "x")).await.unwrap();
    changed(&mut watch).await;
    wire.cut();
    away(&mut watch).await;
    // The same cluster, and later than what was told.
    cluster.members[0].restore(&backup, "etcd-cluster");
    for key in ["a/1", "a/2", "a/3"] {
        insist(&store, key).await;
    }
    wire.mend();
    back(&mut watch).await;
    assert_eq!(keys(&reset(&mut watch, Why::WentBack).await.1), ["a/1", "a/2", "a/3"]);
}

#[tokio::test]
async fn another_store_in_its_place() {
    let [one, two] = [Fixture::new().await, Fixture::new().await];
    let wire = Wire::to(&one.cluster.members[0].url).await;
    let store = open(settings(vec![wire.url.clone()])).await;
    let mut watch = store.watch("a/", None);
    reset(&mut watch, Why::Start).await;
    let id = store.id().await.unwrap();
    let snapshot = two.cluster.dir.path().join("backup");
    two.cluster.ctl(&["snapshot", "save", snapshot.to_str().unwrap()]);
    let Fixture { mut cluster, .. } = one;
    cluster.members[0].restore(&snapshot, "etcd-cluster");
    away(&mut watch).await;
    back(&mut watch).await;
    reset(&mut watch, Why::OtherStore).await;
    assert_ne!(store.id().await.unwrap(), id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_members_goes() {
    let Fixture { store, mut cluster } = Fixture::of(3).await;
    let mut watch = store.watch("a/", None);
    let mut seen = Seen::default();
    insist(&store, "a/0").await;
    seen.follow(&mut watch, "a/0").await;
    // The one that is talked to is the first that worked: all go in turn, killed or hung.
    for member in 0..3 {
        cluster.members[member].kill();
        let key = format!("a/killed-{member}");
        insist(&store, &key).await;
        seen.follow(&mut watch, &key).await;
        cluster.members[member].restart();
        let key = format!("a/restarted-{member}");
        insist(&store, &key).await;
        cluster.members[member].stop();
        let key = format!("a/stopped-{member}");
        insist(&store, &key).await;
        seen.follow(&mut watch, &key).await;
        cluster.members[member].go_on();
    }
    let listed = store.list("a/").await.unwrap();
    assert_eq!(seen.entries.into_values().collect::<Vec<_>>(), listed.entries);
}
