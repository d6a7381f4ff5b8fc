//! With the real charon, in namespaces of their own. They need root and strongSwan, and say so when they do not have it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::charon::{self, Charon, CharonError};
use super::loader::{Loader, Report};
use super::vici::{Client, Message, Section};
use super::wanted::{Connection, SECRET_PREFIX, Wanted};
use super::{Ike, Settings};
use crate::api::{CharonState, IkeFilter, IkeState};
use crate::kernel::netns::Netns;

const PROGRAM: &str = "/usr/sbin/charon-systemd";
const PATIENCE: Duration = Duration::from_secs(20);

/// A namespace with a charon's directory, both gone at the end.
struct Place {
    name: String,
    netns: Netns,
    run: tempfile::TempDir,
}

impl Place {
    fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "this test makes namespaces: run it as root (sudo -E cargo test ...)"
        );
        assert!(Path::new(PROGRAM).exists(), "this test needs strongSwan: scripts/install-deps ike");
        let name = format!("pki-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let netns = Netns::open_or_create(&name, false).unwrap();
        ip(&format!("-n {name} link set lo up"));
        Self { name, netns, run: tempfile::tempdir().unwrap() }
    }

    /// As a managed charon's, except for what stands where it expects the kernel: the distribution's user space ESP.
    fn text(&self) -> String {
        format!(
            "charon {{\n load = nonce openssl kdf pem vici! kernel-libipsec kernel-netlink socket-default!\n threads = 16\n \
             install_routes = no\n half_open_timeout = 3\n retransmit_timeout = 0.5\n retransmit_tries = 2\n \
             plugins {{ vici {{ socket = unix://{} }} }}\n \
             filelog {{ stderr {{ default = 1\n flush_line = yes }} }} }}\n\
             charon-systemd {{ journal {{ default = -1 }} }}\n",
            self.vici().display()
        )
    }

    fn vici(&self) -> PathBuf {
        self.run.path().join("charon.vici")
    }

    fn settings(&self) -> charon::Settings {
        charon::Settings {
            program: PROGRAM.into(),
            run: self.run.path().to_owned(),
            text: self.text(),
            vici: self.vici(),
            netns: self.netns.file().unwrap(),
            core: Some(0),
            plugin: None,
        }
    }

    fn ike(&self, wanted: Wanted) -> Ike {
        let settings = Settings {
            vici: self.vici(),
            plugin_socket: "/none".into(),
            run: self.run.path().to_owned(),
            managed: Some(self.settings()),
        };
        Ike::start(settings, wanted).unwrap()
    }

    async fn client(&self) -> Client {
        Client::connect(&self.vici()).await.unwrap()
    }
}

