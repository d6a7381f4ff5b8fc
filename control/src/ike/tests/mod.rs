//! With the real charon, in namespaces of their own. They need root and strongSwan, and fail where they do not have it.

mod loading;
mod negotiating;
mod supervision;

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

#[test]
fn no_section_of_charon_is_deeper_than_we_read() {
    let mut message = Message::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        message = Message::new().section(name, &message);
    }
    assert!(Section::decode(message.encoded().unwrap()).is_ok());
}