/// Also when a test fails, no charon stays behind.
impl Drop for Place {
    fn drop(&mut self) {
        let pids = Command::new("ip").args(["netns", "pids", &self.name]).output().unwrap();
        for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-9", pid]).output();
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A tunnel with a pre-shared key.
fn add(wanted: &mut Wanted, tunnel: &str, remote: &str, proposals: &str, secret: &str) {
    let name = format!("acme/{tunnel}");
    let child = Message::new()
        .list("local_ts", ["10.1.0.0/16"])
        .list("remote_ts", ["10.2.0.0/16"])
        .list("esp_proposals", ["aes128gcm16"])
        .value("reqid", "7");
    let one = |id: &str| Message::new().value("auth", "psk").value("id", id);
    let section = Message::new()
        .value("version", "2")
        .list("local_addrs", ["192.0.2.1"])
        .list("remote_addrs", [remote])
        .list("proposals", [proposals])
        .section("local", &one("192.0.2.1"))
        .section("remote", &one(remote))
        .section("children", &Message::new().section(&name, &child));
    let connection = Connection {
        tenant: "acme".into(),
        tunnel: tunnel.into(),
        section,
        peers: Message::new().value("remote", remote),
        local: "192.0.2.1".parse().unwrap(),
        remote: Some(remote.parse().unwrap()),
        local_id: "192.0.2.1".into(),
        remote_id: remote.into(),
        proposals: proposals.into(),
        esp_proposals: "aes128gcm16".into(),
        selectors: "10.1.0.0/16 === 10.2.0.0/16".into(),
    };
    let id = format!("{SECRET_PREFIX}{name}");
    let shared = Message::new()
        .value("id", &id)
        .value("type", "IKE")
        .value("data", secret)
        .list("owners", ["192.0.2.1", remote]);
    wanted.connections.insert(name, connection);
    wanted.secrets.insert(id, shared);
}

const GCM: &str = "aes128gcm16-prfsha256-ecp256";

fn one(remote: &str, secret: &str) -> Wanted {
    let mut wanted = Wanted::default();
    add(&mut wanted, "dc1", remote, GCM, secret);
    wanted
}

async fn names(client: &mut Client, command: &str, list: &str) -> Vec<String> {
    let answer = client.request(command, &Message::new()).await.unwrap();
    let mut names = answer.list(list).to_vec();
    names.sort();
    names
}

async fn connections(client: &mut Client) -> Vec<String> {
    names(client, "get-conns", "conns").await
}

async fn show(ike: &Ike) -> crate::api::Ike {
    let view = ike.view();
    tokio::task::spawn_blocking(move || view.show(&IkeFilter::default())).await.unwrap()
}

/// Waits until the page is as it should be.
async fn until(ike: &Ike, what: &str, is_so: impl Fn(&crate::api::Ike) -> bool) -> crate::api::Ike {
    let start = Instant::now();
    loop {
        let page = show(ike).await;
        if is_so(&page) {
            return page;
        }
        assert!(start.elapsed() < PATIENCE, "waited for: {what}; have {page:#?}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn runs(page: &crate::api::Ike) -> bool {
    page.charon.as_ref().is_some_and(|charon| charon.state == CharonState::Running)
}

fn pid(page: &crate::api::Ike) -> u32 {
    page.charon.as_ref().and_then(|charon| charon.pid).expect("a process")
}

#[tokio::test]
async fn what_differs_is_loaded_and_nothing_else() {
    let place = Place::new("load");
    let mut charon = Charon::new(place.settings()).unwrap();
    assert!(!charon.start().await.unwrap(), "a new one");
    let mut client = place.client().await;
    // The operator's own, one of them with a name like ours.
    let child = Message::new().section("net", &Message::new());
    for name in ["office", "site/b"] {
        let theirs = Message::new().section(name, &Message::new().section("children", &child));
        client.request("load-conn", &theirs).await.unwrap();
    }
    let secret =
        Message::new().value("id", "office").value("type", "IKE").value("data", "x").list("owners", ["a"]);
    client.request("load-shared", &secret).await.unwrap();

    let mut wanted = Wanted::default();
    for n in 0..1000 {
        add(&mut wanted, &format!("t{n}"), &format!("198.51.{}.{}", n / 250, n % 250 + 1), GCM, "secret");
    }
    let mut loader = Loader::default();
    let start = Instant::now();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    eprintln!("1000 tunnels loaded in {:?}", start.elapsed());
    assert_eq!(report, Report { changes: 2000, ..Report::default() });
    assert_eq!(connections(&mut client).await.len(), 1002);

    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 0, "nothing differs");
    add(&mut wanted, "t7", "198.51.0.8", "aes256gcm16-prfsha384-ecp384", "secret");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 1, "one message for one tunnel");
    add(&mut wanted, "t7", "198.51.0.8", "aes256gcm16-prfsha384-ecp384", "another");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().changes, 1, "its secret");

    wanted.connections.retain(|name, _| name == "acme/t7");
    wanted.secrets.retain(|id, _| id.ends_with("acme/t7"));
    // Another process of ours, which knows nothing of the first.
    let mut loader = Loader::default();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!((report.changes, report.refused.len()), (2 + 999 * 2, 0));
    assert_eq!(connections(&mut client).await, ["acme/t7", "office", "site/b"]);
    let secrets = names(&mut client, "get-shared", "keys").await;
    assert_eq!(secrets, ["office", "penstock:acme/t7"]);
    charon.stop().await;
}

#[tokio::test]
async fn what_charon_refuses_is_named_and_the_rest_is_loaded() {
    let place = Place::new("refuse");
    let mut charon = Charon::new(place.settings()).unwrap();
    charon.start().await.unwrap();
    let mut client = place.client().await;
    let mut wanted = one("198.51.100.1", "secret");
    add(&mut wanted, "bad", "198.51.100.2", "aes128gcm17-prfsha256-ecp256", "secret");
    wanted.keys.insert("/etc/key.pem".into(), Message::new().value("type", "any").value("data", "no key"));
    let ca = Message::new().value("type", "X509").value("flag", "CA").value("data", "no certificate");
    wanted.certificates.insert("/etc/ca.pem".into(), ca);
    let mut loader = Loader::default();
    let report = loader.bring(&mut client, &wanted).await.unwrap();
    assert_eq!(connections(&mut client).await, ["acme/dc1"]);
    assert_eq!(report.refused.keys().collect::<Vec<_>>(), ["/etc/ca.pem", "/etc/key.pem", "acme/bad"]);
    assert!(report.refused["acme/bad"].contains("proposals"), "{:?}", report.refused);
    assert!(report.refused["/etc/key.pem"].contains("without a passphrase"), "{:?}", report.refused);
    assert!(report.refused["/etc/ca.pem"].contains("one X.509 certificate"), "{:?}", report.refused);
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused.len(), 3, "it is tried again");
    add(&mut wanted, "bad", "198.51.100.2", GCM, "secret");
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused.len(), 2);
    charon.stop().await;
}

#[tokio::test]
async fn a_key_is_loaded_exchanged_and_unloaded() {
    let place = Place::new("key");
    let mut charon = Charon::new(place.settings()).unwrap();
    charon.start().await.unwrap();
    let mut client = place.client().await;
    let key = || {
        let pem = Command::new("pki")
            .args(["--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"])
            .output();
        Message::new().value("type", "any").value("data", pem.expect("strongswan-pki is installed").stdout)
    };
    let mut wanted = Wanted::default();
    let mut loader = Loader::default();
    wanted.keys.insert("/etc/a.pem".into(), key());
    loader.bring(&mut client, &wanted).await.unwrap();
    let first = names(&mut client, "get-keys", "keys").await;
    wanted.keys.insert("/etc/a.pem".into(), key());
    assert_eq!(loader.bring(&mut client, &wanted).await.unwrap().refused, BTreeMap::new());
    let second = names(&mut client, "get-keys", "keys").await;
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
    loader.bring(&mut client, &Wanted::default()).await.unwrap();
    assert!(names(&mut client, "get-keys", "keys").await.is_empty());
    charon.stop().await;
}

#[tokio::test]
async fn a_charon_that_is_killed_is_started_and_loaded_again() {
    let place = Place::new("kill");
    let ike = place.ike(one("198.51.100.1", "secret"));
    let before = until(&ike, "it runs", runs).await;
    assert_eq!(before.rows[0].state, IkeState::Down);
    Command::new("kill").args(["-9", &pid(&before).to_string()]).output().unwrap();
    let after = until(&ike, "it runs again", |page| runs(page) && pid(page) != pid(&before)).await;
    assert_eq!(after.charon.unwrap().restarts, 1);
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    assert_eq!(names(&mut place.client().await, "get-shared", "keys").await, ["penstock:acme/dc1"]);
    ike.stop().await;
    assert!(!place.run.path().join("charon.pid").exists());
    assert!(Client::connect(&place.vici()).await.is_err(), "it has ended with us");
}

#[tokio::test]
async fn a_charon_outlives_a_crash_of_ours_and_is_found_again() {
    let place = Place::new("adopt");
    let start = |settings| async { (Charon::new(settings).unwrap(), ()) };
    let (mut first, ()) = start(place.settings()).await;
    assert!(!first.start().await.unwrap());
    let pid = first.pid();
    let inside = format!("/proc/{}", pid.unwrap());
    let of = |file: &str| fs::read_to_string(format!("{inside}/{file}")).unwrap();
    assert!(of("status").contains("Cpus_allowed_list:\t0\n"), "on the core it was given");
    assert!(of("environ").contains("STRONGSWAN_CONF="), "{}", of("environ"));
    // Gone without a word, as in a crash.
    drop(first);
    let (mut second, ()) = start(place.settings()).await;
    assert!(second.start().await.unwrap(), "found");
    assert_eq!(second.pid(), pid);
    drop(second);
    // Other settings: that one is of no use.
    let mut settings = place.settings();
    settings.text.push_str("# changed\n");
    let (mut third, ()) = start(settings).await;
    assert!(!third.start().await.unwrap(), "a new one");
    assert_ne!(third.pid(), pid);
    drop(third);
    // Its number belongs to another process now.
    let text = fs::read_to_string(place.run.path().join("charon.pid")).unwrap();
    let (live, started) = text.trim().split_once(' ').unwrap();
    let wrong = format!("{live} {}\n", started.parse::<u64>().unwrap() + 1);
    fs::write(place.run.path().join("charon.pid"), wrong).unwrap();
    let (mut fourth, ()) = start(place.settings()).await;
    assert!(!fourth.start().await.unwrap(), "a new one");
    assert!(Path::new(&format!("/proc/{live}")).exists(), "what may be somebody else's is left alone");
    fourth.stop().await;
}

#[tokio::test]
async fn one_that_does_not_start_says_what_to_do() {
    let place = Place::new("fail");
    let start = |change: fn(&mut charon::Settings)| {
        let mut settings = place.settings();
        change(&mut settings);
        async { Charon::new(settings).unwrap().start().await.unwrap_err() }
    };
    let error = start(|settings| settings.program = "/nonexistent/charon".into()).await;
    assert!(error.to_string().contains("apt-get install charon-systemd"), "{error}");
    let error = start(|settings| settings.plugin = Some("/nonexistent.so".into())).await;
    assert!(error.to_string().contains("scripts/charon-plugin install"), "{error}");
    let error = start(|settings| settings.text = settings.text.replace("nonce", "nonce penstuck!")).await;
    assert!(matches!(error, CharonError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("penstuck"), "{error}");
    let error = start(|settings| settings.text = settings.text.replace("vici!", "")).await;
    assert!(matches!(error, CharonError::Silent { .. }), "{error}");
    assert!(error.to_string().contains("charon.log"), "{error}");
}

/// Two charons on a wire: ours and a customer's.
async fn pair(what: &str, wanted: Wanted) -> (Place, Ike, Place, Charon) {
    let (ours, theirs) = (Place::new(&format!("{what}-a")), Place::new(&format!("{what}-b")));
    ip(&format!("-n {} link add w0 type veth peer name w0 netns {}", ours.name, theirs.name));
    for (place, outer, inner) in
        [(&ours, "192.0.2.1/24", "10.1.0.1/16"), (&theirs, "192.0.2.77/24", "10.2.0.1/16")]
    {
        ip(&format!("-n {} address add {outer} dev w0", place.name));
        ip(&format!("-n {} link set w0 up", place.name));
        ip(&format!("-n {} address add {inner} dev lo", place.name));
    }
    let ike = ours.ike(wanted);
    let mut router = Charon::new(theirs.settings()).unwrap();
    router.start().await.unwrap();
    until(&ike, "it runs", runs).await;
    (ours, ike, theirs, router)
}

/// The customer's router begins; whether it came up.
async fn begin(router: &Place, secret: &str, remote_ts: &str) -> bool {
    let mut client = router.client().await;
    let auth = |id: &str| Message::new().value("auth", "psk").value("id", id);
    let child = Message::new()
        .list("local_ts", ["10.2.0.0/16"])
        .list("remote_ts", [remote_ts])
        .list("esp_proposals", ["aes128gcm16"]);
    let section = Message::new()
        .value("version", "2")
        .value("keyingtries", "1")
        .list("local_addrs", ["192.0.2.77"])
        .list("remote_addrs", ["192.0.2.1"])
        .list("proposals", [GCM])
        .section("local", &auth("192.0.2.77"))
        .section("remote", &auth("192.0.2.1"))
        .section("children", &Message::new().section("net", &child));
    client.request("load-conn", &Message::new().section("net", &section)).await.unwrap();
    let shared = Message::new()
        .value("id", "x")
        .value("type", "IKE")
        .value("data", secret)
        .list("owners", ["192.0.2.1"]);
    client.request("load-shared", &shared).await.unwrap();
    let terminate = Message::new().value("ike", "net").value("force", "yes").value("timeout", "-1");
    let _ = client.request("terminate", &terminate).await;
    let initiate = Message::new().value("child", "net").value("timeout", "5000").value("loglevel", "-1");
    let begun = client.request("initiate", &initiate).await;
    if begun.is_err() {
        // Printed when the test fails.
        println!(
            "the router: {begun:?}\n{}",
            fs::read_to_string(router.run.path().join("charon.log")).unwrap()
        );
    }
    begun.is_ok()
}

fn failure(page: &crate::api::Ike) -> &str {
    page.rows[0].last_failure.as_ref().map_or("", |failure| failure.reason.as_str())
}

#[tokio::test]
async fn a_router_negotiates_and_its_mistakes_are_named() {
    let (ours, ike, router, _process) = pair("neg", one("192.0.2.77", "right")).await;
    assert!(!begin(&router, "wrong", "10.1.0.0/16").await);
    let page =
        until(&ike, "its secret is wrong", |page| failure(page).contains("wrong pre-shared key")).await;
    assert_eq!(page.rows[0].state, IkeState::Down);
    assert_eq!(ike.view().status().failing, ["acme/dc1"]);

    assert!(!begin(&router, "right", "10.9.0.0/16").await);
    until(&ike, "its selectors are wrong", |page| {
        failure(page)
            .contains("wants 10.9.0.0/16 on our side and 10.2.0.0/16 on its own; we allow 10.1.0.0/16")
    })
    .await;

    assert!(begin(&router, "right", "10.1.0.0/16").await);
    let up = until(&ike, "up", |page| page.rows[0].state == IkeState::Up).await;
    let row = &up.rows[0];
    assert!(row.peer.as_ref().unwrap().starts_with("192.0.2.77:"), "{row:?}");
    assert_eq!(row.suite.as_deref(), Some("AES_GCM_16_128/PRF_HMAC_SHA2_256/ECP_256"));
    assert_eq!(row.children.len(), 1);
    assert_eq!(row.last_failure.as_ref().unwrap().count, 2);
    let charon = up.charon.unwrap();
    assert_eq!((charon.ike_sas, charon.half_open), (Some(1), Some(0)));
    assert!(charon.version.unwrap().starts_with("5.") || Path::new("/etc/debian_version").exists());
    until(&ike, "no longer failing", |_| ike.view().status().failing.is_empty()).await;

    // Another tunnel comes: this one is not touched.
    let mut more = one("192.0.2.77", "right");
    add(&mut more, "dc2", "192.0.2.78", GCM, "secret");
    assert!(ike.apply(more).await.is_empty());
    let page = show(&ike).await;
    assert_eq!((page.total, page.rows[0].spis.clone()), (2, row.spis.clone()));
    // Its router becomes another one: what was negotiated is void.
    assert!(ike.apply(one("192.0.2.79", "right")).await.is_empty());
    until(&ike, "down", |page| page.total == 1 && page.rows[0].state == IkeState::Down).await;
    assert_eq!(connections(&mut ours.client().await).await, ["acme/dc1"]);
    ike.stop().await;
}

#[tokio::test]
async fn a_tunnel_outlives_a_crash_of_ours() {
    let (ours, ike, router, _process) = pair("crash", one("192.0.2.77", "right")).await;
    assert!(begin(&router, "right", "10.1.0.0/16").await);
    let up = until(&ike, "up", |page| page.rows[0].state == IkeState::Up).await;
    // Gone without a word, as in a crash.
    drop(ike);
    sleep(Duration::from_millis(100)).await;
    let ike = ours.ike(one("192.0.2.77", "right"));
    let again = until(&ike, "up", |page| runs(page) && page.rows[0].state == IkeState::Up).await;
    assert_eq!((pid(&again), &again.rows[0].spis), (pid(&up), &up.rows[0].spis));
    drop(ike);
    sleep(Duration::from_millis(100)).await;
    // While we were away its router became another one.
    let ike = ours.ike(one("192.0.2.79", "right"));
    until(&ike, "down", |page| runs(page) && page.rows[0].state == IkeState::Down).await;
    ike.stop().await;
}

#[tokio::test]
async fn an_operators_charon_is_used_and_left_alone() {
    let place = Place::new("extern");
    let mut theirs = Charon::new(place.settings()).unwrap();
    let settings = Settings {
        vici: place.vici(),
        plugin_socket: "/none".into(),
        run: place.run.path().to_owned(),
        managed: None,
    };
    let ike = Ike::start(settings, one("198.51.100.1", "secret")).unwrap();
    let missing = until(&ike, "it is missed", |page| page.charon.as_ref().unwrap().problem.is_some()).await;
    assert!(missing.charon.unwrap().problem.unwrap().contains("is it running"));
    theirs.start().await.unwrap();
    until(&ike, "it is reached", runs).await;
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    let pid = theirs.pid();
    ike.stop().await;
    assert_eq!(connections(&mut place.client().await).await, ["acme/dc1"]);
    assert_eq!(theirs.pid(), pid);
    theirs.stop().await;
}

#[test]
fn no_section_of_charon_is_deeper_than_we_read() {
    let mut message = Message::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        message = Message::new().section(name, &message);
    }
    assert!(Section::decode(message.encoded().unwrap()).is_ok());
}
